"""Texts and mail of a notification about awaited records."""

from __future__ import annotations

import email.policy
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage

from ..calls import typed
from ..records import Record, render
from ..settings.model import Dns
from ..settings.notification import Notify
from ..text import counted
from .due_notice import Notice

# A mail lists at most this many records, each in two forms, and counts the others. A record takes
# half a kilobyte.
WHOLE = 20
# RFC 5322, section 2.1.1 limits a line to 998 characters. Lines to paste must not be folded.
_POLICY = email.policy.default.clone(max_line_length=998)


def subject(content: Notice) -> str:
    """Return the subject of a notification."""
    if content.is_reminder:
        return f"DNS: {counted(len(content.waiting), 'record')} still to publish"
    if content.new:
        return f"DNS: {counted(content.new, 'record')} to publish"
    return f"DNS: {counted(len(content.visible), 'record')} visible"


def text(content: Notice, dns: Dns) -> str:
    """Return the text: lines to paste, the number of other records, and the visible records."""
    count = len(content.waiting) if content.is_reminder else content.new
    shown = content.waiting[: min(count, WHOLE)]
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
        domains = counted(_domains(content.waiting[:count]), "domain")
        paragraphs.append(
            f"{counted(more, 'more record')} of {domains} in all.\n"
            "This prints them:\n    salt-call dkim.records format=oneline"
        )
    if count and (others := len(content.waiting) - count):
        paragraphs.append(f"{counted(others, 'record')} of earlier mails are still missing.")
    if content.visible:
        lines = [f"    {record.name} {record.type}" for record in content.visible[:WHOLE]]
        if (others := len(content.visible) - WHOLE) > 0:
            lines.append(f"    and {counted(others, 'other')}")
        paragraphs.append("\n".join(["Every server has these records now:", *lines]))
    if count:
        paragraphs.append(
            "This shows what DNS has:\n    salt-call dkim.check_dns\n"
            "If no schedule does so, this activates keys that waited for their record:\n"
            "    salt-call dkim.advance"
        )
    return typed("\n\n".join(paragraphs) + "\n")


def mail(content: Notice, dns: Dns, notify: Notify) -> bytes:
    """
    Return the message for sendmail(1). The email library rejects a line end in a header.

    Postfix adds Date and Message-ID.
    """
    message = EmailMessage(policy=_POLICY)
    message["From"] = _address(notify.sender or "root")
    message["To"] = [_address(one) for one in notify.to]
    message["Subject"] = subject(content)
    # RFC 3834, section 5: vacation programs do not answer such a message.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text(content, dns), cte="7bit")
    return bytes(message)


def document(content: Notice, dns: Dns) -> dict[str, object]:
    """Return the document for a program: all records, and the text of the mail."""
    return {
        "format": 1,
        "subject": subject(content),
        "text": text(content, dns),
        "new": [record.to_dict() for record in content.waiting[: content.new]],
        "waiting": [record.to_dict() for record in content.waiting[content.new :]],
        "visible": [record.to_dict() for record in content.visible],
    }


def _address(given: str) -> Address:
    user, _, domain = given.rpartition("@")
    return Address(username=user or domain, domain=domain if user else "")


def _domains(records: Sequence[Record]) -> int:
    return len({record.domain for record in records})
