"""Faults of services behind an API: slow, false, rewritten and interrupted answers."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from dkim_formula.dns.changes import Publisher
from dkim_formula.dns.planned import Task
from dkim_formula.dns.providers import octodns
from dkim_formula.dns.providers.octodns import OctodnsProvider
from dkim_formula.records import key_record, spf_record
from dkim_formula.secret import Secret
from dkim_formula.settings.model import ApiProvider, Dns
from support.dns_api import DnsApi

pytestmark = pytest.mark.one_release

SECRET = "the-api-key-of-nobody"
RECORD = key_record("example.com", "s1", "rsa", "MIIB" * 98)
SPF = spf_record("example.com", "v=spf1 -all")


@pytest.fixture
def api():
    with DnsApi("example.com") as running:
        yield running


def settings_for(api, deadline=20):
    arguments = {"host": "127.0.0.1", "port": api.port, "api_key": Secret(SECRET)}
    provider = ApiProvider("pdns", "octodns_powerdns.PowerDnsProvider", arguments)
    return Dns(publish="octodns", providers={"pdns": provider}, provider="pdns", deadline=deadline)


def task(record, made=None):
    return Task(record.name, "TXT", record.domain, record, (), record.domain, made)


def publish(dns, *tasks):
    with Publisher(dns) as publisher:
        done = list(publisher.apply(publisher.plan(tasks)))
    assert all(SECRET not in one.problem for one in done)
    assert all(one.problem.isprintable() for one in done)
    return done


def finishes(api):
    """Return whether the next run completes the change, and the run after it changes nothing."""
    api.answer = lambda _handler, _number: False
    (done,) = publish(settings_for(api), task(RECORD))
    assert done.problem == ""
    assert api.texts(RECORD.name) == {RECORD.value}
    before = api.changes()
    (done,) = publish(settings_for(api), task(RECORD))
    assert (done.step, done.problem, api.changes()) == (None, "", before)
    return True


def says(status, data):
    def answer(handler, _number):
        handler.say(status, data)
        return True

    return answer


@pytest.mark.parametrize(
    ("status", "data", "expected"),
    [
        (401, b"Unauthorized", "Unauthorized"),
        (429, b"slow down", "429"),
        (500, {"error": "database is locked"}, "database is locked"),
        (502, b"<html>" + b"x" * 100_000, "502"),
        (200, b"\x00nonsense\xff", "JSON"),
        (200, {"rrsets": None}, "provider pdns"),
        (200, [1, 2], "provider pdns"),
        (200, SECRET.encode(), "provider pdns"),
        (500, {"error": f"the key {SECRET} is wrong"}, "the key <secret> is wrong"),
    ],
)
def test_unusable_answer_is_reported(api, status, data, expected):
    api.answer = says(status, data)
    (done,) = publish(settings_for(api), task(RECORD))
    assert expected in done.problem
    assert len(done.problem) < 900
    assert finishes(api)


def test_refusal_of_one_change_is_reported_with_its_reason(api):
    def answer(handler, _number):
        if handler.command == "PATCH":
            handler.say(422, {"error": "RRset s1: Conflicts with pre-existing RRset"})
        return handler.command == "PATCH"

    api.answer = answer
    (done,) = publish(settings_for(api), task(RECORD))
    assert "Conflicts with pre-existing RRset" in done.problem
    assert finishes(api)


@pytest.fixture
def over(monkeypatch):
    """End the deadline when a change begins."""
    apply = OctodnsProvider._apply

    def apply_late(provider):
        provider._deadline = time.monotonic()
        return apply(provider)

    monkeypatch.setattr(OctodnsProvider, "_apply", apply_late)


def hangs(api, method):
    """Let the service hang at a method."""

    def answer(handler, _number):
        if handler.command == method:
            api.is_over.wait(60)
        return False

    api.answer = answer


def test_service_that_hangs_is_stopped_at_the_deadline(api):
    hangs(api, "GET")
    begin = time.monotonic()
    done = publish(settings_for(api, deadline=2), task(RECORD), task(SPF))
    assert time.monotonic() - begin < 20
    assert all("no answer within 2 s (dkim:dns:deadline)" in one.problem for one in done)
    assert not any("may have applied" in one.problem for one in done)


@pytest.mark.usefixtures("over")
def test_service_that_hangs_at_a_change_is_stopped_after_the_deadline(api, monkeypatch):
    monkeypatch.setattr(octodns, "_GRACE", 1)
    hangs(api, "PATCH")
    begin = time.monotonic()
    done = publish(settings_for(api), task(RECORD), task(SPF))
    assert time.monotonic() - begin < 20
    assert all("no answer within 20 s (dkim:dns:deadline)" in one.problem for one in done)
    assert all("may have applied" in one.problem for one in done)


@pytest.fixture
def in_two(api, tmp_path, monkeypatch):
    """Return settings for a provider that removes a name's texts, and then adds the new ones."""
    (tmp_path / "in_two.py").write_text(
        "from octodns_powerdns import PowerDnsProvider\n"
        "class InTwo(PowerDnsProvider):\n"
        "    def _apply(self, plan):\n"
        "        names = [one.record.fqdn for one in plan.changes]\n"
        "        gone = [{'name': name, 'type': 'TXT', 'changetype': 'DELETE'} for name in names]\n"
        "        self._patch(f'zones/{plan.desired.name}', data={'rrsets': gone})\n"
        "        super()._apply(plan)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    foreign = {"content": '"a foreign\\; text"', "disabled": False}
    rrset = {"name": "example.com.", "type": "TXT", "ttl": 300, "records": [foreign]}
    api.zones["example.com"]["example.com.", "TXT"] = rrset
    dns = settings_for(api)
    changed = replace(dns.providers["pdns"], class_path="in_two.InTwo")
    return replace(dns, providers={"pdns": changed})


def between(api, call):
    """Call a function before the service answers the first of the two requests."""

    def answer(handler, _number):
        if handler.command == "PATCH" and api.changes() == 1:
            call()
        return False

    api.answer = answer


@pytest.mark.usefixtures("over")
def test_change_in_progress_ends_after_the_deadline_and_no_other_begins(api, in_two):
    api.zones["example.net"] = {}
    late = key_record("example.net", "s1", "rsa", "MIIB")
    with Publisher(in_two) as publisher:
        done, other = publisher.apply(publisher.plan([task(SPF), task(late)]))
    assert (done.problem, done.sent) == ("", True)
    assert api.texts("example.com") == {"a foreign; text", SPF.value}
    assert "no answer within 20 s (dkim:dns:deadline)" in other.problem
    assert "may have applied" not in other.problem
    assert api.texts(late.name) == set()


@pytest.mark.usefixtures("over")
def test_change_that_is_killed_is_reported_with_the_other_texts(api, in_two, monkeypatch):
    monkeypatch.setattr(octodns, "_GRACE", 1)
    between(api, lambda: api.is_over.wait(60))
    done = publish(in_two, task(SPF), task(RECORD))
    assert all("may have applied" in one.problem for one in done)
    texts = 'restore what is gone: "a foreign; text" (TTL 300)'
    assert [texts in one.problem for one in done] == [True, False]


def test_change_in_progress_ends_before_an_interrupted_run_does(api, in_two, monkeypatch, request):
    close, is_closing = OctodnsProvider.close, threading.Event()

    def closes(provider):
        is_closing.set()
        close(provider)

    def interrupt():
        # As Ctrl-C does: a signal to this process and to the provider's.
        provider = publisher._batches._providers["pdns"]
        os.kill(provider._process.pid, signal.SIGINT)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        is_closing.wait(10)

    monkeypatch.setattr(OctodnsProvider, "close", closes)
    between(api, interrupt)
    # A shell's background job, and so its tests, ignores SIGINT.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, previous))
    with pytest.raises(KeyboardInterrupt), Publisher(in_two) as publisher:
        list(publisher.apply(publisher.plan([task(SPF)])))
    assert api.texts("example.com") == {"a foreign; text", SPF.value}


def test_change_without_an_answer_is_uncertain_and_the_next_run_finds_it(api):
    def answer(handler, _number):
        if handler.command != "PATCH":
            return False
        rrset = {
            "name": f"{RECORD.name}.",
            "type": "TXT",
            "ttl": RECORD.ttl,
            "changetype": "REPLACE",
        }
        content = '"' + RECORD.value[:200] + '" "' + RECORD.value[200:] + '"'
        api.patch("example.com", [{**rrset, "records": [{"content": content, "disabled": False}]}])
        handler.close_connection = True
        return True

    api.answer = answer
    (done,) = publish(settings_for(api), task(RECORD))
    assert "may have applied" in done.problem
    assert finishes(api)


def test_ttl_that_the_service_raises_is_stored(api):
    api.rewrite = lambda rrset: {**rrset, "ttl": max(rrset["ttl"], 3600)}
    short = replace(RECORD, ttl=60)
    (first,) = publish(settings_for(api), task(short))
    assert (first.problem, first.rewritten.ttl, first.rewritten.shown_ttl) == ("", 60, 3600)
    before = api.changes()
    (second,) = publish(settings_for(api), task(short, first.rewritten))
    assert (second.step, second.problem, api.changes()) == (None, "", before)
    # The desired TTL changes.
    (third,) = publish(settings_for(api), task(replace(RECORD, ttl=7200), first.rewritten))
    assert third.step is not None
    assert api.zones["example.com"][f"{RECORD.name}.", "TXT"]["ttl"] == 7200


def rewritten(change):
    def rewrite(rrset):
        records = [{**one, "content": change(one["content"])} for one in rrset["records"]]
        return {**rrset, "records": records}

    return rewrite


def test_value_that_the_service_respells_stays(api):
    api.rewrite = rewritten(lambda text: text.replace("; ", ";"))
    (first,) = publish(settings_for(api), task(RECORD))
    assert first.problem == ""
    before = api.changes()
    (second,) = publish(settings_for(api), task(RECORD, first.rewritten))
    assert (second.step, second.problem, api.changes()) == (None, "", before)


def test_value_that_the_service_corrupts_is_reported_each_time_and_sent_once(api):
    api.rewrite = rewritten(lambda text: text.replace("MIIB", "miib"))
    (first,) = publish(settings_for(api), task(RECORD))
    assert "changed the record's meaning" in first.problem
    before = api.changes()
    (second,) = publish(settings_for(api), task(RECORD, first.rewritten))
    assert "changed the record's meaning" in second.problem
    assert api.changes() == before


def test_run_waits_for_a_change_that_the_service_shows_late(api):
    patch, reads = api.patch, []

    def answer(handler, _number):
        if handler.command == "GET" and "/zones/" in handler.path and late:
            reads.append(handler.path)
            if len(reads) == 2:
                patch(*late.pop())
        return False

    late = []
    api.patch = lambda *change: late.append(change)
    api.answer = answer
    (done,) = publish(settings_for(api), task(RECORD))
    assert (done.problem, done.sent) == ("", True)
    assert len(reads) == 2


def test_change_that_the_service_ignores_is_reported(api):
    api.patch = lambda _zone, _rrsets: None
    (done,) = publish(settings_for(api), task(RECORD))
    assert "accepted the change and does not show it" in done.problem


def test_other_text_that_the_service_removes_is_reported(api):
    foreign = {"content": '"google-site-verification=foreign"', "disabled": False}
    key = ("example.com.", "TXT")
    api.zones["example.com"][key] = {
        "name": key[0],
        "type": "TXT",
        "ttl": 300,
        "records": [foreign],
    }
    api.rewrite = lambda rrset: {
        **rrset,
        "records": [one for one in rrset["records"] if "google" not in one["content"]],
    }
    (done,) = publish(settings_for(api), task(SPF))
    text = '"google-site-verification=foreign"'
    assert f"another text at this name is gone after the change: {text}; restore" in done.problem


def test_other_texts_that_services_may_change_are_reported_before(api):
    for content, is_reported in (
        ('"google-site-verification=foreign"', False),
        ('"a \\"quoted\\" text"', True),
        ('"a\\\\b"', True),
        ('"\\195\\188mlaut"', True),
    ):
        rrset = {"name": "example.com.", "type": "TXT", "ttl": 300}
        rrset["records"] = [{"content": content, "disabled": False}]
        api.zones["example.com"]["example.com.", "TXT"] = rrset
        (done,) = publish(settings_for(api), task(SPF))
        assert done.problem == ""
        assert ("other texts with quotes" in done.advice) == is_reported, content
        (key,) = publish(settings_for(api), task(RECORD))
        assert key.advice == ""


def test_unknown_kinds_of_records_stay_out_of_the_plan(api):
    api.zones["example.com"]["x.example.com.", "TYPE65280"] = {
        "name": "x.example.com.",
        "type": "TYPE65280",
        "ttl": 300,
        "records": [{"content": "\\# 1 00", "disabled": False}],
    }
    before = dict(api.zones["example.com"])
    (done,) = publish(settings_for(api), task(RECORD))
    assert done.problem == ""
    assert {**api.zones["example.com"], **before} == api.zones["example.com"]


def test_plan_that_changes_other_names_is_not_applied(api, tmp_path, monkeypatch):
    (tmp_path / "greedy.py").write_text(
        "from octodns.record import Delete\n"
        "from octodns_powerdns import PowerDnsProvider\n"
        "class Greedy(PowerDnsProvider):\n"
        "    def _extra_changes(self, existing, desired, changes):\n"
        "        return [Delete(one) for one in existing.records if one._type == 'A']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    address = {"content": "192.0.2.1", "disabled": False}
    api.zones["example.com"]["www.example.com.", "A"] = {
        "name": "www.example.com.",
        "type": "A",
        "ttl": 300,
        "records": [address],
    }
    dns = settings_for(api)
    greedy = replace(dns.providers["pdns"], class_path="greedy.Greedy")
    (done,) = publish(replace(dns, providers={"pdns": greedy}), task(RECORD))
    assert "changes more than the formula's names, so nothing was changed: www.example.com A" in (
        done.problem
    )
    assert api.changes() == 0


def test_process_that_dies_is_reported(api, tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text(
        "import os\n"
        "from octodns_powerdns import PowerDnsProvider\n"
        "class Dying(PowerDnsProvider):\n"
        "    def list_zones(self):\n"
        "        os._exit(3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    dns = settings_for(api)
    dying = replace(dns.providers["pdns"], class_path="dying.Dying")
    (done,) = publish(replace(dns, providers={"pdns": dying}), task(RECORD))
    assert "its process ended without an answer" in done.problem
