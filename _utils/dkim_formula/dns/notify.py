"""Notifications about records that a person has to publish."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from ..errors import DnsError
from ..keys import history
from ..postgres import schema, stand_in
from ..postgres.commands import NO_DATABASE_YET
from ..postgres.connection import session
from ..records import Record
from ..settings.model import Dns, Settings
from ..settings.notification import Notify
from . import awaited, check, notice, verdict
from .awaited import Awaited, RecordId, record_id
from .desired import desired_records
from .due_notice import Notice, after_notice, due_notice
from .program_file import check_file
from .program_process import call
from .publish_report import changes_summary
from .query import run
from .zones import is_manual

_SENDMAIL = "/usr/sbin/sendmail"
_WHERE = "dkim:dns:notify"
# With these verdicts the servers lack a record. Other verdicts except ok say nothing about it.
_MISSING = verdict.AMISS | {verdict.NO_ZONE}


@stand_in.noted
def notify(settings: Settings, test: bool = False) -> dict[str, object]:
    """
    Report the records that a person has to publish, by mail or by a program. Each record is
    reported once, and again after ``dns:notify:every``.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "notified": str, "text": str, "waiting":
    number, "notes": [text], "problems": [text]}``. ``notified`` names the recipients or the
    program. It is empty without a notification.

    Raises DatabaseError, NoLibrary.
    """
    done: dict[str, object] = {
        "changes": {},
        "notified": "",
        "text": "",
        "waiting": 0,
        "notes": [],
        "problems": [],
    }
    target = settings.dns.notify
    if target is None:
        return {**done, "notes": [f"{_WHERE} is not set, so nobody is notified"]}
    with session(settings.database) as connection:
        if not schema.has_tables(connection, settings.database):
            return {**done, "notes": [NO_DATABASE_YET]}
        before = awaited.read(connection, settings.database)
    records = {
        record_id(record): record
        for record in desired_records(settings)
        if is_manual(settings.dns, record)
    }
    waiting, visible = _observe(settings.dns, records, before)
    with session(settings.database) as connection, awaited.lock(connection) as has_lock:
        if not has_lock:
            return {**done, "notes": ["another run is sending notifications; run again later"]}
        before = awaited.read(connection, settings.database)
        now = history.clock(connection)
        known = awaited.after_check(before, waiting, visible, now)
        found = due_notice(known, records, waiting, now, target.every)
        done["waiting"] = len(waiting)
        if found:
            done["text"] = notice.text(found, settings.dns)
            try:
                if target.command is not None:
                    check_file(target.command, f"{_WHERE}:command")
                if not test:
                    _send(target, settings.dns, found)
                    known = after_notice(known, found, now)
                done["changes"] = _changes(found)
                done["notified"] = target.command or ", ".join(target.to)
                verb = "would be" if test else "was"
                done["notes"] = [f"{done['notified']} {verb} notified: {notice.subject(found)}"]
            except DnsError as error:
                done["problems"] = [f"{_WHERE}: {error}; the next run tries again"]
        if not test:
            removed = before.keys() - records.keys()
            kept = {one: row for one, row in known.items() if one not in removed}
            awaited.store(connection, settings.database, before, kept, removed)
            connection.commit()
    return done


def _observe(
    dns: Dns, records: Mapping[RecordId, Record], known: Mapping[RecordId, Awaited]
) -> tuple[list[Record], list[Record]]:
    """
    Return the records that servers lack, and the records that every server has. Records that an
    earlier check found are left out. Unreported records are checked first, because the deadline may
    end the check.
    """
    nothing_known = Awaited("", "", "", "")
    not_visible = [one for one in records if known.get(one, nothing_known).visible_since is None]
    not_visible.sort(key=lambda one: known.get(one, nothing_known).reported_at is not None)
    asked = [records[one] for one in not_visible]
    checked = run(check.check(asked, dns)) if asked else []
    waiting = [one.record for one in checked if one.verdict in _MISSING]
    visible = [one.record for one in checked if one.verdict == verdict.OK]
    return waiting, visible


def _changes(sent: Notice) -> dict[str, dict[str, str | None]]:
    """Return the report on each record as changes; more than a hundred are counted."""
    again = sent.waiting[sent.new :] if sent.is_reminder else ()
    kinds = (
        (sent.waiting[: sent.new], None, "notified"),
        (again, "notified", "reminded"),
        (sent.visible, "notified", "visible"),
    )
    return changes_summary(
        {
            f"{record.name} {record.type}": {"old": old, "new": new}
            for records, old, new in kinds
            for record in records
        }
    )


def _send(target: Notify, dns: Dns, content: Notice) -> None:
    """Send the mail, or call the program. Raises DnsError."""
    limit = f"{dns.deadline} s (dkim:dns:deadline)"
    deadline = time.monotonic() + dns.deadline
    if target.command is not None:
        command: Sequence[str] = [target.command]
        document = json.dumps(notice.document(content, dns)).encode()
    else:
        # -i: a line with a single dot does not end the message.
        sender = [] if target.sender is None else ["-f", target.sender]
        command = [_SENDMAIL, "-i", *sender, "--", *target.to]
        document = notice.mail(content, dns, target)
    try:
        call(command, document, deadline, limit)
    except DnsError as error:
        raise DnsError(f"{command[0]} {error}") from None


def notify_for_report(settings: Settings, test: bool) -> tuple[Sequence[str], Sequence[str]]:
    """Notify, and return the notes and problems for the report of another run."""
    if settings.dns.notify is None:
        return (), ()
    done = notify(settings, test)
    return done["notes"], done["problems"]
