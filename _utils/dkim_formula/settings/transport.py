"""The settings ``tls_rpt`` (RFC 8460) and ``mta_sts`` (RFC 8461) of a domain."""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from .. import names
from ..errors import InvalidValue
from .model import MtaSts
from .validation import Notes, integer, is_not, mailbox, read_section, shown, text, word

# RFC 8461, section 3.2
MAX_AGE = 31557600
# RFC 8461, section 3.2, asks for "weeks or greater". Below a day, senders may never cache a policy.
SENSIBLE_AGE = 86400

# RFC 8460, section 3: "!", "," and ";" have a special meaning in the list of URIs.
_SCHEME = re.compile(r"\s*https://", re.IGNORECASE)
_HTTPS = re.compile(
    r"https://(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.IGNORECASE
)
_PLAIN_IN_MAILTO = "$'*+-._~"


def report_uris(value: object, where: str) -> tuple[str, ...]:
    """
    Return the receivers of TLS reports as URIs; empty for ``false``. Source: RFC 8460, section 3.

    The value is one address or ``https`` URI, several with commas between, or a list.
    """
    if value is False:
        return ()
    if isinstance(value, (list, tuple)):
        # A comma in one URI of a list belongs to that URI.
        given = [part for one in value for part in ([one] if _is_https(one) else _parts(one))]
    else:
        given = _parts(value)
    if not given:
        raise InvalidValue(where, [], "is empty", "give an address, or leave the key out")
    return tuple(dict.fromkeys(_report_uri(one, where) for one in given))


def _is_https(value: object) -> bool:
    return isinstance(value, str) and bool(_SCHEME.match(value))


def _parts(value: object) -> list[object]:
    return list(value.split(",")) if isinstance(value, str) else [value]


def mx_patterns(value: object, where: str) -> tuple[str, ...]:
    """Return host names, or ``*.domain`` for all hosts directly below (RFC 8461, section 4.1)."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise InvalidValue(where, [], "is empty", "name the hosts that take the domain's mail")
    return tuple(dict.fromkeys(_mx_pattern(one, where) for one in given))


_MTA_STS = {
    "mode": word("enforce", "testing", "none"),
    "mx": mx_patterns,
    "max_age": integer(0, MAX_AGE, "(seconds)"),
}
_HINTS = {
    "id": "the formula makes it from the policy, so that it changes when the policy does",
    "version": "the formula writes it; leave it out",
}


def read_mta_sts(value: object, where: str, notes: Notes) -> MtaSts | None:
    """Return the policy, and note what is unwise. None for ``false`` or a wrong value."""
    if value is False:
        return None
    if not isinstance(value, Mapping):
        notes.problem(is_not(value, where, "a policy", "give a mapping, or false"))
        return None
    # RFC 8461, section 3.2: a policy with mode none needs no hosts (section 8.3).
    if value.get("mx") in ([], ()) and _is_none(value.get("mode")):
        value = {key: one for key, one in value.items() if key != "mx"}
    read = read_section(value, where, _MTA_STS, notes, _HINTS)
    if value.get("mx") is None and read.get("mode") != "none":
        notes.problem(f"{where}:mx: is missing; name the hosts that take the domain's mail")
    if "mx" not in read and (value.get("mx") is not None or read.get("mode") != "none"):
        return None
    policy = MtaSts(**read)
    if policy.max_age < SENSIBLE_AGE and policy.mode != "none":
        notes.advise(
            f"{where}:max_age",
            f"{policy.max_age} seconds protect little; RFC 8461, section 3.2, wants weeks",
        )
    return policy


def _is_none(mode: object) -> bool:
    return isinstance(mode, str) and mode.lower() == "none"


def _report_uri(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidValue(
            where,
            shown(value),
            "is not an address",
            "give an address or https URI, a list of them, or false for none",
        )
    given = text(value, where).strip()
    if _SCHEME.match(given):
        return _https_uri(given, where)
    local, _, domain = mailbox(given, where).rpartition("@")
    return f"mailto:{quote(local, safe=_PLAIN_IN_MAILTO)}@{domain}"


def _https_uri(given: str, where: str) -> str:
    try:
        parts = urlsplit(given)
        host, _port, user = parts.hostname or "", parts.port, parts.username
    except ValueError:
        host, user = "", None
    if not _HTTPS.fullmatch(given) or not host or user is not None:
        raise InvalidValue(
            where,
            given,
            "is not an https URI (RFC 3986)",
            "give one such as https://reports.example.com/tls, with other characters as %XX",
        )
    names.domain_name(host, where)
    return given.replace("!", "%21").replace(",", "%2C").replace(";", "%3B")


def _mx_pattern(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidValue(
            where, shown(value), "is not a host name", "give one, or a list of host names"
        )
    pattern = text(value, where).strip()
    star = "*." if pattern.startswith("*.") else ""
    return star + names.domain_name(pattern.removeprefix(star), where)
