"""Updates to real BIND and Knot: they change managed records, and all other records stay."""

import contextlib
import itertools
import shutil
import time
from dataclasses import replace
from pathlib import Path

import dns.tsig
import pytest
import yaml
from dkim_formula.dns.changes import Publisher, start_of_published
from dkim_formula.dns.desired import policy_records
from dkim_formula.dns.planned import Task
from dkim_formula.records import delegated, dmarc_record, key_record, spf_record
from dkim_formula.secret import Secret
from dkim_formula.settings import read
from dkim_formula.settings.model import Dmarc, Dns, TsigKey, Zone
from support.dns_daemons import ALGORITHM, KEY_NAME, OTHER_SECRET, SECRET, Bind, Knot
from support.nameserver import Nameserver

pytestmark = pytest.mark.one_release

KEY = TsigKey(KEY_NAME.rstrip("."), ALGORITHM, Secret(SECRET))
FOREIGN = """\
@ TXT "google-site-verification=foreign"
other._domainkey TXT "v=DKIM1; p=foreign"
_dmarc TXT "v=DMARC1; p=none; rua=mailto:foreign@example.com"
*.wild TXT "anything"
*.alias CNAME elsewhere
"""
RECORD = key_record("example.com", "s1", "rsa", "MIIB" * 98)
SPF = spf_record("example.com", "v=spf1 mx -all")
DMARC = dmarc_record("example.com", Dmarc())
NAME = RECORD.name

_addresses = itertools.count(1)


@pytest.fixture(params=[Bind, Knot])
def server(request, tmp_path):
    kind = request.param
    if shutil.which(kind.program) is None:
        pytest.fail(f"{kind.program} is not installed")
    with kind(tmp_path, {"example.com": FOREIGN}, f"127.0.53.{next(_addresses)}") as running:
        yield running


@pytest.fixture
def dns_settings(server):
    return Dns(publish="rfc2136", server=server.address, key=KEY, timeout=2)


def task(record, *published):
    return Task(record.name, record.type, "example.com", record, published, record.domain)


def removal(record, *published):
    return Task(record.name, record.type, "example.com", None, published, record.domain)


def publish(dns, *tasks, adopt=False):
    with Publisher(dns) as publisher:
        return list(publisher.apply(publisher.plan(tasks, adopt)))


def problem(dns, *tasks):
    (planned, *_) = publish(dns, *(tasks or (task(RECORD),)))
    assert SECRET not in planned.problem
    assert OTHER_SECRET not in planned.problem
    return planned.problem


def changed(dns, *tasks, **how):
    planned = publish(dns, *tasks, **how)
    assert [one.problem for one in planned] == [""] * len(planned)
    return [one.step is not None for one in planned]


def test_record_is_published_and_a_second_run_does_nothing(server, dns_settings):
    assert changed(dns_settings, task(RECORD)) == [True]
    assert server.texts(NAME) == {RECORD.value.encode()}
    serial = server.serial("example.com")
    assert changed(dns_settings, task(RECORD)) == [False]
    assert server.serial("example.com") == serial


def test_key_of_4096_bits_is_published_completely(server, dns_settings):
    large = key_record("example.com", "large", "rsa", "MIIC" * 184)
    assert changed(dns_settings, task(large)) == [True]
    assert server.texts(large.name) == {large.value.encode()}


def test_flags_of_a_managed_key_are_changed(server, dns_settings):
    publish(dns_settings, task(RECORD))
    other = key_record("example.com", "s1", "rsa", "MIIB" * 98, strict=False)
    assert changed(dns_settings, task(other)) == [True]
    assert server.texts(NAME) == {other.value.encode()}


def test_ttl_is_changed(server, dns_settings):
    publish(dns_settings, task(RECORD))
    assert changed(dns_settings, task(replace(RECORD, ttl=77))) == [True]
    assert server.ttl(NAME) == 77
    assert changed(dns_settings, task(replace(RECORD, ttl=77))) == [False]


