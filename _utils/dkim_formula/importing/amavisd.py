"""
The keys of amavisd: ``dkim_key`` statements of its configuration, which is a Perl program.

Only statements that stand by themselves at the beginning of a line, of literal strings and numbers,
are understood, which is what amavisd's and iRedMail's own guides write. Any other line that names a
key is told of, and left to a person.
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
# Wherever it stands: a program that signs unseen is worse than one that is named for nothing.
_SWITCHED = re.compile(r"^[^#\n]*\$enable_dkim_signing\s*=\s*(?P<value>[^;\n]*)", re.MULTILINE)
_OFF = ("0", "", "''", '""', "undef")
_POD = re.compile(r"^=[a-z].*?(?:^=cut\b[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_END = re.compile(r"^__(?:END|DATA)__$.*\Z", re.MULTILINE | re.DOTALL)
# perlop(1), «Quote and Quote-like Operators»: strings in which nothing stands for anything else.
_TOKEN = re.compile(
    r"(?P<blank>\s+|\#[^\n]*)"
    r"|'(?P<single>[^'\\\n]*)'|\"(?P<double>[^\"\\$@\n]*)\""
    r"|(?P<number>[0-9]+(?:\s*\*\s*[0-9]+)*)|(?P<word>[$@]?[A-Za-z_]\w*)|(?P<sign>=>|[(){},;=])"
)
_NOT_UNDERSTOOD = (
    "is not understood: it is no plain dkim_key('DOMAIN', 'SELECTOR', '/FILE'); take such a key "
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
    What its files say of signing.

    keys
        Domain, selector, file and place of each ``dkim_key``.
    options
        By what stands in ``@dkim_signature_options_bysender_maps``, the options of such senders.
    signs
        ``$enable_dkim_signing``.
    unknown
        Places of lines that are not understood.
    """

    keys: list[tuple[str, str, str, str]] = field(default_factory=list)
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    signs: bool = False
    unknown: list[str] = field(default_factory=list)


def files(config: str | None) -> list[str]:
    """
    Return the configuration's files in the order in which amavisd reads them.

    config
        A file, or a folder like Debian's; by default the first of :data:`CONFIGURATIONS`.

    Raises InvalidValue where there is none.
    """
    places = CONFIGURATIONS if config is None else (config,)
    for place in places:
        if os.path.isdir(place):
            # As run-parts(8) names them, and Debian's amavisd reads them.
            names = sorted(n for n in os.listdir(place) if re.fullmatch(r"[A-Za-z0-9_-]+", n))
            return [os.path.join(place, name) for name in names]
        if os.path.isfile(place):
            return [place]
    raise InvalidValue(
        "config", config or CONFIGURATIONS[0], "is no configuration of amavisd", "give its file"
    )


def configuration(paths: Iterable[str]) -> Configuration:
    """Return what files say. Raises InvalidValue where one can't be read."""
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
    """Add what one file says."""
    # Line ends stay, so that the places of lines do.
    text = _END.sub("", _POD.sub(lambda pod: "\n" * pod[0].count("\n"), text))
    ends = 0
    understood: list[tuple[int, int]] = []
    for beginning in _BEGINNING.finditer(text):
        start = beginning.start()
        if start < ends:
            continue
        place = f"{path}, line {text.count(chr(10), 0, start) + 1}"
        try:
            tokens, ends = _statement(text, start)
            _take(tokens, place, found)
        except _NotUnderstood:
            continue
        understood.append((start, ends))
    for mention in _MENTION.finditer(text):
        at = mention.start()
        line = text.rfind("\n", 0, at) + 1
        if _COMMENT.search(text[line:at]) or any(start <= at < end for start, end in understood):
            continue
        place = f"{path}, line {text.count(chr(10), 0, at) + 1}"
        if place not in found.unknown:
            found.unknown.append(place)
    for switched in _SWITCHED.finditer(text):
        found.signs = switched["value"].strip() not in _OFF


def _statement(text: str, start: int) -> tuple[list[str | Text], int]:
    """The tokens up to the semicolon, and where it ends."""
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


def _take(tokens: list[str | Text], place: str, found: Configuration) -> None:
    reader = iter(tokens)
    name = next(reader)
    if name == "dkim_key":
        found.keys.append((*_key(list(reader)), place))
    else:
        found.options = _maps(list(reader))


