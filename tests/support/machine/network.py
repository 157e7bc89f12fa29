"""A network between test machines: a switch, and a namespace with one cable per machine."""

import contextlib
import itertools
import os
import subprocess
from types import TracebackType
from typing import Self

_numbers = itertools.count(1)


class Network:
    """
    A network that connects machines with each other and with nothing else; a context manager.

    The switch is a bridge in its own network namespace, so the host's namespace stays unchanged.
    """

    def __init__(self) -> None:
        self._name = f"dkim-{os.getpid()}-{next(_numbers)}"
        self._ports: dict[str, str] = {}

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        _ip("-n", self._name, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._name, "link", "set", "switch", "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in (*self._ports.values(), self._name):
            # A cable disappears with the namespace at its end.
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)

    def plug_in(self, address: str) -> str:
        """
        Make a network namespace for one machine, and return its path.

        The path is the argument ``network_namespace`` of :class:`support.machine.Machine`.

        address
            The machine's address with its mask, ``192.0.2.10/24``.
        """
        port = f"port{len(self._ports) + 1}"
        name = f"{self._name}-{len(self._ports) + 1}"
        _ip("netns", "add", name)
        self._ports[address] = name
        cable = ["type", "veth", "peer", "name", "eth0", "netns", name]
        _ip("-n", self._name, "link", "add", port, *cable)
        _ip("-n", self._name, "link", "set", port, "master", "switch", "up")
        _ip("-n", name, "address", "add", address, "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        return f"/run/netns/{name}"

    def pull_cable(self, address: str) -> None:
        """Drop all packets to and from a machine, without any error to the sender."""
        self._set(address, "down")

    def put_cable_back(self, address: str) -> None:
        """Undo :meth:`pull_cable`."""
        self._set(address, "up")

    def _set(self, address: str, state: str) -> None:
        port = f"port{[*self._ports].index(address) + 1}"
        _ip("-n", self._name, "link", "set", port, state)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
