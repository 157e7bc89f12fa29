"""The words and the mail by which a person is told of awaited records."""

from __future__ import annotations

import email.policy
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage

from ..records import Record, render
from ..settings.model import Dns
from ..settings.notification import Notify
from ..text import counted
from .awaited import News

# So many records stand in a mail, twice; the others are counted. A record has half a kilobyte.
WHOLE = 20
# RFC 5322, section 2.1.1: no line is longer. Lines that paste are not folded.
_POLICY = email.policy.default.clone(max_line_length=998)


def subject(told: News) -> str:
    """Return what a message says first."""
    if told.is_reminder:
        return f"DNS: {counted(len(told.waiting), 'record')} still to publish"
    if told.new:
        return f"DNS: {counted(told.new, 'record')} to publish"
    return f"DNS: {counted(len(told.seen), 'record')} seen"


def text(told: News, dns: Dns) -> str:
    """Return a message's text: lines that paste, how many more there are, and what is seen."""
    count = len(told.waiting) if told.is_reminder else told.new
    shown = told.waiting[: min(count, WHOLE)]
    paragraphs = []
    if shown:
        paragraphs += [
            "Please publish these records in DNS. For a zone file:",
            render(shown, "bind", zones=dns.zones).strip("\n"),
            "For a web form: name, type and value with a tab between.\n"
            "Paste the value whole and without quotes.",
            render(shown, "oneline", zones=dns.zones).strip("\n"),
        ]
    if (more := count - len(shown)) > 0:
        paragraphs.append(
            f"{counted(more, 'more record')} of {counted(_domains(told.waiting[:count]), 'domain')}"
            " in all.\nThis prints them:\n    salt-call dkim.records format=oneline"
        )
    if count and (others := len(told.waiting) - count):
        paragraphs.append(f"{counted(others, 'record')} of earlier mails are still missing.")
    if told.seen:
        lines = [f"    {record.name} {record.type}" for record in told.seen[:WHOLE]]
        if (others := len(told.seen) - WHOLE) > 0:
            lines.append(f"    and {counted(others, 'other')}")
        paragraphs.append("\n".join(["Every server has these records now:", *lines]))
    if count:
        paragraphs.append(
            "This shows what DNS has:\n    salt-call dkim.check_dns\n"
            "This has a key sign that waited for its record, where no schedule does:\n"
            "    salt-call dkim.advance"
        )
    return "\n\n".join(paragraphs) + "\n"


def mail(told: News, dns: Dns, notify: Notify) -> bytes:
    """
    Return the message for sendmail(1). The library refuses a line end in a header.

    Postfix adds Date and Message-ID.
    """
    message = EmailMessage(policy=_POLICY)
    message["From"] = _address(notify.sender or "root")
    message["To"] = [_address(one) for one in notify.to]
    message["Subject"] = subject(told)
    # RFC 3834, section 5: no vacation program answers.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text(told, dns), cte="7bit")
    return bytes(message)


def document(told: News, dns: Dns) -> dict[str, object]:
    """Return what a program gets: all records, and the text of the mail."""
    return {
        "format": 1,
        "subject": subject(told),
        "text": text(told, dns),
        "new": [record.to_dict() for record in told.waiting[: told.new]],
        "waiting": [record.to_dict() for record in told.waiting[told.new :]],
        "seen": [record.to_dict() for record in told.seen],
    }


def _address(given: str) -> Address:
    user, _, domain = given.rpartition("@")
    return Address(username=user or domain, domain=domain if user else "")


def _domains(records: Sequence[Record]) -> int:
    return len({record.domain for record in records})