def test_record_of_a_revoked_key_becomes_empty(server, dns_settings):
    publish(dns_settings, task(RECORD))
    revoked = key_record("example.com", "s1", "rsa", "MIIB" * 98, revoked=True)
    assert changed(dns_settings, task(revoked)) == [True]
    assert server.texts(NAME) == {revoked.value.encode()}
    assert changed(dns_settings, task(revoked)) == [False]


def test_only_published_records_are_removed(server, dns_settings):
    publish(dns_settings, task(RECORD), task(SPF))
    gone = (removal(RECORD, RECORD.value), removal(SPF, SPF.value))
    assert changed(dns_settings, *gone) == [True, True]
    assert server.texts(NAME) == set()
    assert server.texts("example.com") == {b"google-site-verification=foreign"}
    assert changed(dns_settings, *gone) == [False, False]


def test_other_text_at_the_apex_stays_beside_spf(server, dns_settings):
    ttl = server.ttl("example.com")
    changed(dns_settings, task(SPF))
    other = spf_record("example.com", "v=spf1 -all", 99)
    assert changed(dns_settings, task(other, SPF.value)) == [True]
    assert server.texts("example.com") == {
        b"google-site-verification=foreign",
        b"v=spf1 -all",
    }
    assert server.ttl("example.com") == ttl
    assert changed(dns_settings, task(other, SPF.value)) == [False]


def test_other_policy_stays_until_it_is_adopted(server, dns_settings):
    before = server.texts("_dmarc.example.com")
    assert "another TXT record exists" in problem(dns_settings, task(DMARC))
    assert server.texts("_dmarc.example.com") == before
    assert changed(dns_settings, task(DMARC), adopt=True) == [True]
    assert server.texts("_dmarc.example.com") == {DMARC.value.encode()}


def test_other_key_under_the_same_selector_stays(server, dns_settings):
    ours = key_record("example.com", "other", "rsa", "MIIB")
    assert "another TXT record exists" in problem(dns_settings, task(ours))
    assert server.texts(ours.name) == {b"v=DKIM1; p=foreign"}


@pytest.mark.parametrize("domain", ["wild.example.com", "alias.example.com"])
def test_wildcard_does_not_prevent_a_record(server, dns_settings, domain):
    record = key_record(domain, "s1", "rsa", "MIIB")
    assert changed(dns_settings, task(record)) == [True]
    assert server.texts(record.name) == {record.value.encode()}
    assert changed(dns_settings, task(record)) == [False]


def test_published_policy_is_changed(server, dns_settings):
    changed(dns_settings, task(DMARC), adopt=True)
    stricter = dmarc_record("example.com", Dmarc(policy="quarantine"))
    assert changed(dns_settings, task(stricter, DMARC.value)) == [True]
    assert server.texts("_dmarc.example.com") == {stricter.value.encode()}


def test_record_that_another_user_changed_is_not_removed(server, dns_settings):
    assert changed(dns_settings, removal(DMARC, DMARC.value)) == [False]
    assert len(server.texts("_dmarc.example.com")) == 1


def test_update_is_refused_if_the_name_changed_since_the_plan(server, dns_settings):
    with Publisher(dns_settings) as slow:
        (planned,) = slow.plan([task(RECORD)])
        other = key_record("example.com", "s1", "rsa", "MIICother")
        assert changed(dns_settings, task(other)) == [True]
        list(slow.apply([planned]))
    assert "changed during the update" in planned.problem
    assert server.texts(NAME) == {other.value.encode()}


def test_one_refused_name_does_not_prevent_others(server, dns_settings):
    planned = publish(dns_settings, task(DMARC), task(RECORD))
    assert [bool(one.problem) for one in planned] == [True, False]
    assert server.texts(NAME) == {RECORD.value.encode()}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (replace(KEY, secret=Secret(OTHER_SECRET)), "BADSIG"),
        (replace(KEY, name="nobody"), "does not know the key"),
        (replace(KEY, algorithm="hmac-sha512"), "does not know the key"),
    ],
)
def test_wrong_key_is_reported(server, dns_settings, key, expected):
    assert expected in problem(replace(dns_settings, key=key))
    assert server.texts(NAME) == set()


