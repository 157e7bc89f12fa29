"""A text in DNS is compared by its meaning to verifiers, not by its writing."""

import base64
import itertools
import re
import string
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from dkim_formula.records import Record, kind
from dkim_formula.records.meaning import compare

CASES = Path(__file__).resolve().parents[2] / "cases" / "records"
PURPOSES = {"DKIM1": "dkim", "DMARC1": "dmarc", "STSv1": "mta-sts"}


def pairs(case):
    """Return the desired record and the octets of each text that a case finds."""
    desired, found = None, []
    for line in (CASES / case).read_text(encoding="ascii").splitlines():
        label, colon, value = line.partition(":")
        if label == "wanted":
            desired = value.strip(" ")
        elif label == "found" and colon:
            found.append((_record(desired), value[1:].removeprefix(" ").encode()))
    assert found
    return found


def _record(value):
    version = re.match(r"v=(\w+)", value)[1]
    name = {"dkim": "s1._domainkey.example.com"}.get(PURPOSES[version], "_x.example.com")
    purpose = "dmarc-report" if value == "v=DMARC1;" else PURPOSES[version]
    return Record(name, "TXT", 60, value, purpose, "example.com")


def of(value, purpose="dkim"):
    return Record("x.example.com", "TXT", 60, value, purpose, "example.com")


def assert_same(case):
    for record, found in pairs(case):
        compared = compare(record, found)
        assert compared.problem == ""
        assert compared.advice.startswith("written differently: ")


def problem(case):
    ((record, found),) = pairs(case)
    compared = compare(record, found)
    assert compared.advice == ""
    return compared.problem


def test_case_16_trailing_semicolon_is_right():
    assert_same("16-trailing-semicolon.txt")


def test_case_17_another_order_of_tags_is_right():
    assert_same("17-another-order-of-tags.txt")


def test_case_18_white_space_in_p_is_right():
    assert_same("18-white-space-in-p.txt")


def test_case_19_pasted_quotes_are_named():
    assert problem("19-pasted-quotes.txt").startswith("quotes were pasted into the value")


def test_case_20_repeated_tag_is_named():
    assert problem("20-twice-p.txt").startswith("p= is there twice, and verifiers drop the whole")


def test_case_21_another_dmarc_policy_is_named():
    assert problem("21-dmarc-other-policy.txt") == "p= is reject, should be none"


def test_case_22_blanks_and_a_last_separator_of_dmarc_are_right():
    assert_same("22-dmarc-trailing.txt")


def test_case_23_lost_last_semicolon_is_right():
    assert_same("23-last-semicolon-lost.txt")


def test_case_59_no_blanks_are_right():
    assert_same("59-no-blanks.txt")


def test_case_60_s_email_is_right():
    assert_same("60-semail.txt")


def test_case_61_two_blanks_are_right():
    assert_same("61-two-blanks.txt")


def test_case_62_v_that_is_not_first_is_named():
    assert problem("62-v-not-first.txt").startswith("v= has to be the first tag")


