"""``dkim:dns``: publication and checks of DNS records."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace

from .. import names
from ..errors import InvalidValue
from ..secret import Secret
from .dns_providers import read_providers
from .model import Dns, TsigKey, Zone
from .notification import read_notify
from .validation import (
    MAX_TTL,
    Check,
    Notes,
    absolute_path,
    choice,
    integer,
    kind_of,
    read_section,
    secret,
    section,
    shown,
    shown_key,
    text,
    ttl,
)

WHERE = "dkim:dns"

# RFC 8945, section 6: hmac-md5 and hmac-sha1 are for old servers alone; sha1 is being retired.
ALGORITHMS = (
    "hmac-sha224",
    "hmac-sha256",
    "hmac-sha256-128",
    "hmac-sha384",
    "hmac-sha384-192",
    "hmac-sha512",
    "hmac-sha512-256",
)

# Names of zones and keys are domain names, not host names: underscores are common.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# A week at most: resolvers cache no record much longer (RFC 8767, section 4).
_SENSIBLE_TTL = range(1, 604801)


def server(value: object, where: str) -> str:
    """
    Return a name server: an IP address or a host name, with ``@`` and the port if it is not 53.

    unbound.conf(5) and nsd.conf(5) use the same form.
    """
    name, at, port = text(value, where).partition("@")
    if at and not (_PORT.fullmatch(port) and int(port) < 65536):
        raise InvalidValue(where, value, "has no port after the @", "give one such as @5353")
    try:
        host = str(ipaddress.ip_address(name))
    except ValueError:
        host = names.domain_name(name, where)
    return host if port in ("", "53") else f"{host}@{port}"


def address(value: object, where: str) -> str:
    """Return a server's IP address and port: a resolver can't be found by its name."""
    given = server(value, where)
    try:
        ipaddress.ip_address(given.partition("@")[0])
    except ValueError:
        raise InvalidValue(
            where, value, "is not an IP address", "give one such as 192.0.2.53"
        ) from None
    return given


def list_of(check: Check) -> Check:
    """Return a check for one value or a list of values, each once."""

    def check_all(value: object, where: str) -> tuple[object, ...]:
        given = value if isinstance(value, (list, tuple)) else [value]
        if not given:
            raise InvalidValue(where, [], "is empty", "give a value or leave the key out")
        return tuple(dict.fromkeys(check(shown(one), where) for one in given))

    return check_all


def zone_name(value: object, where: str) -> str:
    """Return a zone's name, lower-case, without a trailing dot. Labels may have underscores."""
    return _dns_name(value, where, "is not the name of a zone", "give one such as example.com")


def key_name(value: object, where: str) -> str:
    """Return a TSIG key's name, lower-case, without a trailing dot (RFC 8945, section 4.2)."""
    return _dns_name(value, where, "is not the name of a key", "give a name such as dkim.")


def _dns_name(value: object, where: str, problem: str, expected: str) -> str:
    name = text(value, where).lower().removesuffix(".")
    if len(name) > names.MAX_NAME or not all(map(_LABEL.fullmatch, name.split("."))):
        raise InvalidValue(where, value, problem, expected)
    return name


def key_algorithm(value: object, where: str) -> str:
    """Return a TSIG algorithm by its name in RFC 8945, without a trailing dot."""
    name = value.lower().removesuffix(".") if isinstance(value, str) else value
    if name in ("hmac-sha1", "hmac-md5", "hmac-md5.sig-alg.reg.int"):
        raise InvalidValue(where, value, "is too weak", "use hmac-sha256 (RFC 8945, section 6)")
    return choice(*ALGORITHMS)(name, where)


def key_secret(value: object, where: str) -> Secret:
    """Return the shared secret in base64, as tsig-keygen(8) prints it."""
    checked = secret(value, where)
    try:
        base64.b64decode(checked.reveal(), validate=True)
    except (binascii.Error, ValueError):
        # "from None": the cause may hold the secret.
        raise InvalidValue(
            where, Secret(""), "is not base64", "give it as tsig-keygen prints it"
        ) from None
    return checked


def as_given(value: object, _where: str) -> object:
    """Return a value unchanged: true, false or a section that another module reads."""
    return value


_publish = choice("none", "rfc2136", "octodns", "command")
_ZONE = {
    "publish": _publish,
    "provider": text,
    "server": server,
    "key": section,
    "nameservers": list_of(server),
}
_DNS = {
    "publish": _publish,
    "providers": section,
    "provider": text,
    "command": absolute_path,
    "server": server,
    "key": section,
    "ttl": ttl,
    "zones": section,
    "resolver": list_of(address),
    "validator": address,
    "timeout": integer(1, 60, "(seconds)"),
    "deadline": integer(1, 3600, "(seconds)"),
    "concurrency": integer(1, 1000, "(questions)"),
    "notify": as_given,
}
_KEY = {"name": key_name, "algorithm": key_algorithm, "secret": key_secret}


