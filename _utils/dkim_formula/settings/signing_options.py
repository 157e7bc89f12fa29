"""Options of opendkim.conf(5) with legal values that stop OpenDKIM from signing or taking mail."""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping

from ..private_key import MAX_BITS
from ..text import listed
from .model import Domain
from .opendkim_values import Value, members, number
from .validation import Notes

# RFC 5322, section 2.1.1: a line of a header may have 998 characters.
_LONGEST_LINE = 998
# OpenDKIM's default (opendkim.conf(5), MaximumHeaders).
_USUAL_HEADERS = 65536
# Seconds: Postfix tries to deliver a message for five days (postconf(5), maximal_queue_lifetime).
_IN_TRANSIT = 5 * 86400
_LOCAL = "127.0.0.1"
_BODY_LENGTH = (
    "the signature has l=, so that anyone can add text to a signed message (RFC 6376, section "
    "8.2); leave the option out"
)
# What OpenDKIM does with a message without Date, or with two headers Subject (measured).
_COUNTED = {
    "RequiredHeaders": "OpenDKIM refuses",
    "StrictHeaders": "OpenDKIM leaves unsigned",
}
_REFUSING = ("d", "discard", "q", "quarantine", "r", "reject", "t", "tempfail")


def minimum_bits(options: Mapping[str, Value]) -> int:
    """
    Return the size below which OpenDKIM signs with no RSA key, or 0 if the options set none.

    dkim_eom() fails with a smaller key: «private key too small» (measured with libopendkim). An
    Ed25519 key is not compared.
    """
    value = options.get("MinimumKeyBits", 0)
    return number(value) if isinstance(value, (int, str)) else 0


def problems(
    options: Mapping[str, Value], domains: Collection[Domain], where: str
) -> dict[str, str]:
    """
    Return the sentences on options with which OpenDKIM signs no mail of a domain, or refuses mail.

    The result is by the name of the option.

    domains
        The domains of the pillar, with the template of every hosted domain.
    where
        The pillar key of the options.
    """
    found = {
        "MinimumKeyBits": _too_small(minimum_bits(options), domains),
        "ExemptDomains": _exempt(options.get("ExemptDomains"), domains),
        "MaximumHeaders": _no_header(options.get("MaximumHeaders")),
    }
    return {name: f"{where}:{name}: {text}" for name, text in found.items() if text}


def _too_small(minimum: int, domains: Collection[Domain]) -> str:
    smallest = {domain.name: min(_bits(domain)) for domain in domains if _bits(domain)}
    small = {name: bits for name, bits in smallest.items() if bits < minimum}
    if not small:
        return ""
    least = min(small.values())
    larger = f", or set bits to {minimum} in dkim:defaults" if minimum <= MAX_BITS else ""
    return (
        f"{minimum} is more than the {least} bits of keys for "
        f"{listed(_named(small), 3)}, so OpenDKIM would refuse their mail; use {least} or "
        f"less{larger}"
    )


def _named(names: Iterable[str]) -> list[str]:
    return ["every hosted domain" if name == "*" else name for name in names]


def _bits(domain: Domain) -> list[int]:
    """Return the sizes of the RSA keys that a domain's settings plan."""
    if domain.alias_of is not None:
        return []
    plans = [*domain.keys, *(plan for address in domain.addresses for plan in address.keys)]
    return [plan.bits for plan in plans if plan.algorithm == "rsa"]


def _exempt(value: Value | None, domains: Collection[Domain]) -> str:
    exempt = {member.lower() for member in _members(value) or []}
    found = [domain.name for domain in domains if domain.name in exempt - {"*"}]
    if not found:
        return ""
    return (
        f"OpenDKIM would not sign mail from {listed(found, 3)}, which dkim:domains has sign; "
        "remove these names here or set them to false in dkim:domains"
    )


def _no_header(value: Value | None) -> str:
    if not isinstance(value, (int, str)) or not 0 < number(value) <= _LONGEST_LINE:
        return ""
    return (
        f"OpenDKIM would refuse nearly all mail, which has more than {number(value)} octets of "
        f"headers; use {_USUAL_HEADERS}, or 0 for no limit"
    )


def advise(options: Mapping[str, Value], where: str, notes: Notes) -> None:
    """Note advice on legal options with which mail leaves unsigned, or badly signed."""
    for name, text in _advice(options):
        notes.advise(f"{where}:{name}", text)


def _advice(options: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    for name in ("BodyLengthDB", "MaximumSignedBytes"):
        if name in options:
            yield name, _BODY_LENGTH
    for name, effect in _COUNTED.items():
        if options.get(name):
            yield (
                name,
                f"{effect} a message that lacks From or Date, or has such a header twice; leave "
                "the option out",
            )
    limit = _number(options.get("MaximumHeaders"))
    if 0 < limit < _USUAL_HEADERS:
        yield (
            "MaximumHeaders",
            f"OpenDKIM refuses a message with more than {limit} octets of headers, also one that "
            f"it should sign; use {_USUAL_HEADERS} or more",
        )
    seconds = _number(options.get("SignatureTTL"))
    if 0 < seconds < _IN_TRANSIT:
        yield (
            "SignatureTTL",
            "signatures expire while the mail may still wait in a queue (Postfix: 5 days); use "
            "1209600, two weeks, or more",
        )
    for name in ("On-Default", "On-NoSignature"):
        if options.get(name) in _REFUSING:
            yield (
                name,
                f"{options[name]!r} is also for each message without a signature, incoming mail "
                "and outgoing mail of domains without a key; leave the option out",
            )
    yield from _hosts(options)


def _hosts(options: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    internal = _members(options.get("InternalHosts", [_LOCAL, "::1"]))
    peers = _members(options.get("PeerList")) or []
    if internal is not None and not _has(internal, _LOCAL) and "localhost" not in internal:
        yield (
            "InternalHosts",
            f"mail from programs of this machine is not signed, since the list lacks {_LOCAL}; "
            "add it",
        )
    unseen = [host for host in internal or [] if _has(peers, host) and f"!{host}" not in peers]
    if unseen:
        yield (
            "PeerList",
            f"OpenDKIM does not see mail from {listed(unseen, 3)}, so it does not sign this mail; "
            "remove these hosts from the list",
        )


def _has(hosts: list[str], host: str) -> bool:
    """Return whether a list has a host by its name, or by its address or network."""
    if host in hosts:
        return True
    given = _network(host)
    networks = [network for network in map(_network, hosts) if network is not None]
    return given is not None and any(
        network.version == given.version and given.subnet_of(network) for network in networks
    )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _number(value: Value | None) -> int:
    return number(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else 0


def _members(value: Value | None) -> list[str] | None:
    return None if value is None else members(value)
