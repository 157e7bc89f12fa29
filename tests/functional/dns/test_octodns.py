"""Providers of octoDNS: a real PowerDNS by its HTTP API, and services that fail."""

import itertools
from dataclasses import replace

import pytest
from dkim_formula.dns.changes import Publisher
from dkim_formula.dns.planned import Task
from dkim_formula.records import dmarc_record, key_record, spf_record
from dkim_formula.secret import Secret
from dkim_formula.settings.model import ApiProvider, Dmarc, Dns, Zone
from support.dns_daemons import PowerDns

pytestmark = pytest.mark.one_release

FOREIGN = """\
@ TXT "google-site-verification=foreign"
@ TXT "two" "strings"
@ MX 10 mail
@ A 192.0.2.1
@ CAA 0 issue "ca.example"
_sip._tcp SRV 1 2 3 mail
other._domainkey TXT "v=DKIM1; p=foreign"
_dmarc TXT "v=DMARC1; p=none; rua=mailto:foreign@example.com"
quoted TXT "a \\"quoted\\" text; and \\\\ a backslash"
*.wild TXT "anything"
below NS ns.elsewhere.example.
alias._domainkey CNAME elsewhere
"""
RECORD = key_record("example.com", "s1", "rsa", "MIIB" * 98)
SPF = spf_record("example.com", "v=spf1 mx -all")
DMARC = dmarc_record("example.com", Dmarc())

_addresses = itertools.count(1)


