"""
A sender of hostile messages to the daemons' own sockets. Run inside a machine:

    PYTHONPATH=_utils:tests python -m support.hostile SEED SECONDS SOCKET …

The program sends generated messages for SECONDS. After each batch a normal message must come back
signed. The program prints the number of messages and all problems as JSON.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing

from dkim_formula.errors import OpenDKIMError
from dkim_formula.signer.milter import Connection

BATCH = 50

# Pieces of addresses and headers, and texts that programs search for (RFC 5322, section 3.4).
PIECES = (
    b"<",
    b">",
    b"<>",
    b"@",
    b",",
    b";",
    b":",
    b".",
    b"..",
    b'"',
    b"\\",
    b'\\"',
    b"(",
    b")",
    b"((",
    b"[",
    b"]",
    b"[192.0.2.1]",
    b"'",
    b"''",
    b"%s",
    b"%n%n%n",
    b"%",
    b"*",
    b"=?utf-8?q?=00?=",
    b"=?utf-8?b?/w==?=",
    b"group:",
    b"group: a@example.com, b@example.com;",
    b"someone@example.com",
    b"SOMEONE@EXAMPLE.COM",
    b"someone",
    b"example.com",
    b".example.com",
    b"xn--",
    b"\xc3\xbc",
    b"\xff\xfe",
    b"\x80",
    b"\x00",
    b"\x01\x02\x7f",
    b"\r",
    b"\n",
    b"\r\n ",
    b"\r\n",
    b"\t",
    b" ",
    b"; DROP TABLE dkim; --",
    b"another command is already in progress",
    b"a" * 64,
    b"a." * 130,
    b"x" * 1100,
    b"v=1; a=rsa-sha256; d=example.com; s=default; h=From; bh=; b=",
    b"v=1; a=rsa-sha256; l=99999999999; t=-1; x=99999999999999999999; d=.; s=..; h=::::; b=%",
)
NAMES = (
    b"From",
    b"from",
    b"Sender",
    b"To",
    b"Cc",
    b"Reply-To",
    b"Subject",
    b"Date",
    b"Message-ID",
    b"Content-Type",
    b"List-Unsubscribe",
    b"Resent-From",
    b"DKIM-Signature",
    b"Authentication-Results",
    b"Received",
    b"",
    b" ",
    b"X" * 500,
    b"X-\xff",
)


def value(chance: random.Random) -> bytes:
    """Return a header's value, which is rarely valid."""
    form = chance.random()
    joined = b"".join(chance.choice(PIECES) for _ in range(chance.randint(0, 8)))
    if form < 0.1:
        return chance.randbytes(chance.randint(0, 300))
    if form < 0.15:
        return chance.choice(PIECES) * chance.choice([100, 1000, 9000])
    if form < 0.4:
        return joined + chance.choice([b" <>", b" <someone@example.com>", b"@example.com", b""])
    return joined


def headers(chance: random.Random) -> list[tuple[bytes, bytes]]:
    """Return the headers of one message, with no From, one, or several."""
    found = [(chance.choice(NAMES), value(chance)) for _ in range(chance.randint(0, 12))]
    found += [(b"From", value(chance)) for _ in range(chance.choice([0, 1, 1, 2]))]
    if chance.random() < 0.3:
        found.append((b"From", b"someone@example.com"))
    chance.shuffle(found)
    return found


def messages(chance: random.Random) -> Iterator[tuple[bytes, list[tuple[bytes, bytes]], bytes]]:
    """Yield envelope senders, headers and bodies without end."""
    while True:
        body = b"".join(chance.choice(PIECES) for _ in range(chance.randint(0, 40)))
        yield value(chance).replace(b"\0", b""), headers(chance), body


def text(octets: bytes) -> str:
    """Return the text that the milter client encodes as these octets."""
    return octets.decode("utf-8", "surrogateescape")


def send(path: str, message: tuple[bytes, list[tuple[bytes, bytes]], bytes], login: bool) -> str:
    """Send one message; return the verdict."""
    sender, given, body = message
    macros = {"i": "hostile", **({"{auth_authen}": "someone"} if login else {})}
    with closing(Connection(path, 30)) as connection:
        pairs = [(text(name), text(octets)) for name, octets in given]
        return connection.message(text(sender), pairs, body, macros=macros).verdict


def signs(path: str) -> bool:
    """Return whether the daemon signs a normal message."""
    with closing(Connection(path, 30)) as connection:
        given = [("From", "someone@example.com"), ("Date", "Thu, 01 Jan 1970 00:00:00 +0000")]
        macros = {"i": "plain", "{auth_authen}": "someone"}
        answer = connection.message("someone@example.com", given, b"Hello.\r\n", macros=macros)
        return len(answer.headers("DKIM-Signature")) == 1


def run(seed: int, seconds: float, sockets: list[str]) -> dict[str, object]:
    """Send messages until the time is over or a daemon stops signing; return counts, problems."""
    chance, problems, sent, hung_up = random.Random(seed), [], 0, 0
    made = messages(chance)
    until = time.monotonic() + seconds
    while time.monotonic() < until and not problems:
        for path in sockets:
            batch = [(next(made), chance.random() < 0.7) for _ in range(BATCH)]
            for message, login in batch:
                sent += 1
                try:
                    send(path, message, login)
                except OpenDKIMError:
                    # libmilter closes the connection at a NUL in a header (measured). Postfix never
                    # sends one.
                    hung_up += 1
            try:
                wrong = "" if signs(path) else "a plain message was not signed"
            except OpenDKIMError as error:
                wrong = str(error)
            if wrong:
                problems.append(f"{path}: {wrong}, after one of {batch!r}")
    return {"sent": sent, "hung_up": hung_up, "problems": problems}


if __name__ == "__main__":
    json.dump(run(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]), sys.stdout)