KEY = "v=DKIM1; k=rsa; t=s; p=MIIBkeykey=="


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        ("k=rsa; t=s; p=MIIBkeykey==", "v= is left out"),
        ("v=DKIM1; t=s; p=MIIBkeykey==", "k= is left out"),
        ("v=DKIM1; k=rsa; h=sha256; t=s; p=MIIBkeykey==", "h=sha256 is there"),
        ("v=DKIM1; k=rsa; h=sha1:sha256; t=s; p=MIIBkeykey==", "h=sha1:sha256 is there"),
        ("v=DKIM1; k=rsa; n=a note; t=s; p=MIIBkeykey==", "n=a note is there"),
        ("v=DKIM1; k=rsa; p=MIIBkeykey==", "t=s is missing"),
        ("v=DKIM1; k=rsa; t=s; g=*; p=MIIBkeykey==", "g=* is there"),
        ("v=DKIM1; k=rsa; t=s; g=; p=MIIBkeykey==", "g= is empty"),
        ("v=DKIM1; k=rsa; t=s; p=MIIBkeykey", 'the last "=" of p= is missing'),
        ("\tv = DKIM1\t; k = rsa; t=s; p = MIIB key\tkey== ", "white space in p="),
        ("v=DKIM1; t=s; k=rsa; p=MIIBkeykey==", "another order of tags"),
        ("v=DKIM1; k=rsa; t=s; p=MIIBkeykey==;", 'its end, a last ";"'),
    ],
)
def test_key_record_with_the_same_meaning_is_right_and_its_writing_is_advice(found, advice):
    compared = compare(of(KEY), found.encode())
    assert compared.problem == ""
    assert advice in compared.advice


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("v=DKIM1; k=rsa; t=s; p=MIIBother", "p= is another key"),
        ("v=DKIM1; k=rsa; t=s; p=MIIBkey", "p= is cut off after 7 of 12 characters"),
        ("v=DKIM1; k=rsa; t=s; p=", "p= is empty: the key is revoked there"),
        ("v=DKIM1; k=rsa; t=s", "p= is missing"),
        ("v=dkim1; k=rsa; t=s; p=MIIBkeykey==", "v= is dkim1, should be DKIM1"),
        ("v=DKIM1; k=rsa; t=s; P=MIIBkeykey==", "p= is missing"),
        ("v=DKIM1; k=RSA; t=s; p=MIIBkeykey==", "k= is RSA, should be rsa"),
        ("v=DKIM1; k=rsa;; t=s; p=MIIBkeykey==", 'nothing between two ";"'),
        ("v=DKIM1; k=rsa; t=s; p=MIIBkeykey==; ;", 'nothing between two ";"'),
        ("v=DKIM1; k=rsa; k=rsa; t=s; p=MIIBkeykey==", "k= is there twice"),
        ("v=DKIM1; k=rsa; h=sha1; t=s; p=MIIBkeykey==", "h= is sha1, without sha256"),
        ("v=DKIM1; k=rsa; s=tlsrpt; t=s; p=MIIBkeykey==", "s= is tlsrpt: the key is not for mail"),
        ("v=DKIM1; k=ed25519; t=s; p=MIIBkeykey==", "k= is ed25519, should be rsa"),
        ("v=DKIM1; k=rsa; t=y:s; p=MIIBkeykey==", "t= has y"),
        ("v=DKIM1\\; k=rsa\\; t=s\\; p=MIIBkeykey==", "backslashes were pasted"),
        ('v=DKIM1; k=rsa; t=s; p=MIIBkey" "key==', "quotes were pasted"),
        ("'v=DKIM1; k=rsa; t=s; p=MIIBkeykey=='", "quotes were pasted"),
        ('( "v=DKIM1; k=rsa; t=s; p=MIIBkeykey==" )', "quotes were pasted"),
        ('s1._domainkey IN TXT "v=DKIM1; k=rsa; p=MIIBkeykey=="', "quotes were pasted"),
        ("v=DKIM1; k=rsa; p=-----BEGIN PUBLIC KEY-----MIIBkeykey==", "last line of a PEM file"),
        ("v=DKIM1 k=rsa t=s p=MIIBkeykey==", "v= is DKIM1 k=rsa"),
        ("v=DKIM1; k=rsa; t=s; p=MIIBkeykey==; v 2=x", "'v 2=x' is no tag"),
        ("google-site-verification", "it is google-site-verification"),
        ("v=DKIM1; k=rsa; t=s; p=MIIBk\x1b[2J", "no printable ASCII"),
    ],
)
def test_key_record_that_a_verifier_refuses_has_one_reason(found, reason):
    compared = compare(of(KEY), found.encode())
    assert reason in compared.problem
    assert compared.advice == ""
    assert compared.problem.isprintable()


def test_algorithm_that_is_left_out_is_rsa():
    compared = compare(of("v=DKIM1; k=ed25519; p=AAAA"), b"v=DKIM1; p=AAAA")
    assert compared.problem == "k= is missing, which means rsa, should be ed25519"