@pytest.fixture(scope="module")
def pdns(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pdns")
    zones = {"example.com": FOREIGN, "sub.example.com": "", "xn--mller-kva.example": ""}
    with PowerDns(folder, zones, f"127.0.54.{next(_addresses)}") as running:
        yield running


@pytest.fixture
def server(pdns):
    """Return the server, and restore its zones afterwards."""
    before = pdns.rrsets("example.com")
    yield pdns
    changes = []
    after = pdns.rrsets("example.com")
    for name, rtype in {*before, *after}:
        ttl, records = before.get((name, rtype), (0, []))
        changes.append(
            {
                "name": f"{name}.",
                "type": rtype,
                "ttl": ttl,
                "changetype": "REPLACE" if records else "DELETE",
                "records": [{"content": text, "disabled": off} for text, off in records],
            }
        )
    pdns.request("PATCH", "zones/example.com.", {"rrsets": changes})
    assert pdns.rrsets("example.com") == before


def settings_for(server, **arguments):
    given = {**server.arguments(), **arguments}
    made = {name: Secret(one) if isinstance(one, str) else one for name, one in given.items()}
    provider = ApiProvider("pdns", "octodns_powerdns.PowerDnsProvider", made)
    return Dns(publish="octodns", providers={"pdns": provider}, provider="pdns", deadline=30)


@pytest.fixture
def dns_settings(server):
    return settings_for(server)


def task(record, *published, made=None):
    start = record.zone or record.domain
    return Task(record.name, record.type, start, record, published, record.domain, made)


def removal(record, *published):
    return Task(record.name, record.type, record.domain, None, published, record.domain)


def publish(dns, *tasks, adopt=False):
    with Publisher(dns) as publisher:
        done = list(publisher.apply(publisher.plan(tasks, adopt)))
    return [next(one for one in done if one.task is task) for task in tasks]


def previewed(dns, *tasks):
    """Return the previewed steps and problems, after a run that has to equal them."""
    with Publisher(dns) as publisher:
        previewed_steps = [(one.step, one.problem) for one in publisher.preview(tasks)]
    assert [(one.step, one.problem) for one in publish(dns, *tasks)] == previewed_steps
    return previewed_steps


def changed(dns, *tasks, **how):
    planned = publish(dns, *tasks, **how)
    assert [one.problem for one in planned] == [""] * len(planned)
    return [one.step is not None for one in planned]


def problem(dns, *tasks):
    (planned, *_) = publish(dns, *(tasks or (task(RECORD),)))
    assert PowerDns.api_key not in planned.problem
    return planned.problem


def others(server, *records):
    ours = {(one.name, one.type) for one in records}
    return {key: value for key, value in server.rrsets("example.com").items() if key not in ours}


def test_records_are_published_and_a_second_run_does_nothing(server, dns_settings):
    large = key_record("example.com", "large", "rsa", "MIIC" * 184)
    before = others(server)
    assert changed(dns_settings, task(RECORD), task(large)) == [True, True]
    for record in (RECORD, large):
        assert server.texts(record.name) == {record.value.encode()}
        assert server.ttl(record.name) == record.ttl
    assert others(server, RECORD, large) == before
    serial = server.serial("example.com")
    assert changed(dns_settings, task(RECORD), task(large)) == [False, False]
    assert server.serial("example.com") == serial


def test_preview_equals_the_following_run(server, dns_settings):
    before = server.rrsets("example.com")
    with Publisher(dns_settings) as publisher:
        publisher.preview([task(RECORD), task(SPF)])
    assert server.rrsets("example.com") == before
    lost = key_record("lost.example", "s1", "rsa", "MIIB")
    previewed_steps = previewed(dns_settings, task(RECORD), task(DMARC), task(SPF), task(lost))
    assert [step is not None for step, _ in previewed_steps] == [True, False, True, False]
    assert [bool(problem) for _, problem in previewed_steps] == [False, True, False, True]
    again = previewed(dns_settings, task(RECORD), task(DMARC), task(SPF), task(lost))
    assert [step for step, _ in again] == [None] * 4


def test_other_text_at_the_apex_stays_beside_spf(server, dns_settings):
    before = others(server, SPF)
    assert changed(dns_settings, task(SPF)) == [True]
    assert server.ttl("example.com") == 300
    assert server.texts("example.com") == {
        b"google-site-verification=foreign",
        b"twostrings",
        SPF.value.encode(),
    }
    other = spf_record("example.com", "v=spf1 -all", 99)
    assert changed(dns_settings, task(other, SPF.value)) == [True]
    # The records of one name and type have one TTL (RFC 2181, section 5.2): that of the others.
    assert server.ttl("example.com") == 300
    assert changed(dns_settings, task(other, SPF.value)) == [False]
    assert changed(dns_settings, removal(SPF, other.value)) == [True]
    assert server.texts("example.com") == {b"google-site-verification=foreign", b"twostrings"}
    assert server.ttl("example.com") == 300
    assert others(server, SPF) == before


def test_disabled_text_beside_spf_stays_disabled(server, dns_settings):
    records = [
        {"content": '"an old; text"', "disabled": True},
        {"content": '"another text"', "disabled": False},
    ]
    rrset = {"name": "example.com.", "type": "TXT", "ttl": 300, "changetype": "REPLACE"}
    server.request("PATCH", "zones/example.com.", {"rrsets": [{**rrset, "records": records}]})
    assert changed(dns_settings, task(SPF)) == [True]
    assert server.texts("example.com") == {b"another text", SPF.value.encode()}
    assert changed(dns_settings, removal(SPF, SPF.value)) == [True]
    assert server.texts("example.com") == {b"another text"}
    ttl, found = server.rrsets("example.com")["example.com", "TXT"]
    assert (ttl, [off for _, off in found]) == (300, [True, False])


def test_other_policy_stays_until_it_is_adopted(server, dns_settings):
    before = server.rrsets("example.com")
    assert "another TXT record exists" in problem(dns_settings, task(DMARC))
    assert server.rrsets("example.com") == before
    assert changed(dns_settings, task(DMARC), adopt=True) == [True]
    assert server.texts(DMARC.name) == {DMARC.value.encode()}


def test_one_refused_name_does_not_prevent_others(server, dns_settings):
    theirs = key_record("example.com", "other", "rsa", "MIIB")
    alias = key_record("example.com", "alias", "rsa", "MIIB")
    below = key_record("a.below.example.com", "s1", "rsa", "MIIB")
    done = publish(dns_settings, task(theirs), task(alias), task(below), task(RECORD))
    assert "another TXT record exists" in done[0].problem
    assert "a CNAME to elsewhere.example.com exists" in done[1].problem
    assert "is in the zone below.example.com, which other servers serve" in done[2].problem
    assert not done[3].problem
    assert server.texts(RECORD.name) == {RECORD.value.encode()}


def test_published_record_is_removed(server, dns_settings):
    before = server.rrsets("example.com")
    changed(dns_settings, task(RECORD))
    assert changed(dns_settings, removal(RECORD, RECORD.value)) == [True]
    assert server.rrsets("example.com") == before
    assert changed(dns_settings, removal(RECORD, RECORD.value)) == [False]
    # A record that another user wrote there in the meantime stays.
    assert changed(dns_settings, removal(DMARC, DMARC.value)) == [False]


def test_longest_zone_of_the_provider_gets_the_record(server, dns_settings):
    record = key_record("sub.example.com", "s1", "rsa", "MIIB")
    host = key_record("host.example.com", "s1", "rsa", "MIIB")
    assert changed(dns_settings, task(record), task(host)) == [True, True]
    assert (record.name, "TXT") in server.rrsets("sub.example.com")
    assert (host.name, "TXT") in server.rrsets("example.com")


def test_zone_of_the_settings_has_priority(server, dns_settings):
    dns = replace(dns_settings, zones={"sub.example.com": Zone(publish="octodns")})
    assert changed(dns, task(key_record("sub.example.com", "s2", "rsa", "MIIB"))) == [True]


def test_internationalised_zone_is_found(server, dns_settings):
    record = key_record("xn--mller-kva.example", "s1", "rsa", "MIIB")
    assert changed(dns_settings, task(record)) == [True]
    assert server.texts(record.name) == {record.value.encode()}


@pytest.mark.parametrize("is_named", [True, False])
def test_missing_zone_is_reported_and_never_created(server, dns_settings, is_named):
    lost = key_record("lost.example", "s1", "rsa", "MIIB")
    if is_named:
        dns_settings = replace(dns_settings, zones={"lost.example": Zone(publish="octodns")})
    text = problem(dns_settings, task(lost))
    assert "the provider has no zone" in text
    assert not any("lost" in zone["name"] for zone in server.request("GET", "zones"))


def test_name_that_changed_since_the_plan_is_planned_again(server, dns_settings):
    with Publisher(dns_settings) as slow:
        (planned,) = slow.plan([task(RECORD)])
        other = key_record("example.com", "s1", "rsa", "MIICother")
        assert changed(dns_settings, task(other)) == [True]
        list(slow.apply([planned]))
    assert "changed during the update" in planned.problem
    assert planned.has_conflict
    assert server.texts(RECORD.name) == {other.value.encode()}


def test_wrong_key_is_reported_without_the_key(server):
    text = problem(settings_for(server, api_key="another-key-of-nobody"))
    assert "Unauthorized" in text
    assert "another-key" not in text


@pytest.mark.parametrize("key", ["line one\nline two", "a secret\x00here", "sécret-€"])
def test_key_that_is_invalid_in_a_header_is_not_shown(server, key):
    text = problem(settings_for(server, api_key=key))
    assert text
    assert "line one" not in text
    assert "secret" not in text.replace("<secret>", "")
    assert "cret-" not in text


def test_provider_that_is_down_is_reported(server):
    text = problem(settings_for(server, port=1))
    assert "Connection refused" in text
    assert len(text) < 700


def test_disabled_record_counts_as_published_at_the_provider(server, dns_settings):
    """PowerDNS shows a disabled record only in its API. The DNS check reports it as missing."""
    changed(dns_settings, task(RECORD))
    (content,) = [text for text, _ in server.rrsets("example.com")[(RECORD.name, "TXT")][1]]
    disabled = {"content": content, "disabled": True}
    rrset = {"name": f"{RECORD.name}.", "type": "TXT", "ttl": 3600, "changetype": "REPLACE"}
    server.request("PATCH", "zones/example.com.", {"rrsets": [{**rrset, "records": [disabled]}]})
    assert changed(dns_settings, task(RECORD)) == [False]
    assert server.texts(RECORD.name) == set()
