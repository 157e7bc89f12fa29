"""Notifications about records to publish: once with lines to paste, and again once visible."""

import email
import json
import os
import sys
from dataclasses import replace
from email import policy
from pathlib import Path

import pytest
from dkim_formula.dns import notice, notify
from dkim_formula.dns.desired import desired_records
from dkim_formula.dns.due_notice import Notice
from dkim_formula.records import key_record
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.settings.model import Dns
from dkim_formula.settings.notification import Notify

pytestmark = pytest.mark.one_release

DAY = 86400
KEEP = """
import os, sys
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
number = len([one for one in os.listdir(folder) if one.startswith("call")])
with open(f"{folder}/call{number}", "wb") as file:
    file.write((" ".join(sys.argv[1:]) + "\\n").encode() + sys.stdin.buffer.read())
"""


class Outbox:
    """A program that stores its input, and the stored input."""

    def __init__(self, folder):
        self.folder, self.path = folder, folder / "program"
        self.says(KEEP)

    def says(self, text):
        self.path.write_text(f"#!{sys.executable}\n{text}")
        self.path.chmod(0o755)

    def calls(self):
        """Return the arguments and the input of each call."""
        found = [one.read_bytes() for one in sorted(self.folder.glob("call*"))]
        return [(head.decode(), body) for head, _, body in (one.partition(b"\n") for one in found)]

    def mails(self):
        return [email.message_from_bytes(body, policy=policy.default) for _, body in self.calls()]


@pytest.fixture
def outbox(tmp_path):
    folder = Path("/root") / f"notify-{tmp_path.name}-{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield Outbox(folder)
    for one in folder.iterdir():
        one.unlink()
    folder.rmdir()


@pytest.fixture
def notifying(site, outbox, monkeypatch):
    """Return a site with a key whose record is missing. Its mail goes to the outbox."""
    monkeypatch.setattr(notify, "_SENDMAIL", str(outbox.path))
    site.pillar["dns"]["notify"] = {"to": "dns@example.com", "from": "dkim@example.com"}
    site.make_keys()
    return site


def body(message):
    return message.get_content()


def test_record_is_reported_once_with_lines_to_paste(notifying, outbox):
    announced = notify.notify(notifying.settings, test=True)
    assert outbox.calls() == []
    done = notify.notify(notifying.settings)
    assert (done["notified"], done["waiting"], done["problems"]) == ("dns@example.com", 1, [])
    assert (announced["text"], announced["changes"]) == (done["text"], done["changes"])
    assert done["changes"] == {
        "default._domainkey.example.com TXT": {"old": None, "new": "notified"}
    }
    assert announced["notes"] == ["dns@example.com would be notified: DNS: 1 record to publish"]
    (message,) = outbox.mails()
    assert (message["To"], message["From"]) == ("dns@example.com", "dkim@example.com")
    assert message["Auto-Submitted"] == "auto-generated"
    assert outbox.calls()[0][0] == "-i -f dkim@example.com -- dns@example.com"
    (record,) = desired_records(notifying.settings)
    assert f"{record.name}\tTXT\t{record.value}\n" in body(message)
    assert f'{record.name}. {record.ttl} IN TXT "' in body(message)
    again = notify.notify(notifying.settings)
    assert (again["notified"], again["text"]) == ("", "")
    assert len(outbox.calls()) == 1


def test_reminder_follows_after_its_time_and_a_report_once_visible(notifying, outbox):
    notify.notify(notifying.settings)
    notifying.pass_time(7 * DAY - 60)
    notify.notify(notifying.settings)
    assert len(outbox.calls()) == 1
    notifying.pass_time(60)
    notify.notify(notifying.settings)
    notify.notify(notifying.settings)
    notifying.publish("default")
    assert notify.notify(notifying.settings, test=True)["notes"] == [
        "dns@example.com would be notified: DNS: 1 record visible"
    ]
    notify.notify(notifying.settings)
    notify.notify(notifying.settings)
    assert [message["Subject"] for message in outbox.mails()] == [
        "DNS: 1 record to publish",
        "DNS: 1 record still to publish",
        "DNS: 1 record visible",
    ]
    asked = len(notifying.servers[0].asked)
    notify.notify(notifying.settings)
    assert len(notifying.servers[0].asked) == asked, "a visible record is asked for again"


def test_no_reminder_if_reminders_are_off(notifying, outbox):
    notifying.pillar["dns"]["notify"]["every"] = False
    notify.notify(notifying.settings)
    notifying.pass_time(3000 * DAY)
    notify.notify(notifying.settings)
    assert len(outbox.calls()) == 1


def test_record_that_is_visible_at_the_first_check_is_not_reported(notifying, outbox):
    notifying.publish("default")
    notify.notify(notifying.settings)
    assert outbox.calls() == []


