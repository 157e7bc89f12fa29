"""Mail that is sent continuously while a test changes the server, and the fate of the mail."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from support import mail
from support.machine import Machine
from support.meanwhile import BackgroundScript

# Sends by SMTP and sendmail(1) in turn, until the standard input ends. A message that the server
# does not accept counts as refused, since the client would have to send it again.
SEND = """\
import json, smtplib, subprocess, sys, threading, time
given = json.loads(sys.argv[1])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
taken, refused, number = [], [], 0
while not stop.is_set() or number < 2 * len(given["senders"]):
    sender = given["senders"][number // 2 % len(given["senders"])]
    identifier = f"<{number}.{time.time_ns()}@traffic.example>"
    text = given["text"].replace("{sender}", sender).replace("{identifier}", identifier)
    by_smtp = number % 2 == 0
    number += 1
    try:
        if by_smtp:
            with smtplib.SMTP("127.0.0.1", timeout=60) as client:
                wire = text.replace("\\n", "\\r\\n").encode()
                client.sendmail(sender, [given["recipient"]], wire)
        else:
            command = ["/usr/sbin/sendmail", "-i", "-f", sender, "--", given["recipient"]]
            subprocess.run(command, input=text.encode(), check=True, capture_output=True)
    except (OSError, smtplib.SMTPException, subprocess.CalledProcessError) as error:
        refused.append(f"{identifier} {type(error).__name__}: {error}")
    else:
        taken.append(identifier)
    stop.wait(given["pause"])
json.dump({"taken": taken, "refused": refused}, sys.stdout)
"""

# Sends a message in each interval, by SMTP and sendmail(1) in turn, whatever happened to earlier
# messages. Each message has its own client, which retries until the server accepts the message, as
# a mail server does. A permanent refusal (5xx) loses the message. RFC 5321 gives the server ten
# minutes for an answer.
SEND_STEADILY = """\
import json, smtplib, subprocess, sys, threading, time
given = json.loads(sys.argv[1])
stop, lock = threading.Event(), threading.Lock()
said = {"taken": [], "refused": [], "lost": [], "longest": 0}

def deliver(text, sender, by_smtp):
    if not by_smtp:
        command = ["/usr/sbin/sendmail", "-i", "-f", sender, "--", given["recipient"]]
        subprocess.run(command, input=text.encode(), check=True, capture_output=True)
        return
    with smtplib.SMTP("127.0.0.1", timeout=600) as client:
        client.sendmail(sender, [given["recipient"]], text.replace("\\n", "\\r\\n").encode())

def keep(number):
    sender = given["senders"][number // 2 % len(given["senders"])]
    identifier = f"<{number}.{time.time_ns()}@traffic.example>"
    text = given["text"].replace("{sender}", sender).replace("{identifier}", identifier)
    begun, place = time.monotonic(), "refused"
    while place == "refused":
        try:
            deliver(text, sender, number % 2 == 0)
            place, line = "taken", identifier
        except (OSError, smtplib.SMTPException, subprocess.CalledProcessError) as error:
            if 500 <= getattr(error, "smtp_code", 0) < 600:
                place = "lost"
            line = f"{identifier} {type(error).__name__}: {error}"
        with lock:
            said[place].append(line)
            said["longest"] = max(said["longest"], time.monotonic() - begun)
        if place == "refused":
            time.sleep(given["again"])

threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
clients = []
while not stop.is_set():
    clients.append(threading.Thread(target=keep, args=[len(clients)]))
    clients[-1].start()
    stop.wait(given["pause"])
for client in clients:
    client.join()
json.dump({**said, "sent": len(clients)}, sys.stdout)
"""

# Verifies the signatures of each message in the Maildir; dkimpy alone verifies.
VERIFY = """\
import base64, dkim, json, pathlib, sys
given = json.load(sys.stdin)
records = {name.rstrip(".").lower(): value for name, value in given["records"].items()}
def look_up(name, timeout=5):
    value = records.get(name.decode().rstrip(".").lower())
    return None if value is None else value.encode()
found = {}
for path in pathlib.Path(given["maildir"]).glob("*"):
    message = path.read_bytes().replace(b"\\r\\n", b"\\n").replace(b"\\n", b"\\r\\n")
    headers = dict((name.lower(), value) for name, value in dkim.DKIM(message).headers)
    identifier = headers[b"message-id"].decode().strip()
    count = sum(name.lower() == b"dkim-signature" for name, _ in dkim.DKIM(message).headers)
    verdicts = []
    for index in range(count):
        verifier = dkim.DKIM(message)
        try:
            valid = verifier.verify(idx=index, dnsfunc=look_up)
        except Exception as error:
            valid = False
        domain, selector = (verifier.domain or b"").decode(), (verifier.selector or b"").decode()
        verdicts.append([valid, domain, selector])
    found[identifier] = verdicts
json.dump(found, sys.stdout)
"""

# The results of SEND_STEADILY that SEND does not have.
STEADY = ("lost", "sent", "longest")

TEXT = (
    "From: Sender <{sender}>\nTo: someone@example.net\nSubject: Traffic\nMessage-ID: {identifier}\n"
    "Date: Sun, 22 Nov 2026 12:00:00 +0000\nMIME-Version: 1.0\n\nHello.\n"
)


@dataclass(frozen=True)
class Outcome:
    """
    The fate of the messages. Only ``Steady`` fills ``lost``, ``sent`` and ``longest``.

    taken
        The Message-IDs of accepted messages.
    refused
        The Message-IDs of refused tries, each with the server's answer.
    signatures
        (valid, domain, selector) of each signature of every delivered message.
    lost
        The Message-IDs of permanently refused messages, each with the server's answer.
    sent
        The number of messages to send.
    longest
        The most seconds from the first try of a message until its last try.
    """

    taken: Sequence[str]
    refused: Sequence[str]
    signatures: Mapping[str, Sequence[tuple[bool, str, str]]] = field(repr=False)
    lost: Sequence[str] = ()
    sent: int = 0
    longest: float = 0

    @property
    def unsigned(self) -> list[str]:
        """The messages that were delivered without a valid signature."""
        return [
            identifier
            for identifier, found in self.signatures.items()
            if not any(valid for valid, _, _ in found)
        ]

    @property
    def signers(self) -> set[tuple[str, str]]:
        """The domain and selector of every valid signature."""
        found = (signature for message in self.signatures.values() for signature in message)
        return {(domain, selector) for valid, domain, selector in found if valid}


class Traffic(BackgroundScript):
    """
    A client that sends by SMTP and sendmail(1) in turn; a context manager.

    Each sender sends at least one message by both.

    senders
        The senders' addresses.
    pause
        Seconds between two messages.
    """

    _script = SEND
    _script_timeout = 120  # seconds for the last messages

    def __init__(
        self, box: mail.Mailbox, senders: Sequence[str], pause: float = 0.1, **more: float
    ):
        self.box = box
        given = {"senders": senders, "recipient": box.address, "pause": pause, "text": TEXT, **more}
        super().__init__(box.machine, "/usr/bin/python3", self._script, given, self._script_timeout)

    def outcome(self, records: Mapping[str, str], deadline: float = 120) -> Outcome:
        """
        Return the outcome after all accepted mail is delivered.

        Raises ``NotInTime`` if accepted mail is not delivered before the deadline.

        records
            TXT values by name, as :func:`support.mail.signatures` takes them.
        """
        taken = self.result["taken"]
        # Postfix itself retries deferred mail only after minutes; postqueue(1) flushes at once.
        self.machine.wait_for(
            lambda: self._flushed() >= set(taken), deadline, "all accepted mail is delivered"
        )
        found = _verified(self.machine, self._maildir, records)
        # A message may have been delivered although the server reported an error to its sender.
        sent = {*taken, *(line.split()[0] for line in self.result["refused"])}
        signatures = {
            identifier: [tuple(verdict) for verdict in verdicts]
            for identifier, verdicts in found.items()
            if identifier in sent
        }
        steady = {name: value for name, value in self.result.items() if name in STEADY}
        return Outcome(taken, self.result["refused"], signatures, **steady)

    def _flushed(self) -> set[str]:
        script = f"postqueue -f; cat {self._maildir}/* 2>/dev/null | sed -n 's/^Message-ID: //p'"
        return set(self.machine.run(script, check=False).stdout.split())

    @property
    def _maildir(self) -> str:
        return f"/home/{self.box.user}/Maildir/new"


class Steady(Traffic):
    """
    Clients that send at a steady rate and retry until the server accepts each message.

    A temporary refusal loses no message. The script ends after the last message is accepted.

    pause
        Seconds from one message to the next, whatever the server does.
    again
        Seconds until a refused message is retried.
    """

    _script = SEND_STEADILY
    _script_timeout = 700

    def __init__(
        self, box: mail.Mailbox, senders: Sequence[str], pause: float = 0.25, again: float = 1.0
    ):
        super().__init__(box, senders, pause, again=again)


def _verified(
    machine: Machine, maildir: str, records: Mapping[str, str]
) -> dict[str, list[list[object]]]:
    given = json.dumps({"maildir": maildir, "records": dict(records)})
    return json.loads(machine.run([mail.TESTS_PYTHON, "-c", VERIFY], input=given).stdout)
