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
_LOCAL = frozenset({"local"})
_OVER_TLS = frozenset({"host", "hostssl", "hostnogssenc"})

MARK = "# by the dkim formula"

# What stands for names that it does not spell, outside quotes: a group's members, a file's words.
_INDIRECT = ("+", "@")


@dataclass(frozen=True)
class Token:
    """A word of a line. ``quoted``: it stood in quotes, so that a keyword in it is a mere name."""

    text: str
    quoted: bool = False


Fields = tuple[tuple[Token, ...], ...]  # each field a list, its members joined by commas


@dataclass(frozen=True)
class Line:
    """
    A line with the ones that it goes on in, as it stands in the file, and what it says.

    comment
        The text behind its ``#``, from that on; '' where it has none.
    """

    raw: str
    fields: Fields
    comment: str = ""

    @property
    def is_rule(self) -> bool:
        """Neither blank nor a comment alone."""
        return bool(self.fields)


IsOurs = Callable[[Line], bool]


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
        An address with its mask, or a host's name, checked.
    """
    words = ["hostssl", _written(database), _written(role), client, method, MARK]
    return "   ".join(words)


def ident_line(map_name: str, system_user: str, role: str) -> str:
    """Return the formula's mapping."""
    # The role is in quotes always: from PostgreSQL 16 on `all` and `+` mean something there.
    quoted = '"' + role.replace('"', '""') + '"'
    return "   ".join([_written(map_name), _written(system_user), quoted, MARK])


def is_marked(line: Line) -> bool:
    """Tell whether the formula wrote the line: its comment begins with the formula's mark."""
    return line.is_rule and line.comment.startswith(MARK)


def is_rule_for(line: Line, database: str, role: str, local: bool) -> bool:
    """Tell whether a line is a marked rule for that database and role, of that kind."""
    return is_marked(line) and _is_local(line) == local and pair(line) == (database, role)


def is_mapping_for(line: Line, role: str) -> bool:
    """Tell whether a line of pg_ident.conf is a marked mapping to that role."""
    return is_marked(line) and len(line.fields) == 3 and line.fields[2][0].text == role


def pair(line: Line) -> tuple[str, str] | None:
    """Return the database and the role of a rule that names one of each."""
    if len(line.fields) < 4 or len(line.fields[1]) != 1 or len(line.fields[2]) != 1:
        return None
    return line.fields[1][0].text, line.fields[2][0].text


def could_mean(word: str, role: str) -> bool:
    """Tell whether a mapping's last word, given without its quotes, may stand for the role."""
    # \1 stands for what the system user's expression has caught.
    return "\\1" in word or _could_mean(Token(word), role)


def former(text: str, current: Sequence[str]) -> list[Line]:
    """Return the marked lines that say what none of ``current`` says."""
    return [line for line in lines(text) if is_marked(line) and not is_one_of(line, current)]


def without(text: str, dropped: Sequence[Line]) -> str:
    """Return the text without these lines, which are given as :func:`lines` reads them."""
    return _without(lines(text), lambda line: line in dropped)


def with_rules(text: str, wanted: Sequence[str], ours: IsOurs, database: str, role: str) -> str:
    """
    pg_hba.conf with our rules in force: before the first rule of others that could match the same
    session, of those over the local socket for `local` rules, and over TLS for others.

    wanted
        Our rules, all of them of one kind.
    ours
        Tells our lines: these are moved or removed. All other lines stay. One that says what a
        wanted rule says, early enough, takes its place.
    """
    there = lines(text)
    local = not wanted or _is_local(_line(wanted[0]))
    others = [
        at
        for at, line in enumerate(there)
        if _could_match(line, database, role, local)
        and not ours(line)
        and not is_one_of(line, wanted)
    ]
    before = there[: others[0]] if others else there
    found = [next((line for line in before if _same(line, rule)), None) for rule in wanted]
    if wanted and None not in found:
        kept_ones = {id(line) for line in found}
        return _without(there, lambda line: id(line) not in kept_ones and ours(line))
    kept = lines(_without(there, ours))
    if not wanted:
        return "".join(line.raw for line in kept)
    place = next(
        (at for at, line in enumerate(kept) if _could_match(line, database, role, local)),
        len(kept),
    )
    return _inserted(kept, place, wanted, text)


