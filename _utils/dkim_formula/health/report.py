"""The data and the file of the report page, for sites without Prometheus."""

from __future__ import annotations

import grp
import os
from collections.abc import Callable, Mapping, Sequence

from ..errors import InvalidValue
from ..files import reason_of, replace_file
from ..keys.desired import domain_settings, record_of
from ..keys.model import Key
from ..rotation.state import is_readable
from ..rotation.status import status
from ..settings.model import Settings
from ..settings.monitoring import Report
from .model import Finding, Results

# root writes the page and a group reads it. Other users must not see domains and problems.
MODE = 0o640
NOT_ASKED = "-"
_WHERE = "dkim:monitoring:report"


def keys(settings: Settings, dns: Results | None) -> list[dict[str, object]]:
    """
    Return the status of every key as ``rotation.status.status``, with the last verdicts of DNS.

    Asks no name server. Raises DatabaseError if the database does not answer.
    """
    return status(settings, dns=False, verdict_of=None if dns is None else _verdicts(settings, dns))


def records(dns: Results | None) -> dict[str, object]:
    """
    Return the result of the last check of DNS.

    Returns ``{"by_verdict": {verdict: number}, "wrong": [{name, type, verdict}], "count"}``.
    ``wrong`` has a thousand records at most, and ``count`` counts all wrong records.
    """
    finding = _finding(dns)
    by_verdict = {
        str(one.labels["verdict"]): int(one.value)
        for one in (dns.samples if dns else ())
        if one.metric == "dkim_dns_records"
    }
    wrong = [_parts(item) for item in (finding.items if finding else ())]
    return {
        "by_verdict": by_verdict,
        "wrong": [dict(zip(("name", "type", "verdict"), one, strict=True)) for one in wrong],
        "count": finding.count if finding else 0,
    }


def unknown_keys(settings: Settings, problems: Sequence[str]) -> str:
    """Return why the keys are unknown on this host; empty where the database can be asked."""
    if problems:
        return "The pillar is wrong, so the database is not asked."
    if settings.database.only_signs:
        return (
            f"This host only signs. {settings.database.host} has the keys, and a page of its own."
        )
    return ""


def target(report: Report | None, path: object, group: object) -> tuple[str, str]:
    """
    Return the path of the page's file, and the group that may read it.

    report
        The settings of the pillar, or None.
    path, group
        The arguments of the caller; None means the value of the pillar.

    Raises InvalidValue for an invalid path or group.
    """
    where = "path" if path is not None else f"{_WHERE}:path"
    path = path if path is not None else report and report.path
    if not isinstance(path, str) or not path.startswith("/") or not path.endswith(".html"):
        raise InvalidValue(
            where, path, "is not an absolute path that ends in .html", "name the page's file"
        )
    if "\0" in path or not os.path.isdir(os.path.dirname(path)):
        raise InvalidValue(where, path, "is in a missing directory", "create the directory")
    named = "group" if group is not None else f"{_WHERE}:group"
    group = group if group is not None else report.group if report else "root"
    try:
        grp.getgrnam(group)
    except (KeyError, TypeError, ValueError):
        raise InvalidValue(
            named, group, "is not a group of this machine", "name the group that may read the page"
        ) from None
    return path, group


def write(path: str, group: str, page: str) -> None:
    """
    Write the page atomically, readable by root and a group.

    Raises InvalidValue for a path that cannot be written.
    """
    try:
        replace_file(path, page, MODE, (0, grp.getgrnam(group).gr_gid))
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise InvalidValue(
            "path", path, f"can't be written: {reason}", "use an existing directory"
        ) from None


def _verdicts(settings: Settings, dns: Results) -> Callable[[Key], str]:
    """Return a function that returns the last verdict of DNS on a key's record."""
    finding = _finding(dns)
    if finding is None or finding.ok is None or dns.is_down("dns"):
        return lambda _key: NOT_ASKED
    verdicts: Mapping[str, str] = {name: one for name, _, one in map(_parts, finding.items)}
    is_complete = finding.count <= len(finding.items)

    def verdict_on(key: Key) -> str:
        domain = key.domain.lower()
        is_newer = key.created is not None and key.created.timestamp() > dns.at
        if is_newer or domain in settings.excluded or not is_readable(settings, key):
            return NOT_ASKED
        name = record_of(key, domain_settings(settings, domain)).name
        return verdicts.get(name, "ok" if is_complete else NOT_ASKED)

    return verdict_on


def _finding(dns: Results | None) -> Finding | None:
    return next((one for one in (dns.findings if dns else ()) if one.check == "dns"), None)


def _parts(item: str) -> tuple[str, str, str]:
    """Return the name, the type and the verdict of a record, from an item of the finding."""
    record, _, verdict = item.rpartition(": ")
    name, _, kind = record.rpartition(" ")
    return name, kind, verdict