def test_wrong_clock_is_reported(server, dns_settings, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    assert "clock" in problem(dns_settings)


def test_unsigned_update_is_refused(server, dns_settings):
    text = problem(replace(dns_settings, key=None))
    assert "REFUSED" in text or "NOTAUTH" in text
    assert server.texts(NAME) == set()


def test_missing_zone_is_reported(server, dns_settings):
    lost = key_record("example.org", "s1", "rsa", "MIIB")
    text = problem(dns_settings, Task(lost.name, "TXT", "example.org", lost))
    assert "REFUSED" in text or "NOTAUTH" in text


def test_primary_is_found_by_the_zones_soa(server, dns_settings):
    found = replace(dns_settings, server=None, resolver=(server.address,))
    assert changed(found, task(RECORD)) == [True]
    assert server.texts(NAME) == {RECORD.value.encode()}


def test_zones_own_server_and_key_have_priority(server, dns_settings):
    general = Dns(
        server="127.0.53.250",
        key=replace(KEY, name="wrong"),
        zones={"example.com": Zone(server=server.address, key=KEY)},
        timeout=1,
    )
    assert changed(general, task(RECORD)) == [True]


def test_server_without_dynamic_updates_is_reported(tmp_path):
    with Bind(tmp_path, {"example.com": ""}, "127.0.53.200", updates="none") as server:
        assert "REFUSED" in problem(Dns(server=server.address, key=KEY, timeout=2))


def test_answer_without_a_signature_is_refused():
    with Nameserver({"example.com": ""}) as server:
        dns = Dns(server=str(server), key=KEY, timeout=1)
        assert "not signed" in problem(dns)


@pytest.mark.parametrize("rcode", ["REFUSED", "NOTAUTH", "SERVFAIL"])
def test_refusal_is_reported_by_its_name(rcode):
    with Nameserver({"example.com": ""}) as server:
        server.rcode = dns.rcode.from_text(rcode)
        assert rcode in problem(Dns(server=str(server), timeout=1))


def test_silent_server_is_reported_and_awaited_once():
    with Nameserver({"example.com": ""}) as server:
        server.silent = {"tcp"}
        begin = time.monotonic()
        planned = publish(Dns(server=str(server), timeout=0.5), *[task(RECORD)] * 20)
        assert time.monotonic() - begin < 5
    assert all("no answer within 0.5 s" in one.problem for one in planned)


def test_alias_at_a_managed_name_is_reported():
    with Nameserver({"example.com": "s1._domainkey 60 CNAME elsewhere\n"}) as server:
        text = problem(Dns(server=str(server), timeout=1))
    assert "a CNAME to elsewhere.example.com exists" in text


CASES = Path(__file__).resolve().parents[2] / "cases" / "records"


def case_zone(name):
    """Return a case's zone by its origin, without its SOA and NS records."""
    lines = (CASES / "zones" / name).read_text(encoding="utf-8").splitlines()
    body = [line for line in lines[2:] if not line.startswith(("@ SOA", "@ NS ns1", "ns1 A"))]
    return {lines[0].split()[1].removesuffix("."): "\n".join(body) + "\n"}


def case_settings(name):
    """Return a case's pillar as settings."""
    reading = read(yaml.safe_load((CASES / name).read_text(encoding="utf-8"))["dkim"])
    assert reading.problems == ()
    return reading.settings


def here(record, *published):
    """Return a task for a record of a case's domain."""
    start = record.zone or record.domain
    return Task(record.name, record.type, start, record, published, record.domain)


@pytest.fixture(params=[Bind, Knot])
def of_case(request, tmp_path):
    """Start a server for a case's zones."""
    with contextlib.ExitStack() as stack:

        def start(served):
            address = f"127.0.53.{next(_addresses)}"
            return stack.enter_context(request.param(tmp_path / address, served, address))

        yield start


def test_case_32_policies_are_published_beside_a_wildcard(of_case):
    server = of_case(case_zone("32-wildcard.zone"))
    settings = case_settings("zones/32-wildcard.yaml")
    domain = settings.domains["wild.example"]
    key = key_record("wild.example", "default", "rsa", "MIIB")
    tasks = [here(one) for one in (*policy_records(domain), key)]
    assert len(tasks) == 3
    dns_settings = replace(settings.dns, server=server.address, key=KEY)
    assert changed(dns_settings, *tasks) == [True] * 3
    for one in tasks:
        assert server.texts(one.name) == {one.record.value.encode()}
    assert server.texts("x.wild.example") == {b"v=spf1 -all"}
    assert changed(dns_settings, *tasks) == [False] * 3
    gone = [replace(one, record=None, published=(one.record.value,)) for one in tasks]
    assert changed(dns_settings, *gone) == [True] * 3
    # The wildcard answers again. Its record can't be removed at this name.
    assert changed(dns_settings, *gone) == [False] * 3


def test_wildcard_with_the_same_text_is_never_removed(of_case):
    server = of_case({"example.com": f'* TXT "{DMARC.value}"\n'})
    settings = Dns(publish="rfc2136", server=server.address, key=KEY, timeout=2)
    assert changed(settings, removal(DMARC, DMARC.value)) == [False]
    other = dmarc_record("example.com", Dmarc(policy="quarantine"))
    assert changed(settings, task(other, DMARC.value)) == [True]
    assert server.texts(other.name) == {other.value.encode()}
    assert server.texts("x.example.com") == {DMARC.value.encode()}


@pytest.mark.parametrize("what", ["* A 192.0.2.1", "* CNAME ns", "*._dmarc TXT x", "* MX 1 x"])
def test_wildcard_of_another_kind_does_not_prevent_a_record(of_case, what):
    server = of_case({"example.com": f"{what}\n"})
    settings = Dns(publish="rfc2136", server=server.address, key=KEY, timeout=2)
    assert changed(settings, task(DMARC), task(SPF), task(RECORD)) == [True] * 3
    assert server.texts(DMARC.name) == {DMARC.value.encode()}


def test_case_33_record_of_a_domain_that_is_an_alias_is_in_the_parent_zone(of_case):
    ((origin, body),) = case_zone("33-cname-domain.zone").items()
    record = key_record("shop.example.net", "default", "rsa", "MIIBother")
    server = of_case({origin: body.replace("…", "MIIB")})
    settings = Dns(publish="rfc2136", key=KEY, timeout=2, resolver=(server.address,))
    assert "another TXT record exists" in problem(settings, here(record))
    second = key_record("shop.example.net", "second", "rsa", "MIIB")
    assert changed(settings, here(second)) == [True]
    assert server.texts(second.name) == {second.value.encode()}


def test_case_36_record_of_a_delegated_key_is_removed_from_its_zone(of_case):
    settings = case_settings("zones/36-delegated-gone.yaml")
    (domain,) = settings.domains.values()
    zone = domain.delegation.zone
    server = of_case({zone: ""})
    settings = replace(settings.dns, key=KEY, resolver=(server.address,), timeout=2)
    record = delegated(key_record(domain.name, "default", "rsa", "MIIB"), domain.delegation)
    assert changed(settings, here(record)) == [True]
    start = start_of_published(record.name, domain.name)
    assert start == zone
    gone = Task(record.name, "TXT", start, None, (record.value,), domain.name)
    assert changed(settings, gone) == [True]
    assert server.texts(record.name) == set()


@pytest.mark.parametrize(
    ("name", "domain", "start"),
    [
        ("s._domainkey.example.com", "example.com", "example.com"),
        ("example.com", "example.com", "example.com"),
        ("s._domainkey.a.example.k.example", "a.example", "k.example"),
        ("s._domainkey.a.example.a.example.net", "a.example", "a.example.net"),
        ("a.example._report._dmarc.b.example", "a.example", "b.example"),
    ],
)
def test_search_for_a_published_records_zone_starts_at_its_name(name, domain, start):
    assert start_of_published(name, domain) == start


SET = "set dkim:dns:server, or dkim:dns:zones:{}:server, to the server that takes updates"


def test_case_35_zone_without_a_primary_is_reported_with_the_key_to_set():
    (zone,) = case_zone("35-mname-dot.zone")
    record = key_record(zone, "s1", "rsa", "MIIB")
    with Nameserver({zone: ""}, ns=".") as resolver:
        text = problem(Dns(resolver=(str(resolver),), timeout=1), here(record))
    assert text == f"the SOA of {zone} names no primary (its MNAME is the root); {SET.format(zone)}"


def test_case_66_hidden_primary_is_reported_with_the_key_to_set():
    (zone,) = case_zone("66-hidden-primary.zone")
    record = key_record(zone, "s1", "rsa", "MIIB")
    with Nameserver({zone: ""}, ns="hidden") as resolver:
        text = problem(Dns(resolver=(str(resolver),), timeout=1), here(record))
    assert text == (
        f"the SOA of {zone} names the primary hidden.{zone}: the server's name hidden.{zone} has "
        f"no address; {SET.format(zone)}"
    )


def test_refusal_of_the_soas_primary_is_reported_with_the_key_to_set(server, dns_settings):
    found = replace(dns_settings, server=None, key=None, resolver=(server.address,))
    text = problem(found)
    assert server.address in text
    assert text.endswith(SET.format("example.com"))


def test_record_in_another_spelling_stays(server, dns_settings):
    changed(dns_settings, task(RECORD))
    written_anew = replace(RECORD, value=f"{RECORD.value.replace('; ', ';')};")
    assert changed(dns_settings, task(written_anew, RECORD.value)) == [True]
    assert changed(dns_settings, task(RECORD, RECORD.value)) == [False]
    assert server.texts(NAME) == {written_anew.value.encode()}
    # A record that the formula did not publish is corrected once.
    assert changed(dns_settings, task(RECORD)) == [True]
    assert server.texts(NAME) == {RECORD.value.encode()}


def test_policy_with_the_same_meaning_stays(server, dns_settings):
    same = dmarc_record("example.com", Dmarc(rua=("foreign@example.com",)))
    before = server.texts(same.name)
    adopted = replace(same, value=same.value.replace("; ", ";"))
    assert changed(dns_settings, task(adopted)) == [False]
    assert server.texts(same.name) == before


def test_removal_from_a_missing_domain_is_done():
    gone = key_record("gone.example", "s1", "rsa", "MIIB")
    gone_task = Task(gone.name, "TXT", "gone.example", None, (gone.value,), "gone.example")
    with Nameserver({"example": ""}) as resolver:
        settings = Dns(resolver=(str(resolver),), timeout=1)
        assert changed(settings, gone_task) == [False]
        assert "does not exist in DNS" in problem(settings, here(gone))


def test_spf_of_an_alias_is_reported_with_its_right_name(of_case):
    server = of_case({"example.com": "shop CNAME elsewhere.example.\n"})
    settings = Dns(publish="rfc2136", server=server.address, key=KEY, timeout=2)
    text = problem(settings, here(spf_record("shop.example.com", "v=spf1 -all")))
    assert text == (
        "a CNAME to elsewhere.example exists at this name; publish v=spf1 -all at that name, or "
        "remove the CNAME"
    )


def test_name_with_the_text_of_the_wildcard_is_changed(of_case):
    parked = "v=DKIM1; p="
    zone = f'*._domainkey TXT "{parked}"\ns1._domainkey TXT "{parked}"\n'
    server = of_case({"example.com": zone})
    settings = Dns(publish="rfc2136", server=server.address, key=KEY, timeout=2)
    revoked = key_record("example.com", "s1", "rsa", "MIIB", revoked=True)
    assert changed(settings, task(revoked)) == [True]
    assert server.texts(revoked.name) == {revoked.value.encode()}
    assert server.texts("x._domainkey.example.com") == {parked.encode()}
    other = key_record("example.com", "s2", "rsa", "MIIB")
    assert changed(settings, task(other)) == [True]
    assert server.texts(other.name) == {other.value.encode()}
