"""
amavisd's configuration, which is a Perl program: its keys, and the options of senders.

The parser understands a statement that begins a line and consists of literal strings and numbers.
The guides of amavisd and iRedMail write such statements. Any other line that names a key is
reported, and a person has to import its key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..files import reason_of
from .amavisd_lookup import Key

# Debian's folder, and the file of other systems.
CONFIGURATIONS = ("/etc/amavis/conf.d", "/etc/amavisd/amavisd.conf", "/etc/amavisd.conf")

_BEGINNING = re.compile(
    r"^(?:(?:dkim_key|@dkim_signature_options_bysender_maps|include_(?:optional_)?config_files)\b"
    r"|(?:do|require)\s*\(?\s*['\"]/)",
    re.MULTILINE,
)
_MENTION = re.compile(
    r"\b(?:dkim_key|dkim_signature_options_bysender_maps|include_(?:optional_)?config_files)\b"
)
_INCLUDES = ("include_config_files", "include_optional_config_files", "do", "require")
_DEPTH = 20
_COMMENT = re.compile(r"(?:^|[\s;])#", re.MULTILINE)
# Anywhere in a line: an unnoticed signer does more harm than a false warning.
_SWITCHED = re.compile(r"^[^#\n]*\$enable_dkim_signing\s*=\s*(?P<value>[^;\n]*)", re.MULTILINE)
_SERVICE = re.compile(r"^[^#\n]*\bdkim_signing_service\s*=>?\s*(?P<value>[^,;\n]*)", re.MULTILINE)
_OFF = ("0", "", "''", '""', "undef")
_POD = re.compile(r"^=[a-z].*?(?:^=cut\b[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_END = re.compile(r"^__(?:END|DATA)__$.*\Z", re.MULTILINE | re.DOTALL)
# Strings without escapes and interpolation (perlop(1), «Quote and Quote-like Operators»).
_TOKEN = re.compile(
    r"(?P<blank>\s+|\#[^\n]*)"
    r"|'(?P<single>[^'\\\n]*)'|\"(?P<double>[^\"\\$@\n]*)\""
    r"|(?P<number>[0-9]+(?:\s*\*\s*[0-9]+)*)|(?P<word>[$@]?[A-Za-z_]\w*)|(?P<sign>=>|[(){},;=])"
)
_SERVICE_NOT_READ = (
    "has amavisd ask a signing service, whose keys are not read; import them with dkim.import_key"
)


class _NotUnderstood(Exception):
    pass


@dataclass(frozen=True)
class Text:
    """A literal string or number of a statement."""

    value: str


@dataclass
class Configuration:
    """
    The signing settings of amavisd's configuration files.

    keys
        The ``dkim_key`` statements.
    maps
        The options by sender of each map of ``@dkim_signature_options_bysender_maps``.
    signs
        The value of ``$enable_dkim_signing``.
    unknown
        The locations of lines that the parser does not understand.
    unread
        Locations and reasons of other sources of keys that are not read.
    """

    keys: list[Key] = field(default_factory=list)
    maps: list[dict[str, dict[str, str]]] = field(default_factory=list)
    signs: bool = False
    unknown: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)


def files(config: str | None) -> list[str]:
    """
    Return the configuration files in the order in which amavisd reads them.

    config
        A file, or a folder as on Debian; by default the first path of :data:`CONFIGURATIONS` that
        exists.

    Raises InvalidValue if no such file or folder exists.
    """
    paths = CONFIGURATIONS if config is None else (config,)
    for path in paths:
        if os.path.isdir(path):
            # run-parts(8) takes these names, and so does Debian's amavisd.
            names = sorted(n for n in os.listdir(path) if re.fullmatch(r"[A-Za-z0-9_-]+", n))
            return [os.path.join(path, name) for name in names]
        if os.path.isfile(path):
            return [path]
    raise InvalidValue(
        "config", config or CONFIGURATIONS[0], "is no configuration of amavisd", "give its file"
    )


def configuration(paths: Iterable[str]) -> Configuration:
    """Return the signing settings of files. Raises InvalidValue if a file can't be read."""
    found = Configuration()
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
        except OSError as error:
            raise InvalidValue("config", path, f"can't be read: {error.strerror}") from None
        parse(text, path, found)
    return found


def parse(text: str, path: str, found: Configuration, depth: int = 0) -> None:
    """Add the signing settings of one file's text, and of files that it includes, to ``found``."""
    # Line ends stay, so that line numbers stay right.
    text = _END.sub("", _POD.sub(lambda pod: "\n" * pod[0].count("\n"), text))
    ends = 0
    understood: list[tuple[int, int]] = []
    # An included file can set a switch, so the statements are taken in their order.
    statements = [*_BEGINNING.finditer(text), *_SWITCHED.finditer(text), *_SERVICE.finditer(text)]
    for beginning in sorted(statements, key=lambda one: one.start()):
        start = beginning.start()
        location = f"{path}, line {text.count(chr(10), 0, start) + 1}"
        if beginning.re is _SWITCHED:
            found.signs = beginning["value"].strip() not in _OFF
        elif beginning.re is _SERVICE:
            if beginning["value"].strip() not in _OFF:
                found.unread.append((location, _SERVICE_NOT_READ))
        elif start >= ends:
            try:
                tokens, ends = _statement(text, start)
                _add_statement(tokens, location, found, depth)
            except _NotUnderstood:
                continue
            understood.append((start, ends))
    for mention in _MENTION.finditer(text):
        at = mention.start()
        line = text.rfind("\n", 0, at) + 1
        if _COMMENT.search(text[line:at]) or any(start <= at < end for start, end in understood):
            continue
        location = f"{path}, line {text.count(chr(10), 0, at) + 1}"
        if location not in found.unknown:
            found.unknown.append(location)


