"""Mail that is sent all the time while something is done to the server, and what became of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from support import mail
from support.machine import Machine
from support.meanwhile import Meanwhile

# By SMTP and sendmail(1) in turn, until the standard input ends. A message that the server does
# not take is the client's to send again, so it counts as refused.
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

# A message every so often, by SMTP and sendmail(1) in turn, whatever became of those before. Each
# has a client of its own that keeps it until the server has taken it, as a mail server would; what
# is refused for good (5xx) is lost. RFC 5321 gives the server ten minutes for an answer.
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

# What is in the Maildir, each message with its signatures, verified by dkimpy alone.
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

# What only SEND_STEADILY tells.
STEADY = ("lost", "sent", "longest")

TEXT = (
    "From: Sender <{sender}>\nTo: someone@example.net\nSubject: Traffic\nMessage-ID: {identifier}\n"
    "Date: Sun, 22 Nov 2026 12:00:00 +0000\nMIME-Version: 1.0\n\nHello.\n"
)


@dataclass(frozen=True)
class Outcome:
    """
    What became of the messages.

    taken
        Message-IDs that the server answered for.
    refused
        The others, each with the answer.
    signatures
        Of every message that was delivered: (valid, domain, selector) of each signature.
    lost
        Refused for good, each with the answer. This and what follows is of ``Steady`` alone.
    sent
        How many messages there were to send.
    longest
        Seconds from the first try of a message until the server had taken it, at most.
    """

    taken: Sequence[str]
    refused: Sequence[str]
    signatures: Mapping[str, Sequence[tuple[bool, str, str]]] = field(repr=False)
    lost: Sequence[str] = ()
    sent: int = 0
    longest: float = 0

    @property
    def unsigned(self) -> list[str]:
        """Messages that were delivered without a valid signature."""
        return [
            identifier
            for identifier, found in self.signatures.items()
            if not any(valid for valid, _, _ in found)
        ]

    @property
    def signers(self) -> set[tuple[str, str]]:
        """Domain and selector of every valid signature."""
        found = (signature for message in self.signatures.values() for signature in message)
        return {(domain, selector) for valid, domain, selector in found if valid}


class Traffic(Meanwhile):
    """
    Sends by SMTP and by sendmail(1) in turn, as a context manager; each sender at least once by
    both.

    senders
        Addresses for From.
    pause
        Seconds between two messages.
    """

    _script = SEND
    _for_the_last = 120  # seconds that it has for its last messages

    def __init__(
        self, box: mail.Mailbox, senders: Sequence[str], pause: float = 0.1, **more: float
    ):
        self.box = box
        given = {"senders": senders, "recipient": box.address, "pause": pause, "text": TEXT, **more}
        super().__init__(box.machine, "/usr/bin/python3", self._script, given, self._for_the_last)

    def outcome(self, records: Mapping[str, str], deadline: float = 120) -> Outcome:
        """
        What was delivered, once all that the server took is; ``NotInTime`` where some of it never
        comes.

        records
            TXT values by name, as :func:`support.mail.signatures` takes them.
        """
        taken = self.said["taken"]
        # Mail of a queue that waits is tried again in minutes: postqueue(1) does not wait.
        self.machine.wait_for(
            lambda: self._flushed() >= set(taken), deadline, "all mail that was taken is delivered"
        )
        found = _verified(self.machine, self._maildir, records)
        # Mail may have been delivered whose sender was told otherwise.
        sent = {*taken, *(line.split()[0] for line in self.said["refused"])}
        signatures = {
            identifier: [tuple(verdict) for verdict in verdicts]
            for identifier, verdicts in found.items()
            if identifier in sent
        }
        steady = {name: value for name, value in self.said.items() if name in STEADY}
        return Outcome(taken, self.said["refused"], signatures, **steady)

    def _flushed(self) -> set[str]:
        script = f"postqueue -f; cat {self._maildir}/* 2>/dev/null | sed -n 's/^Message-ID: //p'"
        return set(self.machine.run(script, check=False).stdout.split())

    @property
    def _maildir(self) -> str:
        return f"/home/{self.box.user}/Maildir/new"


class Steady(Traffic):
    """
    A steady rate of mail, and clients that try again until each message is taken: what the server
    refuses for now is not lost. It ends when the last message is taken.

    pause
        Seconds from one message to the next, whatever the server does.
    again
        Seconds until a message that was refused is tried again.
    """

    _script = SEND_STEADILY
    _for_the_last = 700

    def __init__(
        self, box: mail.Mailbox, senders: Sequence[str], pause: float = 0.25, again: float = 1.0
    ):
        super().__init__(box, senders, pause, again=again)


def _verified(
    machine: Machine, maildir: str, records: Mapping[str, str]
) -> dict[str, list[list[object]]]:
    given = json.dumps({"maildir": maildir, "records": dict(records)})
    return json.loads(machine.run([mail.TESTS_PYTHON, "-c", VERIFY], input=given).stdout)
