"""Names of records below a domain."""

import pytest
from dkim_formula import names, record_names
from dkim_formula.errors import InvalidValue


def test_key_record_is_below_domainkey():
    assert record_names.key_record_name("Mail", "Example.com.") == "mail._domainkey.example.com"


def test_key_record_name_is_checked_as_a_whole():
    domain = ".".join(["a" * 59] * 4)
    assert len(record_names.key_record_name("s", domain)) == 252
    with pytest.raises(InvalidValue, match="254 characters"):
        record_names.key_record_name("sel", domain)


def test_report_record_is_in_the_receivers_zone():
    # The example of RFC 9990, "Verifying External Destinations".
    assert (
        record_names.report_record_name("blue.example.com", "red.example.net")
        == "blue.example.com._report._dmarc.red.example.net"
    )


def test_served_domain_has_room_for_the_shortest_key_record():
    longest = ".".join(["a" * 59] * 4) + "b"
    assert names.is_served(longest)
    assert len(record_names.key_record_name("s", longest)) == names.MAX_NAME
    assert not names.is_served(f"{longest}b")
    with pytest.raises(InvalidValue, match="254 characters"):
        record_names.key_record_name("s", f"{longest}b")


def test_report_record_is_known_by_its_name():
    name = record_names.report_record_name("blue.example.com", "red.example.net")
    assert record_names.is_report_record(name)
    assert record_names.above_reports(name.partition("example.com.")[2]) == "red.example.net"
    assert not record_names.is_report_record(record_names.dmarc_record_name("example.com"))


def test_key_record_is_known_by_its_name():
    assert record_names.is_key_record(record_names.key_record_name("s2026", "example.com"))
    assert not record_names.is_key_record(record_names.dmarc_record_name("example.com"))