def test_strict_record_is_a_problem_for_a_key_that_signs_for_subdomains():
    compared = compare(of("v=DKIM1; k=rsa; p=MIIB"), b"v=DKIM1; k=rsa; t=s; p=MIIB")
    assert compared.problem == "t= has s: verifiers refuse signatures for subdomains"


@pytest.mark.parametrize("found", ["v=DKIM1; p=", "p=;", "v=DKIM1; k=rsa; t=y; p= "])
def test_empty_record_of_a_revoked_key_is_right_however_it_is_written(found):
    assert compare(of("v=DKIM1; k=rsa; t=s; p="), found.encode()).problem == ""


def test_revoked_key_that_is_still_published_is_reported():
    compared = compare(of("v=DKIM1; k=rsa; t=s; p="), b"v=DKIM1; k=rsa; p=MIIB")
    assert compared.problem == "p= still holds a key, should be empty"


DMARC = "v=DMARC1; p=quarantine; np=reject; rua=mailto:d@example.com,mailto:e@example.com"


@pytest.mark.parametrize(
    "found",
    [
        "v=DMARC1;p=quarantine;np=reject;rua=mailto:d@example.com,mailto:e@example.com;",
        "v=DMARC1; np=REJECT; rua=mailto:d@example.com , mailto:e@example.com!10m; p=Quarantine",
        f"{DMARC}; sp=quarantine; adkim=r; aspf=r; fo=0; psd=u; t=n; pct=100; rf=afrf; ri=86400",
        "v = DMARC1 ; p = quarantine ; np=reject; rua=mailto:d@example.com,mailto:e@example.com ;",
    ],
)
def test_dmarc_record_with_the_same_meaning_is_right(found):
    assert compare(of(DMARC, "dmarc"), found.encode()).problem == ""


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (DMARC.replace("quarantine", "none"), "p= is none, should be quarantine"),
        (DMARC.replace("np=reject; ", ""), "np= is missing, should be reject"),
        (f"{DMARC}; sp=none", "sp= is none, should be quarantine"),
        (f"{DMARC}; adkim=s", "adkim= is s, should be r"),
        (f"{DMARC}; ruf=mailto:f@example.com", "ruf=mailto:f@example.com should not be there"),
        (DMARC.replace("d@", "D@"), "rua= is mailto:D@example.com"),
        (f"{DMARC}; p=quarantine", "p= is there twice"),
        (DMARC.replace("DMARC1", "dmarc1"), "v= is dmarc1, should be DMARC1"),
        (f"p=quarantine; {DMARC[:9]}", "v=DMARC1 has to be the first tag"),
        (f'"{DMARC}"', "quotes were pasted"),
    ],
)
def test_dmarc_record_with_another_meaning_has_one_reason(found, reason):
    assert reason in compare(of(DMARC, "dmarc"), found.encode()).problem


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("v=spf1 MX  +ip4:192.0.2.1   -ALL ", ""),
        ("v=spf1 ip4:192.0.2.1 mx -all", "it is v=spf1 ip4"),
        ("v=spf1 mx ip4:192.0.2.1 ~all", "it is v=spf1 mx"),
        ('"v=spf1 mx ip4:192.0.2.1 -all"', "quotes were pasted"),
    ],
)
def test_spf_is_the_same_only_with_its_terms_in_their_order(found, problem):
    compared = compare(of("v=spf1 mx ip4:192.0.2.1 -all", "spf"), found.encode())
    assert problem in compared.problem
    assert bool(problem) == bool(compared.problem)


