"""Sending, delivery and verification of mail inside a test machine; dkimpy alone verifies."""

import json
import uuid
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.utils import formatdate

from support.machine import Machine, NotInTime

TESTS_PYTHON = "/opt/tests/bin/python"

# dkimpy passes an absolute name in bytes to dnsfunc, which returns None for a missing record.
VERIFY = """\
import base64, dkim, json, sys
given = json.load(sys.stdin)
records = {name.rstrip(".").lower(): value for name, value in given["records"].items()}
message = base64.b64decode(given["message"])
def look_up(name, timeout=5):
    value = records.get(name.decode().rstrip(".").lower())
    return None if value is None else value.encode()
results = []
verifier = dkim.DKIM(message)
count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
for index in range(count):
    verifier = dkim.DKIM(message)
    try:
        valid, problem = verifier.verify(idx=index, dnsfunc=look_up), ""
    except Exception as error:
        valid, problem = False, f"{type(error).__name__}: {error}"
    results.append({"valid": valid, "problem": problem})
json.dump(results, sys.stdout)
"""

# dnspython reads the zone, not the formula, so the records are those of a name server.
ZONE = """\
import dns.rdatatype, dns.zonefile, json, sys
found = {}
for rrset in dns.zonefile.read_rrsets(sys.stdin.read(), rdclass=None, relativize=False, origin="."):
    if rrset.rdtype == dns.rdatatype.TXT:
        if len(rrset) != 1 or rrset.name.to_text() in found:
            sys.exit(f"several TXT records at {rrset.name}")
        found[rrset.name.to_text()] = b"".join(rrset[0].strings).decode()
json.dump(found, sys.stdout)
"""

SEND = """\
import json, smtplib, sys
given = json.load(sys.stdin)
with smtplib.SMTP(given["host"], given["port"], timeout=120) as client:
    if given["user"]:
        client.login(given["user"], given["password"])
    wire = given["text"].replace("\\n", "\\r\\n").encode()
    client.sendmail(given["sender"], [given["recipient"]], wire)
"""


# Searches a Maildir for two seconds, and then flushes Postfix's queues. Postfix itself retries a
# deferred message only after minutes (queue_run_delay, minimal_backoff_time: 300 s; pickup: 60 s).
FIND = """\
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    grep --recursive --files-with-matches --fixed-strings --regexp="$1" "$2" 2>/dev/null && exit
    sleep 0.1
done
postqueue -f
exit 1
"""


@dataclass(frozen=True)
class Signature:
    """A DKIM-Signature header of a message, and dkimpy's verdict on it."""

    domain: str
    selector: str
    algorithm: str
    tags: Mapping[str, str]
    valid: bool
    problem: str


class Mailbox:
    """
    A local user that receives mail.

    machine
        The machine on which Postfix runs, or will run.
    user
        The user's name; a missing user is made. Mail goes to the user's Maildir, which stores
        messages unchanged: an mbox would put ``>`` before lines that begin with ``From``.
    """

    def __init__(self, machine: Machine, user: str = "catcher"):
        self.machine = machine
        self.user = user
        self.address = f"{user}@{machine.hostname}"
        self._maildir = f"/home/{user}/Maildir"
        script = (
            f"id {user} >/dev/null 2>&1 || useradd --create-home {user}; "
            f"echo {self._maildir}/ > /home/{user}/.forward"
        )
        machine.run(script)

    def messages(self) -> list[bytes]:
        """Return every delivered message, in no particular order."""
        listed = self.machine.run(f"find {self._maildir}/new -type f 2>/dev/null || true").stdout
        return [_raw(self.machine.read(path)) for path in listed.split()]

    def wait_for(self, token: str, deadline: float = 180) -> bytes:
        """
        Wait for the delivery of the message that contains a text, and return the message.

        Deferred mail is retried every two seconds.
        """
        paths: list[str] = []

        def arrived() -> bool:
            find = ["/bin/sh", "-c", FIND, "sh", token, f"{self._maildir}/new"]
            paths.extend(self.machine.run(find, check=False).stdout.split())
            return bool(paths)

        what = f"a message with {token!r} for {self.address}"
        try:
            self.machine.wait_for(arrived, deadline, what)
        except NotInTime as error:
            log = self.machine.run("postqueue -p; journalctl -q -n 60 --no-pager", check=False)
            raise NotInTime(f"{error}\n{log.stdout}") from None
        return _raw(self.machine.read(paths[0]))


