"""The removal of published records: a key that may still verify mail keeps its record."""

import dataclasses

import pytest
from dkim_formula.dns import removals
from dkim_formula.dns.published import Published
from dkim_formula.keys.model import Key
from dkim_formula.settings import read as read_pillar

OWN = "s1._domainkey.example.com"
BELOW = f"{OWN}.keys.example.net"
DELEGATED = {"delegation": {"zone": "dkim.example.org"}}


def stored(**columns):
    row = {field.name: None for field in dataclasses.fields(Key)}
    row |= {"id": 1, "algorithm": "rsa", "bits": 2048, "state": "active", "address": ""}
    return Key(**{**row, "public": "MIIB", "domain": "example.com", "selector": "s1", **columns})


def removed(names, *keys, domains):
    read = read_pillar({"domains": domains})
    assert read.problems == ()
    published = {
        (name, "TXT"): [Published("example.com", name, "TXT", "v=DKIM1; p=MIIB")] for name in names
    }
    made, by_hand = removals.of_unneeded(read.settings, published, keys)
    assert by_hand == []
    return [task.name for task in made]


@pytest.mark.parametrize("domain", [{}, DELEGATED, False])
@pytest.mark.parametrize("state", ["standby", "pending", "active", "retired"])
def test_key_keeps_its_record_in_the_zone_of_a_former_delegation(domain, state):
    """The customer's CNAME may still lead to the former zone, or may not exist yet."""
    found = removed([OWN, BELOW], stored(state=state), domains={"example.com": domain})
    assert found == []


@pytest.mark.parametrize(("domain", "gone"), [({}, [BELOW]), (DELEGATED, [OWN, BELOW])])
def test_revoked_key_loses_its_record_at_other_names(domain, gone):
    found = removed([OWN, BELOW], stored(state="revoked"), domains={"example.com": domain})
    assert found == gone


@pytest.mark.parametrize("selector", ["s1", "S1", " s1", "s1 "])
def test_key_of_an_excluded_domain_keeps_its_record_in_every_spelling_that_signs(selector):
    key = stored(selector=selector)
    assert key.can_sign
    assert removed([OWN], key, domains={"example.com": False}) == []


def test_records_of_other_keys_and_of_policies_are_removed():
    other = "s10._domainkey.example.com"
    names = [other, f"{other}.keys.example.net", "_dmarc.example.com", "example.com"]
    assert removed(names, stored(), domains={"example.com": False}) == names
