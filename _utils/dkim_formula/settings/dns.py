"""``dkim:dns``: how records are published."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping

from .. import names
from ..errors import InvalidValue
from ..secret import Secret
from .check import MAX_TTL, Notes, choice, read_section, secret, section, text, ttl
from .model import Dns, TsigKey

WHERE = "dkim:dns"

# RFC 8945, section 6, without hmac-md5, which must not be used, and hmac-sha1, which should not.
ALGORITHMS = (
    "hmac-sha224",
    "hmac-sha256",
    "hmac-sha256-128",
    "hmac-sha384",
    "hmac-sha384-192",
    "hmac-sha512",
    "hmac-sha512-256",
)

# A key's name is a domain name, and not one of a host: underscores are common in it.
_KEY_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# A week; resolvers keep no record much longer (RFC 8767, section 4).
_SENSIBLE_TTL = range(1, 604801)


def server(value: object, where: str) -> str:
    """A name server: an IP address or a host name."""
    name = text(value, where)
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return names.domain_name(name, where)


def key_name(value: object, where: str) -> str:
    """The name of a TSIG key, lower-case and without a trailing dot. RFC 8945, section 4.2."""
    name = text(value, where).lower().removesuffix(".")
    if len(name) > names.MAX_NAME or not all(map(_KEY_NAME.fullmatch, name.split("."))):
        raise InvalidValue(where, value, "is not the name of a key", "give a name such as dkim.")
    return name


def key_algorithm(value: object, where: str) -> str:
    """A TSIG algorithm by its name in RFC 8945, with or without a trailing dot."""
    name = value.lower().removesuffix(".") if isinstance(value, str) else value
    if name in ("hmac-sha1", "hmac-md5", "hmac-md5.sig-alg.reg.int"):
        raise InvalidValue(where, value, "is too weak", "use hmac-sha256 (RFC 8945, section 6)")
    return choice(*ALGORITHMS)(name, where)


def key_secret(value: object, where: str) -> Secret:
    """The shared secret in base64, as tsig-keygen(8) prints it."""
    checked = secret(value, where)
    try:
        base64.b64decode(checked.reveal(), validate=True)
    except (binascii.Error, ValueError):
        # "from None": the cause may hold the text.
        raise InvalidValue(
            where, Secret(""), "is not base64", "give it as tsig-keygen prints it"
        ) from None
    return checked


_DNS = {"publish": choice("none", "rfc2136"), "server": server, "key": section, "ttl": ttl}
_KEY = {"name": key_name, "algorithm": key_algorithm, "secret": key_secret}


def read_dns(value: object, notes: Notes) -> Dns:
    """The section's settings; whatever is wrong is noted and stands at its default."""
    read = read_section(value, WHERE, _DNS, notes)
    if "key" in read:
        read["key"] = _read_key(read["key"], notes)
    dns = Dns(**read)
    if dns.publish == "rfc2136" and "key" not in read:
        notes.advise(
            f"{WHERE}:key",
            "is not set: the server can know us by our address alone, which others can forge",
        )
    advise_ttl(dns.ttl, f"{WHERE}:ttl", notes)
    return dns


def advise_ttl(seconds: int, where: str, notes: Notes) -> None:
    """Advice where a TTL is legal and useless."""
    if seconds not in _SENSIBLE_TTL:
        notes.advise(
            where,
            f"{seconds} is legal (0 to {MAX_TTL}), and of use are 1 to {_SENSIBLE_TTL[-1]} seconds",
        )


def _read_key(value: object, notes: Notes) -> TsigKey | None:
    where = f"{WHERE}:key"
    read = read_section(value, where, _KEY, notes)
    given = value if isinstance(value, Mapping) else {}
    for key in ("name", "secret"):
        if given.get(key) is None:
            notes.problem(f"{where}:{key}: is not there; a key has a name and a secret")
    if "name" not in read or "secret" not in read:
        return None
    return TsigKey(read["name"], read.get("algorithm", "hmac-sha256"), read["secret"])
