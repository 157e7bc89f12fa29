"""What a check finds."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

APPLY = "salt-call state.apply {}"


@dataclass(frozen=True)
class Finding:
    """
    One thing that was looked at.

    check
        Its name: ``main.cf``, ``unit opendkim``.
    ok
        True, False, or None where it can't be told from here; ``found`` says why.
    found
        What is there.
    do
        What to do about it, as a command where there is one; empty where nothing is wrong.
    """

    check: str
    ok: bool | None
    found: str
    do: str = ""

    def as_plain(self) -> dict[str, object]:
        """For a function's return."""
        return asdict(self)


def right(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, True, found)


def wrong(check: str, found: str, do: str) -> Finding:
    """Something is wrong, and this is what to do."""
    return Finding(check, False, found, do)


def unknown(check: str, why: str, do: str = "") -> Finding:
    """It can't be told from here."""
    return Finding(check, None, why, do)


def judged(check: str, problems: Iterable[str], well: str, do: str) -> Finding:
    """Wrong with all its problems, or right where there is none."""
    listed = list(problems)
    return wrong(check, "; ".join(listed), do) if listed else right(check, well)


def applied(sls: str) -> str:
    """The command that applies one SLS of the formula."""
    return APPLY.format(sls)


def shortened(texts: list[str], most: int = 5) -> str:
    """The first few of a list, and how many there are more."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
