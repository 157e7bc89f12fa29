"""Standby keys: published ahead, taken by rotations, bounded in age, gone with the setting."""

import pytest
from dkim_formula.dns import publish
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from functional.postgres import execute
from functional.rotations import Site
from functional.test_rotation import HOLD
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind

pytestmark = pytest.mark.one_release

DAY = 86400


def call(function, *arguments, **options):
    """Return what a run does, which its test run has told before."""
    told = function(*arguments, **options, test=True)
    done = function(*arguments, **options)
    assert told["changes"] == done["changes"]
    return done


def advance(site):
    return call(rotation_commands.advance, site.settings)


def rotate(site):
    return call(rotation_commands.rotate, site.settings, "example.com")


@pytest.fixture
def by_hand(site):
    """A site with a key in DNS and a standby key that DNS has shown for long enough."""
    site.pillar["rotation"]["standby"] = True
    site.make_keys()
    site.publish("default")
    done = advance(site)
    (selector,) = site.selectors("standby")
    assert [record["name"] for record in done["to_publish"]] == [
        f"{selector}._domainkey.example.com"
    ]
    site.publish(selector)
    advance(site)
    site.pass_time(HOLD + 1)
    assert advance(site)["waiting"] == []
    return site


def test_standby_key_waits_until_dns_has_shown_its_record(site):
    site.pillar["rotation"]["standby"] = True
    site.make_keys()
    (wait,) = advance(site)["waiting"]
    assert (wait["state"], wait["next"]) == ("standby", "active")
    assert "not at every server" in wait["waits_for"]
    site.publish(wait["selector"])
    (wait,) = advance(site)["waiting"]
    assert wait["not_before"] is not None


def test_seen_standby_key_rests_and_no_server_is_asked_for_it(by_hand):
    asked = len(by_hand.servers[0].asked)
    done = advance(by_hand)
    assert (done["changes"], done["waiting"], done["to_publish"]) == ({}, [], [])
    assert len(by_hand.servers[0].asked) == asked
    (line,) = rotation_commands.status(by_hand.settings, state="standby")
    assert (line["dns"], line["next"]) == ("ok", "active at the next rotation")
    assert rotation_commands.status(by_hand.settings, problem=True) == []


def test_rotation_switches_to_the_standby_key_in_the_same_call(by_hand):
    (standby,) = by_hand.selectors("standby")
    done = rotate(by_hand)
    assert by_hand.states()[standby] == "active"
    assert by_hand.states()["default"] == "retired"
    (following,) = by_hand.selectors("standby")
    assert following != standby
    assert [record["name"] for record in done["to_publish"]] == [
        f"{following}._domainkey.example.com"
    ]


@pytest.mark.parametrize("at", [0, 1])
def test_record_that_was_seen_long_ago_and_is_missing_now_keeps_the_gate_closed(by_hand, at):
    by_hand.pass_time(60 * DAY)
    (standby,) = by_hand.selectors("standby")
    by_hand.put(f"{standby}._domainkey.example.com", None, [by_hand.servers[at]])
    (wait,) = rotate(by_hand)["waiting"]
    assert (wait["selector"], wait["state"]) == (standby, "pending")
    assert by_hand.states()["default"] == "active"
    by_hand.publish(standby)
    advance(by_hand)
    assert by_hand.states()["default"] == "active"
    by_hand.pass_time(HOLD + 1)
    advance(by_hand)
    assert by_hand.states()[standby] == "active"


def test_compromised_key_gives_its_place_to_the_standby_key_at_once(by_hand):
    (standby,) = by_hand.selectors("standby")
    done = call(
        rotation_commands.revoke, by_hand.settings, "example.com", "default", compromised=True
    )
    assert by_hand.states()["default"] == "revoked"
    assert by_hand.states()[standby] == "active"
    assert len(by_hand.selectors("standby")) == 1
    assert not any("before every resolver" in note for note in done["notes"])
    names = {record["name"].partition(".")[0] for record in done["to_publish"]}
    assert names == {"default", *by_hand.selectors("standby")}


