"""Keys as values: a stored key, a desired key, and the slot of a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ..names import domain_problem, selector_problem
from ..postgres.stored_row import is_row_found, weakness_text
from ..private_key import public_weakness
from ..text import timestamp_if_known

# The state after the states of a row (standby, pending, active, retired, revoked): the row of a
# revoked key is deleted.
GONE = "gone"


class Slot(NamedTuple):
    """What has at most one active key: a domain or address ('' for the domain) and an algorithm."""

    domain: str
    address: str
    algorithm: str


@dataclass(frozen=True)
class Key:
    """
    A row of the table of keys without its private key.

    domain
        '' if the row has no domain.
    is_odd
        Whether the row's text is unusual and must be read, even if it contains a readable key.
    fault
        What is wrong with the row's text if it contains no readable key.
    advice
        What is unusual about the text of a key that signs, and what to do.
    path
        The file from which OpenDKIM reads the key; empty if the row contains the key.
    """

    id: int
    domain: str
    selector: str
    algorithm: str
    bits: int | None
    state: str
    address: str
    created: datetime | None
    activated: datetime | None
    retired: datetime | None
    revoked: datetime | None
    public: str | None
    is_odd: bool = False
    fault: str = ""
    advice: str = ""
    path: str = ""

    @property
    def problem(self) -> str:
        """A sentence that says what is wrong with the row and what to do; empty for a good row."""
        found = [domain_problem(self.domain), selector_problem(self.selector), self.fault]
        if self.state == "active":
            found.append(self.advice)
            found.append(weakness_text(public_weakness(self.algorithm, self.bits, self.public)))
        return "; ".join(text for text in found if text)

    @property
    def slot(self) -> Slot:
        """The slot of the key."""
        return Slot(self.domain, self.address, self.algorithm)

    @property
    def can_sign(self) -> bool:
        """Return whether OpenDKIM can sign with the row, and verifiers can find its record."""
        return self.public is not None and is_row_found(self.domain, self.selector)

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return: ISO 8601 timestamps, without the row's id."""
        data: dict[str, object] = {
            "domain": self.domain,
            "selector": self.selector,
            "algorithm": self.algorithm,
            "bits": self.bits,
            "state": self.state,
            "address": self.address,
        }
        for name in ("created", "activated", "retired", "revoked"):
            data[name] = timestamp_if_known(getattr(self, name))
        data["public_key"] = self.public
        data["problem"] = self.problem
        return data


@dataclass(frozen=True)
class DesiredKey:
    """A key that the settings ask for. ``address`` is '' for the domain; ``bits`` is for RSA."""

    domain: str
    selector: str
    algorithm: str = "rsa"
    bits: int = 2048
    address: str = ""

    def __str__(self) -> str:
        of = f" for {self.address}" if self.address else ""
        return f"{self.domain}, selector {self.selector!r}, {self.algorithm}{of}"
