"""Generated files and answers: keys, OpenDKIM's tables, DNS, milters, other settings."""

import base64
import contextlib
import hashlib
import socket
import threading
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from dkim_formula import key_file
from dkim_formula.dns.steps import Present, to_publish, to_remove
from dkim_formula.errors import FormulaError, InvalidValue, OpenDKIMError, PostfixError
from dkim_formula.importing import data_set
from dkim_formula.importing.key_table import read_key_table
from dkim_formula.importing.selection import select
from dkim_formula.importing.signing_table import SigningTable
from dkim_formula.key_text import read_stored
from dkim_formula.postfix import main_cf_milters
from dkim_formula.postgres import hba, scram
from dkim_formula.private_key import PrivateKey
from dkim_formula.records import key_record
from dkim_formula.records.meaning import compare
from dkim_formula.secret import Secret
from dkim_formula.signer import milter
from dkim_formula.signer import verify as verification
from dkim_formula.signer.former_sockets import previous_addresses
from hypothesis import example, given
from hypothesis import strategies as st
from support.fuzz import damaged, examples, odd_text

pytestmark = pytest.mark.one_release

KEYS = {"rsa": PrivateKey.generate("rsa", 1024), "ed25519": PrivateKey.generate("ed25519")}


def in_form(key, encoding, form, encrypted=False):
    how = serialization.NoEncryption()
    if encrypted:
        how = serialization.BestAvailableEncryption(b"passphrase")
    return key._key.private_bytes(
        getattr(serialization.Encoding, encoding), getattr(serialization.PrivateFormat, form), how
    )


FILES = [
    in_form(KEYS["rsa"], "PEM", "PKCS8"),
    in_form(KEYS["rsa"], "PEM", "TraditionalOpenSSL"),
    in_form(KEYS["rsa"], "PEM", "PKCS8", encrypted=True),
    in_form(KEYS["rsa"], "DER", "PKCS8"),
    base64.b64encode(in_form(KEYS["rsa"], "DER", "TraditionalOpenSSL")),
    in_form(KEYS["ed25519"], "PEM", "PKCS8"),
    in_form(KEYS["ed25519"], "DER", "PKCS8"),
    # rspamd's form: the seed and the public half.
    base64.b64encode(
        in_form(KEYS["ed25519"], "DER", "PKCS8")[-32:]
        + base64.b64decode(KEYS["ed25519"].public_base64())
    ),
    b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
]


def refused_or(function, *arguments, errors=InvalidValue):
    """Return a function's result, or None if it refuses. Any other exception fails the test."""
    with contextlib.suppress(errors):
        return function(*arguments)


@examples(150)
@given(st.sampled_from(FILES).flatmap(damaged))
def test_damaged_key_file_is_refused_or_read_as_a_key(data):
    for found in (
        refused_or(key_file.private_key, data, "path /x"),
        read_stored(data).private,
        read_stored(data.decode("utf-8", "surrogateescape")).private,
    ):
        if found is not None:
            again = read_stored(found.pem())
            assert again.is_plain
            assert again.private.public_base64() == found.public_base64()


def der(tag, content):
    length = len(content)
    size = bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2, "big")
    return bytes([tag]) + size + content


