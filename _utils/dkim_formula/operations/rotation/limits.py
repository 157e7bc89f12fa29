"""How long a retired key's record is needed."""

from __future__ import annotations

from dataclasses import dataclass

from ...postfix import queue
from ...settings.duration import in_words
from ...settings.model import Settings


@dataclass(frozen=True)
class Limits:
    """The longest of what keeps mail on its way, in seconds, and what that is."""

    retire_for: int
    longest: str

    def with_ttl(self, ttl: int) -> Limits:
        """The same, where a record's TTL is longer still."""
        return Limits(ttl, f"its record's TTL of {ttl} s") if ttl > self.retire_for else self


def limits(settings: Settings) -> Limits:
    """
    From the settings and this machine's Postfix: a message may wait for as long as the queue keeps
    it, or be accepted as long as its signature lasts (opendkim.conf(5), «SignatureTTL»).
    """
    waits, parameter = queue.longest()
    known = {
        f"dkim:rotation:retire_for, {in_words(settings.rotation.retire_for)}": (
            settings.rotation.retire_for
        ),
        f"{parameter}, {in_words(waits)}": waits,
    }
    lasts = settings.opendkim.settings.get("SignatureTTL")
    if lasts is not None:
        # The daemon reads integers as strtoul(3) with base 0, where a leading 0 is octal.
        text = str(lasts)
        octal = len(text) > 1 and text[0] == "0" and text.isdigit()
        seconds = int(text, 8) if octal else int(text, 0)
        known[f"SignatureTTL, {in_words(seconds)}"] = seconds
    longest = max(known, key=known.get)
    return Limits(known[longest], longest)
