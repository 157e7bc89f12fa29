"""
Checks of the values of opendkim.conf(5), by the type that the daemon gives each option.

The daemon's own parser is in its source (2.11.0~beta2): ``config.c``, ``dkimf_config_load`` in
``opendkim.c``, and ``dkimf_db_open`` in ``opendkim-db.c``. A test compares each check with
``opendkim -n`` (tests/unit/settings/test_opendkim_values.py). A check also refuses values that the
daemon takes and ignores (``On-*``: ``dkimf_parsehandler`` takes any word), values that crash it (an
unknown SyslogFacility), and values with which it does not sign.
"""

import ipaddress
import re
import socket

from ..errors import InvalidValue
from ..secret import Secret
from .validation import absolute_path, boolean, choice, shown

Value = str | bool | int | list

# A line feed would begin another option. "#" begins a comment anywhere on a line (measured).
_NOT_IN_A_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f#]")
# strtol(3) with base 0 reads 022 as octal, and 09 is no number.
_INTEGER = re.compile(r"0[xX][0-9A-Fa-f]+|0[0-7]*|[1-9][0-9]*")
_LARGEST = 2**31 - 1

# The types before a data set's first colon: opendkim(8), DATA SETS, as built by Debian.
DATA_SET_TYPES = ("csl", "file", "refile", "db", "dsn", "ldap", "ldapi", "ldaps", "lua")
_FILE_TYPES = ("file", "refile", "db", "lua")
# The directories that ProtectHome= and PrivateTmp= of the unit hide: systemd.exec(5).
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")

_FACILITIES = "auth cron daemon kern lpr mail news security syslog user uucp"
FACILITIES = (*_FACILITIES.split(), *(f"local{number}" for number in range(8)))
ACTIONS = ("a", "accept", "d", "discard", "q", "quarantine", "r", "reject", "t", "tempfail")


def integer(value: object, where: str) -> int | str:
    """Check a number from 0 to 2147483647, decimal, octal (0…) or hexadecimal (0x…)."""
    expected = f"use a number from 0 to {_LARGEST}, without a 0 before it (0… is octal)"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidValue(where, safe(value), "is not a number", expected)
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise InvalidValue(where, safe(value), "is not a number", expected)
    if not 0 <= number(value) <= _LARGEST:
        raise InvalidValue(where, value, "is out of range", expected)
    return value


def number(value: int | str) -> int:
    """Return the number that the daemon reads by strtol(3) with base 0."""
    if isinstance(value, int):
        return value
    octal = len(value) > 1 and value[0] == "0" and value[1] not in "xX"
    return int(value, 8) if octal else int(value, 0)


def umask(value: object, where: str) -> int | str:
    """Check a umask that leaves the socket open to its group, in which Postfix is."""
    given = integer(value, where)
    if number(given) > 0o777:
        raise InvalidValue(where, given, "is no umask", "use one such as '007'")
    if number(given) & 0o020:
        raise InvalidValue(
            where,
            given,
            "denies the socket's group to connect, and Postfix connects as a member of it",
            "use '007', or '002'",
        )
    return given


