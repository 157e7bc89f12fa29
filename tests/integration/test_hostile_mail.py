"""
Messages with hostile content: they restart no daemon, and no check and no beacon reports a problem.

See docs/faults.md, «The watchdog».
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from support import mail, salt
from support.machine import ROOT, Machine
from support.sought_texts import sought_texts

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

EQUIPPED = True

DAEMONS = ("opendkim", "opendkim-ed25519")
UNITS = (*DAEMONS, "opendkim-watchdog", "postfix@-")
SOCKETS = [f"/var/spool/postfix/opendkim/{daemon}.sock" for daemon in DAEMONS]
CASE_01 = ROOT / "tests/cases/mail/01-from-text.eml"
# With these options OpenDKIM also logs text of each message.
PILLAR = {
    "dkim": {
        "defaults": {"algorithm": ["rsa", "ed25519"]},
        "domains": {"example.com": {}, "example.org": {}},
        "opendkim": {"settings": {"LogWhy": True, "SyslogSuccess": True, "LogResults": True}},
        "monitoring": {
            "beacon": True,
            "down_for": "0s",
            "dns_every": False,
            "database_every": "1s",
        },
    }
}
OUTSIDE = "198.51.100.10"

# Sends each text in every field that a client chooses. Where Postfix refuses an envelope or a HELO
# name, the message is sent with a valid one.
SEND = """\
import json, smtplib, sys
given = json.load(sys.stdin)
counts = {"taken": 0, "refused": []}

def client(source, helo):
    one = smtplib.SMTP(timeout=60)
    one.source_address = (source, 0)
    one.connect(source, 25)
    if one.docmd("EHLO", helo)[0] != 250:
        one.docmd("EHLO", "client.example")
    return one

def pass_on(source, helo, sender, recipient, data):
    one = client(source, helo)
    try:
        code, said = one.docmd("MAIL FROM:" + sender)
        if code != 250:
            one.rset()
            code, said = one.docmd("MAIL FROM:<someone@example.com>")
        for address in (recipient, "<devnull@localhost>"):
            one.docmd("RCPT TO:" + address)
        one.putcmd("data")
        code, said = one.getreply()
        if code == 354:
            one.send(data.replace("\\n", "\\r\\n").encode() + b"\\r\\n.\\r\\n")
            code, said = one.getreply()
        if code == 250:
            counts["taken"] += 1
        else:
            counts["refused"].append([code, said.decode(errors="replace"), sender])
    finally:
        one.close()

for one in given["messages"]:
    for source in given["sources"]:
        pass_on(source, **one)
json.dump(counts, sys.stdout)
"""

# Calls the beacon as a minion does.
BEACON = """\
import json, salt.config, salt.loader
options = salt.config.minion_config("/var/cache/dkim-formula/minion/minion")
options["grains"] = salt.loader.grains(options)
options["pillar"] = json.load(open("/srv/pillar/dkim.sls"))
functions = salt.loader.minion_mods(options)
print(json.dumps(salt.loader.beacons(options, functions)["dkim_health.beacon"]([])))
"""


@dataclass(frozen=True)
class Site:
    """A server without faults that signs with both daemons."""

    machine: Machine
    records: Mapping[str, str]

    def processes(self) -> Mapping[str, tuple[str, str]]:
        """Return the main process and the number of restarts of each unit."""
        found = {}
        for unit in UNITS:
            command = ["systemctl", "show", unit, "--property=MainPID,NRestarts", "--value"]
            found[unit] = tuple(self.machine.run(command).stdout.split())
        return found

    def problems(self) -> list[object]:
        """Return the problems that ``dkim.health``, the beacon and the doctor report."""
        events = self.machine.run(["/opt/salt/bin/python", "-c", BEACON]).stdout.splitlines()[-1]
        health = salt.call(self.machine, "dkim.health", fresh=True)["problems"]
        _, found = salt.ask(self.machine, "dkim.doctor")
        failed = [one for one in found if one["ok"] is False and one["check"] != "dns"]
        return [*json.loads(events), *health, *failed]

    def send(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Send messages from this machine and from outside; return how many Postfix accepted."""
        stdin = json.dumps({"messages": messages, "sources": ["127.0.0.1", OUTSIDE]})
        command = [mail.TESTS_PYTHON, "-c", SEND]
        result = json.loads(self.machine.run(command, input=stdin, timeout=900).stdout)
        assert [one for one in result["refused"] if one[0] >= 500 and one[0] != 550] == []
        return result["taken"]

    def signed_by_both(self) -> bool:
        box = mail.Mailbox(self.machine)
        message = mail.sent_by_smtp(box, "someone@example.com")
        found = mail.signatures(self.machine, message, self.records)
        return [one.valid for one in found] == [True, True]


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    """A server with an external IP address of its own and a mail address that discards mail."""
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    machine.run(f"ip address replace {OUTSIDE}/32 dev lo")
    machine.run("echo 'devnull: /dev/null' >> /etc/aliases && newaliases")
    zone = salt.call(machine, "dkim.records", format="bind")
    site = Site(machine, mail.zone_records(machine, zone))
    assert site.signed_by_both()
    assert site.problems() == []
    return site


