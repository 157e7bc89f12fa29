"""Rotations with a real BIND that takes updates: runs keep DNS as the database is."""

import threading
import time
from pathlib import Path

import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest
import yaml
from dkim_formula.dns import publish
from dkim_formula.dns.desired import desired_records
from dkim_formula.dns.providers.rfc2136 import Rfc2136Provider
from dkim_formula.errors import DatabaseError, InvalidValue, done_before
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.rotation import run as rotation_run
from functional.rotation.test_rotation import HOLD, QUEUE, at_once, change, name
from functional.rotations import Site
from functional.salt.test_half_done import FaultySessions
from functional.server import query
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind

pytestmark = pytest.mark.one_release

DELEGATIONS = ("one.example", "two.example")


@pytest.fixture
def bind(tmp_path):
    zones = dict.fromkeys(("example.com", *DELEGATIONS), "")
    with Bind(tmp_path / "bind", zones, "127.0.53.150") as running:
        yield running


@pytest.fixture
def site(ready, bind):
    """A site that publishes by itself and has its first key in DNS."""
    site = Site(ready, (bind.address,))
    site.pillar["dns"] |= {
        "publish": "rfc2136",
        "server": bind.address,
        "key": {"name": KEY_NAME, "algorithm": ALGORITHM, "secret": SECRET},
    }
    site.make_keys()
    publish.publish(site.settings)
    return site


def in_dns(site, bind):
    """Return each key's record as DNS has it, and as it should be."""
    desired = {one.name: {one.value.encode()} for one in desired_records(site.settings)}
    return {owner: bind.texts(owner) for owner in desired}, desired


def advanced(site):
    """Return a run's report. Its test run has reported the same changes."""
    planned = rotation_commands.advance(site.settings, test=True)
    done = rotation_commands.advance(site.settings)
    assert (planned["changes"], planned["dns"]) == (done["changes"], done["dns"])
    assert done["problems"] == []
    return done


def test_rotation_runs_to_its_end_without_manual_work(site, bind):
    run_whole_rotation(site, bind)


def run_whole_rotation(site, bind):
    """Run one rotation from the new key to the removal of the old one."""
    planned = rotation_commands.rotate(site.settings, "example.com", test=True)
    done = rotation_commands.rotate(site.settings, "example.com")
    (new,) = site.selectors("pending")
    assert planned["changes"] == done["changes"]
    assert [*planned["dns"]] == [*done["dns"]] == [f"{name(new)} TXT"]
    value = planned["dns"][f"{name(new)} TXT"]["new"]
    assert value == "the record of a key that is to be generated"
    assert done["to_publish"] == []
    assert done["next_check"] is not None
    site.pass_time(HOLD)
    done = advanced(site)
    assert done["changes"] == {
        name(new): change("pending", "active"),
        name("default"): change("active", "retired"),
    }
    assert done["dns"] == {}
    site.pass_time(QUEUE)
    done = advanced(site)
    assert done["changes"] == {name("default"): change("retired", "revoked")}
    assert done["dns"][f"{name('default')} TXT"]["new"].endswith("; p=")
    found_records, desired = in_dns(site, bind)
    assert found_records == desired
    site.pass_time(3600)
    done = advanced(site)
    assert done["changes"] == {name("default"): change("revoked", None)}
    assert bind.texts(name("default")) == set()
    assert advanced(site)["dns"] == {}


def rewrite(bind, owner):
    """Rewrite a record as a panel does: other order of tags, other blanks, other strings."""
    ((value,), ttl) = bind.texts(owner), bind.ttl(owner)
    tags = [tag.strip() for tag in value.decode().split(";")]
    text = f"{tags[0]};{';'.join(reversed(tags[1:]))};"
    key = dns.tsig.Key(KEY_NAME, SECRET, ALGORITHM)
    update = dns.update.UpdateMessage("example.com", keyring=key)
    update.replace(f"{owner}.", ttl, "TXT", f'"{text[:30]}" "{text[30:]}"')
    assert dns.query.tcp(update, bind.address, timeout=5).rcode() == dns.rcode.NOERROR
    assert bind.texts(owner) == {text.encode()}


