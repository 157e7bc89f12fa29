"""The settings of one domain over those of ``dkim:defaults``."""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULTS = "dkim:defaults"
EVERY_HOSTED = "*"


@dataclass(frozen=True)
class Merged:
    """A domain's own settings over the inherited ones, each knowing where it was given."""

    own: Mapping[str, object]
    inherited: Mapping[str, object]
    where: str

    def get(self, key: str, default: object = None) -> object:
        """Return a key's value, the domain's own before the inherited one."""
        return self.own.get(key, self.inherited.get(key, default))

    def place(self, key: str) -> str:
        """Return the pillar key that a value was given under."""
        is_inherited = key not in self.own and key in self.inherited
        return f"{DEFAULTS if is_inherited else self.where}:{key}"

    def dmarc(self) -> dict[str, object] | None:
        """Return the policy's keys, merged one by one; None for no record."""
        own, inherited = self.own.get("dmarc"), self.inherited.get("dmarc")
        if "dmarc" in self.own and own is not None:
            return {**(inherited or {}), **own}
        return None if "dmarc" in self.own else inherited
