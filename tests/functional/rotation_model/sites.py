"""The domains of the histories, and the lengths of their waits."""

from dataclasses import replace

from dkim_formula.settings.model import Address, Delegation, Domain, KeyPlan, Rotation

from .domain_names import RECORD_TTL
from .judge import MARGIN, QUEUE_LIFE, REVOKE_FOR

_ED25519 = (KeyPlan("ed25519", "default"),)
DOMAINS = {
    "rsa.example": Domain("rsa.example", keys=(KeyPlan("rsa", "default", 1024),)),
    "dual.example": Domain(
        "dual.example",
        keys=(KeyPlan("rsa", "default", 1024), KeyPlan("ed25519", "default-ed25519")),
    ),
    "address.example": Domain(
        "address.example",
        keys=_ED25519,
        addresses=(Address("news@address.example", (KeyPlan("ed25519", "news"),)),),
    ),
    "elsewhere.example": Domain(
        "elsewhere.example",
        keys=(KeyPlan("ed25519", "one"),),
        delegation=Delegation("keys.example", ("one", "two", "three")),
    ),
}
DOMAINS = {name: replace(domain, ttl=RECORD_TTL) for name, domain in DOMAINS.items()}
SLOTS = [
    ("rsa.example", "", "rsa"),
    ("dual.example", "", "rsa"),
    ("dual.example", "", "ed25519"),
    ("address.example", "", "ed25519"),
    ("address.example", "news@address.example", "ed25519"),
    ("elsewhere.example", "", "ed25519"),
]
DELEGATED = frozenset({"elsewhere.example"})
EVERY = 180 * 86400
WAITS = [1, MARGIN, 45, 80, 3600, QUEUE_LIFE - 60, QUEUE_LIFE + 1, REVOKE_FOR + 1, EVERY]
# Waits that end right before each move of a key, and waits that pass the move.
UP_TO_EACH_MOVE = (80, QUEUE_LIFE - 60, 120, REVOKE_FOR - 180, 120)


def rotation_settings(standby):
    """Return the rotation settings of every history. A first key always signs at once."""
    return Rotation(
        every=EVERY,
        retire_for=0,
        revoke_for=REVOKE_FOR,
        margin=MARGIN,
        first_key_waits=False,
        standby=standby,
    )


def without_key(found):
    """Return the domains that have a slot without an active key."""
    return sorted({slot[0] for slot in SLOTS if found.active(slot) is None})
