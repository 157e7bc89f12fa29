"""The screens of functions that change keys or records: changes, waiting keys, what to publish."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ..dns.publish import FUTURE_VALUE
from ..record_names import key_name
from ..text import counted
from . import words
from .doctor import remedy_lines
from .terminal import GAP, Terminal, cell_width
from .zone_lines import zone_lines

Data = Mapping[str, object]

_PREVIEW = "Nothing was changed. To do this, run the same command without test=True."
# A key that does not exist yet has no record that a server could be asked for.
_FOR_RECORD = "the record to be visible at every authoritative server"

# The number of drawn changes, and of drawn waiting keys, at most. A return has a hundred at most.
_MOST = 40


def rotation(done: Data, terminal: Terminal, now: datetime, test: bool = False) -> str:
    """
    Draw the return of ``dkim.rotate``, ``advance``, ``rotate_due``, ``activate``, ``retire`` or
    ``revoke``.

    test
        Whether the return is a preview, so that the screen says what a run would do.
    """
    lines = _marked(done["problems"], terminal.bad, terminal)
    lines += _marked(done["notes"], terminal.unknown, terminal)
    changed = [*_key_changes(done["changes"], terminal), *_dns_changes(done["dns"], terminal)]
    lines += _section("Would be done" if test else "Done", changed, terminal)
    lines += _section("Waits", list(_waiting(done, terminal, now, test)), terminal)
    lines += _next(done, terminal, now, test and bool(changed))
    lines += _to_publish(done["to_publish"], terminal)
    return "\n".join(lines).rstrip("\n") or f"{terminal.ok} Nothing is to be done"


def publish(done: Data, terminal: Terminal, test: bool = False) -> str:
    """Draw ``dkim.publish``."""
    lines = _marked(done["problems"], terminal.bad, terminal)
    lines += _marked(done["notes"], terminal.unknown, terminal)
    changed = list(_dns_changes(done["changes"], terminal))
    lines += _section("Would be published" if test else "Published", changed, terminal)
    lines += [f"{terminal.ok} {counted(done['unchanged'], 'record')} unchanged", ""]
    lines += _to_publish(done["to_publish"], terminal)
    if (more := len(done["manual"]) - len(done["to_publish"])) > 0:
        lines.append(f"; {more:,} more: salt-call dkim.records")
    return "\n".join(lines).rstrip("\n")


def generate(done: Data, terminal: Terminal) -> str:
    """Draw ``dkim.generate`` or ``dkim.import_key``. A preview has changes and no key."""
    if "domain" not in done:
        changed = list(_made(done["changes"], terminal))
        return "\n".join(_section("Would be made", changed, terminal)).rstrip() or (
            f"{terminal.ok} The key exists"
        )
    what = f"{words.domain(done['domain'], terminal)}, selector {done['selector']}"
    verb = "Existed already" if done["existed"] else "Stored"
    lines = [f"{terminal.ok} {verb}: {what}, {words.algorithm(done)}, {done['state']}", ""]
    lines += _marked(done.get("notes", ()), terminal.unknown, terminal)
    if done["state"] == "pending":
        lines += ["The key signs when its record is visible:"]
        lines += [*remedy_lines(f"salt-call dkim.advance {done['domain']}", terminal), ""]
    if done["record"]:
        lines += _to_publish([done["record"]], terminal)
    return "\n".join(lines).rstrip("\n")


def generate_missing(done: Data, terminal: Terminal, test: bool = False) -> str:
    """Draw ``dkim.generate_missing``."""
    lines = _marked(done["notes"], terminal.unknown, terminal)
    changed = list(_made(done["changes"], terminal))
    lines += _section("Would be made" if test else "Made", changed, terminal)
    if changed and not test:
        lines += ["The records to publish:", *remedy_lines("salt-call dkim.records", terminal)]
    elif not changed:
        lines.append(f"{terminal.ok} No key is missing")
    return "\n".join(lines).rstrip("\n")


def forget_replica(done: Data, terminal: Terminal, test: bool = False) -> str:
    """Draw ``dkim.forget_replica``."""
    gone = [terminal.printable(name) for name in done["changes"]]
    title = "No key would wait for this standby" if test else "No key waits for this standby"
    return "\n".join(_section(title, gone, terminal)).rstrip("\n")


def delete(done: Data, terminal: Terminal) -> str:
    """Draw ``dkim.delete``. A preview has changes and no key."""
    if "domain" not in done:
        names = [
            f"{terminal.printable(name)}  {change['old']}"
            for name, change in done["changes"].items()
        ]
        lines = _section("Would be deleted", names, terminal)
        return "\n".join(lines).rstrip() or f"{terminal.ok} There is no such key"
    what = f"{words.domain(done['domain'], terminal)}, selector {done['selector']}"
    deleted = f"Deleted: {what}, {words.algorithm(done)}, was {done['state']}"
    lines = [f"{terminal.ok} {terminal.printable(deleted)}", ""]
    lines += _marked(done["notes"], terminal.unknown, terminal)
    if done["record"]:
        record = f"{done['record']['name']} {done['record']['type']}"
        lines += terminal.wrapped(
            f"Remove {record} from DNS when no mail that the key signed is on its way."
        )
    return "\n".join(lines).rstrip("\n")


def policy_file(done: Data, terminal: Terminal) -> str:
    """Draw ``dkim.mta_sts_policy``: the URL of the file, and its text."""
    url = terminal.printable(done["url"])
    return f"{terminal.paint('Serve this file at', 'bold')} {url}\n\n{done['text']}".rstrip("\n")


def _marked(texts: Iterable[object], mark: str, terminal: Terminal) -> list[str]:
    lines = [line for text in texts for line in terminal.marked(mark, text)]
    return [*lines, ""] if lines else []


def _section(title: str, lines: Sequence[str], terminal: Terminal) -> list[str]:
    if not lines:
        return []
    more = [f"  {len(lines) - _MOST:,} more"] if len(lines) > _MOST else []
    shown = [f"  {line}" for line in lines[:_MOST]]
    return [terminal.paint(title, "bold"), *shown, *more, ""]


def _key_changes(changes: Mapping[str, Data], terminal: Terminal) -> Iterable[str]:
    arrow = " → " if terminal.utf8 else " -> "
    for name, change in changes.items():
        states = (change["old"] or "new", change["new"] or "deleted")
        yield f"{terminal.printable(name)}  {arrow.join(map(terminal.printable, states))}"


def _made(changes: Mapping[str, Data], terminal: Terminal) -> Iterable[str]:
    for name, change in changes.items():
        yield f"{terminal.printable(name)}  {terminal.printable(change['new'])}"


def _dns_changes(changes: Mapping[str, Data], terminal: Terminal) -> Iterable[str]:
    for name, change in changes.items():
        verb = "changed" if change["old"] else "added"
        yield f"{terminal.printable(name)}  {verb if change['new'] else 'removed'} in DNS"


def _waiting(done: Data, terminal: Terminal, now: datetime, test: bool) -> Iterable[str]:
    for key in done["waiting"]:
        name = key_name(key["selector"], key["domain"])
        when = words.when(key["not_before"], now)
        at = f", {when} at the earliest" if when else ""
        state = f"{key['state']}, next {key['next']}{at}"
        line = f"{terminal.printable(name)}{GAP}{state}"
        # The section indents each line by the width of a gap.
        if len(GAP) + cell_width(line) <= terminal.columns:
            yield line
        else:
            yield terminal.printable(name)
            yield from terminal.wrapped(state, 2)
        is_future = test and name in done["changes"] and done["changes"][name]["old"] is None
        yield from terminal.wrapped(_FOR_RECORD if is_future else key["waits_for"], 2)


def _next(done: Data, terminal: Terminal, now: datetime, is_preview: bool) -> list[str]:
    """Return the time of the next call, and its command; of a preview's the call that does it."""
    if is_preview:
        return [*terminal.wrapped(_PREVIEW), ""]
    time = done["next_check"]
    are_ready = any(one["value"] != FUTURE_VALUE for one in done["to_publish"])
    times = ["when the records below are published"] if are_ready else []
    times += [f"{words.when(time, now)} ({time})"] if time else []
    if not done["waiting"] or not times:
        return []
    first, *others = terminal.wrapped(f"Next, {' and '.join(times)}:")
    return [
        first.replace("Next", terminal.paint("Next", "bold"), 1),
        *others,
        *remedy_lines("salt-call dkim.advance", terminal),
        "",
    ]


def _to_publish(records: Sequence[Data], terminal: Terminal) -> list[str]:
    ready = [one for one in records if one["value"] != FUTURE_VALUE]
    later = [
        f"; {one['name']} {one['type']} is to be published when its key is generated"
        for one in records
        if one["value"] == FUTURE_VALUE
    ]
    if not records:
        return []
    title = terminal.paint("Publish these records:" if ready else "To be published later:", "bold")
    return [title, "", *later, *(zone_lines(ready).splitlines() if ready else [])]
