"""
The keys of amavisd: ``dkim_key`` statements of its configuration, which is a Perl program.

The parser understands a statement that begins a line and consists of literal strings and numbers.
The guides of amavisd and iRedMail write such statements. Any other line that names a key is
reported, and a person has to import its key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..names import mail_domain
from ..record_names import key_name
from .held import Held

# Debian's folder, and the file of other systems.
CONFIGURATIONS = ("/etc/amavis/conf.d", "/etc/amavisd/amavisd.conf", "/etc/amavisd.conf")

_MAPS = "@dkim_signature_options_bysender_maps"
_SWITCH = "$enable_dkim_signing"
_BEGINNING = re.compile(r"^(?:dkim_key|@dkim_signature_options_bysender_maps)\b", re.MULTILINE)
_MENTION = re.compile(r"\b(?:dkim_key|dkim_signature_options_bysender_maps)\b")
_COMMENT = re.compile(r"(?:^|[\s;])#", re.MULTILINE)
# Anywhere in a line: an unnoticed signer does more harm than a false warning.
_SWITCHED = re.compile(r"^[^#\n]*\$enable_dkim_signing\s*=\s*(?P<value>[^;\n]*)", re.MULTILINE)
_OFF = ("0", "", "''", '""', "undef")
_POD = re.compile(r"^=[a-z].*?(?:^=cut\b[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_END = re.compile(r"^__(?:END|DATA)__$.*\Z", re.MULTILINE | re.DOTALL)
# Strings without escapes and interpolation (perlop(1), «Quote and Quote-like Operators»).
_TOKEN = re.compile(
    r"(?P<blank>\s+|\#[^\n]*)"
    r"|'(?P<single>[^'\\\n]*)'|\"(?P<double>[^\"\\$@\n]*)\""
    r"|(?P<number>[0-9]+(?:\s*\*\s*[0-9]+)*)|(?P<word>[$@]?[A-Za-z_]\w*)|(?P<sign>=>|[(){},;=])"
)
_NOT_UNDERSTOOD = (
    "is not understood: only plain dkim_key('DOMAIN', 'SELECTOR', '/FILE') is; import this key "
    "with dkim.import_key"
)
_CATCH_ALL = "."
_LISTED = 20


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
        The domain, selector, file and location of each ``dkim_key`` statement.
    options
        The options by sender of ``@dkim_signature_options_bysender_maps``.
    signs
        The value of ``$enable_dkim_signing``.
    unknown
        The locations of lines that the parser does not understand.
    """

    keys: list[tuple[str, str, str, str]] = field(default_factory=list)
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    signs: bool = False
    unknown: list[str] = field(default_factory=list)


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


def parse(text: str, path: str, found: Configuration) -> None:
    """Add the signing settings of one file's text to ``found``."""
    # Line ends stay, so that line numbers stay right.
    text = _END.sub("", _POD.sub(lambda pod: "\n" * pod[0].count("\n"), text))
    ends = 0
    understood: list[tuple[int, int]] = []
    for beginning in _BEGINNING.finditer(text):
        start = beginning.start()
        if start < ends:
            continue
        location = f"{path}, line {text.count(chr(10), 0, start) + 1}"
        try:
            tokens, ends = _statement(text, start)
            _add_statement(tokens, location, found)
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
    for switched in _SWITCHED.finditer(text):
        found.signs = switched["value"].strip() not in _OFF


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


def _add_statement(tokens: list[str | Text], location: str, found: Configuration) -> None:
    reader = iter(tokens)
    name = next(reader)
    if name == "dkim_key":
        found.keys.append((*_key(list(reader)), location))
    else:
        found.options = _sender_options(list(reader))


def _key(tokens: list[str | Text]) -> tuple[str, str, str]:
    """Return the three strings of ``('DOMAIN', 'SELECTOR', 'FILE', options)``."""
    if tokens[:1] != ["("] or tokens[-1:] != [")"]:
        raise _NotUnderstood
    strings = [one for one in tokens[1:-1] if isinstance(one, Text)]
    if len(tokens) < 7 or [tokens[2], tokens[4]] != [",", ","] or tokens[1:6:2] != strings[:3]:
        raise _NotUnderstood
    # These options set tags of the record in DNS. They don't affect which mail the key signs.
    if any(sign not in (",", "=>") for sign in tokens[6:-1] if not _is_value(sign)):
        raise _NotUnderstood
    domain, selector, path = (one.value for one in strings[:3])
    return domain, selector, path


def _is_value(token: str | Text) -> bool:
    return isinstance(token, Text) or token.isidentifier()


