"""Whether DNS holds what it should."""

from collections import Counter

from ..dns import check
from ..dns.loop import run
from ..settings.model import Settings
from .records import record_set


def check_dns(settings: Settings, domain: object = None) -> dict[str, object]:
    """
    Each record of one domain, or of all, at each authoritative server of its zone.

    Returns ``{"right": bool, "counts": {verdict: number}, "records": [{name, type, purpose,
    domain, selector, verdict, detail, zone, negative_ttl, validator, servers: [{server, address,
    verdict, detail, ttl}]}]}``; ``right`` where every record is. The verdicts are those of
    ``dns.verdict``. Changes nothing.

    Raises InvalidValue for what is no domain name, DatabaseError, dns.failure.NoLibrary.
    """
    checked = run(check.check(record_set(settings, domain), settings.dns))
    return {
        "right": not check.wrong(checked),
        "counts": dict(Counter(one.verdict for one in checked)),
        "records": [one.as_plain() for one in checked],
    }
