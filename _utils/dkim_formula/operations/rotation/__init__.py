"""
Keys from state to state: rotations started, advanced, forced; docs/rotation.md is the contract.

Each function returns the same shape, plain data alone: ``{"changes": {"SEL._domainkey.DOMAIN":
{"old", "new"}}, "dns": {"NAME TYPE": {"old", "new"}}, "waiting": [{"domain", "selector",
"algorithm", "state", "next", "for", "until"}], "publish": [records], "come_back": ISO 8601 text or
None, "notes": [text], "problems": [text]}``.
"""

from .single import activate, retire, revoke
from .start import advance, rotate, rotate_due
from .status import status

__all__ = ["activate", "advance", "retire", "revoke", "rotate", "rotate_due", "status"]