def _sender_options(tokens: list[str | Text]) -> dict[str, dict[str, str]]:
    """Return the options by sender of ``= ({ 'SENDER' => { d => 'DOMAIN' }, … });``."""
    found: dict[str, dict[str, str]] = {}
    reader = _Reader(tokens)
    reader.expect("=", "(")
    while not reader.takes(")"):
        for sender, options in _hash(reader, lambda: dict(_hash(reader, reader.value))):
            found.setdefault(sender, options)
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


def read(config: str | None, domains: Iterable[str]) -> Held:
    """
    Return the keys of a configuration.

    config
        See :func:`files`.
    domains
        The domains whose mail the formula signs. A note names those that sign with the key of
        the catch-all today.
    """
    found = configuration(files(config))
    held = Held()
    for location in found.unknown:
        held.refuse(location, _NOT_UNDERSTOOD)
    for domain, selector, path, location in found.keys:
        _add(held, domain, selector, path, location)
    held.sign(*_signing_lines(held, found))
    _note_catch_all(held, found, domains)
    if held.entries and not found.signs:
        held.notes.append(
            f"{_SWITCH} is not 1: amavisd signs no mail with these keys today; see that their "
            "records are in DNS"
        )
    return held


def _add(held: Held, domain: str, selector: str, path: str, location: str) -> None:
    name = key_name(selector, domain)
    if "*" in domain:
        held.refuse(f"{name} ({location})", "is for many domains; give each its own key")
    elif not path.startswith("/"):
        held.refuse(f"{name} ({location})", "has a path that is not absolute; use dkim.import_key")
    elif name not in held.entries:
        held.add(name, domain, selector, path, location)


def _signing_lines(held: Held, found: Configuration) -> Iterator[tuple[str, str, str]]:
    """Yield pattern, key name and location for each domain, then for each sender of the maps."""
    for entry in held.entries.values():
        if not _signs_as_another(entry.domain, found.options):
            first = _first_key(held, entry.domain, _options(entry.domain, found.options).get("s"))
            if first == entry.name:
                yield entry.domain, entry.name, entry.location
    for sender, options in found.options.items():
        pattern = sender.lower()
        host = pattern.rpartition("@")[2].removeprefix(".")
        signer = options.get("d", host)
        if pattern == _CATCH_ALL:
            continue
        if not _is_domain(host):
            held.refuse(
                f"{sender} ({_MAPS})", "is a sender that the formula has no counterpart for"
            )
            continue
        name = _first_key(held, signer, options.get("s"))
        if name is None:
            held.refuse(f"{sender} ({_MAPS})", f"signs as {signer}, and no key is for that")
        elif pattern.startswith("."):
            # ".example.com" matches example.com too (amavisd's README.lookups).
            yield from ((one, name, _MAPS) for one in (host, pattern))
        elif pattern != signer or "@" in pattern:
            yield pattern, name, _MAPS


def _options(domain: str, options: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """Return the options for a domain's mail, without the catch-all; a closer match wins."""
    found: dict[str, str] = {}
    name = f".{domain}"
    candidates = [domain]
    while name:
        candidates.append(name)
        name = name[1:].partition(".")[1] + name[1:].partition(".")[2]
    for candidate in candidates:
        for key, value in options.get(candidate, {}).items():
            found.setdefault(key, value)
    return found


def _signs_as_another(domain: str, options: Mapping[str, dict[str, str]]) -> bool:
    return _options(domain, options).get("d", domain) != domain


def _first_key(held: Held, domain: str, selector: str | None) -> str | None:
    for entry in held.entries.values():
        if entry.domain == domain.lower() and selector in (None, entry.selector):
            return entry.name
    return None


def _note_catch_all(held: Held, found: Configuration, domains: Iterable[str]) -> None:
    signer = found.options.get(_CATCH_ALL, {}).get("d")
    if signer is None:
        return
    own = {entry.domain for entry in held.entries.values()}
    others = sorted(
        domain
        for domain in domains
        if domain not in own and "d" not in _options(domain, found.options)
    )
    if others:
        shown = ", ".join(others[:_LISTED]) + (", …" if len(others) > _LISTED else "")
        held.notes.append(
            f"{len(others)} domains sign as {signer} today ({_MAPS}): {shown}; the formula "
            "gives each a key of its own, so publish their records, or set alias_of: "
            f"{signer} for those that are to sign as before"
        )


def _is_domain(text: str) -> bool:
    try:
        mail_domain(text)
    except InvalidValue:
        return False
    return True
