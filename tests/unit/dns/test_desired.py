"""The desired records, from the settings and the stored keys."""

import dataclasses

import pytest
from dkim_formula.dns import desired
from dkim_formula.keys.desired import chosen_domains
from dkim_formula.keys.model import Key
from dkim_formula.settings import read as read_pillar
from dkim_formula.settings.model import Dmarc, Domain, Settings


def stored(domain="example.com", selector="default", **columns):
    row = {field.name: None for field in dataclasses.fields(Key)}
    row |= {"id": 1, "algorithm": "rsa", "bits": 2048, "state": "active", "address": ""}
    return Key(**{**row, "public": "MIIB", "domain": domain, "selector": selector, **columns})


def records_of(domain, *keys):
    return [
        (record.name, record.value) for record in desired.records_of(Settings(), [domain], keys)
    ]


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
    found = desired.records_of(Settings(), [domain], [stored()])
    assert [record.ttl for record in found] == [60, 60, 60]


def test_policy_whose_name_grows_too_long_keeps_no_other_from_being_there():
    long = ".".join(["a" * 60] * 4)
    policies = {
        "dmarc": Dmarc(rua=("d@reports.example",)),
        "spf": "v=spf1 -all",
        "tls_rpt": ("mailto:t@a.example",),
    }
    made = [Domain(long, **policies), Domain("b.example", **policies)]
    found = desired.records_of(Settings(), made, [])
    assert [one.purpose for one in found if one.domain == long] == ["dmarc", "spf"]
    assert [one.purpose for one in found if one.domain == "b.example"] == [
        *("dmarc", "dmarc-report", "spf", "tls-rpt")
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"domains": {"*": {"spf": "v=spf1 include:Provider.example. -all"}}},
        {"defaults": {"spf": "v=spf1 redirect=provider.example"}, "domains": {"*": {}}},
    ],
)
def test_domain_that_the_spf_of_every_domain_includes_has_no_spf(settings):
    read = read_pillar(settings)
    assert read.problems == ()
    chosen = chosen_domains(read.settings, ["customer.example", "provider.example"])
    found = desired.records_of(read.settings, chosen.values(), [])
    assert [(one.name, one.purpose) for one in found] == [("customer.example", "spf")]
    assert desired.own_spf_problem(chosen["customer.example"]) == ""
    assert desired.own_spf_problem(chosen["provider.example"]) == (
        "the spf of provider.example names the record of provider.example itself: receivers treat "
        "that as a permanent error (RFC 7208, section 4.6.4), so the formula leaves this record "
        "out; set dkim:domains:provider.example:spf to the senders of provider.example, or to false"
    )
