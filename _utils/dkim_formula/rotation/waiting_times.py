"""Waiting times of records: before a new key signs, and after a key is retired."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.duration import in_words
from ..settings.model import Settings

# The least time for which a record must be visible, even if all TTLs of its zone are 0: a single
# observation covers no span of time.
_LEAST_VISIBLE_FOR = 1  # second
# If a server gives no answer, the other servers must show the record for this much longer. This
# machine takes a server without an answer for a day as down, so that the gate can open without it.
SILENT_FOR = 86400  # seconds


def visible_for(
    negative_ttl: int | None, other_ttl: int | None, margin: int, least: int = 0
) -> int | None:
    """
    Return for how many seconds a record must be visible before every resolver can read it.

    Resolver caches may hold the record's absence, or another record of the same name. None if the
    negative TTL is unknown.
    """
    if negative_ttl is None:
        return None
    return max(max(negative_ttl, other_ttl or 0, least) + margin, _LEAST_VISIBLE_FOR)


@dataclass(frozen=True)
class RetireFor:
    """The time for which a retired key's record stays, in seconds, and the reason for that time."""

    seconds: int
    reason: str

    def with_ttl(self, ttl: int) -> RetireFor:
        """Return the longer of this time and the record's TTL."""
        return RetireFor(ttl, f"the record's TTL, {ttl} s") if ttl > self.seconds else self


def retire_for(settings: Settings, queue_lifetime: int, parameter: str) -> RetireFor:
    """
    Return how long a retired key's record stays: the longest time until mail is verified.

    A message waits at most as long as the queue keeps it. A verifier accepts a signature until it
    expires (opendkim.conf(5), «SignatureTTL»).

    queue_lifetime, parameter
        A number of seconds, and the name of the Postfix parameter with that value.
    """
    known = {
        f"dkim:rotation:retire_for, {in_words(settings.rotation.retire_for)}": (
            settings.rotation.retire_for
        ),
        f"{parameter}, {in_words(queue_lifetime)}": queue_lifetime,
    }
    signature_ttl = settings.opendkim.settings.get("SignatureTTL")
    if signature_ttl is not None:
        # The daemon reads integers as strtoul(3) with base 0, where a leading 0 is octal.
        text = str(signature_ttl)
        is_octal = len(text) > 1 and text[0] == "0" and text.isdigit()
        seconds = int(text, 8) if is_octal else int(text, 0)
        known[f"SignatureTTL, {in_words(seconds)}"] = seconds
    longest = max(known, key=known.get)
    return RetireFor(known[longest], longest)
