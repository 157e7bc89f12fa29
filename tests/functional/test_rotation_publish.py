"""Rotations with a real BIND that takes updates: DNS goes along, and two runs agree about it."""

import threading
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
from dkim_formula.errors import DatabaseError, done_before
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.rotation import run as rotation_run
from functional.postgres import query
from functional.rotations import Site
from functional.test_half_done import Faulty
from functional.test_rotation import HOLD, QUEUE, at_once, change, name
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind

pytestmark = pytest.mark.one_release


@pytest.fixture
def bind(tmp_path):
    with Bind(tmp_path / "bind", {"example.com": ""}, "127.0.53.150") as running:
        yield running


@pytest.fixture
def site(ready, bind):
    """A site that publishes by itself and has its first key in DNS."""
    made = Site(ready, (bind.address,))
    made.pillar["dns"] |= {
        "publish": "rfc2136",
        "server": bind.address,
        "key": {"name": KEY_NAME, "algorithm": ALGORITHM, "secret": SECRET},
    }
    made.make_keys()
    publish.publish(made.settings)
    return made


def in_dns(site, bind):
    """Each key's record as DNS has it, against what it should be."""
    wanted = {one.name: {one.value.encode()} for one in desired_records(site.settings)}
    return {owner: bind.texts(owner) for owner in wanted}, wanted


def advanced(site):
    """What a run does, which its test run has told before."""
    told = rotation_commands.advance(site.settings, test=True)
    done = rotation_commands.advance(site.settings)
    assert (told["changes"], told["dns"]) == (done["changes"], done["dns"])
    assert done["problems"] == []
    return done


def test_rotation_goes_by_itself_from_beginning_to_end(site, bind):
    goes_to_its_end(site, bind)


def goes_to_its_end(site, bind):
    """One rotation, from the new key to the end of the old one."""
    told = rotation_commands.rotate(site.settings, "example.com", test=True)
    done = rotation_commands.rotate(site.settings, "example.com")
    (new,) = site.selectors("pending")
    assert told["changes"] == done["changes"]
    assert [*told["dns"]] == [*done["dns"]] == [f"{name(new)} TXT"]
    assert told["dns"][f"{name(new)} TXT"]["new"] == "the record of a key that is to be made"
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
    there, wanted = in_dns(site, bind)
    assert there == wanted
    site.pass_time(3600)
    done = advanced(site)
    assert done["changes"] == {name("default"): change("revoked", None)}
    assert bind.texts(name("default")) == set()
    assert advanced(site)["dns"] == {}


def rewrite(bind, owner):
    """As a panel does: the record's tags in another order, with other blanks, cut elsewhere."""
    ((value,), ttl) = bind.texts(owner), bind.ttl(owner)
    tags = [tag.strip() for tag in value.decode().split(";")]
    text = f"{tags[0]};{';'.join(reversed(tags[1:]))};"
    key = dns.tsig.Key(KEY_NAME, SECRET, ALGORITHM)
    update = dns.update.UpdateMessage("example.com", keyring=key)
    update.replace(f"{owner}.", ttl, "TXT", f'"{text[:30]}" "{text[30:]}"')
    assert dns.query.tcp(update, bind.address, timeout=5).rcode() == dns.rcode.NOERROR
    assert bind.texts(owner) == {text.encode()}


def test_rotation_goes_to_its_end_under_a_panel_that_writes_records_anew(site, bind):
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


def test_form_that_a_panel_gave_our_record_is_left_alone(site, bind):
    rewrite(bind, name("default"))
    serial = bind.serial("example.com")
    done = publish.publish(site.settings)
    assert (done["changes"], done["problems"], done["unchanged"]) == ({}, [], 1)
    assert bind.serial("example.com") == serial


def test_other_records_of_the_domain_are_left_to_dkim_publish(site, bind):
    site.pillar["domains"]["example.com"]["spf"] = "v=spf1 -all"
    rotation_commands.rotate(site.settings, "example.com")
    assert bind.texts("example.com") == set()


