"""The desired keys and patterns, derived from the pillar and the hosted domains."""

import dataclasses
from dataclasses import replace

import pytest
from dkim_formula.keys import desired as keys_desired
from dkim_formula.keys.model import DesiredKey, Slot
from dkim_formula.settings.model import Address, Delegation, Domain, KeyPlan, Settings

RSA = KeyPlan(selector="r1", bits=3072)
ED25519 = KeyPlan(algorithm="ed25519", selector="e1")
TEMPLATE = Domain(name="*", keys=(RSA,), ttl=60)


def settings(*domains, **parts):
    return Settings(domains={domain.name: domain for domain in domains}, **parts)


@pytest.mark.parametrize("alias_of", [None, "b.example"])
def test_settings_give_each_desired_key_its_slot(alias_of):
    addresses = (Address("news@a.example", (RSA, ED25519)),)
    own = () if alias_of else (RSA, ED25519)
    domain = Domain("a.example", keys=own, alias_of=alias_of, addresses=addresses)
    keys = keys_desired.desired_keys({domain.name: domain})
    slots = {Slot(key.domain, key.address, key.algorithm) for key in keys}
    assert len(slots) == len(own) + 2
    assert all(keys_desired.is_desired(domain, slot) for slot in slots)
    assert keys_desired.is_desired(domain, Slot("a.example", "", "rsa")) is (alias_of is None)
    assert not keys_desired.is_desired(domain, Slot("a.example", "other@a.example", "rsa"))


def patterns_of(*domains):
    return keys_desired.desired_patterns({domain.name: domain for domain in domains})


def test_domains_of_the_pillar_are_chosen_in_the_pillars_order():
    chosen = keys_desired.chosen_domains(settings(Domain("b.example"), Domain("a.example")), [])
    assert [*chosen] == ["b.example", "a.example"]


def test_hosted_domain_outside_the_pillar_is_not_chosen():
    assert [*keys_desired.chosen_domains(settings(Domain("a.example")), ["b.example"])] == [
        "a.example"
    ]


def test_star_chooses_every_hosted_domain_with_the_stars_settings():
    chosen = keys_desired.chosen_domains(
        settings(every_hosted=TEMPLATE), ["a.example", "b.example"]
    )
    assert chosen == {
        "a.example": dataclasses.replace(TEMPLATE, name="a.example"),
        "b.example": dataclasses.replace(TEMPLATE, name="b.example"),
    }


def test_domain_of_the_pillar_keeps_its_own_settings_despite_the_star():
    own = Domain("a.example", ttl=5)
    chosen = keys_desired.chosen_domains(settings(own, every_hosted=TEMPLATE), ["a.example"])
    assert chosen == {"a.example": own}


def test_excluded_domain_is_not_chosen_by_the_star():
    made = settings(every_hosted=TEMPLATE, excluded=frozenset({"skip.example"}))
    assert [*keys_desired.chosen_domains(made, ["skip.example", "a.example"])] == ["a.example"]


@pytest.mark.parametrize("hosted", ["B.example", "b.example.", "bücher.example"])
def test_hosted_name_that_opendkim_would_not_find_is_skipped(hosted):
    made = settings(Domain("a.example"), every_hosted=TEMPLATE)
    assert [*keys_desired.chosen_domains(made, [hosted])] == ["a.example"]


def test_domain_of_the_pillar_is_chosen_once_in_any_hosted_spelling():
    own = Domain("a.example", ttl=5)
    made = settings(own, every_hosted=TEMPLATE)
    assert keys_desired.chosen_domains(made, ["A.Example", "a.example"]) == {"a.example": own}


@pytest.mark.parametrize("hosted", ["not a name", "", "*", "a" * 64 + ".example"])
def test_hosted_text_that_is_not_a_domain_is_skipped(hosted):
    assert keys_desired.chosen_domains(settings(every_hosted=TEMPLATE), [hosted]) == {}


def test_settings_are_the_domains_own_else_the_stars_else_the_defaults():
    own = Domain("a.example", ttl=5)
    defaults = Domain("*", ttl=7)
    starred = settings(own, every_hosted=TEMPLATE, defaults=defaults)
    assert keys_desired.domain_settings(starred, "a.example") is own
    assert keys_desired.domain_settings(starred, "b.example").ttl == 60
    assert keys_desired.domain_settings(settings(defaults=defaults), "b.example") == Domain(
        "b.example", ttl=7
    )


def test_domain_has_a_key_for_each_algorithm():
    domain = Domain("a.example", keys=(RSA, ED25519))
    assert keys_desired.desired_keys({"a.example": domain}) == [
        DesiredKey("a.example", "r1", "rsa", 3072, ""),
        DesiredKey("a.example", "e1", "ed25519", ED25519.bits, ""),
    ]


def test_address_has_its_own_keys():
    address = Address("news@a.example", keys=(KeyPlan(selector="news"),))
    found = keys_desired.desired_keys({"a.example": Domain("a.example", addresses=(address,))})
    assert [(key.selector, key.address) for key in found] == [
        ("default", ""),
        ("news", "news@a.example"),
    ]


def test_alias_has_no_key_but_its_addresses_have_keys():
    address = Address("news@b.example", keys=(KeyPlan(selector="news"),))
    alias = Domain("b.example", alias_of="a.example", addresses=(address,))
    assert [key.address for key in keys_desired.desired_keys({"b.example": alias})] == [
        "news@b.example"
    ]


def test_domains_own_name_needs_no_pattern():
    assert patterns_of(Domain("a.example")) == {}


def test_subdomains_are_signed_by_the_domains_key():
    assert patterns_of(Domain("a.example", subdomains=True)) == {".a.example": ("a.example", "")}


def test_alias_and_its_subdomains_are_signed_by_the_other_domains_key():
    assert patterns_of(Domain("b.example", alias_of="a.example", subdomains=True)) == {
        "b.example": ("a.example", ""),
        ".b.example": ("a.example", ""),
    }


def test_address_is_signed_by_its_own_key():
    address = Address("news@a.example")
    assert patterns_of(Domain("a.example", addresses=(address,))) == {
        "news@a.example": ("a.example", "news@a.example")
    }


def test_hosted_domain_with_a_too_long_delegated_record_name_is_not_chosen():
    zone = "dkim-keys-of-customers.mail-provider.example.net"
    template = replace(TEMPLATE, delegation=Delegation(zone, ("s1",)))
    long = ".".join(["a" * 60] * 3) + ".long.example"
    made = settings(every_hosted=template)
    assert [*keys_desired.chosen_domains(made, [long, "good.example"])] == ["good.example"]
    assert "would be 2" in keys_desired.domain_problem(made, long)
    assert keys_desired.domain_problem(made, "good.example") == ""
