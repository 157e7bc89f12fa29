"""The verification of signatures, compared with dkimpy and with RFC 8463."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from dkim_formula.private_key import PrivateKey
from dkim_formula.signer.verify import NotVerified, tags, verify
from hypothesis import given, settings
from hypothesis import strategies as st

import dkim

RSA = PrivateKey.generate("rsa", 1024)
ED25519 = PrivateKey.generate("ed25519")
KEYS = {"rsa": RSA, "ed25519": ED25519}
HEADERS = [
    ("From", " Somebody <somebody@example.com>"),
    ("To", " other@example.net"),
    ("Subject", " A  test\r\n\tof folded   lines "),
    ("Date", " Sun, 22 Nov 2026 12:00:00 +0000"),
]
BODY = b"Hello.  \r\n\r\nTwo\twords \r\n\r\n\r\n"

# RFC 8463, appendix A.2 and A.3: the Ed25519 signature alone.
RFC_RECORD = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
RFC_SIGNATURE = (
    "v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    " d=football.example.com; i=@football.example.com;\r\n"
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    " subject : date : message-id : from : subject : date;\r\n"
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    " b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"
    " Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
)
RFC_HEADERS = [
    ("From", " Joe SixPack <joe@football.example.com>"),
    ("To", " Suzie Q <suzie@shopping.example.net>"),
    ("Subject", " Is dinner ready?"),
    ("Date", " Fri, 11 Jul 2003 21:00:37 -0700 (PDT)"),
    ("Message-ID", " <20030712040037.46341.5F8J@football.example.com>"),
]
RFC_BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"


def record(algorithm="rsa", key=None):
    return f"v=DKIM1; k={algorithm}; p={(key or KEYS[algorithm]).public_base64()}"


def wire(headers, body):
    lines = "".join(f"{name}:{value}\r\n" for name, value in headers)
    return lines.encode("utf-8", "surrogateescape") + b"\r\n" + body


def private(algorithm):
    if algorithm == "rsa":
        return RSA.pem().encode()
    key = serialization.load_pem_private_key(ED25519.pem().encode(), None)
    return base64.b64encode(key.private_bytes_raw())


def signed(headers=HEADERS, body=BODY, algorithm="rsa", how=("relaxed", "relaxed")):
    """Return dkimpy's signature of the message, as the header's value."""
    made = dkim.sign(
        wire(headers, body),
        b"s",
        b"example.com",
        private(algorithm),
        canonicalize=tuple(one.encode() for one in how),
        signature_algorithm=f"{algorithm}-sha256".encode(),
    )
    name, _, value = made.decode("utf-8", "surrogateescape").partition(":")
    assert name == "DKIM-Signature"
    return value.removesuffix("\r\n").removeprefix(" ")


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("header", ["relaxed", "simple"])
@pytest.mark.parametrize("body", ["relaxed", "simple"])
def test_signature_of_dkimpy_is_valid(algorithm, header, body):
    signature = signed(algorithm=algorithm, how=(header, body))
    found = verify(signature, HEADERS, BODY, record(algorithm))
    assert (found["d"], found["s"], found["a"]) == ("example.com", "s", f"{algorithm}-sha256")


def test_example_of_rfc_8463_is_valid():
    assert verify(RFC_SIGNATURE, RFC_HEADERS, RFC_BODY, RFC_RECORD)["s"] == "brisbane"


TEXT = st.text(st.sampled_from("aB \t:;=<>@é"), max_size=30)
LINES = st.lists(st.text(st.sampled_from("ab \t."), max_size=12), max_size=6)


@settings(max_examples=60)
@given(
    subject=TEXT,
    lines=LINES,
    how=st.tuples(*[st.sampled_from(["relaxed", "simple"])] * 2),
    changed=st.sampled_from(["nothing", "subject", "body", "white space"]),
)
def test_verdict_equals_that_of_dkimpy(subject, lines, how, changed):
    headers = [*HEADERS[:1], ("Subject", f" {subject}")]
    body = "".join(f"{line}\r\n" for line in lines).encode()
    signature = signed(headers, body, how=how)
    if changed == "subject":
        headers[1] = ("Subject", f" {subject}x")
    elif changed == "body":
        body += b"x\r\n"
    elif changed == "white space":
        headers[1] = ("Subject", f"  {subject} ")
        body += b"\r\n"
    whole = wire([("DKIM-Signature", f" {signature}"), *headers], body)
    good = dkim.verify(whole, dnsfunc=lambda name, timeout=5: record().encode())
    assert is_good(signature, headers, body) == good


def is_good(signature, headers, body, text=None):
    try:
        verify(signature, headers, body, text or record())
    except NotVerified:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (record("rsa", PrivateKey.generate("rsa", 1024)), "another key"),
        (record("ed25519"), "the record's key is ed25519"),
        ("v=DKIM1; k=rsa; p=", "revoked"),
        ("v=DKIM1; k=rsa; p=AAAA", "no public key"),
        ("v=DKIM1; k=rsa; p=?", "not base64"),
        ("v=DKIM9; k=rsa; p=AAAA", "no key record"),
        (f"v=DKIM1; k=rsa; p={ED25519.public_base64()}", "no public key"),
    ],
    # The keys are random, and a test's name decides on which release it runs.
    ids=range(7),
)
def test_record_of_another_key_is_refused(text, reason):
    with pytest.raises(NotVerified, match=reason):
        verify(signed(), HEADERS, BODY, text)


def test_other_body_is_refused():
    with pytest.raises(NotVerified, match="bh="):
        verify(signed(), HEADERS, BODY + b"more\r\n", record())


def test_second_from_breaks_a_signature_that_oversigns_it():
    headers = [("From", " evil@example.net"), *RFC_HEADERS]
    with pytest.raises(NotVerified, match="other headers"):
        verify(RFC_SIGNATURE, headers, RFC_BODY, RFC_RECORD)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ("", "no tag"),
        ("v=1; a=rsa-sha256", r"lacks b=, bh=, d=, h=, s="),
        ("v=1; v=1", "duplicate tag"),
        ("v=2; a=a; b=b; bh=b; d=d; h=from; s=s", "unknown version"),
        ("v=1; a=a; b=b; bh=b; d=d; h=from; s=s; l=3", "part of the body"),
        ("v=1; a=a; b=b; bh=b; d=d; h=from; s=s; c=odd", "no canonicalization"),
        ("v=1; a=a; b=b; bh=?; d=d; h=from; s=s", "bh= is not base64"),
        ("v=1; a=a; b=b; bh=b; d=d; h=from; s=s; t=soon", "is not a time"),
    ],
)
def test_malformed_signature_is_refused(signature, reason):
    with pytest.raises(NotVerified, match=reason):
        verify(signature, HEADERS, BODY, record())


def test_signature_from_the_future_is_refused():
    made = int(tags(signed())["t"])
    with pytest.raises(NotVerified, match=r"in the future \(t=\)"):
        verify(signed(), HEADERS, BODY, record(), now=made - 3600)


def test_signature_that_does_not_sign_from_is_refused():
    signature = signed()
    names = tags(signature)["h"]
    with pytest.raises(NotVerified, match="From is not signed"):
        verify(signature.replace(names, "subject"), HEADERS, BODY, record())
