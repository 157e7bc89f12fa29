"""
Metrics for Prometheus, in the file format that node_exporter reads.

Source: Prometheus, «Exposition formats», text format 0.0.4.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..errors import InvalidValue
from ..files import reason_of, replace_file
from .model import Finding, Results, Sample
from .run import MONITORED, unknown_checks

FILE = "dkim.prom"
# node_exporter runs as another user, and the file holds no secret.
MODE = 0o644

# The number of names per check at most. Otherwise a large site would get a series per domain.
LISTED = 20


class Metric(NamedTuple):
    """The help text, labels and type of a metric."""

    help: str
    labels: tuple[str, ...] = ()
    type: str = "gauge"


METRICS = {
    "dkim_formula_info": Metric("The version of the formula that wrote the metrics.", ("version",)),
    "dkim_service_up": Metric("Whether a service runs.", ("service",)),
    "dkim_service_restarts_total": Metric(
        "How often systemd started a daemon again since it was started by hand or at boot.",
        ("service",),
        "counter",
    ),
    "dkim_socket_up": Metric(
        "Whether Postfix can use a milter socket, and a milter answers.", ("socket",)
    ),
    "dkim_database_up": Metric("Whether the database answers, and has the formula's tables."),
    "dkim_database_checked_timestamp_seconds": Metric("When the database was last asked."),
    "dkim_reader_login_up": Metric(
        "Whether a daemon's account logs in to the database and reads the views.", ("service",)
    ),
    "dkim_reader_password_expiry_timestamp_seconds": Metric(
        "When the password of the reader's role ends; no sample where it does not."
    ),
    "dkim_certificate_expiry_timestamp_seconds": Metric(
        "When a certificate of the database connection ends.", ("use", "file")
    ),
    "dkim_keys": Metric("Keys in the database.", ("algorithm", "state")),
    "dkim_oldest_active_key_timestamp_seconds": Metric(
        "When the oldest active key began to sign.", ("algorithm",)
    ),
    "dkim_keys_overdue": Metric(
        "Keys whose next move is overdue: active ones are too old, others are stuck.", ("state",)
    ),
    "dkim_next_rotation_timestamp_seconds": Metric(
        "When the first active key is due for rotation.", ("algorithm",)
    ),
    "dkim_rotations_due": Metric(
        "Active keys that are due for rotation within so many days.", ("within_days",)
    ),
    "dkim_domains_hosted": Metric("Domains of the domains table."),
    "dkim_domains_unsigned": Metric("Domains that should sign and have no active key."),
    "dkim_dns_up": Metric("Whether DNS could be asked."),
    "dkim_dns_checked_timestamp_seconds": Metric("When DNS was last asked."),
    "dkim_dns_interval_seconds": Metric("How often DNS is asked; no sample if it is not."),
    "dkim_dns_records": Metric(
        "Records by their verdict at the authoritative servers (docs/dns.md).", ("verdict",)
    ),
    "dkim_dns_records_wrong": Metric(
        "Records that are not in DNS as desired, by verdict and by what they are of.",
        ("verdict", "of"),
    ),
    "dkim_dns_domains": Metric("Domains by the worst verdict on their records.", ("verdict",)),
    "dkim_domain_dns_records_wrong": Metric(
        "Records of a domain that are not in DNS as desired; 100 domains at most, the worst first.",
        ("domain",),
    ),
    "dkim_problems": Metric(
        "Problems of a check: how many things are wrong. Unknown checks have no sample.",
        ("check",),
    ),
    "dkim_problem_info": Metric(
        "Problems by their names, 20 of a check at most.", ("check", "item")
    ),
    "dkim_metrics_timestamp_seconds": Metric("When the metrics were written."),
    "dkim_metrics_interval_seconds": Metric("How often the metrics are written."),
}


def samples(local: Results, kept: Mapping[str, Results]) -> list[Sample]:
    """
    Return all known values as samples. An unknown value has no sample.

    kept
        The results of the database and of DNS, by cost.
    """
    results = [local, *kept.values()]
    found = [sample for one in results for sample in one.samples]
    found += [
        Sample(f"dkim_{cost}_checked_timestamp_seconds", one.at) for cost, one in kept.items()
    ]
    found += _of_problems(results)
    return [*found, Sample("dkim_metrics_timestamp_seconds", local.at)]


def render(found: Iterable[Sample]) -> str:
    """Return samples as text, grouped by metric."""
    by_metric: dict[str, list[Sample]] = {}
    for sample in found:
        by_metric.setdefault(sample.metric, []).append(sample)
    lines = []
    for name, metric in METRICS.items():
        if name in by_metric:
            lines.append(f"# HELP {name} {_escaped(metric.help, quote=False)}")
            lines.append(f"# TYPE {name} {metric.type}")
            lines += [
                f"{name}{_labels(one.labels)} {_number(one.value)}" for one in by_metric[name]
            ]
    return "".join(f"{line}\n" for line in lines)


def write(path: object, text: str) -> None:
    """
    Write the file atomically, readable by all users.

    Raises InvalidValue for a path that is invalid or cannot be written.
    """
    if not isinstance(path, str) or not path.startswith("/") or not path.endswith(".prom"):
        raise InvalidValue(
            "path", path, "is not an absolute path ending in .prom", "node_exporter reads no other"
        )
    try:
        replace_file(path, text, MODE)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise InvalidValue(
            "path",
            path,
            f"can't be written: {reason}",
            "set dkim:monitoring:textfile to node_exporter's directory",
        ) from None


def _of_problems(results: Sequence[Results]) -> list[Sample]:
    problems = [one for found in results for one in found.findings if one.ok is False]
    unknown = unknown_checks(results)
    counts = Counter({name: 0 for name in MONITORED if name not in unknown})
    for problem in problems:
        counts[problem.check] += problem.count
    found = [Sample("dkim_problems", number, {"check": name}) for name, number in counts.items()]
    return found + [sample for problem in problems for sample in _info(problem)]


def _info(problem: Finding) -> list[Sample]:
    items = problem.items or (problem.subject or problem.message,)
    return [
        Sample("dkim_problem_info", 1, {"check": problem.check, "item": item})
        for item in items[:LISTED]
    ]


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, quote: bool = True) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quote else escaped


def _number(value: float) -> str:
    integer = int(value)
    return str(integer) if value == integer else repr(float(value))
