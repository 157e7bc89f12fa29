"""The keys, patterns and records that should be, from the pillar and the hosted domains."""

import dataclasses
from dataclasses import replace

import pytest
from dkim_formula import wanted
from dkim_formula.database.keystore import Key, Wanted
from dkim_formula.settings.model import Address, Delegation, Dmarc, Domain, KeyPlan, Settings

RSA = KeyPlan(selector="r1", bits=3072)
ED25519 = KeyPlan(algorithm="ed25519", selector="e1")
TEMPLATE = Domain(name="*", keys=(RSA,), ttl=60)


def settings(*domains, **parts):
    return Settings(domains={domain.name: domain for domain in domains}, **parts)


def stored(domain="example.com", selector="default", **columns):
    row = {field.name: None for field in dataclasses.fields(Key)}
    row |= {"id": 1, "algorithm": "rsa", "bits": 2048, "state": "active", "address": ""}
    return Key(**{**row, "public": "MIIB", "domain": domain, "selector": selector, **columns})


def patterns_of(*domains):
    return wanted.wanted_patterns({domain.name: domain for domain in domains})


def records_of(domain, *keys):
    return [(record.name, record.value) for record in wanted.records(Settings(), [domain], keys)]


def test_pillars_own_domains_are_chosen_in_its_order():
    chosen = wanted.chosen_domains(settings(Domain("b.example"), Domain("a.example")), [])
    assert [*chosen] == ["b.example", "a.example"]


def test_hosted_domain_that_the_pillar_does_not_name_is_left_alone():
    assert [*wanted.chosen_domains(settings(Domain("a.example")), ["b.example"])] == ["a.example"]


def test_star_takes_every_hosted_domain_with_its_settings():
    chosen = wanted.chosen_domains(settings(every_hosted=TEMPLATE), ["a.example", "b.example"])
    assert chosen == {
        "a.example": dataclasses.replace(TEMPLATE, name="a.example"),
        "b.example": dataclasses.replace(TEMPLATE, name="b.example"),
    }


def test_named_domain_keeps_its_own_settings_beside_the_star():
    own = Domain("a.example", ttl=5)
    chosen = wanted.chosen_domains(settings(own, every_hosted=TEMPLATE), ["a.example"])
    assert chosen == {"a.example": own}


def test_domain_that_is_false_is_not_taken_by_the_star():
    made = settings(every_hosted=TEMPLATE, excluded=frozenset({"skip.example"}))
    assert [*wanted.chosen_domains(made, ["skip.example", "a.example"])] == ["a.example"]


@pytest.mark.parametrize("hosted", ["B.example", "b.example.", "bücher.example"])
def test_hosted_name_that_opendkim_would_not_find_is_passed_over(hosted):
    made = settings(Domain("a.example"), every_hosted=TEMPLATE)
    assert [*wanted.chosen_domains(made, [hosted])] == ["a.example"]


def test_named_domain_is_chosen_once_however_the_site_spells_it():
    own = Domain("a.example", ttl=5)
    made = settings(own, every_hosted=TEMPLATE)
    assert wanted.chosen_domains(made, ["A.Example", "a.example"]) == {"a.example": own}


@pytest.mark.parametrize("hosted", ["not a name", "", "*", "a" * 64 + ".example"])
def test_hosted_text_that_is_no_domain_is_passed_over(hosted):
    assert wanted.chosen_domains(settings(every_hosted=TEMPLATE), [hosted]) == {}


def test_settings_of_a_domain_come_from_its_name_then_the_star_then_the_defaults():
    own = Domain("a.example", ttl=5)
    defaults = Domain("*", ttl=7)
    starred = settings(own, every_hosted=TEMPLATE, defaults=defaults)
    assert wanted.domain_settings(starred, "a.example") is own
    assert wanted.domain_settings(starred, "b.example").ttl == 60
    assert wanted.domain_settings(settings(defaults=defaults), "b.example") == Domain(
        "b.example", ttl=7
    )


def test_every_algorithm_of_a_domain_is_a_key():
    domain = Domain("a.example", keys=(RSA, ED25519))
    assert wanted.wanted_keys({"a.example": domain}) == [
        Wanted("a.example", "r1", "rsa", 3072, ""),
        Wanted("a.example", "e1", "ed25519", ED25519.bits, ""),
    ]


def test_address_has_keys_beside_its_domains():
    address = Address("news@a.example", keys=(KeyPlan(selector="news"),))
    found = wanted.wanted_keys({"a.example": Domain("a.example", addresses=(address,))})
    assert [(key.selector, key.address) for key in found] == [
        ("default", ""),
        ("news", "news@a.example"),
    ]


def test_alias_has_no_key_and_its_addresses_do():
    address = Address("news@b.example", keys=(KeyPlan(selector="news"),))
    alias = Domain("b.example", alias_of="a.example", addresses=(address,))
    assert [key.address for key in wanted.wanted_keys({"b.example": alias})] == ["news@b.example"]


def test_domains_own_name_needs_no_pattern():
    assert patterns_of(Domain("a.example")) == {}


