"""The result of a comparison by meaning, and the sentences that all kinds of records share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..text import counted

QUOTES = (
    "quotes were pasted into the value, but only a zone file writes them; give the text without "
    "quotes"
)
BACKSLASHES = (
    'backslashes were pasted into the value, but only a zone file writes them before ";"; give the '
    "text without backslashes"
)
# An advice has at most this many differences. Anyone may write thousands of tags into a record.
_MOST_SAID = 8


@dataclass(frozen=True)
class Comparison:
    """
    The result of a comparison.

    problem
        Why the text has another meaning; empty if the meaning is the same.
    advice
        How the writing differs, if the meaning is the same.
    """

    problem: str = ""
    advice: str = ""


class InvalidText(Exception):
    """A text that readers refuse. The only argument is the reason."""


def cut(text: str, most: int = 80) -> str:
    """Return a text from outside for people: short, and without codes that move a cursor."""
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)


def writing(
    desired: str,
    found: bytes,
    desired_names: Sequence[str],
    listed: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> str:
    """
    Return the advice on a tag-list that is written differently, with the same meaning.

    desired_names
        The tags of the desired text, in order.
    listed
        The tags that were found, in order.
    notes
        Differences that the caller found.
    """
    names = dict.fromkeys(name for name, _ in listed)
    missing = [name for name in desired_names if name not in names and name in ("v", "k")]
    others = [(name, value) for name, value in listed if name not in desired_names]
    said = [f"{name}= is left out" for name in missing]
    said += [f"{name}={cut(value, 40)} is there" for name, value in others]
    order = [name for name in desired_names if name in names]
    if [name for name in names if name in desired_names] != order:
        said.append("another order of tags")
    said += notes
    if not said:
        text = found.decode("utf-8", "replace")
        is_end = text.rstrip("; \t") == desired.rstrip("; \t")
        said.append('its end, a last ";" or blanks' if is_end else "blanks, defaults or capitals")
    if (more := len(said) - _MOST_SAID) > 0:
        said[_MOST_SAID:] = [f"and {counted(more, 'more difference')}"]
    return f"written differently: {', '.join(said)}"