@pytest.mark.parametrize(
    ("purpose", "desired", "found", "problem"),
    [
        ("tls-rpt", "v=TLSRPTv1; rua=mailto:t@e.example", "v=TLSRPTv1;rua=mailto:t@e.example;", ""),
        (
            "tls-rpt",
            "v=TLSRPTv1; rua=mailto:t@e.example",
            "v=TLSRPTv1; rua = mailto:t@e.example",
            "white space",
        ),
        (
            "tls-rpt",
            "v=TLSRPTv1; rua=mailto:t@e.example",
            "v=TLSRPTv1; rua=mailto:u@e.example",
            "rua= is",
        ),
        ("mta-sts", "v=STSv1; id=0a;", "v=STSv1;id=0a", ""),
        ("mta-sts", "v=STSv1; id=0a;", "v=STSv1; id=0A;", "id= is 0A, should be 0a"),
        ("dmarc-report", "v=DMARC1;", "v=DMARC1; rua=mailto:x@example.net", ""),
    ],
)
def test_other_policies_are_read_by_their_own_grammar(purpose, desired, found, problem):
    compared = compare(of(desired, purpose), found.encode())
    assert problem in compared.problem
    assert bool(problem) == bool(compared.problem)


@pytest.mark.parametrize(
    ("purpose", "desired", "beginning"),
    [
        ("spf", "v=spf1 mx -all", "v=spf1 (RFC 7208, section 4.5)"),
        ("dmarc", "v=DMARC1; p=none", "v=DMARC1 (RFC 9989, section 4.8)"),
        ("dmarc-report", "v=DMARC1;", "v=DMARC1 (RFC 9990, section 4)"),
    ],
)
@pytest.mark.parametrize("blank", [" ", "\t", "  "])
def test_text_after_a_blank_is_no_record_of_the_kind(purpose, desired, beginning, blank):
    problem = compare(of(desired, purpose), f"{blank}{desired}".encode()).problem
    assert beginning in problem or problem.startswith("it is")


def test_blank_before_an_spf_record_is_named():
    compared = compare(of("v=spf1 mx -all", "spf"), b" v=spf1 mx -all")
    assert "remove the blanks before v=" in compared.problem


@pytest.mark.parametrize(
    ("desired", "found"),
    [
        ("include:_spf.example.net", "include:_spf.Example.NET"),
        ("a:mail.example.com", "a:mail.example.com."),
        ("a:mail.example.com/24//64", "A:Mail.Example.com./24//64"),
        ("mx", "mx/32//128"),
        ("ip4:192.0.2.1", "ip4:192.0.2.1/32"),
        ("ip4:192.0.2.0/24", "IP4:192.0.2.77/24"),
        ("ip6:2001:db8::1", "IP6:2001:0DB8:0:0::1/128"),
        ("ip6:2001:db8::/32", "ip6:2001:DB8:1::/32"),
        ("exists:%{ir}.%{l1r-}.example.com", "exists:%{iR}.%{l1R-}.Example.com."),
        ("redirect=_spf.example.net mx", "mx redirect=_SPF.example.net"),
        ("exp=why.%{d}", "EXP=Why.%{d}"),
    ],
)
def test_spf_names_and_addresses_are_compared_by_meaning(desired, found):
    compared = compare(of(f"v=spf1 {desired}", "spf"), f"v=spf1 {found}".encode())
    assert compared.problem == ""
    assert compared.advice.startswith("written differently: ")


@pytest.mark.parametrize(
    ("desired", "found"),
    [
        ("exists:%{s}.example.com", "exists:%{S}.example.com"),
        ("exists:%{d2}.example.com", "exists:%{d3}.example.com"),
        ("ip4:192.0.2.0/24", "ip4:192.0.2.0/25"),
        ("ip4:192.0.2.0/24", "ip4:192.0.2.0/024"),
        ("ip4:192.0.2.1", "ip4:192.0.2.01"),
        ("ip6:fe80::1", "ip6:fe80::1%eth0"),
        ("ip4:192.0.2.0/24", "ip4:192.0.2.0/255.255.255.0"),
        ("mx", "mx//64"),
        ("a", "a:example.net"),
        ("include:a.example", "redirect=a.example"),
        ("x=A", "x=a"),
        ("include:a.example", "include:a.example.."),
    ],
)
def test_spf_with_another_meaning_is_different(desired, found):
    compared = compare(of(f"v=spf1 {desired} -all", "spf"), f"v=spf1 {found} -all".encode())
    assert compared.problem.startswith("it is v=spf1")


