"""What is measured for the metrics alone, beside what the checks find."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timezone
from typing import TYPE_CHECKING

from cryptography import x509

from ..dns import verdict
from ..dns.checked import Checked
from ..postgres.objects import names
from ..postgres.sql import compose
from ..rotation.timing import due_at
from ..settings.model import Database
from ..version import VERSION
from .model import STATES, Host, Sample

if TYPE_CHECKING:
    import psycopg2.extensions as pg

SYSTEMCTL = "/usr/bin/systemctl"

# A key's state, by its domain and selector.
States = Mapping[tuple[str, str], str]

# The domains of a large site would be as many series.
MOST_DOMAINS = 100
DAY = 86400
WITHIN_DAYS = (1, 7, 30)

# What a record is of: a key in a state, or a domain's policy (DMARC, SPF and others).
POLICY = "policy"
# A receiver finds no good record, or an operator has to look where the servers are.
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

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

# VALID UNTIL ends a password, and no other way to log in (PostgreSQL, CREATE ROLE).
_PASSWORD_ENDS = """
SELECT extract(epoch FROM rolvaliduntil)::float8 FROM pg_roles
 WHERE rolname = %s AND isfinite(rolvaliduntil)
"""

_SERVER_CERTIFICATE = """
SELECT setting FROM pg_settings
 WHERE name = 'ssl_cert_file' AND current_setting('ssl')::boolean AND setting LIKE '/%'
"""

_ACTIVE_SINCE = """
SELECT k.domain, k.algorithm, k.activated_at
  FROM {dkim} AS k
 WHERE k.state = 'active' AND k.activated_at IS NOT NULL AND k.domain <> ALL (%s)
"""


# --- This machine ---------------------------------------------------------------------------------


def of_machine(host: Host) -> Iterator[Sample]:
    """Yield the formula's version, how often daemons were restarted, and when certificates end."""
    yield Sample("dkim_formula_info", 1, {"version": VERSION})
    yield from _restarts([daemon.service for daemon in host.daemons])
    database = host.settings.database
    if database.host:
        yield from certificates(_files(database))


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


def _files(database: Database) -> Iterator[tuple[str, str]]:
    """Yield the certificates of a session with a server elsewhere: what each is for, its file."""
    if database.reader.auth == "cert" and database.reader.sslcert:
        yield "reader", database.reader.sslcert
    if database.sslcert:
        yield "salt", database.sslcert
    if database.sslrootcert:
        yield "authorities", database.sslrootcert


def certificates(files: Iterable[tuple[str, str]]) -> Iterator[Sample]:
    """
    Yield when the certificates of some files end. A file without one has no sample: the login says
    that it fails.

    files
        What each is for, and its path. Of ``authorities`` the certificate that lasts longest
        counts, since a bundle keeps an old authority beside the new one; of others the first one,
        which is the holder's own.
    """
    for use, path in files:
        try:
            with open(path, "rb") as stream:
                ends = [_end(text) for text in _PEM.findall(stream.read())]
        except (OSError, ValueError):
            continue
        if ends:
            end = max(ends) if use == "authorities" else ends[0]
            labels = {"use": use, "file": path}
            yield Sample("dkim_certificate_expiry_timestamp_seconds", end, labels)


def _end(pem: bytes) -> float:
    certificate = x509.load_pem_x509_certificate(pem)
    # cryptography before 42 has the time without its zone alone, which is UTC.
    end = getattr(certificate, "not_valid_after_utc", None)
    return (end or certificate.not_valid_after.replace(tzinfo=timezone.utc)).timestamp()


# --- The database ---------------------------------------------------------------------------------


def of_server(connection: pg.connection, database: Database) -> Iterator[Sample]:
    """Yield when the reader's password ends, and the certificate that mail hosts elsewhere see."""
    with connection.cursor() as cursor:
        if database.reader.password is not None:
            cursor.execute(_PASSWORD_ENDS, (database.reader.name,))
            for (end,) in cursor.fetchall():
                yield Sample("dkim_reader_password_expiry_timestamp_seconds", end)
        if not database.host and (database.reader.clients or database.writer.clients):
            cursor.execute(_SERVER_CERTIFICATE)
            yield from certificates(("server", path) for (path,) in cursor.fetchall())


def due(connection: pg.connection, host: Host) -> Iterator[Sample]:
    """Yield when the next rotation is due, and how many are due soon."""
    settings = host.settings
    left_out = sorted(settings.excluded | host.orphans.gone)
    with connection.cursor() as cursor:
        cursor.execute(compose(_ACTIVE_SINCE, **names(settings.database)), (left_out,))
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
    Yield how many records and domains have each verdict.

    differing
        Those that are not as desired.
    states
        Of every key.
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
