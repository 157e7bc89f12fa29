"""The test tools that send, receive and verify mail, tested without OpenDKIM."""

from collections.abc import Iterator

import pytest
from support import mail
from support.machine import CommandFailed, Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = [pytest.mark.one_release("bookworm"), pytest.mark.soak]

SIGN = """\
import base64, dkim, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa
key = rsa.generate_private_key(65537, 2048)
public = key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption())
message = sys.stdin.buffer.read().replace(b"\\n", b"\\r\\n")
print("v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode())
sys.stdout.write((dkim.sign(message, b"sel", b"example.com", pem) + message).decode())
"""
NAME = "sel._domainkey.example.com"


@pytest.fixture(scope="module")
def signed(machine: Machine) -> tuple[bytes, dict[str, str]]:
    """A message that dkimpy signed, and the record that verifies it."""
    text = mail.compose("someone@example.com", "other@example.org")
    output = machine.run([mail.TESTS_PYTHON, "-c", SIGN], input=text).stdout
    record, _, message = output.partition("\n")
    return message.replace("\n", "\r\n").encode(), {NAME: record}


@pytest.fixture(scope="module")
def box(machine: Machine) -> Iterator[mail.Mailbox]:
    """A mailbox on a machine whose Postfix has its packaged configuration."""
    machine.install("postfix")
    return mail.Mailbox(machine)


def test_good_signature_is_valid(machine: Machine, signed: tuple[bytes, dict[str, str]]) -> None:
    message, records = signed
    (signature,) = mail.signatures(machine, message, records)
    assert signature.valid, signature
    assert (signature.domain, signature.selector) == ("example.com", "sel")
    assert signature.algorithm == "rsa-sha256"


def test_signature_of_a_changed_body_is_not_valid(
    machine: Machine, signed: tuple[bytes, dict[str, str]]
) -> None:
    message, records = signed
    (signature,) = mail.signatures(machine, message.replace(b"Hello", b"Hullo"), records)
    assert not signature.valid


def test_signature_without_its_record_is_not_valid(
    machine: Machine, signed: tuple[bytes, dict[str, str]]
) -> None:
    message, records = signed
    (signature,) = mail.signatures(machine, message, {f"x.{NAME}": records[NAME]})
    assert not signature.valid


def test_unsigned_message_has_no_signatures(machine: Machine) -> None:
    text = mail.compose("someone@example.com", "other@example.org")
    assert mail.signatures(machine, text.replace("\n", "\r\n").encode(), {}) == []


def test_zone_records_joins_the_strings_of_a_value(machine: Machine) -> None:
    lines = f'{NAME}. 3600 IN TXT ( "v=DKIM1; k=rsa; "\n  "p=abc" )\n'
    assert mail.zone_records(machine, lines) == {f"{NAME}.": "v=DKIM1; k=rsa; p=abc"}


def test_two_records_at_one_name_are_refused(machine: Machine) -> None:
    with pytest.raises(CommandFailed, match="several TXT records"):
        mail.zone_records(machine, f'{NAME}. 60 IN TXT "a"\n{NAME}. 60 IN TXT "b"\n')


@pytest.mark.parametrize("send", [mail.sent_by_smtp, mail.sent_by_sendmail])
def test_message_arrives_as_it_was_sent(box: mail.Mailbox, send) -> None:
    message = send(box, "someone@example.com", subject="Whole", body="From here\n\n.dot\nüber\n")
    assert message.endswith("\r\n\r\nFrom here\r\n\r\n.dot\r\nüber\r\n".encode())
    assert "Subject: Whole" in mail.headers(message)


def test_refused_recipient_is_an_error(box: mail.Mailbox) -> None:
    text = mail.compose("someone@example.com", "nobody-here@mail.example.net")
    with pytest.raises(CommandFailed, match="SMTPRecipientsRefused"):
        mail.send_smtp(box.machine, text, "someone@example.com", "nobody-here@mail.example.net")
