"""Where a server listens."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

PORT = 53


@dataclass(frozen=True)
class Place:
    """An address and a port."""

    address: str
    port: int = PORT

    def __str__(self) -> str:
        return self.address if self.port == PORT else f"{self.address}@{self.port}"

    def is_reachable(self) -> bool:
        """
        Whether this machine has a way there: a machine without IPv6 has none to half of the
        servers' addresses. Nothing is sent.
        """
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((self.address, self.port))
        except OSError:
            return False
        return True


def split(server: str) -> tuple[str, int]:
    """Host and port of a setting such as ``192.0.2.53@5353``."""
    host, _, port = server.partition("@")
    return host, int(port or PORT)


def as_place(server: str) -> Place | None:
    """The place of a setting that is an address, None where it is a host name."""
    host, port = split(server)
    try:
        return Place(str(ipaddress.ip_address(host)), port)
    except ValueError:
        return None
