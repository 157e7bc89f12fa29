"""
A remote mail receiver, which verifies each message on arrival with a resolver's answers.

The receiver verifies a message again later if the name server did not answer.
"""

from collections.abc import Mapping, Sequence

from support import mail
from support.meanwhile import BackgroundScript

# The look-ups use a resolver's cache: it keeps an answer for its TTL, and an absence for the lesser
# of the SOA's TTL and minimum (RFC 2308, section 5).
RECEIVE = """\
import dkim, dns.exception, dns.message, dns.query, dns.rdatatype
import json, pathlib, sys, threading, time
given = json.loads(sys.argv[1])
stop, cache, found = threading.Event(), {}, {}
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

def look_up(name, timeout=2):
    name = name.decode().rstrip(".").lower()
    until, value = cache.get(name, (0, None))
    if time.monotonic() < until:
        return value
    asked = time.monotonic()
    reply = dns.query.udp_with_fallback(
        dns.message.make_query(f"{name}.", "TXT"), given["server"], timeout=timeout
    )[0]
    texts = [
        (rrset.ttl, b"".join(rdata.strings))
        for rrset in reply.answer if rrset.rdtype == dns.rdatatype.TXT for rdata in rrset
    ]
    if len(texts) == 1:
        ttl, value = texts[0]
    else:
        soa = next(rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.SOA)
        ttl, value = min(soa.ttl, soa[0].minimum), None
    cache[name] = (asked + ttl, value)
    return value

def verify(message):
    headers = dkim.DKIM(message).headers
    count = sum(name.lower() == b"dkim-signature" for name, _ in headers)
    for index in range(count):
        verifier = dkim.DKIM(message)
        try:
            valid = verifier.verify(idx=index, dnsfunc=look_up)
        except dkim.DKIMException:
            valid = False
        yield valid, (verifier.domain or b"").decode(), (verifier.selector or b"").decode()

def receive():
    for path in pathlib.Path(given["maildir"]).glob("*"):
        if path.name not in found:
            message = path.read_bytes().replace(b"\\r\\n", b"\\n").replace(b"\\n", b"\\r\\n")
            found[path.name] = list(verify(message))
    for name in given["asks_early"]:
        look_up(name.encode())

while not stop.wait(0.05):
    try:
        receive()
    except dns.exception.Timeout:
        pass  # the server is gone: what could not be verified is tried again (RFC 6376, 6.1.2)
receive()
json.dump(list(found.values()), sys.stdout)
"""

Signature = tuple[bool, str, str]


class Receiver(BackgroundScript):
    """
    A verifier of the messages that arrive in a mailbox; a context manager.

    server
        The name server that the receiver's resolver asks.
    asks_early
        Names that the receiver looks up all the time, so that its resolver caches their absence.
    """

    def __init__(self, box: mail.Mailbox, server: str, asks_early: Sequence[str] = ()):
        maildir = f"/home/{box.user}/Maildir/new"
        given = {"maildir": maildir, "server": server, "asks_early": list(asks_early)}
        super().__init__(box.machine, mail.TESTS_PYTHON, RECEIVE, given, timeout=120)

    @property
    def messages(self) -> list[list[Signature]]:
        """The signatures of each message."""
        return [[tuple(one) for one in message] for message in self.result]

    @property
    def unsigned(self) -> int:
        """The number of messages without a signature."""
        return sum(not signatures for signatures in self.messages)

    @property
    def invalid(self) -> list[Signature]:
        """The signatures that did not verify."""
        return [one for signatures in self.messages for one in signatures if not one[0]]

    @property
    def signers(self) -> set[str]:
        """The selectors of the signatures that verified."""
        return {one[2] for signatures in self.messages for one in signatures if one[0]}


def verified_now(box: mail.Mailbox, server: str) -> Mapping[str, list[bool]]:
    """Verify all messages of the mailbox again; return the verdicts by selector."""
    with Receiver(box, server) as receiver:
        pass  # the messages have arrived already
    found: dict[str, list[bool]] = {}
    for signatures in receiver.messages:
        for valid, _, selector in signatures:
            found.setdefault(selector, []).append(valid)
    return found
