"""People are told of records that wait for them: looked for, told once, remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from ..errors import DnsError
from ..keys import history
from ..postgres import schema, stand_in
from ..postgres.commands import NOT_THERE_YET
from ..postgres.connection import session
from ..records import Record
from ..settings.model import Dns, Settings
from ..settings.notification import Notify
from . import awaited, check, notice, verdict
from .awaited import Awaited, Called, News, called
from .desired import desired_records
from .program import call, check_file
from .publish_report import changes_summary
from .query import run
from .zones import is_by_person

_SENDMAIL = "/usr/sbin/sendmail"
_WHERE = "dkim:dns:notify"
# With these verdicts the servers lack a record. Any other but ok says nothing of it.
_WAITS = verdict.AMISS | {verdict.NO_ZONE}


@stand_in.noted
def notify(settings: Settings, test: bool = False) -> dict[str, object]:
    """
    Tell of the records that wait for a person, by a mail or the site's program; each once, and
    again after ``dns:notify:every``.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "told": str, "text": str, "waiting":
    number, "notes": [text], "problems": [text]}``: ``told`` is who was told, empty where nobody
    was.

    Raises DatabaseError, NoLibrary.
    """
    done: dict[str, object] = {
        "changes": {},
        "told": "",
        "text": "",
        "waiting": 0,
        "notes": [],
        "problems": [],
    }
    wanted = settings.dns.notify
    if wanted is None:
        return {**done, "notes": [f"{_WHERE} is not set, so nobody is told"]}
    with session(settings.database) as connection:
        if not schema.has_tables(connection, settings.database):
            return {**done, "notes": [NOT_THERE_YET]}
        before = awaited.read(connection, settings.database)
    records = {
        called(record): record
        for record in desired_records(settings)
        if is_by_person(settings.dns, record)
    }
    waiting, seen = _look(settings.dns, records, before)
    with session(settings.database) as connection, awaited.telling(connection) as is_mine:
        if not is_mine:
            return {**done, "notes": ["another run is telling of the records at the moment"]}
        before = awaited.read(connection, settings.database)
        now = history.clock(connection)
        known = awaited.after_look(before, waiting, seen, now)
        found = awaited.news(known, records, waiting, now, wanted.every)
        done["waiting"] = len(waiting)
        if found:
            done["text"] = notice.text(found, settings.dns)
            try:
                if not test:
                    _send(wanted, settings.dns, found)
                    known = awaited.after_telling(known, found, now)
                done["changes"] = _changes(found)
                done["told"] = wanted.command or ", ".join(wanted.to)
                would = "would be" if test else "was"
                done["notes"] = [f"{done['told']} {would} told: {notice.subject(found)}"]
            except DnsError as error:
                done["problems"] = [f"{_WHERE}: {error}; the next run tries again"]
        if not test:
            forgotten = before.keys() - records.keys()
            kept = {one: row for one, row in known.items() if one not in forgotten}
            awaited.store(connection, settings.database, before, kept, forgotten)
            connection.commit()
    return done


def _look(
    dns: Dns, records: Mapping[Called, Record], known: Mapping[Called, Awaited]
) -> tuple[list[Record], list[Record]]:
    """
    Return the records that servers lack, and those that every server has; only the ones that were
    not seen yet. Those come first that nobody was told of: the deadline may end the look.
    """
    nothing_known = Awaited("", "", "", "")
    unseen = [one for one in records if known.get(one, nothing_known).seen_at is None]
    unseen.sort(key=lambda one: known.get(one, nothing_known).told_at is not None)
    asked = [records[one] for one in unseen]
    checked = run(check.check(asked, dns)) if asked else []
    waiting = [one.record for one in checked if one.verdict in _WAITS]
    seen = [one.record for one in checked if one.verdict == verdict.OK]
    return waiting, seen


def _changes(told: News) -> dict[str, dict[str, str | None]]:
    """Return what a person is told of each record, as changes; past a hundred counted."""
    again = told.waiting[told.new :] if told.is_reminder else ()
    kinds = (
        (told.waiting[: told.new], None, "told"),
        (again, "told", "told again"),
        (told.seen, "told", "seen"),
    )
    return changes_summary(
        {
            f"{record.name} {record.type}": {"old": old, "new": new}
            for records, old, new in kinds
            for record in records
        }
    )


def _send(wanted: Notify, dns: Dns, told: News) -> None:
    """Send the mail, or call the program. Raises DnsError."""
    limit = f"{dns.deadline} s (dkim:dns:deadline)"
    deadline = time.monotonic() + dns.deadline
    if wanted.command is not None:
        where = f"{_WHERE}:command"
        check_file(wanted.command, where)
        command: Sequence[str] = [wanted.command]
        document = json.dumps(notice.document(told, dns)).encode()
    else:
        # -i: a dot on a line by itself ends no message.
        sender = [] if wanted.sender is None else ["-f", wanted.sender]
        command = [_SENDMAIL, "-i", *sender, "--", *wanted.to]
        document = notice.mail(told, dns, wanted)
    try:
        call(command, document, deadline, limit)
    except DnsError as error:
        raise DnsError(f"{command[0]} {error}") from None


def news_for_report(settings: Settings, test: bool) -> tuple[Sequence[str], Sequence[str]]:
    """Return the notes and problems of telling, for a run that does other things too."""
    if settings.dns.notify is None:
        return (), ()
    done = notify(settings, test)
    return done["notes"], done["problems"]