def test_subdomains_are_signed_by_the_domains_key():
    assert patterns_of(Domain("a.example", subdomains=True)) == {".a.example": ("a.example", "")}


def test_alias_and_its_subdomains_are_signed_as_the_other_domain():
    assert patterns_of(Domain("b.example", alias_of="a.example", subdomains=True)) == {
        "b.example": ("a.example", ""),
        ".b.example": ("a.example", ""),
    }


def test_address_is_signed_by_its_own_key():
    address = Address("news@a.example")
    assert patterns_of(Domain("a.example", addresses=(address,))) == {
        "news@a.example": ("a.example", "news@a.example")
    }


def test_each_key_has_a_record_in_whatever_state():
    keys = [
        stored(selector="s1", state="retired"),
        stored(selector="s2"),
        stored(selector="s3", state="pending"),
    ]
    assert [name for name, _ in records_of(Domain("example.com"), *keys)] == [
        "s1._domainkey.example.com",
        "s2._domainkey.example.com",
        "s3._domainkey.example.com",
    ]


def test_revoked_key_has_a_record_with_an_empty_p():
    assert records_of(Domain("example.com"), stored(state="revoked")) == [
        ("default._domainkey.example.com", "v=DKIM1; k=rsa; t=s; p=")
    ]


def test_row_that_no_key_could_be_read_from_has_no_record():
    assert records_of(Domain("example.com"), stored(public=None)) == []


def test_keys_of_other_domains_are_not_in_a_domains_records():
    assert records_of(Domain("example.com"), stored(domain="other.example")) == []


@pytest.mark.parametrize("spelling", ["Example.COM", "example.com.", " example.com"])
def test_row_that_opendkim_never_finds_has_no_record(spelling):
    assert records_of(Domain("example.com"), stored(domain=spelling)) == []


def test_selector_keeps_its_underscore_in_its_record():
    ((name, _),) = records_of(Domain("example.com"), stored(selector="mail_2020"))
    assert name == "mail_2020._domainkey.example.com"


def test_two_selectors_that_differ_in_case_have_one_record_the_one_that_signs():
    keys = [
        stored(selector="mail", state="retired", public="MIIA"),
        stored(selector="Mail", public="MIIB"),
    ]
    assert records_of(Domain("example.com"), *keys) == [
        ("mail._domainkey.example.com", "v=DKIM1; k=rsa; t=s; p=MIIB")
    ]


def test_hosted_domain_whose_delegated_record_would_be_too_long_is_not_chosen():
    zone = "dkim-keys-of-customers.mail-provider.example.net"
    template = replace(TEMPLATE, delegation=Delegation(zone, ("s1",)))
    long = ".".join(["a" * 60] * 3) + ".long.example"
    made = settings(every_hosted=template)
    assert [*wanted.chosen_domains(made, [long, "good.example"])] == ["good.example"]
    assert "would be 2" in wanted.domain_problem(made, long)
    assert wanted.domain_problem(made, "good.example") == ""


@pytest.mark.parametrize(
    ("domain", "flags"),
    [
        (Domain("example.com"), " t=s;"),
        (Domain("example.com", strict=False), ""),
        (Domain("example.com", subdomains=True), ""),
        (Domain("example.com", testing=True), " t=y:s;"),
    ],
)
def test_record_of_a_key_has_the_domains_flags(domain, flags):
    assert records_of(domain, stored()) == [
        ("default._domainkey.example.com", f"v=DKIM1; k=rsa;{flags} p=MIIB")
    ]


def test_dmarc_policy_comes_with_the_receivers_consent():
    domain = Domain("example.com", dmarc=Dmarc(policy="quarantine", rua=("r@other.example",)))
    assert records_of(domain) == [
        ("_dmarc.example.com", "v=DMARC1; p=quarantine; rua=mailto:r@other.example"),
        ("example.com._report._dmarc.other.example", "v=DMARC1;"),
    ]


def test_domain_without_a_policy_has_no_dmarc_record():
    assert records_of(Domain("example.com")) == []


def test_ttl_is_the_domains_for_all_its_records():
    domain = Domain("example.com", ttl=60, dmarc=Dmarc(rua=("r@other.example",)))
    found = wanted.records(Settings(), [domain], [stored()])
    assert [record.ttl for record in found] == [60, 60, 60]


def test_policy_whose_name_grows_too_long_keeps_no_other_from_being_there():
    long = ".".join(["a" * 60] * 4)
    policies = {
        "dmarc": Dmarc(rua=("d@reports.example",)),
        "spf": "v=spf1 -all",
        "tls_rpt": ("mailto:t@a.example",),
    }
    made = [Domain(long, **policies), Domain("b.example", **policies)]
    found = wanted.records(Settings(), made, [])
    assert [one.purpose for one in found if one.domain == long] == ["dmarc", "spf"]
    assert [one.purpose for one in found if one.domain == "b.example"] == [
        *("dmarc", "dmarc-report", "spf", "tls-rpt")
    ]