def test_rotation_runs_to_its_end_under_a_panel_that_rewrites_records(site, bind):
    rewrite(bind, name("default"))
    rotation_commands.rotate(site.settings, "example.com")
    (new,) = site.selectors("pending")
    rewrite(bind, name(new))
    assert advanced(site)["dns"] == {}
    site.pass_time(HOLD)
    assert len(advanced(site)["changes"]) == 2
    site.pass_time(QUEUE)
    done = advanced(site)
    assert done["changes"] == {name("default"): change("retired", "revoked")}
    assert done["dns"][f"{name('default')} TXT"]["new"].endswith("; p=")
    rewrite(bind, name("default"))
    site.pass_time(3600)
    done = advanced(site)
    assert done["changes"] == {name("default"): change("revoked", None)}
    assert bind.texts(name("default")) == set()
    assert publish.publish(site.settings)["changes"] == {}


def test_form_that_a_panel_gave_a_record_is_kept(site, bind):
    rewrite(bind, name("default"))
    serial = bind.serial("example.com")
    done = publish.publish(site.settings)
    assert (done["changes"], done["problems"], done["unchanged"]) == ({}, [], 1)
    assert bind.serial("example.com") == serial


def test_rotation_publishes_no_other_records_of_the_domain(site, bind):
    site.pillar["domains"]["example.com"]["spf"] = "v=spf1 -all"
    rotation_commands.rotate(site.settings, "example.com")
    assert bind.texts("example.com") == set()


def test_revocation_of_a_compromised_key_updates_both_records_at_once(site, bind):
    done = rotation_commands.revoke(site.settings, "example.com", "default", compromised=True)
    assert len(done["dns"]) == 2
    found_records, desired = in_dns(site, bind)
    assert found_records == desired
    assert [value[-2:] for value in found_records[name("default")]] == [b"p="]


class _Killed(BaseException):
    """An exception that ends a run as SIGKILL does."""


def _die(*_arguments):
    raise _Killed


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_next_run_completes_a_run_that_died_between_commit_and_dns(
    site, bind, monkeypatch, command
):
    commands = {
        "rotate": lambda: rotation_commands.rotate(site.settings, "example.com"),
        "revoke": lambda: rotation_commands.revoke(
            site.settings, "example.com", "default", force=True
        ),
    }
    if command == "revoke":
        rotation_commands.rotate(site.settings, "example.com", force=True)
    with monkeypatch.context() as patch:
        patch.setattr(rotation_run.publishing, "publish_keys", _die)
        with pytest.raises(_Killed):
            commands[command]()
    found_records, desired = in_dns(site, bind)
    assert found_records != desired
    rotation_commands.advance(site.settings)
    found_records, desired = in_dns(site, bind)
    assert found_records == desired


def test_next_run_completes_a_run_that_died_after_one_of_two_updates(site, bind, monkeypatch):
    send, left = Rfc2136Provider.send, [1]

    def dying(*arguments):
        if not left:
            raise _Killed
        left.pop()
        send(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Rfc2136Provider, "send", dying)
        with pytest.raises(_Killed):
            rotation_commands.revoke(site.settings, "example.com", "default", compromised=True)
    rotation_commands.advance(site.settings)
    publish.publish(site.settings)
    found_records, desired = in_dns(site, bind)
    assert found_records == desired


def test_publisher_that_started_before_a_revocation_publishes_it(site, bind, monkeypatch):
    """One run reads the key, another run revokes it and publishes, and the first continues."""
    rotation_commands.rotate(site.settings, "example.com", force=True)
    apply = publish._apply
    concurrent = [
        lambda: rotation_commands.revoke(site.settings, "example.com", "default", force=True)
    ]

    def revoke_then_apply(*arguments):
        if concurrent:
            concurrent.pop()()
        return apply(*arguments)

    keys_commands.generate(site.settings, "example.com", "other")
    monkeypatch.setattr(publish, "_apply", revoke_then_apply)
    done = publish.publish(site.settings)
    assert done["problems"] == []
    found_records, desired = in_dns(site, bind)
    assert found_records == desired
    assert [value[-2:] for value in found_records[name("default")]] == [b"p="]


