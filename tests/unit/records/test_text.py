"""Texts of records can be pasted into a zone file and are read back unchanged."""

import json

import dns.rdatatype
import dns.zone
import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.private_key import PrivateKey
from dkim_formula.records import FORMATS, Record, key_record, render
from hypothesis import given
from hypothesis import strategies as st


def record(value, name="mail._domainkey.example.com"):
    return Record(name, "TXT", 300, value, "dkim", "example.com", "mail")


def parsed(text):
    """Return (ttl, strings) by name for every TXT record of a zone with the pasted text."""
    zone = dns.zone.from_text(
        f"$ORIGIN example.com.\n$TTL 5\n@ SOA ns h 1 1 1 1 1\n@ NS ns\n{text}", relativize=False
    )
    return {
        name.to_text(): (data.ttl, data[0].strings)
        for name, data in zone.iterate_rdatasets(dns.rdatatype.TXT)
    }


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=1200))
def test_any_text_survives_the_zone_file(value):
    ttl, strings = parsed(render([record(value)], "bind"))["mail._domainkey.example.com."]
    assert ttl == 300
    assert b"".join(strings) == value.encode()
    assert all(len(string) <= 255 for string in strings)


@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 510, 511])
def test_strings_hold_255_octets_at_most(length):
    _, strings = parsed(render([record("x" * length)], "bind"))["mail._domainkey.example.com."]
    assert len(strings) == max(1, -(-length // 255))


def test_several_records_can_be_pasted_together():
    long = key_record("example.com", "rsa2048", "rsa", PrivateKey.generate().public_base64())
    short = key_record("example.com", "ed", "ed25519", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIa=")
    zone = parsed(render([long, short, long], "bind"))
    assert b"".join(zone["rsa2048._domainkey.example.com."][1]).decode() == long.value
    assert b"".join(zone["ed._domainkey.example.com."][1]).decode() == short.value


def test_short_record_is_one_line():
    assert render([record('a "quoted" \\ ü')], "bind") == (
        'mail._domainkey.example.com. 300 IN TXT "a \\"quoted\\" \\\\ \\195\\188"\n'
    )


def test_oneline_has_the_whole_value_without_quotes():
    assert render([record("x" * 400)], "oneline") == (
        f"mail._domainkey.example.com\tTXT\t{'x' * 400}\n"
    )


def test_json_holds_the_fields_of_the_records():
    records = [record("a"), record("b", "x.example")]
    assert json.loads(render(records, "json")) == [one.to_dict() for one in records]


@pytest.mark.parametrize("name", ["bind", "oneline"])
def test_no_records_are_no_text(name):
    assert render([], name) == ""


def test_unknown_format_is_refused_with_the_choices():
    with pytest.raises(InvalidValue, match=", ".join(FORMATS)):
        render([], "xml")