@pytest.mark.parametrize(
    ("purpose", "desired", "found"),
    [
        ("mta-sts", "v=STSv1; id=abc;", "v=STSv1; id=abc; ext-1=2"),
        ("mta-sts", "v=STSv1; id=abc;", "v=STSv1; id=abc; 1x=1; 1x=2"),
        (
            "tls-rpt",
            "v=TLSRPTv1; rua=mailto:a@b.example",
            "v=TLSRPTv1; x.y=1; rua=mailto:a@b.example",
        ),
    ],
)
def test_extension_of_a_policy_has_no_meaning(purpose, desired, found):
    compared = compare(of(desired, purpose), found.encode())
    assert compared.problem == ""
    assert "is there" in compared.advice


@pytest.mark.parametrize(
    ("purpose", "found", "reason"),
    [
        ("mta-sts", "v=STSv1; id=abc; -x=1", "'-x=1' is no tag such as id=…"),
        ("mta-sts", "v=STSv1; id=abc; x=a b", "'x=a b' is no tag such as id=…"),
        ("mta-sts", "v=STSv1; id=abc; x=", "'x=' is no tag"),
        ("mta-sts", "v=STSv1; id=abc;;", 'nothing between two ";"'),
        ("mta-sts", "v=STSv1; id=abc; id=abc", "id= is there twice"),
        ("mta-sts", f"v=STSv1; id=abc; {'x' * 33}=1", "is no tag"),
    ],
)
def test_policy_with_a_broken_extension_is_dropped(purpose, found, reason):
    assert reason in compare(of("v=STSv1; id=abc;", purpose), found.encode()).problem


@pytest.mark.parametrize(
    ("desired", "found", "advice"),
    [
        ("p=none", "p=none;;", 'nothing between two ";"'),
        ("p=none", "; p=none", 'nothing between two ";"'),
        ("p=none", "p=none; foo", "'foo' is no tag such as p=…"),
        ("p=none", "p=none; x-y=1", "'x-y=1' is no tag"),
        ("p=none", "p=none; n=\u00fc", "is no tag"),
        (
            "p=none; rua=mailto:a@b.example",
            "rua=mailto:a@b.example",
            "p= is missing, which means none",
        ),
        ("p=none", "sp=none", "but verifiers may ignore such a record"),
        ("p=reject", "p=reject; adkim=x", "adkim=x is invalid, so its default counts"),
        ("p=reject", "p=reject; t=yes; psd=maybe", "t=yes is invalid"),
        ("p=none; ruf=mailto:a@b.example", "p=none; ruf=mailto:a@b.example; fo=foo", "fo=foo is"),
        ("p=none; ruf=mailto:a@b.example", "p=none; ruf=mailto:a@b.example; fo=0:1", "fo=0:1 is"),
        ("p=none", "p=none; fo=1", "fo=1 is there"),
    ],
)
def test_error_in_a_dmarc_tag_is_discarded_with_advice(desired, found, advice):
    compared = compare(of(f"v=DMARC1; {desired}", "dmarc"), f"v=DMARC1; {found}".encode())
    assert compared.problem == ""
    assert advice in compared.advice
    assert compared.advice.isprintable()


@pytest.mark.parametrize(
    ("desired", "found", "reason"),
    [
        ("p=reject", "foo", "p= is missing, should be reject"),
        (
            "p=reject; adkim=s",
            "p=reject; adkim=x",
            "adkim= is x (invalid, so r counts), should be s",
        ),
        ("p=none", "p=foo", "p= is foo, should be none"),
        ("p=none", "p=none; sp=foo", "sp= is foo, should be none"),
        (
            "p=none; fo=1; ruf=mailto:a@b.example",
            "p=none; ruf=mailto:a@b.example",
            "fo= is missing",
        ),
        ("p=none; fo=1; ruf=mailto:a@b.example", "p=none; fo=1", "ruf= is missing"),
    ],
)
def test_default_of_a_discarded_dmarc_tag_may_differ(desired, found, reason):
    compared = compare(of(f"v=DMARC1; {desired}", "dmarc"), f"v=DMARC1; {found}".encode())
    assert compared.problem == reason or reason in compared.problem


