"""
The text of pg_hba.conf and pg_ident.conf: parsed as PostgreSQL parses it, and edited by lines.

An edit keeps every byte of the other lines. Sources: PostgreSQL, «The pg_hba.conf File» and «User
Name Maps».
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_KEYWORDS = frozenset({"all", "sameuser", "samerole", "samegroup", "replication"})
_BLANKS = " \t\r"
_INCLUDES = frozenset({"include", "include_if_exists", "include_dir"})
_LOCAL = frozenset({"local"})
_OVER_TLS = frozenset({"host", "hostssl", "hostnogssenc"})

MARK = "# by the dkim formula"

# Outside quotes, + names a group's members and @ a file's words.
_INDIRECT = ("+", "@")


@dataclass(frozen=True)
class Token:
    """A word of a line. ``quoted``: the word is in quotes, so a keyword in it is a plain name."""

    text: str
    quoted: bool = False


Fields = tuple[tuple[Token, ...], ...]  # each field a list, its members joined by commas


@dataclass(frozen=True)
class Line:
    """
    A logical line: its text in the file with its continuation lines, and its parsed words.

    comment
        The comment, from its ``#`` on, or ''.
    """

    raw: str
    fields: Fields
    comment: str = ""

    @property
    def is_rule(self) -> bool:
        """Whether the line has words, so is neither blank nor only a comment."""
        return bool(self.fields)


IsManaged = Callable[[Line], bool]


def lines(text: str) -> list[Line]:
    """Return the logical lines of a file's text. Their ``raw``, joined, equals ``text``."""
    found: list[Line] = []
    raw = joined = ""
    for physical in re.findall(r"[^\n]*\n|[^\n]+", text):
        raw += physical
        content = physical.rstrip("\r\n")
        # A backslash at the end of a line joins the next line (PostgreSQL 14), also in a comment.
        if content.endswith("\\"):
            joined += content[:-1]
            continue
        found.append(Line(raw, *_read(joined + content)))
        raw = joined = ""
    if raw:
        found.append(Line(raw, *_read(joined)))
    return found


def hba_line(database: str, role: str, method: str) -> str:
    """Return the formula's rule for the local socket; ``method`` is the method with its options."""
    return "   ".join(["local", _written(database), _written(role), method, MARK])


def network_line(database: str, role: str, client: str, method: str) -> str:
    """
    Return the formula's rule for a client over TLS.

    client
        An address with its mask, or a host's name. The settings have checked it.
    """
    words = ["hostssl", _written(database), _written(role), client, method, MARK]
    return "   ".join(words)


def ident_line(map_name: str, system_user: str, role: str) -> str:
    """Return the formula's mapping of a system user to a role."""
    # Always in quotes: from PostgreSQL 16 on `all` and `+` have a meaning in the role's field.
    quoted = '"' + role.replace('"', '""') + '"'
    return "   ".join([_written(map_name), _written(system_user), quoted, MARK])


def is_marked(line: Line) -> bool:
    """Return whether the formula wrote the line: its comment begins with the formula's mark."""
    return line.is_rule and line.comment.startswith(MARK)


def is_rule_for(line: Line, database: str, role: str, local: bool) -> bool:
    """
    Return whether a line is a marked rule for that database and role.

    local
        Whether the rule is for the local socket. Otherwise it is for network clients.
    """
    return (
        is_marked(line) and _is_local(line) == local and database_and_role(line) == (database, role)
    )


def is_mapping_for(line: Line, role: str) -> bool:
    """Return whether a line of pg_ident.conf is a marked mapping to that role."""
    return is_marked(line) and len(line.fields) == 3 and line.fields[2][0].text == role


def database_and_role(line: Line) -> tuple[str, str] | None:
    """Return the database and the role of a rule that names one of each, else None."""
    if len(line.fields) < 4 or len(line.fields[1]) != 1 or len(line.fields[2]) != 1:
        return None
    return line.fields[1][0].text, line.fields[2][0].text


def may_match_role(word: str, role: str) -> bool:
    """Return whether the role field of a mapping, without its quotes, may match the role."""
    # \1 is the text that the system user's regular expression captured.
    return "\\1" in word or _may_name(Token(word), role)


def former(text: str, current: Sequence[str]) -> list[Line]:
    """Return the marked lines whose meaning equals none of the ``current`` lines."""
    return [line for line in lines(text) if is_marked(line) and not is_one_of(line, current)]


def without(text: str, dropped: Sequence[Line]) -> str:
    """Return the text without the ``dropped`` lines, which :func:`lines` has parsed."""
    return _without(lines(text), lambda line: line in dropped)


