"""The ``tls_rpt`` (RFC 8460) and ``mta_sts`` (RFC 8461) of a domain."""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from .. import names
from ..errors import InvalidValue
from .check import Notes, choice, integer, kind_of, read_section, shown, text
from .model import MtaSts

# RFC 8461, section 3.2
MAX_AGE = 31557600
# RFC 8461, section 3.2 wants "weeks or greater"; below a day senders may never have it cached.
SENSIBLE_AGE = 86400

# RFC 8460, section 3: "!", "," and ";" have a meaning of their own in the list of URIs.
_HTTPS = re.compile(r"https://[!-~]+", re.IGNORECASE)
_PLAIN_IN_MAILTO = "$'*+-._~"


def report_uris(value: object, where: str) -> tuple[str, ...]:
    """
    Where TLS reports go, as URIs: from addresses and ``https`` URIs, one or a list; empty where
    the value is ``false``. Source: RFC 8460, section 3.
    """
    if value is False:
        return ()
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise InvalidValue(where, [], "is empty", "give an address, or leave the key out")
    return tuple(dict.fromkeys(_report_uri(shown(one), where) for one in given))


def mx_patterns(value: object, where: str) -> tuple[str, ...]:
    """Host names, or ``*.domain`` for every host directly below. RFC 8461, section 4.1."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise InvalidValue(where, [], "is empty", "name the hosts that take the domain's mail")
    return tuple(dict.fromkeys(_mx_pattern(shown(one), where) for one in given))


_MTA_STS = {
    "mode": choice("enforce", "testing", "none"),
    "mx": mx_patterns,
    "max_age": integer(0, MAX_AGE, "(seconds)"),
}
_HINTS = {
    "id": "the formula makes it from the policy, so that it changes when the policy does",
    "version": "the formula writes it; leave it out",
}


def read_mta_sts(value: object, where: str, notes: Notes) -> MtaSts | None:
    """The policy, with advice on what is unwise; None where the value is ``false``, or wrong."""
    if value is False:
        return None
    if not isinstance(value, Mapping):
        notes.problem(f"{where}: {kind_of(value)} is not a policy; give a mapping, or false")
        return None
    read = read_section(value, where, _MTA_STS, notes, _HINTS)
    if value.get("mx") is None:
        notes.problem(f"{where}:mx: is not there; name the hosts that take the domain's mail")
    if "mx" not in read:
        return None
    policy = MtaSts(**read)
    if policy.max_age < SENSIBLE_AGE:
        notes.advise(
            f"{where}:max_age",
            f"{policy.max_age} seconds protect little; RFC 8461, section 3.2, wants weeks",
        )
    return policy


def _report_uri(value: object, where: str) -> str:
    given = text(value, where).strip()
    if _HTTPS.fullmatch(given):
        names.domain_name(urlsplit(given).hostname or "", where)
        return given.replace("!", "%21").replace(",", "%2C").replace(";", "%3B")
    address = names.email_address(re.sub(r"(?i)^mailto:", "", given), where)
    local, _, domain = address.rpartition("@")
    return f"mailto:{quote(local, safe=_PLAIN_IN_MAILTO)}@{domain}"


def _mx_pattern(value: object, where: str) -> str:
    pattern = text(value, where)
    star = "*." if pattern.startswith("*.") else ""
    return star + names.domain_name(pattern.removeprefix(star), where)
