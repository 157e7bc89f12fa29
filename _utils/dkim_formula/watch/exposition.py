"""
Metrics for Prometheus, as node_exporter reads them from a file.

Source: Prometheus, «Exposition formats», text format 0.0.4.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InvalidValue
from ..files import replace_file
from .facts import Facts, Keys, Names
from .trouble import KINDS, Judgement, Trouble

FILE = "dkim.prom"
# node_exporter is another account, and nothing in the file is secret.
MODE = 0o644

# A series for each name would be one for each domain of a large site.
LISTED = 20

STATES = ("pending", "active", "retired", "revoked")

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True)
class Metric:
    """A gauge: its name, what it means, and (labels, value) of each sample."""

    name: str
    help: str
    samples: Sequence[Sample]


def metrics(facts: Facts, judgement: Judgement) -> list[Metric]:
    """Everything that is known, in metrics; what is not known has no sample."""
    local = facts.local
    found = [
        Metric(
            "dkim_service_up",
            "Whether a service runs.",
            [({"service": name}, up) for name, up in local.services.items()],
        ),
        Metric(
            "dkim_socket_up",
            "Whether a milter socket takes connections.",
            [({"socket": path}, up) for path, up in local.sockets.items()],
        ),
    ]
    if facts.keys is not None:
        found += _of_keys(facts.keys)
    if facts.names is not None:
        found += _of_names(facts.names)
    found += _of_troubles(judgement)
    found.append(Metric("dkim_watch_timestamp_seconds", "When this was written.", [({}, local.at)]))
    return found


def render(found: Iterable[Metric]) -> str:
    """The metrics as text; one without a sample is left out."""
    lines = []
    for metric in found:
        if metric.samples:
            lines.append(f"# HELP {metric.name} {_escaped(metric.help, quote=False)}")
            lines.append(f"# TYPE {metric.name} gauge")
            lines += [
                f"{metric.name}{_labels(labels)} {_number(value)}"
                for labels, value in metric.samples
            ]
    return "".join(f"{line}\n" for line in lines)


def write(path: object, text: str) -> None:
    """
    Writes the file in one step, to be read by anybody.

    Raises InvalidValue for a path that is not one, or can't be written.
    """
    if not isinstance(path, str) or not path.startswith("/") or not path.endswith(".prom"):
        raise InvalidValue(
            "path", path, "is no absolute path that ends in .prom", "node_exporter reads no other"
        )
    try:
        replace_file(path, text, MODE)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a path"
        raise InvalidValue(
            "path",
            path,
            f"can't be written: {reason}",
            "dkim:watch:textfile has to be node_exporter's directory",
        ) from None


def written_by(unit: str) -> tuple[str, ...]:
    """
    The files of metrics that a unit of ours writes, so that none stays behind when it goes.

    unit
        The unit file's path; it need not be there.
    """
    try:
        with open(unit, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return ()
    found = re.findall(rf"^ExecStart=.* (/\S*/{re.escape(FILE)})$", text, re.MULTILINE)
    return tuple(path for path in found if os.path.isfile(path))


def _of_keys(keys: Keys) -> list[Metric]:
    found = [
        Metric("dkim_database_up", "Whether the database answers.", [({}, not keys.problem)]),
        Metric(
            "dkim_database_look_timestamp_seconds",
            "When the database was last looked at.",
            [({}, keys.at)],
        ),
    ]
    if keys.problem:
        return found
    late = {**dict.fromkeys(STATES, 0), **dict(keys.late_counts)}
    return [
        *found,
        Metric(
            "dkim_keys",
            "Keys in the database.",
            [
                ({"algorithm": algorithm, "state": state}, number)
                for algorithm, state, number in keys.counts
            ],
        ),
        Metric(
            "dkim_oldest_active_key_timestamp_seconds",
            "When the active key that signs for the longest time began to.",
            [({"algorithm": algorithm}, at) for algorithm, at in keys.oldest],
        ),
        Metric(
            "dkim_keys_late",
            "Keys whose next step is late: active ones are too old, with others rotation is stuck.",
            [({"state": state}, number) for state, number in late.items()],
        ),
        Metric("dkim_domains_hosted", "Domains of the domains table.", [({}, keys.hosted)]),
        Metric(
            "dkim_domains_unsigned",
            "Hosted domains that should sign and have no active key.",
            [({}, keys.unsigned_count)],
        ),
    ]


def _of_names(names: Names) -> list[Metric]:
    found = [
        Metric("dkim_dns_asked", "Whether DNS could be asked.", [({}, not names.problem)]),
        Metric("dkim_dns_look_timestamp_seconds", "When DNS was last asked.", [({}, names.at)]),
    ]
    if names.problem:
        return found
    return [
        *found,
        Metric(
            "dkim_dns_records",
            "Records by what the authoritative servers hold of them (docs/dns.md).",
            [({"verdict": verdict}, number) for verdict, number in names.counts],
        ),
        Metric(
            "dkim_dns_records_wrong",
            "Records that are not in DNS as they should be.",
            [({}, names.wrong_count)],
        ),
    ]


def _of_troubles(judgement: Judgement) -> list[Metric]:
    counts = {kind: 0 for kind in KINDS if kind not in judgement.unknown}
    for trouble in judgement.troubles:
        counts[trouble.kind] = counts.get(trouble.kind, 0) + trouble.count
    listed = [sample for trouble in judgement.troubles for sample in _items(trouble)]
    return [
        Metric(
            "dkim_trouble",
            "What is wrong, by its kind: how many things are. Unknown kinds have no sample.",
            [({"kind": kind}, number) for kind, number in counts.items()],
        ),
        Metric("dkim_trouble_info", "What is wrong, by its name; 20 of a kind at most.", listed),
    ]


def _items(trouble: Trouble) -> list[Sample]:
    items = trouble.items or (trouble.subject or trouble.what,)
    return [({"kind": trouble.kind, "item": item}, 1) for item in items[:LISTED]]


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str, quote: bool = True) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quote else escaped


def _number(value: float) -> str:
    whole = int(value)
    return str(whole) if value == whole else repr(float(value))
