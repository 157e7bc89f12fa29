"""The state of a fleet as text: one line per host, then the problems with their remedies."""

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("host", "roles", "daemons", "database", "self-test", "versions", "wrong")
# A smaller lag of a standby is not shown.
MOST_LAG = 1.0  # seconds


def text(hosts: Sequence[Mapping[str, Any]], problems: Sequence[str] = ()) -> str:
    """
    Return the table of the hosts, and one line for each problem with its remedy.

    problems
        Problems of the fleet itself.
    """
    rows = [COLUMNS, *(_row(one) for one in hosts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    found = [*problems, *(line for one in hosts for line in _problems(one))]
    return "\n".join([*lines, "", *(found or ["Nothing is wrong."])])


def _row(host: Mapping[str, Any]) -> tuple[str, ...]:
    roles = ",".join(host["roles"])
    found = host["report"]
    if found is None:
        return (host["id"], roles, "", "", "", "", "1")
    return (
        host["id"],
        roles,
        _daemons(found),
        _database(found["database"]),
        "" if found["selftest"] is None else "signs" if found["selftest"]["ok"] else "FAILED",
        f"formula {found['formula']}, Salt {host['salt']}"
        + (f", OpenDKIM {found['opendkim']}" if found["opendkim"] else ""),
        str(len(_problems(host)) or "-"),
    )


def _daemons(found: Mapping[str, Any]) -> str:
    if not found["daemons"]:
        return ""
    down = [name for name, up in {**found["daemons"], **found["sockets"]}.items() if not up]
    return f"DOWN: {', '.join(down)}" if down else "up"


def _database(found: Mapping[str, Any]) -> str:
    if not found["reached"]:
        return "NOT REACHED"
    if not found["standby"]:
        return found["host"]
    lag = found["lag"] or 0.0
    return f"{found['host']} (standby{f', {lag:.0f} s behind' if lag > MOST_LAG else ''})"


def _problems(host: Mapping[str, Any]) -> list[str]:
    """Return the problems of a host, one line each."""
    found = host["report"]
    if found is None:
        return [f"{host['id']}: {host['problem']}"]
    lines = []
    if found["database"]["problem"]:
        lines.append(found["database"]["problem"])
    if found["selftest"]:
        lines += found["selftest"]["problems"]
    for one in found["problems"]:
        lines.append(f"{one['message']} -> {one['remedy']}")
    return [f"{host['id']}: {line}" for line in dict.fromkeys(lines)]
