"""Legal values of opendkim.conf(5) that stop OpenDKIM from signing, or from taking mail."""

import pytest
from dkim_formula.settings import read

WHERE = "dkim:opendkim:settings"
LARGE = {"algorithm": "rsa", "bits": 4096}


def reading(options, domains=None, **sections):
    pillar = {"domains": domains or {"example.com": {}}, "opendkim": {"settings": options}}
    return read({**pillar, **sections})


def problem(options, domains=None, **sections):
    (found,) = reading(options, domains, **sections).problems
    return found


@pytest.mark.parametrize("minimum", [2049, 4096, "4096", "0x1000", 20480])
def test_minimum_above_the_planned_keys_is_refused(minimum):
    found = problem({"MinimumKeyBits": minimum})
    assert found.startswith(f"{WHERE}:MinimumKeyBits: ")
    assert "more than the 2048 bits of keys for example.com" in found
    assert "use 2048 or less" in found


def test_larger_keys_are_a_remedy_only_if_they_exist():
    assert "set bits to 4096 in dkim:defaults" in problem({"MinimumKeyBits": 4096})
    assert "dkim:defaults" not in problem({"MinimumKeyBits": 20480})


@pytest.mark.parametrize(
    ("domains", "names"),
    [
        ({"example.com": LARGE, "example.org": {}}, "2048 bits of keys for example.org"),
        ({"example.com": LARGE, "*": {"bits": 1024}}, "1024 bits of keys for every hosted domain"),
        ({"example.com": {**LARGE, "addresses": {"a@example.com": {"bits": 2048}}}}, "example.com"),
    ],
)
def test_every_planned_key_counts(domains, names):
    assert names in problem({"MinimumKeyBits": 4096}, domains)


@pytest.mark.parametrize(
    ("minimum", "domains"),
    [
        (2048, {"example.com": {}}),
        (0, {"example.com": {}}),
        (4096, {"example.com": LARGE}),
        (4096, {"example.com": LARGE, "example.org": {"alias_of": "example.com"}}),
        # OpenDKIM compares no Ed25519 key with the option.
        (4096, {"example.com": {"algorithm": "ed25519"}}),
    ],
)
def test_minimum_that_every_planned_key_reaches_is_accepted(minimum, domains):
    assert reading({"MinimumKeyBits": minimum}, domains).problems == ()


def test_domain_that_signs_can_not_be_exempt():
    found = problem({"ExemptDomains": ["partner.example", "Example.com"]})
    assert found.startswith(f"{WHERE}:ExemptDomains: OpenDKIM would not sign mail from example.com")


@pytest.mark.parametrize("exempt", ["partner.example", "*", "refile:/etc/opendkim/exempt"])
def test_other_domains_can_be_exempt(exempt):
    assert reading({"ExemptDomains": exempt}, {"example.com": {}, "*": {}}).problems == ()


@pytest.mark.parametrize("octets", [1, "998"])
def test_limit_below_the_headers_of_any_message_is_refused(octets):
    assert problem({"MaximumHeaders": octets}).startswith(f"{WHERE}:MaximumHeaders: ")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"MaximumHeaders": 32768}, "MaximumHeaders"),
        ({"MaximumSignedBytes": 0}, "MaximumSignedBytes"),
        ({"BodyLengthDB": ["list@example.net"]}, "BodyLengthDB"),
        ({"RequiredHeaders": True}, "RequiredHeaders"),
        ({"StrictHeaders": "yes"}, "StrictHeaders"),
        ({"SignatureTTL": 3600}, "SignatureTTL"),
        ({"On-Default": "reject"}, "On-Default"),
        ({"On-NoSignature": "t"}, "On-NoSignature"),
        ({"InternalHosts": "192.0.2.0/24"}, "InternalHosts"),
        ({"InternalHosts": ["::1", "127.0.0.2"]}, "InternalHosts"),
        ({"PeerList": ["127.0.0.1"]}, "PeerList"),
        ({"PeerList": "::/0"}, "PeerList"),
        (
            {"InternalHosts": ["127.0.0.1", "mail.example.com"], "PeerList": ["mail.example.com"]},
            "PeerList",
        ),
    ],
)
def test_value_with_which_mail_leaves_unsigned_or_open_to_change_gets_advice(options, name):
    found = reading(options)
    assert found.problems == ()
    (advice,) = found.advice
    assert advice.startswith(f"{WHERE}:{name}: ")


@pytest.mark.parametrize(
    "options",
    [
        {"MaximumHeaders": 0},
        {"MaximumHeaders": 65536},
        {"RequiredHeaders": False},
        {"SignatureTTL": 1209600},
        {"SignatureTTL": 0},
        {"On-Default": "accept"},
        {"On-BadSignature": "reject"},
        {"InternalHosts": ["127.0.0.0/8", "192.0.2.0/24"]},
        {"InternalHosts": ["localhost", "192.0.2.0/24"]},
        {"InternalHosts": "refile:/etc/opendkim/hosts"},
        {"PeerList": ["192.0.2.1"]},
        {"PeerList": ["127.0.0.0/8", "!127.0.0.1"]},
    ],
)
def test_harmless_value_gets_no_advice(options):
    found = reading(options)
    assert (found.problems, found.advice) == ((), ())