def _key(tokens: list[str | Text]) -> tuple[str, str, str]:
    """The three strings of ``('DOMAIN', 'SELECTOR', 'FILE', options)``."""
    if tokens[:1] != ["("] or tokens[-1:] != [")"]:
        raise _NotUnderstood
    strings = [one for one in tokens[1:-1] if isinstance(one, Text)]
    if len(tokens) < 7 or [tokens[2], tokens[4]] != [",", ","] or tokens[1:6:2] != strings[:3]:
        raise _NotUnderstood
    # Options of the record in DNS: they change nothing of who signs with the key.
    if any(sign not in (",", "=>") for sign in tokens[6:-1] if not _is_value(sign)):
        raise _NotUnderstood
    domain, selector, path = (one.value for one in strings[:3])
    return domain, selector, path


def _is_value(token: str | Text) -> bool:
    return isinstance(token, Text) or token.isidentifier()


def _maps(tokens: list[str | Text]) -> dict[str, dict[str, str]]:
    """The options by sender of ``= ({ 'SENDER' => { d => 'DOMAIN' }, … });``."""
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
    Return the keys of a configuration, see :func:`files`.

    domains
        Those whose mail is to be signed; the ones that sign with another domain's key are named.
    """
    found = configuration(files(config))
    held = Held()
    for place in found.unknown:
        held.refuse(place, _NOT_UNDERSTOOD)
    for domain, selector, path, place in found.keys:
        _add(held, domain, selector, path, place)
    lines = list(_lines(held, found))
    held.sign(*lines)
    _name_borrowers(held, found, domains)
    if held.entries and not found.signs:
        held.notes.append(
            f"{_SWITCH} is not 1: amavisd signs no mail with these keys today; see that their "
            "records are in DNS"
        )
    return held


def _add(held: Held, domain: str, selector: str, path: str, place: str) -> None:
    name = key_name(selector, domain)
    if "*" in domain:
        held.refuse(f"{name} ({place})", "is for many domains; give each a key of its own")
    elif not path.startswith("/"):
        held.refuse(f"{name} ({place})", "has a path that is not absolute; use dkim.import_key")
    elif name not in held.entries:
        held.add(name, domain, selector, path, place)


def _lines(held: Held, found: Configuration) -> Iterator[tuple[str, str, str]]:
    """Which key signs for each domain, and for each sender of the maps."""
    for entry in held.entries.values():
        if not _is_overruled(entry.domain, found.options):
            first = _first_key(held, entry.domain, _options(entry.domain, found.options).get("s"))
            if first == entry.name:
                yield entry.domain, entry.name, entry.place
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
            # The domain itself too (amavisd's README.lookups).
            yield from ((one, name, _MAPS) for one in (host, pattern))
        elif pattern != signer or "@" in pattern:
            yield pattern, name, _MAPS


def _options(domain: str, options: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """The options of a domain's mail, those of the catch-all left out; the most special first."""
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


def _is_overruled(domain: str, options: Mapping[str, dict[str, str]]) -> bool:
    return _options(domain, options).get("d", domain) != domain


def _first_key(held: Held, domain: str, selector: str | None) -> str | None:
    for entry in held.entries.values():
        if entry.domain == domain.lower() and selector in (None, entry.selector):
            return entry.name
    return None


def _name_borrowers(held: Held, found: Configuration, domains: Iterable[str]) -> None:
    signer = found.options.get(_CATCH_ALL, {}).get("d")
    if signer is None:
        return
    own = {entry.domain for entry in held.entries.values()}
    borrowers = sorted(
        domain
        for domain in domains
        if domain not in own and "d" not in _options(domain, found.options)
    )
    if borrowers:
        shown = ", ".join(borrowers[:_LISTED]) + (", …" if len(borrowers) > _LISTED else "")
        held.notes.append(
            f"{len(borrowers)} domains sign as {signer} today ({_MAPS}): {shown}; the formula "
            "gives each a key of its own, so publish their records, or set alias_of: "
            f"{signer} for those that are to sign as before"
        )


def _is_domain(text: str) -> bool:
    try:
        mail_domain(text)
    except InvalidValue:
        return False
    return True