def test_servers_without_an_answer_report_no_missing_record(notifying, outbox):
    for server in notifying.servers:
        server.silent = {"udp", "tcp"}
    notify.notify(notifying.settings)
    assert outbox.calls() == []


def test_advance_notifies_and_retries_a_failed_mail(notifying, outbox):
    outbox.says("import sys; sys.stderr.write('queue is full\\n'); sys.exit(75)")
    (problem,) = rotation_commands.advance(notifying.settings)["problems"]
    assert problem.startswith("dkim:dns:notify: ")
    assert "failed (exit status 75): queue is full; the next run tries again" in problem
    outbox.says(KEEP)
    done = rotation_commands.advance(notifying.settings)
    assert done["notes"] == ["dns@example.com was notified: DNS: 1 record to publish"]
    assert len(outbox.calls()) == 1
    assert rotation_commands.advance(notifying.settings)["notes"] == []


def test_manual_rotation_sends_one_mail_with_the_new_record(notifying, outbox):
    notifying.publish("default")
    notify.notify(notifying.settings)
    rotation_commands.rotate(notifying.settings, "example.com")
    (new,) = notifying.selectors("pending")
    rotation_commands.advance(notifying.settings)
    (message,) = outbox.mails()
    assert f"{new}._domainkey.example.com\tTXT\t" in body(message)
    assert "default._domainkey" not in body(message)


def test_program_gets_everything_as_json(notifying, outbox):
    notifying.pillar["dns"]["notify"] = {"command": str(outbox.path)}
    notify.notify(notifying.settings)
    ((arguments, document),) = outbox.calls()
    assert arguments == ""
    found = json.loads(document)
    assert [one["name"] for one in found["new"]] == ["default._domainkey.example.com"]
    assert (found["format"], found["waiting"], found["visible"]) == (1, [], [])
    assert found["subject"] == "DNS: 1 record to publish"


def test_program_of_another_user_is_not_started(notifying, outbox):
    notifying.pillar["dns"]["notify"] = {"command": str(outbox.path)}
    outbox.path.chmod(0o777)
    planned = notify.notify(notifying.settings, test=True)
    done = notify.notify(notifying.settings)
    (problem,) = done["problems"]
    assert planned == done
    assert "dkim:dns:notify:command" in problem
    assert outbox.calls() == []


def test_hanging_program_is_stopped(notifying, outbox):
    notifying.pillar["dns"] |= {"deadline": 1, "notify": {"command": str(outbox.path)}}
    outbox.says("import time; time.sleep(600)")
    (problem,) = notify.notify(notifying.settings)["problems"]
    assert "did not end within 1 s (dkim:dns:deadline)" in problem


def test_ten_thousand_domains_are_one_mail(notifying, outbox, monkeypatch):
    names = [f"d{number}.example" for number in range(10_000)]
    records = [key_record(name, "s", "rsa", "MIIB" * 98) for name in names]
    monkeypatch.setattr(notify, "desired_records", lambda settings: records)
    monkeypatch.setattr(notify, "_observe", lambda dns, asked, known: (list(asked.values()), []))
    done = notify.notify(notifying.settings)
    assert (done["waiting"], len(done["changes"])) == (10_000, 1)
    notify.notify(notifying.settings)
    (message,) = outbox.mails()
    assert message["Subject"] == "DNS: 10,000 records to publish"
    text = body(message)
    assert text.count("\tTXT\t") == notice.WHOLE
    assert "9,980 more records" in text
    assert "10,000 domains" in text
    assert "salt-call dkim.records format=oneline" in text
    assert len(outbox.calls()[0][1]) < 60_000


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\u2028"])
@pytest.mark.parametrize("field", ["to", "sender"])
def test_no_address_adds_a_header(field, end):
    hostile = f"dns@example.com{end}Bcc: thief@example.net"
    settings = replace(Notify(), **{field: (hostile,) if field == "to" else hostile})
    news = Notice((key_record("example.com", "s", "rsa", "MIIB"),), 1)
    try:
        wire = notice.mail(news, Dns(), settings)
    except (ValueError, UnicodeError):
        return
    message = email.message_from_bytes(wire, policy=policy.default)
    assert message["Bcc"] is None


def test_no_record_name_adds_a_header_or_breaks_its_line():
    record = replace(
        key_record("example.com", "s", "rsa", "MIIB"), value="v=DKIM1\n\nFrom: thief", name="a\nb"
    )
    wire = notice.mail(Notice((record,), 1), Dns(), Notify())
    message = email.message_from_bytes(wire, policy=policy.default)
    assert message["From"] == "root"
    assert [*message.keys()].count("From") == 1