def line(value: object, where: str) -> str | int:
    """Check one line of text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise InvalidValue(where, safe(value), "is not a string", "quote it")
    if not value.strip():
        raise InvalidValue(where, value, "is empty", "give a value or leave the option out")
    if _NOT_IN_A_LINE.search(value):
        raise InvalidValue(
            where,
            safe(value),
            "has a # or a control character",
            "an option is one line, and # begins a comment in it",
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(where, Secret(""), "is not UTF-8", "give plain text") from None
    return value


def lines(value: object, where: str) -> Value:
    """Check one value, or a list of them."""
    if not isinstance(value, (list, tuple)):
        return line(value, where)
    if not value:
        raise InvalidValue(where, [], "is empty", "give a value or leave the option out")
    return [line(member, where) for member in value]


def path(value: object, where: str) -> str:
    """Check an absolute path."""
    return absolute_path(line(value, where), where)


def word(*choices: str):
    """Return a check for one of some words, in any case."""
    one_of = choice(*choices)

    def check(value: object, where: str) -> str:
        return one_of(value.strip().lower() if isinstance(value, str) else value, where)

    return check


def canonicalization(value: object, where: str) -> str:
    """Check ``header/body`` or ``header`` alone. Each is simple or relaxed."""
    given = line(value, where)
    if not re.fullmatch("(simple|relaxed)(/(simple|relaxed))?", str(given), re.IGNORECASE):
        raise InvalidValue(
            where, given, "is no canonicalization", "use simple or relaxed, or two with a / between"
        )
    return given


def mode(value: object, where: str) -> str:
    """Check the daemon's mode: s signs, v verifies. Without s the daemon signs nothing."""
    given = line(value, where)
    if not re.fullmatch("[sv]+", str(given)) or "s" not in given:
        raise InvalidValue(where, given, "has no s, or another letter", "use sv, or s to sign only")
    return given


def minimum(value: object, where: str) -> str | int:
    """Check how much of a message must be signed: octets, ``90%`` or ``20+``."""
    given = line(value, where)
    matched = re.fullmatch(r"([0-9]{1,10})([%+]?)", str(given))
    most = 100 if matched and matched[2] == "%" else 2**32 - 1
    if not matched or int(matched[1]) > most:
        raise InvalidValue(
            where,
            given,
            "is no amount",
            "use a number of octets, one with + behind it, or 0% to 100%",
        )
    return given


def data_set(value: object, where: str) -> Value:
    """
    Check a data set: opendkim(8), DATA SETS.

    A list is written in the daemon's form. The daemon takes the text before the first colon for a
    type, so a list that begins with an IPv6 address gets ``csl:`` before it.
    """
    given = lines(value, where)
    members = given if isinstance(given, list) else [given]
    if len(members) == 1:
        return _single(members[0], where)
    for member in members:
        if _type_of(str(member)):
            raise InvalidValue(
                where,
                safe(member),
                "is a data set of its own among the members of a list",
                "give it as the option's only value",
            )
    first, rest = str(members[0]), str(members[-1])
    if ":" in first or first.startswith("/") or rest.endswith(".db"):
        return [f"csl:{first}", *members[1:]]
    return members


def hosts(value: object, where: str) -> Value:
    """
    Check a data set of hosts. Addresses are returned in the form that the daemon looks up.

    The daemon compares text: ``2001:DB8::/32`` and ``10.0.0.1/8`` match nothing (``dkimf_checkip``
    in ``util.c``). The canonical form of an address matches, and a network without host bits.
    """
    given = lines(value, where)
    members = [str(member) for member in (given if isinstance(given, list) else [given])]
    if len(members) == 1 and not is_address(members[0].split(",")[0]):
        kind = _type_of(members[0])
        if kind != "csl":
            if kind or members[0].startswith("/"):
                return given
        else:
            members = [members[0].partition(":")[2]]
    entries = [entry.strip() for member in members for entry in member.split(",")]
    return data_set([host(entry, where) for entry in entries if entry], where)


def host(entry: str, where: str) -> str:
    """Return one entry of a data set of hosts in the form that the daemon looks up."""
    negated = "!" if entry.startswith("!") else ""
    bare = entry.removeprefix("!").replace("[", "").replace("]", "")
    looks_like_address = re.fullmatch(r"[0-9.]+", bare) or ":" in bare or "/" in bare
    if not looks_like_address or _type_of(entry):
        return entry
    try:
        network = ipaddress.ip_network(bare, strict=False)
    except ValueError:
        raise InvalidValue(
            where, entry, "is not an address or a network", "use one such as 192.0.2.0/24"
        ) from None
    family = socket.AF_INET6 if network.version == 6 else socket.AF_INET
    address = socket.inet_ntop(family, network.network_address.packed)
    return f"{negated}{address}/{network.prefixlen}" if "/" in bare else f"{negated}{address}"


