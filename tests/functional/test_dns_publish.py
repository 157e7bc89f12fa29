"""Updates to real BIND and Knot: ours come, change and go, and what is not ours stays."""

import itertools
import shutil
import time
from dataclasses import replace

import dns.tsig
import pytest
from dkim_formula.dns.publish import Publisher, Task
from dkim_formula.records import dmarc_record, key_record, spf_record
from dkim_formula.secret import Secret
from dkim_formula.settings.model import Dmarc, Dns, TsigKey, Zone
from support.dns_daemons import ALGORITHM, KEY_NAME, OTHER_SECRET, SECRET, Bind, Knot
from support.nameserver import Nameserver

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


def task(record, *remembered):
    return Task(record.name, record.type, "example.com", record, remembered, record.domain)


def removal(record, *remembered):
    return Task(record.name, record.type, "example.com", None, remembered, record.domain)


def publish(dns, *tasks, adopt=False):
    with Publisher(dns) as publisher:
        planned = publisher.plan(tasks, adopt)
        for one in planned:
            if one.step is not None:
                publisher.carry_out(one)
    return planned


def problem(dns, *tasks):
    (planned, *_) = publish(dns, *(tasks or (task(RECORD),)))
    assert SECRET not in planned.problem
    assert OTHER_SECRET not in planned.problem
    return planned.problem


def changed(dns, *tasks, **how):
    planned = publish(dns, *tasks, **how)
    assert [one.problem for one in planned] == [""] * len(planned)
    return [one.step is not None for one in planned]


def test_record_comes_and_a_second_run_does_nothing(server, dns_settings):
    assert changed(dns_settings, task(RECORD)) == [True]
    assert server.texts(NAME) == {RECORD.value.encode()}
    serial = server.serial("example.com")
    assert changed(dns_settings, task(RECORD)) == [False]
    assert server.serial("example.com") == serial


def test_key_of_4096_bits_comes_whole(server, dns_settings):
    large = key_record("example.com", "large", "rsa", "MIIC" * 184)
    assert changed(dns_settings, task(large)) == [True]
    assert server.texts(large.name) == {large.value.encode()}


def test_flags_of_our_own_key_are_changed(server, dns_settings):
    publish(dns_settings, task(RECORD))
    other = key_record("example.com", "s1", "rsa", "MIIB" * 98, strict=False)
    assert changed(dns_settings, task(other)) == [True]
    assert server.texts(NAME) == {other.value.encode()}


def test_ttl_is_changed(server, dns_settings):
    publish(dns_settings, task(RECORD))
    assert changed(dns_settings, task(replace(RECORD, ttl=77))) == [True]
    assert server.ttl(NAME) == 77
    assert changed(dns_settings, task(replace(RECORD, ttl=77))) == [False]


def test_revoked_key_has_its_record_emptied(server, dns_settings):
    publish(dns_settings, task(RECORD))
    revoked = key_record("example.com", "s1", "rsa", "MIIB" * 98, revoked=True)
    assert changed(dns_settings, task(revoked)) == [True]
    assert server.texts(NAME) == {revoked.value.encode()}
    assert changed(dns_settings, task(revoked)) == [False]


def test_what_was_published_goes_and_nothing_else(server, dns_settings):
    publish(dns_settings, task(RECORD), task(SPF))
    gone = (removal(RECORD, RECORD.value), removal(SPF, SPF.value))
    assert changed(dns_settings, *gone) == [True, True]
    assert server.texts(NAME) == set()
    assert server.texts("example.com") == {b"google-site-verification=foreign"}
    assert changed(dns_settings, *gone) == [False, False]


def test_text_of_others_at_the_apex_stays_beside_spf(server, dns_settings):
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


def test_foreign_policy_stays_until_it_is_adopted(server, dns_settings):
    before = server.texts("_dmarc.example.com")
    assert "is not ours" in problem(dns_settings, task(DMARC))
    assert server.texts("_dmarc.example.com") == before
    assert changed(dns_settings, task(DMARC), adopt=True) == [True]
    assert server.texts("_dmarc.example.com") == {DMARC.value.encode()}


def test_foreign_key_under_our_selector_stays(server, dns_settings):
    ours = key_record("example.com", "other", "rsa", "MIIB")
    assert "is not ours" in problem(dns_settings, task(ours))
    assert server.texts(ours.name) == {b"v=DKIM1; p=foreign"}


