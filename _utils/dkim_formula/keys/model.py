"""A key that the table holds, and one that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ..names import domain_problem, selector_problem
from ..postgres.stored_row import is_row_found, on_weakness
from ..private_key import public_weakness

# What a revoked key comes to, behind the states that a row has (standby, pending, active, retired,
# revoked): its row is deleted.
GONE = "gone"


class Slot(NamedTuple):
    """The place of one active key; ``address`` '' is the domain's own."""

    domain: str
    address: str
    algorithm: str


@dataclass(frozen=True)
class Key:
    """
    A row of the table of keys without its private key.

    domain
        '' where the row has no name.
    is_odd
        Whether the row's text is one to look at, though a key may be read from it.
    fault
        What is wrong with the row's text where no key could be read from it.
    advice
        What is odd about the text of a key that signs, and what to do.
    path
        The file that OpenDKIM reads the key from; empty where the row has the key itself.
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
        """Say what is wrong with the row and what to do, in a sentence; empty where nothing is."""
        found = [domain_problem(self.domain), selector_problem(self.selector), self.fault]
        if self.state == "active":
            found.append(self.advice)
            found.append(on_weakness(public_weakness(self.algorithm, self.bits, self.public)))
        return "; ".join(text for text in found if text)

    @property
    def slot(self) -> Slot:
        """Return where the key belongs."""
        return Slot(self.domain, self.address, self.algorithm)

    @property
    def can_sign(self) -> bool:
        """Tell whether OpenDKIM can sign with the row, and verifiers can find its record."""
        return self.public is not None and is_row_found(self.domain, self.selector)

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return: ISO 8601 timestamps, without the row's id."""
        plain: dict[str, object] = {
            "domain": self.domain,
            "selector": self.selector,
            "algorithm": self.algorithm,
            "bits": self.bits,
            "state": self.state,
            "address": self.address,
        }
        for name in ("created", "activated", "retired", "revoked"):
            value = getattr(self, name)
            plain[name] = None if value is None else value.isoformat(timespec="seconds")
        plain["public_key"] = self.public
        plain["problem"] = self.problem
        return plain


@dataclass(frozen=True)
class DesiredKey:
    """A key that is to be. ``address`` '' is the domain's own; ``bits`` is RSA's."""

    domain: str
    selector: str
    algorithm: str = "rsa"
    bits: int = 2048
    address: str = ""

    def __str__(self) -> str:
        of = f" for {self.address}" if self.address else ""
        return f"{self.domain}, selector {self.selector!r}, {self.algorithm}{of}"