def is_address(text: str) -> bool:
    """Return whether the text is an address or a network."""
    try:
        ipaddress.ip_network(text.strip().removeprefix("!"), strict=False)
    except ValueError:
        return False
    return True


def joined(value: Value) -> str:
    """Return the text of a data set, with commas between the members of a list."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def members(value: Value) -> list[str] | None:
    """Return the members of a data set that is a list; None if it is a file or a database."""
    text = joined(value)
    kind, colon, rest = text.partition(":")
    kind = kind.lower() if colon and "," not in kind else ""
    is_other = kind in DATA_SET_TYPES or text.startswith("/") or text.endswith(".db")
    if kind != "csl" and is_other:
        return None
    listed = (rest if kind == "csl" else text).split(",")
    return [member for member in (one.strip() for one in listed) if member]


def hidden_file(value: Value) -> str | None:
    """Return the file that a value names if the unit's sandbox hides the file, else None."""
    text = str(value[0] if isinstance(value, list) else value)
    kind = _type_of(text)
    name = text.partition(":")[2] if kind in _FILE_TYPES else text
    below = any(name.startswith(f"{folder}/") for folder in _HIDDEN)
    return name if below and (not isinstance(value, list) or len(value) == 1) else None


def safe(value: object) -> object:
    """Return what an error may show of a value: a DSN or URL may hold a password."""
    if isinstance(value, str) and "://" in value:
        return Secret("")
    return shown(value)


def _single(member: str | int, where: str) -> str | int:
    text = str(member)
    kind, colon, _ = text.partition(":")
    if (
        not colon
        or "," in kind
        or (_type_of(text) and not is_address(text.split(",", maxsplit=1)[0]))
    ):
        return member
    if is_address(text.split(",", maxsplit=1)[0]):
        return f"csl:{text}"
    raise InvalidValue(
        where,
        safe(member),
        f"begins with {kind!r} and a colon, which is no type of a data set",
        f"use one of {', '.join(DATA_SET_TYPES)}, or csl: before a list",
    )


def _type_of(text: str) -> str:
    """Return the data set type that a value begins with; '' for none."""
    kind, colon, _ = text.partition(":")
    return kind.lower() if colon and kind.lower() in DATA_SET_TYPES else ""


_ACTION = word(*ACTIONS)
_KEY_ACTION = word("none", "neutral", "fail")
_HOSTS = ("ExternalIgnoreList", "InternalHosts", "PeerList")
PATHS = (
    *("BaseDirectory", "DiagnosticDirectory", "FinalPolicyScript", "ReplaceRules"),
    *("ResolverConfiguration", "ScreenPolicyScript", "SetupPolicyScript", "Statistics"),
    *("TemporaryDirectory", "TestPublicKeys", "TrustAnchorFile"),
)
_LISTS = ("Nameservers", "VBR-Certifiers", "VBR-TrustedCertifiers")
_BY_NAME = {
    "ATPSHashAlgorithm": word("sha256", "sha1", "none"),
    "BogusKey": _KEY_ACTION,
    "Canonicalization": canonicalization,
    "Minimum": minimum,
    "Mode": mode,
    "SyslogFacility": word(*FACILITIES),
    "UMask": umask,
    "UnprotectedKey": _KEY_ACTION,
    **dict.fromkeys(_HOSTS, hosts),
    **dict.fromkeys(PATHS, path),
    **dict.fromkeys(_LISTS, lines),
}
_BY_KIND = {"boolean": boolean, "integer": integer, "string": line, "dataset": data_set}


def check_of(name: str, kind: str):
    """
    Return the check of an option.

    name
        The option in the manual's spelling.
    kind
        The option's type: boolean, integer, string or dataset.
    """
    if name.startswith("On-"):
        return _ACTION
    return _BY_NAME.get(name, _BY_KIND[kind])