@pytest.fixture
def undisturbed(site: Site):
    """Assert that a test causes no restart, no problem and no log line of the watchdog."""
    before = site.processes()
    log = site.machine.run("journalctl -q -o cat -u opendkim-watchdog").stdout
    yield
    assert site.processes() == before
    assert site.problems() == []
    assert site.machine.run("journalctl -q -o cat -u opendkim-watchdog").stdout == log
    assert site.signed_by_both()


HEADER_NAMES = (
    *("Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "References", "Received"),
    *("Content-Type", "MIME-Version", "List-Id", "DKIM-Signature", "Authentication-Results"),
    *("X-Mailer", "Resent-From", "Return-Path"),
)


def with_text(text: str, form: str) -> Mapping[str, str]:
    """Return a message with a text in every field; ``form`` is the form of its From header."""
    line = " ".join(text.split())
    quoted = line.replace("\\", "\\\\").replace('"', '\\"')
    headers = [f"From: {form.format(text=line, quoted=quoted)}"]
    headers += [f"{name}: {line}" for name in HEADER_NAMES]
    return {
        "helo": line.encode("ascii", "replace").decode(),
        "sender": f'<"{quoted[:60]}"@example.com>',
        "recipient": f'<"{quoted[:60]}"@localhost>',
        "data": "\n".join([*headers, "", text, ""]),
    }


# Forms of the From header that opendkim logs: those that it can't parse, with LogWhy also others.
FORMS = (
    "{text} <>",
    '"{quoted}" <>',
    "({text}) <>",
    '"{quoted}"@example.com',
    "{text} <someone@example.com>",
)


def test_case_01_text_that_a_program_might_search_for_ends_no_daemon(
    site: Site, undisturbed: None
) -> None:
    raw = CASE_01.read_text()
    text = raw.split("From: ")[1].split(" <>")[0]
    envelope = {"helo": "client.example", "sender": "<>", "recipient": "<devnull@localhost>"}
    messages = [{**envelope, "data": raw}, *(with_text(text, form) for form in FORMS)]
    assert site.send(messages * 5) == 2 * 5 * len(messages)
    # The daemons logged the text, so the formula could have found it in the log.
    logged = f"journalctl -q -u opendkim -u opendkim-ed25519 | grep -c '{text}'"
    site.machine.wait_for(f"test $({logged}) -gt 4")


def test_texts_that_the_formula_searches_for_have_no_effect_in_a_message(
    site: Site, undisturbed: None
) -> None:
    texts = sought_texts()
    assert len(texts) > 100
    messages = [with_text(text, FORMS[number % len(FORMS)]) for number, text in enumerate(texts)]
    assert site.send(messages) > len(messages)


def send_generated_messages(site: Site, seed: int, seconds: float) -> Mapping[str, object]:
    command = ["/opt/salt/bin/python", "-m", "support.hostile", str(seed), str(seconds), *SOCKETS]
    paths = f"{salt.TREE}/_utils:{salt.TREE}/tests"
    result = site.machine.run(command, env={"PYTHONPATH": paths}, timeout=seconds + 300)
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_no_generated_message_stops_a_daemon(
    site: Site, undisturbed: None, request: pytest.FixtureRequest
) -> None:
    result = send_generated_messages(site, request.config.getoption("--seed"), 20)
    assert result["problems"] == []
    assert result["sent"] > result["hung_up"] > 0


@pytest.mark.soak
@pytest.mark.fuzz
def test_no_generated_message_stops_a_daemon_in_a_long_run(
    site: Site, undisturbed: None, request: pytest.FixtureRequest
) -> None:
    options = request.config
    minutes = options.getoption("--minutes")
    result = send_generated_messages(site, options.getoption("--seed") + 1, 60 * minutes)
    assert result["problems"] == []