def test_concurrent_runs_leave_dns_as_the_database_is(site, bind):
    settings = site.settings
    for selector in ("a", "b", "c"):
        keys_commands.generate(settings, "example.com", selector)
    at_once(
        [
            lambda: rotation_commands.revoke(settings, "example.com", "a"),
            lambda: rotation_commands.revoke(settings, "example.com", "b"),
            lambda: publish.publish(settings),
            lambda: rotation_commands.advance(settings),
            lambda: rotation_commands.rotate(settings, "example.com", force=True),
            lambda: rotation_commands.revoke(settings, "example.com", "default", compromised=True),
        ]
    )
    found_records, desired = in_dns(site, bind)
    assert found_records == desired
    assert len(site.selectors("active")) == 1


def test_unreachable_server_is_a_problem_and_changes_no_decision(site, bind):
    rotation_commands.rotate(site.settings, "example.com")
    site.pass_time(HOLD)
    site.pillar["dns"]["server"] = "127.0.53.151"
    done = rotation_commands.advance(site.settings)
    assert len(done["changes"]) == 2
    assert "127.0.53.151" in done["problems"][0]


def test_no_database_connection_is_open_during_dns_queries(site, bind, monkeypatch):
    counts = []
    observe = rotation_run.observe

    def counted(*arguments):
        counts.append(_open_sessions(site))
        return observe(*arguments)

    monkeypatch.setattr(rotation_run, "observe", counted)
    rotation_commands.rotate(site.settings, "example.com")
    assert counts == [0] * len(counts)
    assert threading.active_count() < 20


def _open_sessions(site):
    """Return how many sessions stay open. A backend ends a moment after its client has closed."""
    end = time.monotonic() + 5
    with db.session(site.database, autocommit=True) as connection:
        while True:
            ((count,),) = query(
                connection,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            )
            if count == 0 or time.monotonic() > end:
                return count
            time.sleep(0.01)


def test_case_36_record_of_a_deleted_delegated_key_is_removed_from_its_zone(ready, tmp_path):
    """No query goes to the domain's own zone, because another operator has its server."""
    case = Path(__file__).resolve().parents[2] / "cases/records/zones/36-delegated-gone.yaml"
    pillar = yaml.safe_load(case.read_text(encoding="ascii"))["dkim"]
    ((domain, how),) = pillar["domains"].items()
    zone = how["delegation"]
    assert domain == "customer.example"
    with Bind(tmp_path / "bind", {zone: ""}, "127.0.53.152") as bind:
        site = Site(ready, ())
        site.pillar = {
            # The domain of the fixture's database, with the case's settings.
            "domains": {"example.com": {**how, "algorithm": "ed25519"}},
            "dns": {
                **pillar["dns"],
                "key": {"name": KEY_NAME, "algorithm": ALGORITHM, "secret": SECRET},
                "resolver": [bind.address],
                "timeout": 1,
            },
        }
        site.make_keys()
        owner = f"default._domainkey.example.com.{zone}"
        done = publish.publish(site.settings)
        assert [*done["changes"]] == [f"{owner} TXT"]
        keys_commands.delete(site.settings, "example.com", "default", force=True)
        site.pillar["domains"] = {"example.org": False}
        planned = publish.publish(site.settings, test=True)
        done = publish.publish(site.settings)
        change = {f"{owner} TXT": done["changes"][f"{owner} TXT"]}
        assert planned["changes"] == done["changes"] == change
        assert done["changes"][f"{owner} TXT"]["new"] is None
        assert bind.texts(owner) == set()
        assert publish.publish(site.settings)["changes"] == {}


TEXTS = {"spf": "v=spf1 mx -all", "dmarc": {"policy": "none"}}


@pytest.fixture
def with_policies(site):
    site.pillar["domains"]["example.com"] |= TEXTS
    publish.publish(site.settings)
    return site


def policies(bind):
    return bind.texts("example.com"), bind.texts("_dmarc.example.com")


PUBLISHED = ({b"v=spf1 mx -all"}, {b"v=DMARC1; p=none"})