def _rsa(bits):
    key = rsa.generate_private_key(65537, bits).public_key()
    der = serialization.Encoding.DER
    formats = (
        serialization.PublicFormat.SubjectPublicKeyInfo,
        serialization.PublicFormat.PKCS1,
    )
    return [base64.b64encode(key.public_bytes(der, one)).decode() for one in formats]


@pytest.mark.parametrize("bits", [1024, 2048, 4096])
def test_right_rsa_key_as_pkcs1_is_named(bits):
    right, pkcs1 = _rsa(bits)
    compared = compare(of(f"v=DKIM1; k=rsa; p={right}"), f"v=DKIM1; k=rsa; p={pkcs1}".encode())
    assert compared.problem.startswith("p= is the right key as RSAPublicKey (PKCS#1)")
    _, other = _rsa(bits)
    compared = compare(of(f"v=DKIM1; k=rsa; p={right}"), f"v=DKIM1; k=rsa; p={other}".encode())
    assert compared.problem == "p= is another key"


def test_right_ed25519_key_as_spki_is_named():
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    right = base64.b64encode(key.public_bytes_raw()).decode()
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    found = f"v=DKIM1; k=ed25519; p={base64.b64encode(spki).decode()}"
    compared = compare(of(f"v=DKIM1; k=ed25519; p={right}"), found.encode())
    assert compared.problem.startswith("p= is the right key as SubjectPublicKeyInfo")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ("p={}".format, "p= is there twice, in its own value"),
        ("'{}'".format, "quotes were pasted"),
        ("{}.".format, "p= is the right key with other characters"),
        (lambda key: key[200:], "p= has only the last "),
        (lambda key: key[200:] + key[:200], "p= has the strings of the value in another order"),
        (lambda key: f"{key[:50]}\\{key[50:]}", "backslashes were pasted"),
        (lambda key: key[:50] + "+" + key[50:], "p= is another key"),
    ],
)
def test_right_key_that_was_pasted_wrongly_is_named(edit, reason):
    right, _ = _rsa(2048)
    found = f"v=DKIM1; k=rsa; p={edit(right)}"
    compared = compare(of(f"v=DKIM1; k=rsa; p={right}"), found.encode())
    assert compared.problem.startswith(reason)


# --- Texts of 64 kilobytes, the most that an answer holds -----------------------------------------


@pytest.mark.parametrize(("purpose", "version"), [("dkim", "DKIM1"), ("dmarc", "DMARC1")])
def test_record_with_ten_thousand_tags_is_compared_at_once(purpose, version):
    letters = itertools.product(string.ascii_lowercase, repeat=3)
    tags = "; ".join(f"x{''.join(name)}=y" for name in itertools.islice(letters, 10_000))
    record = of(f"v={version}; p=none", purpose)
    begin = time.process_time()
    compared = compare(record, f"{record.value}; {tags}".encode())
    assert time.process_time() - begin < 1
    assert compared.problem == ""
    assert len(compared.advice) < 300
    assert compared.advice.endswith(", and 9,992 more differences")


@pytest.mark.parametrize("start", [b" ", b"' ", b" ;"])
def test_text_with_many_blanks_before_it_is_sorted_at_once(start):
    blanks = start * (60_000 // len(start))
    begin = time.process_time()
    assert kind.meant_as("dmarc", [blanks, blanks + b"v=DMARC1; p=none"]) == [
        blanks + b"v=DMARC1; p=none"
    ]
    assert time.process_time() - begin < 1