def rsa_der(numbers):
    sizes = [number.bit_length() // 8 + 1 for number in numbers]
    octets = [n.to_bytes(size, "big", signed=True) for n, size in zip(numbers, sizes, strict=True)]
    return der(0x30, b"".join(der(2, one) for one in octets))


VALID = KEYS["rsa"]._key.private_numbers()
NUMBERS = (0, VALID.public_numbers.n, VALID.public_numbers.e, VALID.d, VALID.p, VALID.q)
NUMBERS += (VALID.dmp1, VALID.dmq1, VALID.iqmp)


@examples(150)
@given(st.dictionaries(st.integers(0, 8), st.integers(0, 3) | st.sampled_from(NUMBERS), max_size=4))
@example({4: 1, 5: VALID.public_numbers.n})  # two factors, one of them 1
@example({4: 0, 5: 0})
@example({2: 1})
def test_key_of_invalid_numbers_is_refused(changes):
    data = rsa_der([changes.get(at, number) for at, number in enumerate(NUMBERS)])
    pem = b"-----BEGIN RSA PRIVATE KEY-----\n" + base64.encodebytes(data)
    pem += b"-----END RSA PRIVATE KEY-----\n"
    found = [
        read_stored(pem).private,
        read_stored(pem.decode()).private,
        refused_or(key_file.private_key, data, "key"),
    ]
    for key in found:
        assert key is None or key.public_base64() == KEYS["rsa"].public_base64()


SIGNING = b"""*@example.com mail._domainkey.example.com
user@example.org  other:%\n.example.net mail # rest\nexample.info\t%\n* mail
"""
KEY_TABLE = b"""mail._domainkey.example.com example.com:mail:/etc/keys/mail.private
mail %:mail:/etc/keys/mail.private\nother example.org:s2:MIIEowIBAAKCAQEA # rest
"""


@examples(150)
@given(
    damaged(KEY_TABLE),
    st.none() | damaged(SIGNING),
    st.sampled_from([data_set.parse_file, data_set.parse_refile, data_set.parse_list]),
    st.lists(st.sampled_from(["example.com", "example.net", "sub.example.net"]), max_size=2),
)
def test_tables_are_read_row_by_row_and_invalid_rows_are_refused(keys, signing, parse, hosted):
    kind = data_set.REFILE if parse is data_set.parse_refile else data_set.FILE

    def table(content):
        return data_set.DataSet(kind, parse(content.decode("utf-8", "replace"), "t"))

    entries, refused = read_key_table(table(keys))
    lines = None if signing is None else SigningTable(table(signing))
    selection = select(entries, lines, hosted)
    for refusal in (*refused, *selection.refused, *(lines.refused if lines else ())):
        assert refusal.reason
        assert "MIIEow" not in f"{refusal.entry} {refusal.reason}"
    for choice in selection.choices:
        assert choice.domain == choice.domain.lower()
        assert choice.entry.selector.isascii()


@examples(100)
@given(odd_text() | st.integers() | st.none() | st.sampled_from(["file:", "refile:/", "csl:a=b"]))
def test_name_of_a_table_is_read_or_refused(name):
    refused_or(data_set.locate, name, "key_table")


NAME = "default._domainkey.example.com"
RECORD = key_record("example.com", "default", "ed25519", KEYS["ed25519"].public_base64())

DESIRED = {
    "dkim": RECORD.value,
    "dmarc": "v=DMARC1; p=none; rua=mailto:d@example.com",
    "dmarc-report": "v=DMARC1;",
    "spf": "v=spf1 mx -all",
    "tls-rpt": "v=TLSRPTv1; rua=mailto:t@example.com",
    "mta-sts": "v=STSv1; id=0;",
}


@examples(100)
@given(st.lists(st.binary(max_size=40) | damaged(RECORD.value.encode()), max_size=3))
def test_record_with_any_text_is_compared_and_planned(values):
    present = Present(values=tuple(values))
    for value in values:
        for purpose, text in DESIRED.items():
            desired = replace(RECORD, purpose=purpose, value=text)
            for found in (value, text.encode() + value, text[:10].encode() + value):
                compared = compare(desired, found)
                assert compared.problem.isprintable()
                assert compared.advice.isprintable()
                assert not (compared.problem and compared.advice)
    with contextlib.suppress(FormulaError):
        to_publish(RECORD, present, (), False)
    to_remove(NAME, "TXT", present, [RECORD.value])


@examples(100)
@given(odd_text())
def test_stored_password_of_any_form_is_compared(stored):
    assert scram.matches(stored, Secret("x")) is False
    complete = f"SCRAM-SHA-256$4096:{stored}$c3RvcmVk:c2VydmVy"
    assert scram.matches(complete, Secret("x")) is False


@examples(150)
@given(st.lists(odd_text(), max_size=6).map(" ".join))
def test_any_configuration_is_read_as_far_as_possible(text):
    previous_addresses(text, "/var/spool/postfix", "/var/spool/postfix/opendkim/opendkim.sock")
    previous_addresses(f"Socket {text}", "/var/spool/postfix", "/x")
    assert "".join(line.raw for line in hba.lines(text)) == text
    current = {main_cf_milters.SMTPD: text, main_cf_milters.NON_SMTPD: f"$smtpd_milters {text}"}
    with contextlib.suppress(PostfixError):
        planned = main_cf_milters.plan_present(current, ["unix:/a"], "accept")
        assert main_cf_milters.plan_present({**current, **planned}, ["unix:/a"], "accept") == {}
    main_cf_milters.plan_absent(current, ["unix:/a"])
    main_cf_milters.swap(current, ["unix:/b"], "unix:/a")


BODY = b"text\r\n"
SIGNATURE = "v=1; a=ed25519-sha256; d=example.com; s=s; h=from; c=relaxed/simple; t=1; b=MII=; bh="
SIGNATURE += base64.b64encode(hashlib.sha256(BODY).digest()).decode()


@examples(150)
@given(
    damaged(SIGNATURE.encode()) | st.just(SIGNATURE.encode()),
    damaged(RECORD.value.encode()) | st.just(RECORD.value.encode()),
)
def test_damaged_signature_or_record_is_not_verified(signature, record):
    texts = [text.decode("utf-8", "replace") for text in (signature, record)]
    with pytest.raises(verification.NotVerified):
        verification.verify(texts[0], [("From", " a@example.com")], BODY, texts[1])


# The first packet of libmilter: version, actions, protocol (mfdef.h, SMFIC_OPTNEG).
OPENING = b"\0\0\0\x0dO" + b"\0\0\0\x06" + b"\0\0\x01\xff" + b"\0\x0f\xfb\xff"
CONVERSATION = OPENING + b"\0\0\0\x01c" * 4
CONVERSATION += b"\0\0\0\x0fhname\0a value\0\0\0\0\x01a"


@examples(60)
@given(damaged(CONVERSATION))
def test_any_octets_of_a_milter_are_an_answer_or_an_error(tmp_path_factory, octets):
    path = str(tmp_path_factory.mktemp("m") / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        sender = threading.Thread(target=send, args=(listening, octets))
        sender.start()
        with contextlib.suppress(OpenDKIMError), milter.Connection(path, timeout=5) as connection:
            connection.message("a@example.com", [("From", " a@example.com")], BODY)
        sender.join()


def send(listening, octets):
    peer, _ = listening.accept()
    with peer, contextlib.suppress(OSError):
        peer.sendall(octets)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65536):
            pass


# The files have random keys, and a test's name decides on which release it runs.
@pytest.mark.parametrize("data", FILES[:2] + FILES[3:7], ids=range(6))
def test_undamaged_files_are_valid(data):
    assert key_file.private_key(data, "key").algorithm in KEYS
