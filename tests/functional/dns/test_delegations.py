"""CNAMEs in customers' zones: the instructions, and the state that servers show."""

import html
import json
import re
from dataclasses import replace

import pytest
from dkim_formula.dns import commands, delegation_texts, delegations
from dkim_formula.dns.query import run
from dkim_formula.errors import InvalidValue
from dkim_formula.records import delegation_records
from dkim_formula.settings.model import Delegation, Dns, Zone
from functional.rotations import Site
from support.nameserver import Nameserver

pytestmark = pytest.mark.one_release

DOMAIN = "customer.example"
DELEGATION = Delegation("dkim.example.net", ("s1", "s2"))
RECORDS = delegation_records(DOMAIN, DELEGATION)
TARGET = "s1._domainkey.customer.example.dkim.example.net."


def lines(*records):
    return "".join(f"{record}\n" for record in records)


def observe(*servers, records=RECORDS[:1], deadline=20):
    zone = Zone(nameservers=tuple(map(str, servers)))
    dns = Dns(zones={DOMAIN: zone}, timeout=1)
    return run(delegations.observe(records, dns, deadline))


@pytest.mark.parametrize(
    ("record", "state", "detail"),
    [
        (f"s1._domainkey 60 CNAME {TARGET}", "ok", ""),
        (f"S1._DomainKey 60 CNAME {TARGET.upper()}", "ok", ""),
        (f"*._domainkey 60 CNAME {TARGET}", "ok", ""),
        ("", "missing", ""),
        (
            "s1._domainkey 60 CNAME other.example.",
            "wrong target",
            "the CNAME points to other.example",
        ),
        (
            's1._domainkey 60 TXT "v=DKIM1; p=MIIB"',
            "another record",
            "a TXT record exists at this name; remove it and add the CNAME instead",
        ),
        (
            f"s1._domainkey.customer.example 60 CNAME {TARGET}",
            "missing",
            "the record is at s1._domainkey.customer.example.customer.example: enter the name "
            "without .customer.example",
        ),
        (
            "s1._domainkey 60 CNAME s1._domainkey.customer.example.dkim.example.net",
            "wrong target",
            "the CNAME points to s1._domainkey.customer.example.dkim.example.net.customer.example",
        ),
    ],
)
def test_state_has_the_reason_as_detail(record, state, detail):
    with Nameserver({DOMAIN: lines(record)}) as server:
        (found,) = observe(server)
    assert (found.state, found.detail) == (state, detail)


def test_cname_of_a_domain_below_its_zone_is_found_at_the_doubled_name():
    records = delegation_records(f"mail.{DOMAIN}", DELEGATION)[:1]
    name = records[0].name
    with Nameserver({DOMAIN: lines(f"{name} 60 CNAME {records[0].value}.")}) as server:
        (found,) = observe(server, records=records)
    assert (found.state, found.detail) == (
        "missing",
        f"the record is at {name}.{DOMAIN}: enter the name without .{DOMAIN}",
    )


def test_different_servers_are_inconsistent():
    zone = lines(f"s1._domainkey 60 CNAME {TARGET}")
    with Nameserver({DOMAIN: zone}) as new, Nameserver({DOMAIN: ""}) as old:
        (found,) = observe(new, old)
        assert (found.state, found.detail) == ("inconsistent", "at 1 of 2 servers")
        old.silent = {"udp", "tcp"}
        (found,) = observe(new, old)
        assert found.state == "inconsistent"
        new.silent = {"udp", "tcp"}
        (found,) = observe(new, old)
        assert (found.state, found.detail) == ("no answer", "none of 2 servers answers")


def test_records_after_the_deadline_are_unchecked():
    with Nameserver({DOMAIN: ""}) as server:
        server.silent = {"udp", "tcp"}
        found = observe(server, records=RECORDS, deadline=0.2)
    assert [one.state for one in found] == ["unchecked", "unchecked"]


