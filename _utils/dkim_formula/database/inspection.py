"""What stands in the way of signing from this database, found before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.model import Database


@dataclass(frozen=True)
class Inspection:
    """``problems`` forbid going on; ``advice`` is legal but unwise. Sentences, each naming a key."""

    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def inspect(connection, database: Database) -> Inspection:
    """Looks at the site's domains table and at a ``dkim`` table that may be there; changes nothing."""
    raise NotImplementedError