def test_standby_key_that_is_too_old_is_replaced(by_hand):
    (old,) = by_hand.selectors("standby")
    by_hand.pass_time(269 * DAY)
    advance(by_hand)
    assert by_hand.selectors("standby") == [old]
    by_hand.pass_time(DAY)
    done = advance(by_hand)
    assert done["changes"][f"{old}._domainkey.example.com"] == {"old": "standby", "new": "revoked"}
    (new,) = by_hand.selectors("standby")
    assert {record["name"].partition(".")[0] for record in done["to_publish"]} == {old, new}
    assert ("erased",) in by_hand.rows("CASE WHEN key IS NULL THEN 'erased' END")


def test_standby_keys_go_with_the_setting(by_hand):
    (standby,) = by_hand.selectors("standby")
    by_hand.pillar["rotation"]["standby"] = False
    assert advance(by_hand)["changes"] == {
        f"{standby}._domainkey.example.com": {"old": "standby", "new": "revoked"}
    }
    by_hand.put(f"{standby}._domainkey.example.com", None)
    by_hand.pass_time(3600)
    advance(by_hand)
    assert by_hand.states() == {"default": "active"}
    assert advance(by_hand)["changes"] == {}


def test_standby_key_of_a_domain_that_went_is_revoked(by_hand):
    del by_hand.pillar["domains"]["example.com"]
    by_hand.pillar["domains"]["example.org"] = {}
    (standby,) = by_hand.selectors("standby")
    with db.session(by_hand.database) as connection:
        execute(connection, "DELETE FROM public.domains WHERE domain = 'example.com'")
    done = rotation_commands.advance(by_hand.settings, force=True)
    assert done["changes"][f"{standby}._domainkey.example.com"]["new"] == "revoked"


def test_due_key_is_followed_by_its_standby_key(by_hand):
    (standby,) = by_hand.selectors("standby")
    by_hand.pass_time(180 * DAY)
    call(rotation_commands.rotate_due, by_hand.settings)
    assert by_hand.states()[standby] == "active"


def test_delegated_domain_has_a_standby_key_where_a_selector_is_free(site):
    site.pillar["rotation"]["first_key_waits"] = False
    site.pillar["domains"]["example.com"]["delegation"] = {
        "zone": "keys.example.org",
        "selectors": ["default", "two"],
    }
    site.make_keys()
    advance(site)
    assert site.states() == {"default": "active", "two": "standby"}
    rotation_commands.rotate(site.settings, "example.com", force=True)
    assert site.states() == {"default": "retired", "two": "active"}
    assert advance(site)["problems"] == []


def test_standby_records_are_published_and_removed_by_the_formula(ready, tmp_path):
    with Bind(tmp_path / "bind", {"example.com": ""}, "127.0.53.151") as bind:
        made = Site(ready, (bind.address,))
        made.pillar["dns"] |= {
            "publish": "rfc2136",
            "server": bind.address,
            "key": {"name": KEY_NAME, "algorithm": ALGORITHM, "secret": SECRET},
        }
        made.pillar["rotation"]["standby"] = True
        made.make_keys()
        publish.publish(made.settings)
        rotation_commands.advance(made.settings)
        (standby,) = made.selectors("standby")
        assert bind.texts(f"{standby}._domainkey.example.com")
        made.pass_time(HOLD + 1)
        rotation_commands.advance(made.settings)
        rotation_commands.rotate(made.settings, "example.com")
        assert made.states()[standby] == "active"
        (following,) = made.selectors("standby")
        made.pillar["rotation"]["standby"] = False
        rotation_commands.advance(made.settings)
        (text,) = bind.texts(f"{following}._domainkey.example.com")
        assert text.endswith(b"p=")
        made.pass_time(3601)
        rotation_commands.advance(made.settings)
        rotation_commands.advance(made.settings)
        assert not bind.texts(f"{following}._domainkey.example.com")