@pytest.fixture
def site(ready):
    with Nameserver({DOMAIN: lines(f"s1._domainkey 60 CNAME {TARGET}")}) as server:
        made = Site(ready, (server,))
        made.pillar["domains"] = {
            "example.com": {},
            DOMAIN: {
                "selector": "s1",
                "delegation": {"zone": "dkim.example.net", "selectors": ["s1", "s2"]},
            },
        }
        made.pillar["dns"]["zones"] = {DOMAIN: {"nameservers": [str(server)]}}
        yield made


def test_instructions_contain_everything_to_paste(site):
    text = commands.delegations(site.settings, DOMAIN, "text")
    assert (
        text
        == """\
customer.example: please add these CNAME records to the zone, once.
They stay the same when keys change.

    s1._domainkey.customer.example. CNAME s1._domainkey.customer.example.dkim.example.net.
    s2._domainkey.customer.example. CNAME s2._domainkey.customer.example.dkim.example.net.

In a panel that adds customer.example itself, enter the names s1._domainkey, s2._domainkey.
Enter the complete targets, with the dot at the end if the panel allows one.
Turn off any proxy for these records.

Current state:
    s1._domainkey.customer.example: ok
    s2._domainkey.customer.example: missing
"""
    )


def test_data_and_json_are_equal(site):
    found = commands.delegations(site.settings)
    assert found["counts"] == {"ok": 1, "missing": 1}
    assert not found["ok"]
    assert {one["domain"] for one in found["delegations"]} == {DOMAIN}
    again = json.loads(commands.delegations(site.settings, None, "json"))
    for one in (*found["delegations"], *again["delegations"]):
        # The times differ from check to check.
        del one["last_ok"]
    assert again == found


def test_since_is_the_first_check_that_found_the_cname_ok(site):
    def found():
        (one, other) = commands.delegations(site.settings)["delegations"]
        assert (other["since"], other["last_ok"]) == (None, None)
        return one

    first = found()
    assert first["since"] == first["last_ok"] is not None
    site.pass_time(3600)
    second = found()
    assert second["since"] < first["since"] <= second["last_ok"]
    (server,) = site.servers
    server.silent = {"udp", "tcp"}
    assert found() == {**second, "state": "no answer", "detail": "none of 1 servers answers"}
    server.silent = set()
    next(iter(server.zones.values())).delete_node("s1._domainkey.customer.example.")
    gone = found()
    assert (gone["state"], gone["since"], gone["last_ok"]) == (
        "missing",
        None,
        second["last_ok"],
    )


def test_page_has_the_instructions_and_no_external_content(site):
    page = commands.delegations(site.settings, DOMAIN, "html")
    assert page.startswith("<!DOCTYPE html>")
    for text in ("s1._domainkey.customer.example.", TARGET, ">ok<", ">missing<"):
        assert text in page
    assert not re.search(r"(src|href|url)\s*[=(]|<script|https?:", page)


def test_text_of_others_is_escaped_in_the_page():
    found = [
        delegations.Delegated(RECORDS[0], "wrong target", "the CNAME points to <script>&\"'"),
        delegations.Delegated(RECORDS[1], "ok"),
    ]
    page = delegation_texts.page(found)
    assert "<script>" not in page
    assert "the CNAME points to <script>&\"'" in html.unescape(page)


def test_customer_whose_cnames_are_ok_has_nothing_to_add(site):
    settings = site.settings
    domain = settings.domains[DOMAIN]
    alone = replace(domain, delegation=replace(domain.delegation, selectors=("s1",)))
    text = commands.delegations(replace(settings, domains={DOMAIN: alone}), DOMAIN, "text")
    assert text.startswith("customer.example: the 1 CNAME records are right.\n")


@pytest.mark.parametrize(
    ("domain", "format_"), [("example.com", None), ("no domain", None), (None, "pdf")]
)
def test_wrong_argument_is_refused(site, domain, format_):
    with pytest.raises(InvalidValue) as caught:
        commands.delegations(site.settings, domain, format_)
    assert str(caught.value).startswith("format: " if format_ else "domain: ")
