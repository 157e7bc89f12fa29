"""A domain's settings: its own, and those that it inherits from ``dkim:defaults``."""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULTS = "dkim:defaults"
EVERY_HOSTED = "*"


@dataclass(frozen=True)
class Merged:
    """A domain's own settings over the inherited ones, with the pillar key of each."""

    own: Mapping[str, object]
    inherited: Mapping[str, object]
    where: str

    def get(self, key: str, default: object = None) -> object:
        """Return a key's value: the domain's own, else the inherited one."""
        return self.own.get(key, self.inherited.get(key, default))

    def pillar_key(self, key: str) -> str:
        """Return the pillar key that sets a value."""
        is_inherited = key not in self.own and key in self.inherited
        return f"{DEFAULTS if is_inherited else self.where}:{key}"

    def dmarc(self) -> dict[str, object] | None:
        """Return the policy's keys, merged one by one; None for no record."""
        own, inherited = self.own.get("dmarc"), self.inherited.get("dmarc")
        if "dmarc" in self.own and own is not None:
            return {**(inherited or {}), **own}
        return None if "dmarc" in self.own else inherited
