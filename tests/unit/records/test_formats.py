"""Every format keeps any set of records unchanged, and no value can inject anything."""

import json
import re

import dns.rdatatype
import dns.zone
import pytest
import yaml
from dkim_formula.record_names import key_record_name
from dkim_formula.records import Record, render
from hypothesis import given
from hypothesis import strategies as st
from natsort import natsort_keygen

pytestmark = pytest.mark.one_release

LABELS = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z")
ZONES = ("example.com", "dkim.example.net", "xn--bcher-kva.example")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=700)


@st.composite
def records(draw, texts=TEXTS):
    """Return records of key names and policies below some zones, each name once."""
    names = draw(
        st.lists(
            st.tuples(st.sampled_from(ZONES), st.lists(LABELS, min_size=1, max_size=2)),
            max_size=8,
            unique_by=str,
        )
    )
    found = []
    for zone, labels in names:
        selector = ".".join(labels)
        name = key_record_name(selector, zone)
        is_alias = draw(st.booleans())
        value = f"{selector}.target.example" if is_alias else draw(texts)
        rtype, purpose = ("CNAME", "delegation") if is_alias else ("TXT", "dkim")
        ttl = draw(st.integers(0, 2**31 - 1))
        found.append(Record(name, rtype, ttl, value, purpose, zone, selector))
    return found


def read_back(text, origin):
    """Return the set of (name, type, ttl, value) that dnspython reads from lines of a zone."""
    head = f"$ORIGIN {origin}.\n$TTL 5\n@ SOA ns h 1 1 1 1 1\n@ NS ns\n"
    zone = dns.zone.from_text(head + text, relativize=False, check_origin=False)
    found = set()
    for name, ttl, rdata in zone.iterate_rdatas():
        owner, rtype = name.to_text(omit_final_dot=True), dns.rdatatype.to_text(rdata.rdtype)
        if rtype == "TXT":
            found.add((owner, rtype, ttl, b"".join(rdata.strings).decode()))
        elif rtype == "CNAME":
            found.add((owner, rtype, ttl, rdata.target.to_text(omit_final_dot=True)))
    return found


def expected(records_):
    return {(one.name, one.type, one.ttl, one.value) for one in records_}


@given(records(), st.booleans())
def test_zone_lines_are_read_back_as_the_same_records(made, relative):
    for zone in ZONES:
        in_zone = [record for record in made if record.domain == zone]
        assert read_back(render(in_zone, "bind", relative=relative), zone) == expected(in_zone)


@given(records())
def test_json_is_read_back_as_the_same_records(made):
    assert json.loads(render(made, "json")) == [record.to_dict() for record in made]


@given(records(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=700)))
def test_octodns_source_is_read_back_in_the_order_that_octodns_requires(made):
    documents = [*yaml.safe_load_all(render(made, "octodns"))]
    zones = dict.fromkeys(record.domain for record in made)
    assert len(documents) == len(zones)
    for zone, document in zip(zones, documents, strict=True):
        assert [*document] == sorted(document, key=natsort_keygen())
        found = {
            (f"{name}.{zone}", entry["type"], entry["ttl"], entry["value"].replace("\\;", ";"))
            for name, entry in document.items()
        }
        in_zone = [record for record in made if record.domain == zone]
        dotted = {
            (name, kind, ttl, f"{value}." if kind == "CNAME" else value)
            for name, kind, ttl, value in expected(in_zone)
        }
        assert found == dotted


@given(records())
def test_nsupdate_script_has_one_guarded_addition_for_each_record(made):
    text = render(made, "nsupdate")
    # A quoted string has no newline, so a value can't become a command.
    commands = re.findall(r"^(prereq|update add|send|;|update delete|zone)\b", text, re.MULTILINE)
    lines = [line for line in text.split("\n") if line]
    assert commands.count("update add") == len(made)
    assert commands.count("prereq") == len(made)
    assert all(re.match(r"(prereq|update add|send$|; )", line) for line in lines)


@given(records(), st.sets(st.sampled_from(ZONES)))
def test_nsupdate_names_a_zone_for_no_update_that_is_not_in_it(made, known):
    zone, updates = None, 0
    for line in render(made, "nsupdate", zones=sorted(known)).split("\n"):
        if line.startswith("zone "):
            zone = line.split()[1]
        elif line.startswith("update add "):
            updates += 1
            inside = [one for one in known if f".{line.split()[2]}".endswith(f".{one}.")]
            assert zone == (f"{max(inside, key=len)}." if inside else None)
    assert updates == len(made)


def test_relative_names_belong_to_the_known_zone():
    record = Record("s._domainkey.a.example.com", "TXT", 1, "x", "dkim", "a.example.com", "s")
    assert render([record], "oneline", relative=True) == "s._domainkey\tTXT\tx\n"
    assert (
        render([record], "oneline", relative=True, zones=["example.com"])
        == "s._domainkey.a\tTXT\tx\n"
    )
    (plain,) = json.loads(render([record], "json", relative=True))
    assert (plain["name"], plain["zone"]) == ("s._domainkey", "a.example.com")


def test_zones_apex_is_an_at_sign():
    record = Record("example.com", "TXT", 1, "v=spf1 -all", "spf", "example.com")
    assert render([record], "bind", relative=True) == (
        '$ORIGIN example.com.\n@ 1 IN TXT "v=spf1 -all"\n'
    )


@pytest.mark.parametrize("name", ["bind", "oneline", "nsupdate", "octodns"])
def test_no_records_are_an_empty_text(name):
    assert render([], name) == ""