def test_compromised_key_is_out_of_dns_and_the_new_one_in_it_at_once(site, bind):
    done = rotation_commands.revoke(site.settings, "example.com", "default", compromised=True)
    assert len(done["dns"]) == 2
    there, wanted = in_dns(site, bind)
    assert there == wanted
    assert [value[-2:] for value in there[name("default")]] == [b"p="]


class _Killed(BaseException):
    """As SIGKILL, nothing of the run goes on."""


def _die(*_arguments):
    raise _Killed


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_run_that_dies_between_commit_and_dns_is_completed_by_the_next(
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
    there, wanted = in_dns(site, bind)
    assert there != wanted
    rotation_commands.advance(site.settings)
    there, wanted = in_dns(site, bind)
    assert there == wanted


def test_run_that_dies_after_one_of_two_updates_is_completed_by_the_next(site, bind, monkeypatch):
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
    there, wanted = in_dns(site, bind)
    assert there == wanted


def test_publisher_that_began_before_a_revocation_ends_with_what_it_left(site, bind, monkeypatch):
    """One run has read the key as it was; another revokes and publishes; the first goes on."""
    rotation_commands.rotate(site.settings, "example.com", force=True)
    apply = publish._apply
    meanwhile = [
        lambda: rotation_commands.revoke(site.settings, "example.com", "default", force=True)
    ]

    def late(*arguments):
        if meanwhile:
            meanwhile.pop()()
        return apply(*arguments)

    keys_commands.generate(site.settings, "example.com", "other")
    monkeypatch.setattr(publish, "_apply", late)
    done = publish.publish(site.settings)
    assert done["problems"] == []
    there, wanted = in_dns(site, bind)
    assert there == wanted
    assert [value[-2:] for value in there[name("default")]] == [b"p="]


def test_runs_at_once_leave_dns_as_the_database_is(site, bind):
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
    there, wanted = in_dns(site, bind)
    assert there == wanted
    assert len(site.selectors("active")) == 1


def test_server_that_is_away_is_a_problem_and_changes_no_decision(site, bind):
    rotation_commands.rotate(site.settings, "example.com")
    site.pass_time(HOLD)
    site.pillar["dns"]["server"] = "127.0.53.151"
    done = rotation_commands.advance(site.settings)
    assert len(done["changes"]) == 2
    assert "127.0.53.151" in done["problems"][0]


def test_no_connection_is_open_while_dns_is_asked(site, bind, monkeypatch):
    counts = []
    observe = rotation_run.observe

    def counted(*arguments):
        counts.append(len(_sessions(site)))
        return observe(*arguments)

    monkeypatch.setattr(rotation_run, "observe", counted)
    rotation_commands.rotate(site.settings, "example.com")
    assert counts == [0] * len(counts)
    assert threading.active_count() < 20


def _sessions(site):
    with db.session(site.database) as connection:
        return query(
            connection,
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )


def test_case_36_record_of_a_deleted_delegated_key_goes_from_our_zone(ready, tmp_path):
    """The domain's own zone is asked by nobody here: its server is somebody else's."""
    case = Path(__file__).resolve().parents[1] / "cases/records/zones/36-delegated-gone.yaml"
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
        told = publish.publish(site.settings, test=True)
        done = publish.publish(site.settings)
        assert (
            told["changes"] == done["changes"] == {f"{owner} TXT": done["changes"][f"{owner} TXT"]}
        )
        assert done["changes"][f"{owner} TXT"]["new"] is None
        assert bind.texts(owner) == set()
        assert publish.publish(site.settings)["changes"] == {}


def stored(site, bind):
    """What rotations change: the states of keys, and what DNS holds for each."""
    states = {name(selector): state for selector, state in site.states().items()}
    return states | {f"{owner} TXT": tuple(bind.texts(owner)) for owner in states}


@pytest.mark.parametrize("part", range(3))
def test_rotation_that_fails_midway_tells_what_it_did(site, bind, monkeypatch, part):
    """At every third statement of the database, and each part at others."""
    faults = Faulty(monkeypatch)
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
