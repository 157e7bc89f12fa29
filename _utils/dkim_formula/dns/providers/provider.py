"""The base classes of DNS providers."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...errors import DnsError
from ...records.meaning import cut
from ..steps import Present, Step


class Provider(ABC):
    """A server or service that reads and changes the records of zones. Methods raise DnsError."""

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
        Apply a step if the name still has the records ``present``. Raises ConcurrentChange if the
        name has other records, UncertainUpdate if the result is unknown.
        """

    @abstractmethod
    def read_again(self, name: str, rtype: str) -> Present:
        """Return the records at a name over a new connection, after an update without an answer."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def is_by_wildcard(self, name: str, rtype: str, present: Present) -> bool:
        """
        Return whether the records at a name come from a wildcard. A random sibling name then has
        the same records.
        """
        _, sibling = self.read(f"{secrets.token_hex(8)}.{name.partition('.')[2]}", rtype)
        return sibling != Present() and sibling == present


@dataclass(frozen=True)
class Change:
    """A step in a zone, and the records at the name when the step was planned."""

    zone: str
    step: Step
    present: Present


def kept_values(change: Change) -> list[bytes]:
    """Return the values that a name has before a change and keeps."""
    return [value for value in change.present.values if value not in change.step.delete]


def in_quotes(values: Iterable[bytes]) -> str:
    """Return complete values, as the service shows them, for a person who restores them."""
    texts = (value.decode("utf-8", "backslashreplace") for value in values)
    return ", ".join(f'"{cut(text, len(text))}"' for text in texts)


@dataclass(frozen=True)
class ChangeResult:
    """
    The result of one change.

    error
        Why the change was not applied. ConcurrentChange and UncertainUpdate are special cases.
    is_needless
        Whether the service sees no difference, so that nothing was sent. For example, the service
        raises a low TTL itself.
    present
        The records at the name after the change; None if they were not read.
    """

    error: DnsError | None = None
    is_needless: bool = False
    present: Present | None = None


class BatchProvider(ABC):
    """A service that takes many changes at once. It reads and changes only TXT records."""

    @abstractmethod
    def zone_of(self, name: str) -> str | None:
        """
        Return the zone of a name; None if the service does not list its zones. Raises DnsError.
        """

    @abstractmethod
    def load(self, names: Sequence[tuple[str, str]]) -> None:
        """
        Read the records at some names.

        names
            Pairs of a zone and a name in it.
        """

    @abstractmethod
    def present(self, zone: str, name: str) -> Present:
        """Return the records at a loaded name. Raises DnsError."""

    @abstractmethod
    def send(self, changes: Sequence[Change]) -> Iterator[tuple[int, ChangeResult]]:
        """Apply changes. Yield the position and the result of each as soon as it is known."""

    @abstractmethod
    def preview(self, changes: Sequence[Change]) -> Iterator[tuple[int, ChangeResult]]:
        """Yield what :meth:`send` would yield. Changes nothing."""

    @abstractmethod
    def close(self) -> None:
        """End the processes that the service runs on this machine."""
