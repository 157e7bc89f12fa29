"""The names and addresses of this host, at which one of its daemons may listen."""

import ipaddress
import re
import socket
from collections.abc import Iterator

# Names that Debian's and other distributions' /etc/hosts give to 127.0.0.1 and ::1.
LOOPBACK = (
    "localhost",
    "127.0.0.1",
    "::1",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
)
# A daemon at one of these addresses listens at every address. Postfix reaches it there, too.
EVERY_ADDRESS = ("0.0.0.0", "::", "*")

HOSTS = "/etc/hosts"
IPV4 = "/proc/net/fib_trie"
IPV6 = "/proc/net/if_inet6"
_LOCAL_IPV4 = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")


def hosts_meant(host: str) -> frozenset[str]:
    """
    Return the addresses that a host of a socket may refer to; ``localhost`` is the loopback.

    An address of all interfaces and a name of this host refer to every address of this host. The
    name or address of another host refers to itself.
    """
    name = _plain(host)
    if name in LOOPBACK:
        return frozenset(["localhost"])
    if name in EVERY_ADDRESS or not name:
        return frozenset(["localhost", *_addresses()])
    if not _is_address(name) and name in _names():
        return frozenset(["localhost", *_addresses()])
    return frozenset([name])


def _plain(host: str) -> str:
    """Return a host in lower case, an address in its shortest spelling."""
    name = host.strip("[]").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.removesuffix(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _addresses() -> set[str]:
    """Return the addresses of this host's interfaces, and the loopback addresses of its names."""
    found = set(_LOCAL_IPV4.findall(_text(IPV4)))
    for line in _text(IPV6).splitlines():
        digits = line.split()[0]
        found.add(str(ipaddress.ip_address(bytes.fromhex(digits))))
    # Debian gives the host's own name 127.0.1.1.
    found |= {address for address, _ in _hosts() if address.startswith("127.")}
    return found - {*LOOPBACK}


def _names() -> set[str]:
    """Return the names of this host: its host name, and its names in the hosts file."""
    own = {*LOOPBACK, *_addresses()}
    named = {name for address, names in _hosts() if address in own for name in names}
    return named | {socket.gethostname().lower()}


def _hosts() -> Iterator[tuple[str, list[str]]]:
    """Yield each address of the hosts file with its names: hosts(5)."""
    for line in _text(HOSTS).splitlines():
        words = line.partition("#")[0].lower().split()
        if words:
            yield _plain(words[0]), words[1:]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
