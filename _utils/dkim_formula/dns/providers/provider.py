"""The base class of DNS providers."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import DnsError
from ..steps import Present, Step


class Provider(ABC):
    """A server or service that shows and changes the records of zones. Methods raise DnsError."""

    @abstractmethod
    def read(self, name: str, rtype: str) -> tuple[str, Present]:
        """
        Return the zone of a name, and the records of one type at the name. The zone of an alias is
        empty.
        """

    @abstractmethod
    def zone_of(self, name: str) -> str:
        """Return the zone of a name."""

    @abstractmethod
    def send(self, zone: str, step: Step, present: Present) -> None:
        """
        Apply a step, on the condition that the name still has the records ``present``. Raises
        ConcurrentChange where it has others, UncertainUpdate where nobody knows the result.
        """

    @abstractmethod
    def read_again(self, name: str, rtype: str) -> Present:
        """Return the records at a name by a new connection, after an update without an answer."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def is_by_wildcard(self, name: str, rtype: str, present: Present) -> bool:
        """
        Tell whether the records at a name come from a wildcard: a random name beside it then has
        the same.
        """
        _, beside = self.read(f"{secrets.token_hex(8)}.{name.partition('.')[2]}", rtype)
        return beside != Present() and beside == present


@dataclass(frozen=True)
class Change:
    """A step in a zone, and the records that it was decided on."""

    zone: str
    step: Step
    present: Present


@dataclass(frozen=True)
class Sent:
    """
    What became of one change.

    error
        Why it was not applied: ConcurrentChange and UncertainUpdate have their own meaning.
    is_needless
        Whether the service sees no difference, and nothing was sent: it raises a TTL, for one.
    present
        The records at the name afterwards; None where nobody has looked.
    """

    error: DnsError | None = None
    is_needless: bool = False
    present: Present | None = None


class BatchProvider(ABC):
    """A service that takes many changes at once. It reads and changes TXT records alone."""

    @abstractmethod
    def zone_of(self, name: str) -> str | None:
        """
        Return the zone of a name; None where the service does not tell its zones. Raises DnsError.
        """

    @abstractmethod
    def load(self, wanted: Sequence[tuple[str, str]]) -> None:
        """
        Read the records at some names.

        wanted
            Pairs of a zone and a name in it.
        """

    @abstractmethod
    def present(self, zone: str, name: str) -> Present:
        """Return the records at a name that was loaded. Raises DnsError."""

    @abstractmethod
    def send(self, changes: Sequence[Change]) -> Iterator[tuple[int, Sent]]:
        """Apply changes; yield the position of each, and what became of it, once that is known."""

    @abstractmethod
    def rehearse(self, changes: Sequence[Change]) -> Iterator[tuple[int, Sent]]:
        """Yield what :meth:`send` would, without changing anything."""

    @abstractmethod
    def close(self) -> None:
        """End what the service has running on this machine."""