def test_policies_stay_in_a_zone_that_a_person_takes_over(with_policies, bind):
    site = with_policies
    assert policies(bind) == PUBLISHED
    site.pillar["dns"]["zones"]["example.com"]["publish"] = "none"
    done = publish.publish(site.settings)
    assert done["changes"] == {}
    assert not any("remove these records" in note for note in done["notes"])
    assert "_dmarc.example.com TXT" in done["manual"]


def test_new_delegation_removes_no_record_while_the_key_signs(with_policies, bind):
    site, owner = with_policies, "default._domainkey.example.com"
    (text,) = bind.texts(owner)
    for zone in DELEGATIONS:
        site.pillar["dns"]["zones"][zone] = {"nameservers": [bind.address]}
        site.pillar["domains"]["example.com"]["delegation"] = {"zone": zone}
        done = publish.publish(site.settings)
        assert [*done["changes"]] == [f"{owner}.{zone} TXT"]
    assert policies(bind) == PUBLISHED
    names = [owner, *(f"{owner}.{zone}" for zone in DELEGATIONS)]
    assert [bind.texts(one) for one in names] == [{text}] * 3
    rotation_commands.revoke(site.settings, "example.com", "default", force=True)
    last = bind.texts(names[2])
    assert [bind.texts(one) for one in names[:2]] == [set(), set()]
    assert [one[-2:] for one in last] == [b"p="]


def test_published_spf_stays_when_the_spf_of_every_domain_includes_it(site, bind):
    site.pillar["domains"] = {"*": {"algorithm": "ed25519", "spf": TEXTS["spf"]}}
    publish.publish(site.settings, "example.com")
    site.pillar["domains"]["*"]["spf"] = "v=spf1 include:example.com -all"
    done = publish.publish(site.settings, "example.com")
    assert done["changes"] == {}
    assert "the spf of example.com names the record of example.com" in done["notes"][-1]
    assert bind.texts("example.com") == PUBLISHED[0]


def test_only_a_domain_that_the_pillar_chooses_gets_policies(site, bind):
    site.pillar["defaults"] = TEXTS
    site.pillar["domains"] = {"example.com": False, "www.example.com": {"algorithm": "ed25519"}}
    for test in (True, False):
        assert publish.publish(site.settings, "example.com", test=test)["changes"] == {}
        with pytest.raises(InvalidValue, match=r"domain: 'mail.example.com' is not chosen by"):
            publish.publish(site.settings, "mail.example.com", test=test)
    assert [one.purpose for one in desired_records(site.settings, "example.com")] == ["dkim"]
    assert policies(bind) == (set(), set())
    done = publish.publish(site.settings, "www.example.com")
    names = ["_dmarc.www.example.com TXT", "www.example.com TXT"]
    assert sorted(done["changes"]) == names
    del site.pillar["domains"]["www.example.com"]
    assert sorted(publish.publish(site.settings, "www.example.com")["changes"]) == names
    with pytest.raises(InvalidValue, match="is not chosen by"):
        publish.publish(site.settings, "www.example.com")


def stored(site, bind):
    """Return what rotations change: the state of each key, and its record in DNS."""
    states = {name(selector): state for selector, state in site.states().items()}
    return states | {f"{owner} TXT": tuple(bind.texts(owner)) for owner in states}


@pytest.mark.parametrize("part", range(3))
def test_rotation_that_fails_midway_reports_what_it_did(site, bind, monkeypatch, part):
    """Each part fails at every third statement of the database, each at others."""
    faults = FaultySessions(monkeypatch)
    failures = 0
    for number in range(1 + part, 1000, 3):
        before = stored(site, bind)
        try:
            with faults.at(number):
                rotation_commands.rotate(site.settings, "example.com", f"r{number}", force=True)
        except DatabaseError as error:
            done = done_before(error)
            failures += 1
        else:
            break
        now = stored(site, bind)
        found = {
            what for what in {*before, *now} if (before.get(what) or ()) != (now.get(what) or ())
        }
        assert set(done) == found, number
    assert failures > 5
    rotation_commands.advance(site.settings)
    last = rotation_commands.rotate(site.settings, "example.com", "last", force=True)
    assert last["problems"] == []
    assert site.selectors("active") == ["last"]