def read_dns(value: object, notes: Notes) -> Dns:
    """Return the section's settings. A wrong value is noted and replaced by its default."""
    read = read_section(value, WHERE, _DNS, notes)
    if "key" in read:
        read["key"] = _read_key(read["key"], f"{WHERE}:key", notes)
    if "providers" in read:
        read["providers"] = read_providers(read["providers"], notes)
    if "zones" in read:
        read["zones"] = _read_zones(read["zones"], notes)
    if "notify" in read:
        read["notify"] = read_notify(read["notify"], notes)
    dns = _with_provider(Dns(**read), notes)
    _check_methods(dns, notes)
    has_key = "key" in read or any(zone.key for zone in dns.zones.values())
    if dns.publish == "rfc2136" and not has_key:
        notes.advise(
            f"{WHERE}:key",
            "is not set: the server identifies this machine by its address, which others can forge",
        )
    advise_ttl(dns.ttl, f"{WHERE}:ttl", notes)
    return dns


def _with_provider(dns: Dns, notes: Notes) -> Dns:
    """Note unknown providers, and return the settings with an only provider as the default."""
    named = {f"{WHERE}:provider": dns.provider}
    named |= {f"{WHERE}:zones:{zone}:provider": one.provider for zone, one in dns.zones.items()}
    for where, name in named.items():
        if name is not None and name not in dns.providers:
            meant = notes.nearest(name, dns.providers)
            expected = f"did you mean {meant!r}?" if meant else f"name it in {WHERE}:providers"
            notes.problem(InvalidValue(where, name, "is not a provider", expected))
    if dns.provider is None and len(dns.providers) == 1:
        return replace(dns, provider=next(iter(dns.providers)))
    return dns


def _check_methods(dns: Dns, notes: Notes) -> None:
    """Note the settings that each method of publication lacks or ignores."""
    methods = {WHERE: (dns.publish, dns.provider)}
    for name, zone in dns.zones.items():
        method = zone.publish or dns.publish
        methods[f"{WHERE}:zones:{name}"] = (method, zone.provider or dns.provider)
        if zone.provider is not None and method != "octodns":
            notes.problem(
                f"{WHERE}:zones:{name}:provider: is for publish: octodns, and the zone's is "
                f"{method}; remove one of them"
            )
        if (zone.server or zone.key) and method in ("octodns", "command"):
            notes.advise(
                f"{WHERE}:zones:{name}",
                f"server and key have no effect with publish: {method}; set publish: rfc2136 there "
                "to use them",
            )
    for where, (method, provider) in methods.items():
        if method == "octodns" and provider is None:
            notes.problem(
                f"{where}:provider: is missing, and publish is octodns; name one of "
                f"{WHERE}:providers"
                + (f": {', '.join(dns.providers)}" if dns.providers else ", which has none")
            )
        if method == "command" and dns.command is None:
            notes.problem(
                f"{WHERE}:command: is missing, and {where}:publish is command; give the program's "
                "path"
            )


def advise_ttl(seconds: int, where: str, notes: Notes) -> None:
    """Note a TTL that is legal but useless."""
    if seconds not in _SENSIBLE_TTL:
        notes.advise(
            where,
            f"{seconds} is legal (0 to {MAX_TTL}), but useful are 1 to {_SENSIBLE_TTL[-1]} seconds",
        )


def _read_zones(value: object, notes: Notes) -> dict[str, Zone]:
    where = f"{WHERE}:zones"
    if not isinstance(value, Mapping):
        notes.problem(f"{where}: {kind_of(value)} is not zones; give a mapping")
        return {}
    zones = {}
    for given, settings in value.items():
        pillar_key = f"{where}:{shown_key(given)}"
        name = notes.attempt(zone_name, shown(given), pillar_key)
        read = read_section(settings, pillar_key, _ZONE, notes)
        if "key" in read:
            read["key"] = _read_key(read["key"], f"{pillar_key}:key", notes)
        if name in zones:
            notes.problem(InvalidValue(where, given, f"is the same zone as {name}", "give it once"))
        elif name is not None:
            if "provider" in read:
                read.setdefault("publish", "octodns")
            zones[name] = Zone(**read)
    return zones


def _read_key(value: object, where: str, notes: Notes) -> TsigKey | None:
    read = read_section(value, where, _KEY, notes)
    given = value if isinstance(value, Mapping) else {}
    for key in ("name", "secret"):
        if given.get(key) is None:
            notes.problem(f"{where}:{key}: is missing; a key has a name and a secret")
    if "name" not in read or "secret" not in read:
        return None
    return TsigKey(read["name"], read.get("algorithm", "hmac-sha256"), read["secret"])