def with_mappings(text: str, wanted: Sequence[str], ours: IsOurs) -> str:
    """pg_ident.conf with the mappings ``wanted``, and none else of ``ours``, at its end."""
    there = lines(text)
    missing = [line for line in wanted if not any(_same(other, line) for other in there)]
    kept = lines(
        _without(there, lambda line: ours(line) and not any(_same(line, one) for one in wanted))
    )
    return _inserted(kept, len(kept), missing, text)


def is_one_of(line: Line, texts: Sequence[str]) -> bool:
    """Whether the line says what one of ``texts`` says, however it is written."""
    return line.is_rule and any(_same(line, text) for text in texts)


def others_mapped(text: str, map_name: str, system_users: Sequence[str], role: str) -> list[str]:
    """
    The system users that other people's lines of the same map let in, as they are written.

    role
        Whose lines are ours where they are marked.
    """
    found = []
    for line in lines(text):
        words = [token.text for field in line.fields for token in field]
        lets_in = len(words) == 3 and words[0] == map_name and words[1] not in system_users
        if lets_in and could_mean(words[2], role) and not is_mapping_for(line, role):
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
            # Only a comma right behind a token joins the next one to it.
            joined = content[at : at + 1] == ","
    return tuple(map(tuple, fields)), ""


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


def _meaning(line: Line) -> list[list[tuple[str, bool]]]:
    """What a line says: its words, and which of them stand for more than their text."""
    return [
        [(token.text, not token.quoted and _stands_for_more(token.text)) for token in field]
        for field in line.fields
    ]


def _stands_for_more(text: str) -> bool:
    return text in _KEYWORDS or text.startswith(_INDIRECT)


def _same(line: Line, text: str | Line) -> bool:
    other = text if isinstance(text, Line) else _line(text)
    return _meaning(line) == _meaning(other)


def _is_local(line: Line) -> bool:
    return line.fields[0][0].text == "local"


def _is_include(line: Line) -> bool:
    # Quotes make no difference to a directive, nor to a rule's first word (hba.c).
    return len(line.fields) == 2 and line.fields[0][0].text in _INCLUDES


def _could_match(line: Line, database: str, role: str, local: bool) -> bool:
    if not line.is_rule:
        return False
    # An included file may have a rule that matches, now or after its next change.
    if _is_include(line):
        return True
    # Which clients an address covers is not asked: ours go before it at no cost.
    return (
        line.fields[0][0].text in (_LOCAL if local else _OVER_TLS)
        and len(line.fields) > 2
        and any(_could_mean(token, database) for token in line.fields[1])
        and any(_could_mean(token, role) for token in line.fields[2])
    )


def _could_mean(token: Token, name: str) -> bool:
    # From PostgreSQL 16 on a word that begins with / is an expression, in quotes too: one with a
    # comma has to be in quotes. Which names it matches is not asked.
    if token.text == name or token.text.startswith("/"):
        return True
    if token.quoted or token.text == "replication":
        return False
    return _stands_for_more(token.text)


def _without(there: Sequence[Line], dropped: Callable[[Line], bool]) -> str:
    return "".join(line.raw for line in there if not dropped(line))


def _inserted(there: Sequence[Line], place: int, new: Sequence[str], text: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    # A file may end in a backslash: a line behind it would be taken for more of the last one.
    if place and there[place - 1].raw.rstrip("\r\n").endswith("\\"):
        place -= 1
    before = "".join(line.raw for line in there[:place])
    if new and before and not before.endswith("\n"):
        before += end
    added = "".join(line + end for line in new)
    return before + added + "".join(line.raw for line in there[place:])