def with_rules(
    text: str, desired: Sequence[str], is_managed: IsManaged, database: str, role: str
) -> str:
    """
    Return the text of pg_hba.conf with the desired rules in force.

    The rules come before the first other rule that could match the same session over the same
    transport: the local socket for `local` rules, TLS for others.

    desired
        The formula's rules, all of them of one kind.
    is_managed
        Whether a line is the formula's, so that it may be moved or removed. All other lines stay.
        Another line with the meaning of a desired rule replaces that rule if it comes early enough.
    """
    present = lines(text)
    local = not desired or _is_local(_line(desired[0]))
    others = [
        at
        for at, line in enumerate(present)
        if _could_match(line, database, role, local)
        and not is_managed(line)
        and not is_one_of(line, desired)
    ]
    before = present[: others[0]] if others else present
    found = [next((line for line in before if _same(line, rule)), None) for rule in desired]
    if desired and None not in found:
        kept_ones = {id(line) for line in found}
        return _without(present, lambda line: id(line) not in kept_ones and is_managed(line))
    kept = lines(_without(present, is_managed))
    if not desired:
        return "".join(line.raw for line in kept)
    at = next(
        (at for at, line in enumerate(kept) if _could_match(line, database, role, local)),
        len(kept),
    )
    return _inserted(kept, at, desired, text)


def with_mappings(text: str, desired: Sequence[str], is_managed: IsManaged) -> str:
    """
    Return the text of pg_ident.conf with the ``desired`` mappings and no other managed ones.

    New mappings are added at the end.
    """
    present = lines(text)
    missing = [line for line in desired if not any(_same(other, line) for other in present)]
    kept = lines(
        _without(
            present,
            lambda line: is_managed(line) and not any(_same(line, one) for one in desired),
        )
    )
    return _inserted(kept, len(kept), missing, text)


def is_one_of(line: Line, texts: Sequence[str]) -> bool:
    """Return whether the meaning of a line equals that of one of ``texts``."""
    return line.is_rule and any(_same(line, text) for text in texts)


def unmanaged_users(text: str, map_name: str, system_users: Sequence[str], role: str) -> list[str]:
    """
    Return the system users that unmanaged lines of the map let in as the role, as written there.

    system_users
        The system users that the formula maps. These are left out.
    """
    found = []
    for line in lines(text):
        words = [token.text for field in line.fields for token in field]
        lets_in = len(words) == 3 and words[0] == map_name and words[1] not in system_users
        if lets_in and may_match_role(words[2], role) and not is_mapping_for(line, role):
            found.append(words[1])
    return found


def _read(content: str) -> tuple[Fields, str]:
    fields: list[list[Token]] = []
    joined = False  # the last token was followed by a comma
    at = 0
    while at < len(content):
        character = content[at]
        if character == "#":
            return tuple(map(tuple, fields)), content[at:]
        if character in _BLANKS or character == ",":
            at += 1
        else:
            token, at = _token(content, at)
            if joined:
                fields[-1].append(token)
            else:
                fields.append([token])
            # Only a comma directly after a token joins the next token to it.
            joined = content[at : at + 1] == ","
    return tuple(map(tuple, fields)), ""


def _token(content: str, at: int) -> tuple[Token, int]:
    text, quoted, inside = "", False, False
    while at < len(content):
        character = content[at]
        if character == '"':
            # Two quotes inside quotes are one quote of the name.
            if inside and content[at + 1 : at + 2] == '"':
                text += '"'
                at += 1
            else:
                # Only a quote at the beginning of a word makes a keyword a plain name.
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


def _meaning(line: Line) -> list[list[tuple[str, bool]]]:
    """Return a line's words, each with whether it is a keyword or an indirect name."""
    return [
        [(token.text, not token.quoted and _is_special(token.text)) for token in field]
        for field in line.fields
    ]


def _is_special(text: str) -> bool:
    return text in _KEYWORDS or text.startswith(_INDIRECT)


def _same(line: Line, text: str | Line) -> bool:
    other = text if isinstance(text, Line) else _line(text)
    return _meaning(line) == _meaning(other)


def _is_local(line: Line) -> bool:
    return line.fields[0][0].text == "local"


def _is_include(line: Line) -> bool:
    # PostgreSQL accepts quotes around a directive and around a rule's first word (hba.c).
    return len(line.fields) == 2 and line.fields[0][0].text in _INCLUDES


def _could_match(line: Line, database: str, role: str, local: bool) -> bool:
    if not line.is_rule:
        return False
    # An included file may contain a matching rule, now or after its next change.
    if _is_include(line):
        return True
    # The address is not compared: the formula's rules can come before this line at no cost.
    return (
        line.fields[0][0].text in (_LOCAL if local else _OVER_TLS)
        and len(line.fields) > 2
        and any(_may_name(token, database) for token in line.fields[1])
        and any(_may_name(token, role) for token in line.fields[2])
    )


def _may_name(token: Token, name: str) -> bool:
    # From PostgreSQL 16 on a word that begins with / is a regular expression, also in quotes (an
    # expression with a comma needs quotes). Any expression is taken as a match.
    if token.text == name or token.text.startswith("/"):
        return True
    if token.quoted or token.text == "replication":
        return False
    return _is_special(token.text)


def _without(present: Sequence[Line], is_dropped: Callable[[Line], bool]) -> str:
    return "".join(line.raw for line in present if not is_dropped(line))


def _inserted(present: Sequence[Line], at: int, new: Sequence[str], text: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    # A file may end in a backslash, which would join a line after it to the last line.
    if at and present[at - 1].raw.rstrip("\r\n").endswith("\\"):
        at -= 1
    before = "".join(line.raw for line in present[:at])
    if new and before and not before.endswith("\n"):
        before += end
    added = "".join(line + end for line in new)
    return before + added + "".join(line.raw for line in present[at:])