def _include(names: Iterable[str], location: str, found: Configuration, depth: int) -> None:
    for name in names:
        try:
            if depth > _DEPTH:
                raise OSError(0, "too many files include each other")
            with open(name, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            found.unread.append((location, f"{name} can't be read: {reason_of(error)}"))
            continue
        parse(text, name, found, depth + 1)


def _statement(text: str, start: int) -> tuple[list[str | Text], int]:
    """Return the tokens up to the semicolon, and the position after the semicolon."""
    tokens: list[str | Text] = []
    position = start
    while True:
        token = _TOKEN.match(text, position)
        if token is None:
            raise _NotUnderstood
        position = token.end()
        kind, value = token.lastgroup, token[token.lastgroup]
        if kind in ("single", "double", "number"):
            tokens.append(Text(value))
        elif value == ";":
            return tokens, position
        elif kind != "blank":
            tokens.append(value)


def _add_statement(
    tokens: list[str | Text], location: str, found: Configuration, depth: int
) -> None:
    name, rest = tokens[0], tokens[1:]
    if name == "dkim_key":
        found.keys.append(_key(rest, location))
    elif name in _INCLUDES:
        _include(_included(rest), location, found, depth)
    else:
        found.maps = _sender_options(rest)


def _included(tokens: list[str | Text]) -> list[str]:
    """Return the absolute paths of ``('FILE', 'FILE')``, or of a text without brackets."""
    has_brackets = tokens[:1] == ["("] and tokens[-1:] == [")"]
    inner = tokens[1:-1] if has_brackets else tokens
    names = [one.value for one in inner if isinstance(one, Text)]
    if [one for one in inner if not isinstance(one, Text) and one != ","] or not names:
        raise _NotUnderstood
    if not all(name.startswith("/") for name in names):
        raise _NotUnderstood
    return names


def _key(tokens: list[str | Text], location: str) -> Key:
    """Return the key of ``('DOMAIN', 'SELECTOR', 'FILE', options)``."""
    if tokens[:1] != ["("] or tokens[-1:] != [")"]:
        raise _NotUnderstood
    strings = [one for one in tokens[1:-1] if isinstance(one, Text)]
    if len(tokens) < 7 or [tokens[2], tokens[4]] != [",", ","] or tokens[1:6:2] != strings[:3]:
        raise _NotUnderstood
    if any(sign not in (",", "=>") for sign in tokens[6:-1] if not _is_value(sign)):
        raise _NotUnderstood
    domain, selector, path = (one.value for one in strings[:3])
    values = [one.value if isinstance(one, Text) else one for one in tokens[6:-1] if _is_value(one)]
    options = dict(zip(values[::2], values[1::2], strict=False))
    return Key(domain, selector, path, location, options)


def _is_value(token: str | Text) -> bool:
    return isinstance(token, Text) or token.isidentifier()


def _sender_options(tokens: list[str | Text]) -> list[dict[str, dict[str, str]]]:
    """Return the maps of ``= ({ 'SENDER' => { d => 'DOMAIN' }, … });``."""
    found: list[dict[str, dict[str, str]]] = []
    reader = _Reader(tokens)
    reader.expect("=", "(")
    while not reader.takes(")"):
        # Of a name that is twice in a hash, the last value counts (perldata(1)).
        found.append(dict(_hash(reader, lambda: dict(_hash(reader, reader.value)))))
        reader.takes(",")
    reader.end()
    return found


class _Reader:
    def __init__(self, tokens: list[str | Text]):
        self._tokens = tokens
        self._next = 0

    def takes(self, sign: str) -> bool:
        if self._tokens[self._next : self._next + 1] != [sign]:
            return False
        self._next += 1
        return True

    def expect(self, *signs: str) -> None:
        if not all(self.takes(sign) for sign in signs):
            raise _NotUnderstood

    def value(self) -> str:
        token = next(iter(self._tokens[self._next : self._next + 1]), ")")
        if not _is_value(token):
            raise _NotUnderstood
        self._next += 1
        return token.value if isinstance(token, Text) else token

    def end(self) -> None:
        if self._next != len(self._tokens):
            raise _NotUnderstood


def _hash(reader: _Reader, value) -> Iterator[tuple[str, object]]:
    reader.expect("{")
    while not reader.takes("}"):
        name = reader.value()
        reader.expect("=>")
        yield name, value()
        if not reader.takes(","):
            reader.expect("}")
            return
