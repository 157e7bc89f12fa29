"""Zones on a test machine's own BIND, which accepts updates, and on a second, slower server."""

import base64
import shlex
from collections.abc import Mapping

from support.machine import Machine

PRIMARY, SECONDARY = "127.0.0.1", "127.0.53.2"
SECRET = base64.b64encode(b"the-canary-secret-of-the-zones..").decode()
KEY = {"name": "dkim.", "algorithm": "hmac-sha256", "secret": SECRET}

# Seconds for which resolvers cache the absence of a name: the SOA's TTL and minimum (RFC 2308).
NEGATIVE_TTL = 2

_HEAD = (
    "$TTL 300\n@ {negative_ttl} SOA ns h 1 3600 3600 86400 {negative_ttl}\n@ 60 NS ns\n"
    "ns 60 A {address}\n"
)
_SECOND = f"@ 60 NS ns2\nns2 60 A {SECONDARY}\n"


def serve(
    machine: Machine,
    *origins: str,
    secondary: bool = False,
    negative_ttls: Mapping[str, int] | None = None,
    address: str = PRIMARY,
) -> None:
    """
    Let the machine's BIND serve empty zones, and accept updates with the TSIG key ``KEY``.

    secondary
        Let Knot serve the zones too, and refresh them after an hour or by :func:`catch_up`.
    negative_ttls
        The negative TTL of zones that do not have ``NEGATIVE_TTL``, in seconds.
    address
        The machine's address in the zones.
    """
    machine.install("bind9", "bind9-dnsutils", *(["knot"] if secondary else []))
    named = _options(address)
    for origin in origins:
        negative_ttl = (negative_ttls or {}).get(origin, NEGATIVE_TTL)
        text = _HEAD.format(negative_ttl=negative_ttl, address=address) + (
            _SECOND if secondary else ""
        )
        machine.write(f"/var/cache/bind/{origin}.zone", text, owner="bind:bind")
        named += (
            f'zone "{origin}" {{ type primary; file "{origin}.zone";'
            ' allow-update { key "dkim."; }; };\n'
        )
    machine.write("/etc/bind/named.conf", named)
    machine.run("systemctl restart named")
    machine.wait_for(f"dig +short @{PRIMARY} {origins[-1]} SOA | grep -q .")
    if secondary:
        machine.run(f"ip address replace {SECONDARY}/32 dev lo")
        machine.write("/etc/knot/knot.conf", _knot(origins), owner="knot:knot")
        machine.run("systemctl restart knot")
        machine.wait_for(f"dig +short @{SECONDARY} {origins[-1]} SOA | grep -q .")


def _options(address: str) -> str:
    return f"""
options {{ directory "/var/cache/bind"; listen-on {{ {PRIMARY}; {address}; }};
  listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify no;
  allow-transfer {{ any; }}; }};
key "dkim." {{ algorithm hmac-sha256; secret "{SECRET}"; }};
"""


def _knot(origins: tuple[str, ...]) -> str:
    zones = "".join(f"  - domain: {name}\n    master: primary\n" for name in origins)
    return (
        f"server:\n  rundir: /run/knot\n  user: knot:knot\n  listen: {SECONDARY}@53\n"
        "database:\n  storage: /var/lib/knot\n"
        f"remote:\n  - id: primary\n    address: {PRIMARY}\nzone:\n{zones}"
    )


def catch_up(machine: Machine, origin: str) -> None:
    """Let the second server transfer the zone, and wait until both have the same serial."""
    machine.run(f"knotc zone-refresh {origin}")
    soa = f"dig +short {origin} SOA @"
    machine.wait_for(f'test "$({soa}{SECONDARY})" = "$({soa}{PRIMARY})"')


def update(machine: Machine, *lines: str) -> None:
    """Change the zones by lines of nsupdate(1), as their administrator does."""
    text = "\n".join([f"server {PRIMARY}", *lines, "send", ""])
    machine.run(["nsupdate", "-y", f"hmac-sha256:dkim.:{SECRET}"], input=text)


def publish(machine: Machine, name: str, *values: str, ttl: int = 3600) -> None:
    """Replace the TXT records of an absolute name, as the zones' administrator does."""
    adds = [f'update add {name} {ttl} TXT "{_strings(value)}"' for value in values]
    update(machine, f"update delete {name} TXT", *adds)


def _strings(value: str) -> str:
    """Split a text into strings of at most 255 octets. The outer quotes are missing."""
    return '" "'.join(value[at : at + 255] for at in range(0, len(value), 255))


def texts(machine: Machine, name: str, server: str = PRIMARY) -> set[str]:
    """Return a server's TXT values at a name, the strings of each record joined."""
    shown = machine.run(["dig", "+short", f"@{server}", name, "TXT"]).stdout
    return {"".join(shlex.split(line)) for line in shown.splitlines()}


def key_records(machine: Machine, origin: str) -> Mapping[str, str]:
    """Return all TXT records below ``_domainkey`` of a zone, by name."""
    shown = machine.run(["dig", "+noall", "+answer", "+onesoa", f"@{PRIMARY}", origin, "AXFR"])
    found = {}
    for line in shown.stdout.splitlines():
        name, _, _, rtype, value = line.split(None, 4)
        if rtype == "TXT" and "._domainkey." in name:
            found[name.rstrip(".")] = "".join(shlex.split(value))
    return found
