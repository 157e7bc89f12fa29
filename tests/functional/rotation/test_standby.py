"""Standby keys: published ahead, used by rotations, replaced by age, removed with the setting."""

import pytest
from dkim_formula.dns import publish
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from functional.rotation.test_rotation import HOLD
from functional.rotations import Site
from functional.server import execute
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind

pytestmark = pytest.mark.one_release

DAY = 86400


def call(function, *arguments, **options):
    """Return a run's report. Its test run has reported the same changes."""
    planned = function(*arguments, **options, test=True)
    done = function(*arguments, **options)
    assert planned["changes"] == done["changes"]
    return done


def advance(site):
    return call(rotation_commands.advance, site.settings)


def rotate(site):
    return call(rotation_commands.rotate, site.settings, "example.com")


@pytest.fixture
def observed(site):
    """A site with a key in DNS and a standby key whose record is visible for long enough."""
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


def test_standby_key_waits_for_its_record(site):
    site.pillar["rotation"]["standby"] = True
    site.make_keys()
    (wait,) = advance(site)["waiting"]
    assert (wait["state"], wait["next"]) == ("standby", "active")
    assert "not at every server" in wait["waits_for"]
    site.publish(wait["selector"])
    (wait,) = advance(site)["waiting"]
    assert wait["not_before"] is not None


def test_runs_ask_no_server_for_an_observed_standby_key(observed):
    asked = len(observed.servers[0].asked)
    done = advance(observed)
    assert (done["changes"], done["waiting"], done["to_publish"]) == ({}, [], [])
    assert len(observed.servers[0].asked) == asked
    (line,) = rotation_commands.status(observed.settings, state="standby")
    assert (line["dns"], line["next"]) == ("ok", "active at the next rotation")
    assert rotation_commands.status(observed.settings, problem=True) == []


def test_rotation_switches_to_the_standby_key_in_the_same_call(observed):
    (standby,) = observed.selectors("standby")
    done = rotate(observed)
    assert observed.states()[standby] == "active"
    assert observed.states()["default"] == "retired"
    (following,) = observed.selectors("standby")
    assert following != standby
    assert [record["name"] for record in done["to_publish"]] == [
        f"{following}._domainkey.example.com"
    ]


@pytest.mark.parametrize("at", [0, 1])
def test_missing_record_closes_the_gate_even_if_it_was_visible_before(observed, at):
    observed.pass_time(60 * DAY)
    (standby,) = observed.selectors("standby")
    observed.put(f"{standby}._domainkey.example.com", None, [observed.servers[at]])
    (wait,) = rotate(observed)["waiting"]
    assert (wait["selector"], wait["state"]) == (standby, "pending")
    assert observed.states()["default"] == "active"
    observed.publish(standby)
    advance(observed)
    assert observed.states()["default"] == "active"
    observed.pass_time(HOLD + 1)
    advance(observed)
    assert observed.states()[standby] == "active"


def test_standby_key_replaces_a_compromised_key_at_once(observed):
    (standby,) = observed.selectors("standby")
    done = call(
        rotation_commands.revoke, observed.settings, "example.com", "default", compromised=True
    )
    assert observed.states()["default"] == "revoked"
    assert observed.states()[standby] == "active"
    assert len(observed.selectors("standby")) == 1
    assert not any("before every resolver" in note for note in done["notes"])
    names = {record["name"].partition(".")[0] for record in done["to_publish"]}
    assert names == {"default", *observed.selectors("standby")}


def test_standby_key_that_is_too_old_is_replaced(observed):
    (old,) = observed.selectors("standby")
    observed.pass_time(269 * DAY)
    advance(observed)
    assert observed.selectors("standby") == [old]
    observed.pass_time(DAY)
    done = advance(observed)
    assert done["changes"][f"{old}._domainkey.example.com"] == {"old": "standby", "new": "revoked"}
    (new,) = observed.selectors("standby")
    assert {record["name"].partition(".")[0] for record in done["to_publish"]} == {old, new}
    assert ("erased",) in observed.rows("CASE WHEN key IS NULL THEN 'erased' END")


def test_standby_keys_are_revoked_without_the_setting(observed):
    (standby,) = observed.selectors("standby")
    observed.pillar["rotation"]["standby"] = False
    assert advance(observed)["changes"] == {
        f"{standby}._domainkey.example.com": {"old": "standby", "new": "revoked"}
    }
    observed.put(f"{standby}._domainkey.example.com", None)
    observed.pass_time(3600)
    advance(observed)
    assert observed.states() == {"default": "active"}
    assert advance(observed)["changes"] == {}


def test_standby_key_of_a_removed_domain_is_revoked(observed):
    del observed.pillar["domains"]["example.com"]
    observed.pillar["domains"]["example.org"] = {}
    (standby,) = observed.selectors("standby")
    with db.session(observed.database) as connection:
        execute(connection, "DELETE FROM public.domains WHERE domain = 'example.com'")
    done = rotation_commands.advance(observed.settings, force=True)
    assert done["changes"][f"{standby}._domainkey.example.com"]["new"] == "revoked"


def test_standby_key_replaces_a_due_key(observed):
    (standby,) = observed.selectors("standby")
    observed.pass_time(180 * DAY)
    call(rotation_commands.rotate_due, observed.settings)
    assert observed.states()[standby] == "active"


def test_delegated_domain_has_a_standby_key_if_a_selector_is_free(site):
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
