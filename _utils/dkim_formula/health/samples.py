"""Measurements for metrics that no finding of a check contains."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..dns import verdict
from ..dns.checked import Checked
from ..postgres.objects import names
from ..postgres.sql import compose
from ..rotation.due_dates import due_at
from ..version import VERSION
from .expiry import certificates_of_machine
from .model import STATES, Host, Sample

if TYPE_CHECKING:
    import psycopg2.extensions as pg

SYSTEMCTL = "/usr/bin/systemctl"

# The state of each key, by its domain and selector.
States = Mapping[tuple[str, str], str]

# The number of domains with a series of their own at most.
MOST_DOMAINS = 100
DAY = 86400
WITHIN_DAYS = (1, 7, 30)

# The label of a record that belongs to no key but to a domain's policy (DMARC, SPF and others).
POLICY = "policy"
# The verdicts other than ok, the worst first: a receiver finds no valid record, or an operator must
# check the servers.
VERDICTS = (
    verdict.MISSING,
    verdict.DIFFERENT,
    verdict.DUPLICATE,
    verdict.INCONSISTENT,
    verdict.BOGUS,
    verdict.LAME,
    verdict.NO_ANSWER,
    verdict.NO_ZONE,
    verdict.UNCHECKED,
)

_ACTIVE_SINCE = """
SELECT k.domain, k.algorithm, k.activated_at
  FROM {dkim} AS k
 WHERE k.state = 'active' AND k.activated_at IS NOT NULL AND k.domain <> ALL (%s)
"""


# --- This machine ---------------------------------------------------------------------------------


def of_machine(host: Host) -> Iterator[Sample]:
    """Yield the formula's version, restarts of daemons, and expiry times of certificates."""
    yield Sample("dkim_formula_info", 1, {"version": VERSION})
    yield from _restarts([daemon.service for daemon in host.daemons])
    yield from certificates_of_machine(host.settings.database)


def intervals(host: Host) -> Iterator[Sample]:
    """Yield how often the metrics are written, and how often this host asks DNS, if it does."""
    monitoring = host.settings.monitoring
    yield Sample("dkim_metrics_interval_seconds", monitoring.textfile_every)
    if monitoring.dns_every is not None and not host.settings.database.only_signs:
        yield Sample("dkim_dns_interval_seconds", monitoring.dns_every)


def _restarts(services: Sequence[str]) -> Iterator[Sample]:
    units = [f"{service}.service" for service in services]
    command = [SYSTEMCTL, "show", *units, "--property=LoadState,NRestarts"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return
    blocks = done.stdout.strip().split("\n\n")
    for service, block in zip(services, blocks, strict=False):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if shown.get("LoadState") == "loaded" and shown.get("NRestarts", "").isdigit():
            labels = {"service": service}
            yield Sample("dkim_service_restarts_total", int(shown["NRestarts"]), labels)


# --- The database ---------------------------------------------------------------------------------


def due(connection: pg.connection, host: Host) -> Iterator[Sample]:
    """Yield the time of the next rotation, and the number of rotations due soon."""
    settings = host.settings
    excluded = sorted(settings.excluded | host.orphans.gone)
    with connection.cursor() as cursor:
        cursor.execute(compose(_ACTIVE_SINCE, **names(settings.database)), (excluded,))
        rows = cursor.fetchall()
    first: dict[str, float] = {}
    soon = Counter()
    now = time.time()
    for domain, algorithm, since in rows:
        at = due_at(since, settings.rotation, domain, algorithm).timestamp()
        first[algorithm] = min(at, first.get(algorithm, at))
        soon.update(days for days in WITHIN_DAYS if at <= now + days * DAY)
    for algorithm, at in sorted(first.items()):
        yield Sample("dkim_next_rotation_timestamp_seconds", at, {"algorithm": algorithm})
    for days in WITHIN_DAYS:
        yield Sample("dkim_rotations_due", soon[days], {"within_days": str(days)})


# --- DNS ------------------------------------------------------------------------------------------


def of_records(
    checked: Sequence[Checked], differing: Sequence[Checked], states: States
) -> Iterator[Sample]:
    """
    Yield the numbers of records and of domains by verdict.

    differing
        The records that are not as desired.
    states
        The states of all keys.
    """
    for name, number in sorted(Counter(one.verdict for one in checked).items()):
        yield Sample("dkim_dns_records", number, {"verdict": name})
    wrong = Counter((one.verdict, _of(one, states)) for one in differing)
    for of in (*STATES, POLICY):
        for name in VERDICTS:
            labels = {"verdict": name, "of": of}
            yield Sample("dkim_dns_records_wrong", wrong[name, of], labels)
    numbers = Counter({one.record.domain: 0 for one in checked})
    worst: dict[str, str] = {}
    for one in differing:
        domain = one.record.domain
        numbers[domain] += 1
        worst[domain] = min(one.verdict, worst.get(domain, one.verdict), key=VERDICTS.index)
    by_verdict = Counter(worst.get(domain, verdict.OK) for domain in numbers)
    for name in (verdict.OK, *VERDICTS):
        yield Sample("dkim_dns_domains", by_verdict[name], {"verdict": name})
    for domain, number in sorted(numbers.items(), key=lambda one: (-one[1], one[0]))[:MOST_DOMAINS]:
        yield Sample("dkim_domain_dns_records_wrong", number, {"domain": domain})


def _of(one: Checked, states: States) -> str:
    return states.get((one.record.domain, one.record.selector or ""), POLICY)
