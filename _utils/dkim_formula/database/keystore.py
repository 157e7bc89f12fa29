"""The keys in the database: reading, comparing, storing, moving from state to state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..keys import PrivateKey
from ..settings.model import Database


@dataclass(frozen=True)
class Key:
    """A row of ``dkim`` without its private key. ``domain`` is the site's spelling of the name."""

    id: int
    domain: str
    selector: str
    algorithm: str
    bits: int | None
    state: str
    address: str
    created: datetime | None
    activated: datetime | None
    retired: datetime | None
    revoked: datetime | None
    public: str | None

    def as_plain(self) -> dict[str, object]:
        """For a function's return: timestamps as ISO 8601 text, no id."""
        plain = {
            "domain": self.domain,
            "selector": self.selector,
            "algorithm": self.algorithm,
            "bits": self.bits,
            "state": self.state,
            "address": self.address,
        }
        for name in ("created", "activated", "retired", "revoked"):
            value = getattr(self, name)
            plain[name] = None if value is None else value.isoformat(timespec="seconds")
        plain["public_key"] = self.public
        return plain


@dataclass(frozen=True)
class Wanted:
    """A key that is to be. ``address`` '' is the domain's own."""

    domain: str
    selector: str
    algorithm: str = "rsa"
    bits: int = 2048
    address: str = ""


@dataclass(frozen=True)
class Comparison:
    """
    The wanted keys against the database's.

    missing
        To be generated.
    present
        Satisfied, the number of them.
    reports
        Sentences on keys that differ from what is wanted, and are left as they are.
    not_hosted
        Domains that the site's table has not, sorted.
    """

    missing: tuple[Wanted, ...] = ()
    present: int = 0
    reports: tuple[str, ...] = ()
    not_hosted: tuple[str, ...] = ()


def list_keys(
    connection, database: Database, domain: str | None = None, selector: str | None = None
) -> list[Key]:
    """All keys, or a domain's, or those with a selector; by domain, then id."""
    raise NotImplementedError


def find(connection, database: Database, domain: str, selector: str) -> Key:
    """The one key. Raises KeyNotFound, which says what there is."""
    raise NotImplementedError


def compare(connection, database: Database, wanted: Sequence[Wanted]) -> Comparison:
    """Set-based: one COPY, one query, for any number of domains. Changes nothing."""
    raise NotImplementedError


def store(
    connection,
    database: Database,
    pairs: Iterable[tuple[Wanted, PrivateKey]],
    why: str,
    state: str = "active",
) -> list[Key]:
    """Stores the keys that are not there yet; gives those that were stored. Does not commit."""
    raise NotImplementedError


def set_state(
    connection, database: Database, domain: str, selector: str, state: str, why: str
) -> Key:
    """
    Moves a key: ``active`` (the one that was active is retired with it), ``retired``, ``revoked``
    (the private key is erased), ``pending``. Raises StepRefused where that is no legal step.
    """
    raise NotImplementedError


def delete(
    connection, database: Database, domain: str, selector: str, why: str, force: bool = False
) -> Key:
    """Deletes the row; the history keeps its line. StepRefused for an active key without force."""
    raise NotImplementedError


def complete(connection, database: Database) -> tuple[list[Key], list[str]]:
    """
    Fills bits and public key of rows that another tool put in; gives the completed keys, and a
    sentence for each row whose key does not parse.
    """
    raise NotImplementedError
