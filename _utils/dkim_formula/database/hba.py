"""The text of pg_hba.conf and pg_ident.conf: reading it as PostgreSQL does, editing it by line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """A word of a line; ``quoted`` words lose any special meaning."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Line:
    """One logical line: its fields (each a list of tokens) and where it stands in the text."""

    fields: tuple[tuple[Token, ...], ...]
    start: int
    end: int
    number: int