@pytest.mark.parametrize("domain", ["wild.example.com", "alias.example.com"])
def test_wildcard_is_in_nobodys_way(server, dns_settings, domain):
    record = key_record(domain, "s1", "rsa", "MIIB")
    assert changed(dns_settings, task(record)) == [True]
    assert server.texts(record.name) == {record.value.encode()}
    assert changed(dns_settings, task(record)) == [False]


def test_policy_that_we_published_is_changed(server, dns_settings):
    changed(dns_settings, task(DMARC), adopt=True)
    stricter = dmarc_record("example.com", Dmarc(policy="quarantine"))
    assert changed(dns_settings, task(stricter, DMARC.value)) == [True]
    assert server.texts("_dmarc.example.com") == {stricter.value.encode()}


def test_what_others_changed_since_is_not_removed(server, dns_settings):
    assert changed(dns_settings, removal(DMARC, DMARC.value)) == [False]
    assert len(server.texts("_dmarc.example.com")) == 1


def test_update_is_refused_where_the_name_has_changed_since(server, dns_settings):
    with Publisher(dns_settings) as slow:
        (planned,) = slow.plan([task(RECORD)])
        other = key_record("example.com", "s1", "rsa", "MIICother")
        assert changed(dns_settings, task(other)) == [True]
        slow.carry_out(planned)
    assert "in the meantime" in planned.problem
    assert server.texts(NAME) == {other.value.encode()}


def test_one_refused_name_keeps_no_other_from_being_published(server, dns_settings):
    planned = publish(dns_settings, task(DMARC), task(RECORD))
    assert [bool(one.problem) for one in planned] == [True, False]
    assert server.texts(NAME) == {RECORD.value.encode()}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (replace(KEY, secret=Secret(OTHER_SECRET)), "BADSIG"),
        (replace(KEY, name="nobody"), "does not know the key"),
        (replace(KEY, algorithm="hmac-sha512"), "does not know the key"),
    ],
)
def test_wrong_key_is_told(server, dns_settings, key, said):
    assert said in problem(replace(dns_settings, key=key))
    assert server.texts(NAME) == set()


def test_clock_that_is_off_is_told(server, dns_settings, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    assert "clock" in problem(dns_settings)


def test_unsigned_update_is_refused(server, dns_settings):
    said = problem(replace(dns_settings, key=None))
    assert "REFUSED" in said or "NOTAUTH" in said
    assert server.texts(NAME) == set()


def test_zone_that_is_not_there_is_told(server, dns_settings):
    lost = key_record("example.org", "s1", "rsa", "MIIB")
    said = problem(dns_settings, Task(lost.name, "TXT", "example.org", lost))
    assert "REFUSED" in said or "NOTAUTH" in said


def test_primary_is_found_by_the_zones_soa(server, dns_settings):
    found = replace(dns_settings, server=None, resolver=(server.address,))
    assert changed(found, task(RECORD)) == [True]
    assert server.texts(NAME) == {RECORD.value.encode()}


def test_zones_own_server_and_key_come_first(server, dns_settings):
    general = Dns(
        server="127.0.53.250",
        key=replace(KEY, name="wrong"),
        zones={"example.com": Zone(server=server.address, key=KEY)},
        timeout=1,
    )
    assert changed(general, task(RECORD)) == [True]


def test_server_that_takes_no_updates_is_told(tmp_path):
    with Bind(tmp_path, {"example.com": ""}, "127.0.53.200", updates="none") as server:
        assert "REFUSED" in problem(Dns(server=server.address, key=KEY, timeout=2))


def test_answer_without_a_signature_is_refused():
    with Nameserver({"example.com": ""}) as server:
        dns = Dns(server=str(server), key=KEY, timeout=1)
        assert "not signed" in problem(dns)


@pytest.mark.parametrize("rcode", ["REFUSED", "NOTAUTH", "SERVFAIL"])
def test_refusal_is_told_by_its_name(rcode):
    with Nameserver({"example.com": ""}) as server:
        server.rcode = dns.rcode.from_text(rcode)
        assert rcode in problem(Dns(server=str(server), timeout=1))


def test_silent_server_is_told_and_waited_for_once():
    with Nameserver({"example.com": ""}) as server:
        server.silent = {"tcp"}
        begin = time.monotonic()
        planned = publish(Dns(server=str(server), timeout=0.5), *[task(RECORD)] * 20)
        assert time.monotonic() - begin < 5
    assert all("no answer within 0.5 s" in one.problem for one in planned)


def test_alias_at_our_name_is_told():
    with Nameserver({"example.com": "s1._domainkey 60 CNAME elsewhere\n"}) as server:
        said = problem(Dns(server=str(server), timeout=1))
    assert "there is a CNAME to elsewhere.example.com" in said
