"""
The text of pg_hba.conf and pg_ident.conf: read as PostgreSQL reads it, changed by whole lines,
every other byte kept. Source: PostgreSQL, «The pg_hba.conf File», «User Name Maps».
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_KEYWORDS = frozenset({"all", "sameuser", "samerole", "samegroup", "replication"})
_BLANKS = " \t\r"
_INCLUDES = frozenset({"include", "include_if_exists", "include_dir"})

# What can stand for a name that it does not spell: a group, a file, a regular expression (16).
_INDIRECT = ("+", "@", "/")


@dataclass(frozen=True)
class Token:
    """A word of a line. ``quoted``: it stood in quotes, so that a keyword in it is a mere name."""

    text: str
    quoted: bool = False


Fields = tuple[tuple[Token, ...], ...]  # each field a list, its members joined by commas


@dataclass(frozen=True)
class Line:
    """A line with the ones that it goes on in, as it stands in the file, and what it says."""

    raw: str
    fields: Fields

    @property
    def is_rule(self) -> bool:
        """Neither blank nor a comment alone."""
        return bool(self.fields)


def lines(text: str) -> list[Line]:
    """The file's logical lines; joined, their ``raw`` is ``text`` again."""
    found: list[Line] = []
    raw = joined = ""
    for physical in re.findall(r"[^\n]*\n|[^\n]+", text):
        raw += physical
        content = physical.rstrip("\r\n")
        # A backslash at the very end joins the next line (PostgreSQL 14), also in a comment.
        if content.endswith("\\"):
            joined += content[:-1]
            continue
        found.append(Line(raw, _fields(joined + content)))
        raw = joined = ""
    if raw:
        found.append(Line(raw, _fields(joined)))
    return found


def hba_line(database: str, role: str, method: str) -> str:
    """Our rule's text; ``method`` is the method with its options."""
    return "   ".join(["local", _written(database), _written(role), method])


def ident_line(map_name: str, system_user: str, role: str) -> str:
    """Our mapping's text; the role quoted, since from PostgreSQL 16 on `all` means something."""
    return "   ".join([_written(map_name), _written(system_user), f'"{role}"'])


def with_rule(text: str, wanted: str | None, ours: Sequence[str], database: str, role: str) -> str:
    """
    pg_hba.conf with our rule in force: before the first rule that could match the same session.

    wanted
        Our rule; None takes it away.
    ours
        Every form that our rule may have been written in by an earlier run: these are moved or
        removed. All other lines stay.
    """
    there = lines(text)
    if wanted is not None:
        first = next((line for line in there if _could_match(line, database, role)), None)
        if first is not None and _same(first, wanted):
            wanted_line = first
            return _without(there, lambda line: line is not wanted_line and is_one_of(line, ours))
    kept = lines(_without(there, lambda line: is_one_of(line, ours)))
    if wanted is None:
        return "".join(line.raw for line in kept)
    place = next(
        (at for at, line in enumerate(kept) if _could_match(line, database, role)), len(kept)
    )
    return _inserted(kept, place, wanted, text)


def with_mappings(text: str, wanted: Sequence[str], ours: Sequence[str]) -> str:
    """pg_ident.conf with the mappings ``wanted``, and none else of ``ours``, at its end."""
    there = lines(text)
    missing = [line for line in wanted if not any(_same(other, line) for other in there)]
    unwanted = [line for line in ours if not any(_same(_line(line), other) for other in wanted)]
    kept = lines(_without(there, lambda line: is_one_of(line, unwanted)))
    for line in missing:
        kept = lines(_inserted(kept, len(kept), line, text))
    return "".join(line.raw for line in kept)


def is_one_of(line: Line, texts: Sequence[str]) -> bool:
    """Whether the line says what one of ``texts`` says, however it is written."""
    return line.is_rule and any(_same(line, text) for text in texts)


def others_mapped(text: str, map_name: str, system_users: Sequence[str]) -> list[str]:
    """The system users that other people's lines of the same map let in, as they are written."""
    found = []
    for line in lines(text):
        words = [token.text for field in line.fields for token in field]
        if len(words) == 3 and words[0] == map_name and words[1] not in system_users:
            found.append(words[1])
    return found


def _fields(content: str) -> Fields:
    fields: list[list[Token]] = []
    joined = False  # the last token was followed by a comma
    at = 0
    while at < len(content):
        character = content[at]
        if character == "#":
            break
        if character in _BLANKS or character == ",":
            at += 1
        else:
            token, at = _token(content, at)
            if joined:
                fields[-1].append(token)
            else:
                fields.append([token])
            # Only a comma right behind a token joins the next one to it.
            joined = content[at : at + 1] == ","
    return tuple(tuple(field) for field in fields)


def _token(content: str, at: int) -> tuple[Token, int]:
    text, quoted, inside = "", False, False
    while at < len(content):
        character = content[at]
        if character == '"':
            # Two quotes inside quotes are one of the name's own.
            if inside and content[at + 1 : at + 2] == '"':
                text += '"'
                at += 1
            else:
                # Only a quote at the word's beginning takes a keyword's meaning away.
                inside, quoted = not inside, quoted or not text
        elif not inside and (character in _BLANKS or character in ",#"):
            break
        else:
            text += character
        at += 1
    return Token(text, quoted), at


def _written(name: str) -> str:
    plain = _PLAIN.fullmatch(name) and name not in _KEYWORDS
    return name if plain else '"' + name.replace('"', '""') + '"'


def _line(text: str) -> Line:
    return lines(text)[0]


def _words(line: Line) -> list[list[str]]:
    return [[token.text for token in field] for field in line.fields]


def _same(line: Line, text: str | Line) -> bool:
    other = text if isinstance(text, Line) else _line(text)
    return _words(line) == _words(other)


def _could_match(line: Line, database: str, role: str) -> bool:
    if not line.is_rule:
        return False
    kind = line.fields[0][0]
    if kind.text in _INCLUDES and not kind.quoted:
        return True
    return (
        kind.text == "local"
        and len(line.fields) > 2
        and any(_could_mean(token, database) for token in line.fields[1])
        and any(_could_mean(token, role) for token in line.fields[2])
    )


def _could_mean(token: Token, name: str) -> bool:
    if token.text == name:
        return True
    if token.quoted:
        return False
    return token.text in _KEYWORDS - {"replication"} or token.text.startswith(_INDIRECT)


def _without(there: Sequence[Line], dropped: Callable[[Line], bool]) -> str:
    return "".join(line.raw for line in there if not dropped(line))


def _inserted(there: Sequence[Line], place: int, new: str, text: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    # A file may end in a backslash: a line behind it would be taken for more of the last one.
    if place and there[place - 1].raw.rstrip("\r\n").endswith("\\"):
        place -= 1
    before = "".join(line.raw for line in there[:place])
    if before and not before.endswith("\n"):
        before += end
    return before + new + end + "".join(line.raw for line in there[place:])