def compose(sender: str, recipient: str, subject: str = "A test", body: str = "Hello.\n") -> str:
    """Return a message's text, with its own Message-ID. ``sender`` may have any letter case."""
    identifier = f"<{uuid.uuid4()}@{sender.rpartition('@')[2].lower()}>"
    headers = {
        "From": f"Sender <{sender}>",
        "To": recipient,
        "Subject": subject,
        "Date": formatdate(),
        "Message-ID": identifier,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
    }
    return "".join(f"{name}: {value}\n" for name, value in headers.items()) + f"\n{body}"


def message_id(text: str | bytes) -> str:
    """Return the Message-ID, which identifies a message after its delivery."""
    raw = text.encode() if isinstance(text, str) else text
    return str(message_from_bytes(raw)["Message-ID"]).strip()


def send_smtp(
    machine: Machine,
    text: str,
    sender: str,
    recipient: str,
    host: str = "127.0.0.1",
    port: int = 25,
    user: str = "",
    password: str = "",
) -> None:
    """Submit a message by SMTP inside the machine; raise ``CommandFailed`` if it is refused."""
    given = {
        "text": text,
        "sender": sender,
        "recipient": recipient,
        "host": host,
        "port": port,
        "user": user,
        "password": password,
    }
    machine.run(["/usr/bin/python3", "-c", SEND], input=json.dumps(given))


def send_sendmail(
    machine: Machine, text: str, sender: str, recipient: str, user: str | None = None
) -> None:
    """Submit a message by sendmail(1), as a local program does."""
    command = ["/usr/sbin/sendmail", "-i", "-f", sender, "--", recipient]
    machine.run(command, input=text, user=user)


def sent_by_smtp(box: Mailbox, sender: str, **options: str) -> bytes:
    """Send a message to the mailbox by SMTP, and return the delivered message."""
    text = compose(sender, box.address, **options)
    send_smtp(box.machine, text, sender, box.address)
    return box.wait_for(message_id(text))


def sent_by_sendmail(box: Mailbox, sender: str, **options: str) -> bytes:
    """Send a message to the mailbox by sendmail(1), and return the delivered message."""
    text = compose(sender, box.address, **options)
    send_sendmail(box.machine, text, sender, box.address)
    return box.wait_for(message_id(text))


def signatures(machine: Machine, message: bytes, records: Mapping[str, str]) -> list[Signature]:
    """
    Return the signatures of a message in the order of its headers, verified by dkimpy.

    machine
        Any machine, to run dkimpy on, separately from everything that signs.
    records
        TXT values by name; the verification uses no others.
    """
    given = json.dumps({"message": _base64(message), "records": dict(records)})
    verdicts = json.loads(machine.run([TESTS_PYTHON, "-c", VERIFY], input=given).stdout)
    headers = message_from_bytes(message).get_all("DKIM-Signature", [])
    return [
        _signature(str(header), verdict) for header, verdict in zip(headers, verdicts, strict=True)
    ]


def zone_records(machine: Machine, zone_lines: str) -> dict[str, str]:
    """Return the TXT values of zone-file lines by name, as :func:`signatures` takes them."""
    return json.loads(machine.run([TESTS_PYTHON, "-c", ZONE], input=zone_lines).stdout)


def headers(message: bytes) -> str:
    """Return the message's header section as text."""
    return message.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n").decode(errors="replace")


def _signature(header: str, verdict: Mapping[str, object]) -> Signature:
    pairs = (tag.partition("=") for tag in header.split(";") if tag.strip())
    tags = {name.strip(): "".join(value.split()) for name, _, value in pairs}
    return Signature(
        domain=tags.get("d", ""),
        selector=tags.get("s", ""),
        algorithm=tags.get("a", ""),
        tags=tags,
        valid=bool(verdict["valid"]),
        problem=str(verdict["problem"]),
    )


def _raw(text: str) -> bytes:
    """Return a Maildir's file with the line ends of SMTP."""
    lines = text.encode("utf-8", "surrogateescape").replace(b"\r\n", b"\n")
    return lines.replace(b"\n", b"\r\n")


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
