"""The domains of the histories, and times that are worth letting pass."""

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
# To just before each of a life's moments, and past it.
UP_TO_EACH_MOMENT = (80, QUEUE_LIFE - 60, 120, REVOKE_FOR - 180, 120)


def rotation_settings(standby):
    """The rotation settings of every history; a first key signs at once, delegated or not."""
    return Rotation(
        every=EVERY,
        retire_for=0,
        revoke_for=REVOKE_FOR,
        margin=MARGIN,
        first_key_waits=False,
        standby=standby,
    )


def without_key(there):
    """Domains that have a slot in which nothing signs."""
    return sorted({slot[0] for slot in SLOTS if there.active(slot) is None})
