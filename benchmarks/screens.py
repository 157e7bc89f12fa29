"""
Time to draw a screen from its data.

Method: the processor time of drawing invented returns, at 3, 200 and 100,000 domains. The data has
the form of the functions' returns: one key per domain, and a missing record for every thousandth
key. A rotation has the first hundred keys and records, a finding the first thousand names. The
screen of status shows all keys, which takes the longest.
"""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from dkim_formula.screens.commands import Asked, Terminal, draw

from .table import Figure

NOW = datetime(2026, 12, 1, tzinfo=timezone.utc)
TERMINAL = Terminal(width=140, height=50, colour=True)
VALUE = f"v=DKIM1; k=rsa; p={'0123456789abcdef' * 24}"


def run(short: bool) -> Iterator[Figure]:
    """Yield the figures; the goal is a time in seconds, no ratio."""
    sizes = (3, 200, 1_000) if short else (3, 200, 100_000)
    for function, data_of in DATA.items():
        taken = [_seconds(function, data_of(size)) for size in sizes]
        smaller = ", ".join(
            f"{seconds:.3f} s at {size}"
            for size, seconds in zip(sizes[:-1], taken[:-1], strict=True)
        )
        yield Figure(
            f"screen of {function}, {sizes[-1]:,} domains: seconds to draw",
            taken[-1],
            ("<=", 5.0),
            detail=smaller,
        )


def _seconds(function: str, data: object) -> float:
    began = time.process_time()
    draw(function, data, Asked(every=True), TERMINAL, NOW)
    return time.process_time() - began


def _status(size: int) -> list[dict[str, object]]:
    when = (NOW + timedelta(days=90)).isoformat()
    key = {
        **{"selector": "default", "algorithm": "rsa", "bits": 2048, "state": "active"},
        **{"address": "", "age": "90d", "next": "rotation", "when": when, "problem": ""},
    }
    return [
        {**key, "domain": f"d{number}.example", "dns": "ok" if number % 1000 else "missing"}
        for number in range(size)
    ]


def _checked(size: int) -> dict[str, object]:
    records = []
    for number in range(size):
        verdict = "ok" if number % 1000 else "different"
        shown = [] if number % 1000 else [VALUE.replace("0", "1")]
        server = {"server": "ns1.example", "address": "192.0.2.1", "verdict": verdict}
        servers = [{**server, "detail": "", "ttl": 3600, "shown": shown}]
        record = {**_record(number), "verdict": verdict, "detail": "", "servers": servers}
        records.append(record)
    return {"ok": False, "counts": {"ok": size}, "records": records}


def _records(size: int) -> list[dict[str, object]]:
    return [_record(number) for number in range(size)]


def _findings(size: int) -> list[dict[str, object]]:
    names = [f"default._domainkey.d{number}.example" for number in range(min(size, 1000))]
    wrong = {"ok": False, "message": ", ".join(names[:5]), "items": names, "count": size}
    remedy = "salt-call dkim.check_dns says how each differs; salt-call dkim.publish publishes"
    one = {"subject": "", "remedy": remedy, "since": None, **wrong}
    return [{**one, "check": f"check {number}"} for number in range(30)]


def _rotated(size: int) -> dict[str, object]:
    numbers = range(min(size, 100))
    when = (NOW + timedelta(hours=1)).isoformat()
    waits = {"state": "pending", "next": "active", "waits_for": "the record", "not_before": when}
    changes = {
        f"default._domainkey.d{number}.example": {"old": None, "new": "pending"}
        for number in numbers
    }
    return {
        "changes": changes,
        "dns": {},
        "waiting": [
            {**waits, "domain": f"d{number}.example", "selector": "default", "algorithm": "rsa"}
            for number in numbers
        ],
        "to_publish": [_record(number) for number in numbers],
        **{"next_check": when, "notes": [f"{size} more keys wait"], "problems": []},
    }


def _record(number: int) -> dict[str, object]:
    domain = f"d{number}.example"
    return {
        **{"name": f"default._domainkey.{domain}", "type": "TXT", "ttl": 3600, "value": VALUE},
        **{"purpose": "dkim", "domain": domain, "selector": "default"},
    }


DATA = {
    "status": _status,
    "doctor": _findings,
    "rotate": _rotated,
    "check_dns": _checked,
    "records": _records,
}
