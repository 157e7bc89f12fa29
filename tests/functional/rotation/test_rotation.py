"""Rotations with manual records and two scripted name servers: moves and what they wait for."""

import threading

import dns.name
import pytest
from dkim_formula.dns.desired import desired_records
from dkim_formula.errors import DatabaseError, InvalidValue, KeyNotFound, StepRefused
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.rotation import observe
from dkim_formula.rotation import run as rotation_run
from functional.server import execute, insert_as_howto, query, traditional_pem

pytestmark = pytest.mark.one_release

HOLD = 30  # seconds: the servers' negative TTL, without a margin
QUEUE = 5 * 86400  # the value without a Postfix
NOTHING = {
    "changes": {},
    "dns": {},
    "waiting": [],
    "to_publish": [],
    "next_check": None,
    "notes": [],
    "problems": [],
}


def name(selector, domain="example.com"):
    return f"{selector}._domainkey.{domain}"


def change(old, new):
    return {"old": old, "new": new}


def advance(site):
    done = rotation_commands.advance(site.settings)
    assert done["problems"] == []
    return done


@pytest.fixture
def signing(site):
    """A site whose default key signs."""
    site.make_keys()
    return site


@pytest.fixture
def waiting(signing):
    """A site whose rotation waits for its record. ``new`` is the new key's selector."""
    rotation_commands.rotate(signing.settings, "example.com")
    (signing.new,) = signing.selectors("pending")
    return signing


@pytest.fixture
def rotated(waiting):
    """A site right after the switch to the new key."""
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD)
    advance(waiting)
    assert waiting.states() == {"default": "retired", waiting.new: "active"}
    return waiting


def test_rotation_from_a_new_key_to_the_removal_of_the_old_one(signing):
    signing.publish("default")
    done = rotation_commands.rotate(signing.settings, "example.com")
    (new,) = signing.selectors("pending")
    assert done["changes"] == {name(new): change(None, "pending")}
    assert [record["name"] for record in done["to_publish"]] == [name(new)]
    signing.publish(new)
    first = advance(signing)
    assert first["changes"] == {}
    assert first["next_check"] == first["waiting"][0]["not_before"] is not None
    signing.pass_time(HOLD - 1)
    assert advance(signing)["changes"] == {}
    signing.pass_time(2)
    assert advance(signing)["changes"] == {
        name(new): change("pending", "active"),
        name("default"): change("active", "retired"),
    }
    signing.pass_time(QUEUE + 1)
    done = advance(signing)
    assert done["changes"] == {name("default"): change("retired", "revoked")}
    assert [record["value"][-2:] for record in done["to_publish"]] == ["p="]
    signing.publish("default")
    signing.pass_time(3601)
    assert advance(signing)["changes"] == {name("default"): change("revoked", None)}
    assert advance(signing) == NOTHING
    assert signing.states() == {new: "active"}


def test_history_has_the_evidence_of_each_move(rotated):
    (why,) = [why for selector, _, to, why in rotated.history() if to == "active"][1:]
    assert why.startswith("rotation: record visible at 2 servers since ")
    assert why.endswith("negative TTL 30 s")


def test_waiting_rotation_reports_what_it_waits_for_and_until_when(waiting):
    (wait,) = advance(waiting)["waiting"]
    assert (wait["selector"], wait["state"], wait["next"]) == (waiting.new, "pending", "active")
    assert "missing" in wait["waits_for"]
    assert wait["not_before"] is None
    waiting.publish(waiting.new)
    (wait,) = advance(waiting)["waiting"]
    assert "visible for 30s" in wait["waits_for"]
    assert wait["not_before"] is not None


def test_record_at_only_one_server_does_not_pass(waiting):
    waiting.publish(waiting.new, servers=waiting.servers[:1])
    for _ in range(3):
        assert advance(waiting)["changes"] == {}
        waiting.pass_time(HOLD * 10)
    assert "inconsistent" in advance(waiting)["waiting"][0]["waits_for"]
    waiting.publish(waiting.new)
    assert advance(waiting)["changes"] == {}
    waiting.pass_time(HOLD)
    assert len(advance(waiting)["changes"]) == 2


def test_wrong_record_does_not_pass_and_delays_the_key_by_its_ttl(waiting):
    waiting.put(name(waiting.new), "v=DKIM1; k=ed25519; p=AAAA", ttl=500)
    for _ in range(2):
        assert advance(waiting)["changes"] == {}
        waiting.pass_time(1000)
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD + 1)
    assert advance(waiting)["changes"] == {}
    waiting.pass_time(500)
    assert len(advance(waiting)["changes"]) == 2


def test_record_that_disappears_starts_its_wait_again(waiting):
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.put(name(waiting.new), None)
    advance(waiting)
    waiting.publish(waiting.new)
    waiting.pass_time(HOLD * 2)
    assert advance(waiting)["changes"] == {}


def test_silent_server_keeps_the_gate_closed_and_restarts_no_wait(waiting):
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD * 2)
    waiting.servers[1].silent = {"udp", "tcp"}
    assert advance(waiting)["changes"] == {}
    waiting.servers[1].silent = set()
    assert len(advance(waiting)["changes"]) == 2


def test_record_that_a_panel_rewrites_passes(waiting):
    (record,) = (
        one
        for one in desired_records(waiting.settings, "example.com")
        if one.selector == waiting.new
    )
    public = record.value.partition("; p=")[2]
    waiting.put(record.name, f"v=DKIM1;p={public[:20]} {public[20:]};k=ed25519;h=sha256;n=panel;")
    advance(waiting)
    waiting.pass_time(HOLD)
    assert len(advance(waiting)["changes"]) == 2
    assert "written differently" in waiting.history()[-1][3]


def test_lame_server_beside_a_correct_one_does_not_close_the_gate(waiting):
    waiting.servers[1].lame = True
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD)
    assert len(advance(waiting)["changes"]) == 2


def test_server_that_never_answers_keeps_the_gate_closed_for_one_more_day(waiting):
    waiting.servers[1].silent = {"udp", "tcp"}
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD * 2)
    done = advance(waiting)
    assert done["changes"] == {}
    assert "a day more" in done["waiting"][0]["waits_for"]
    waiting.pass_time(86400)
    assert len(advance(waiting)["changes"]) == 2


def test_server_that_answers_only_over_udp_does_not_close_the_gate(waiting):
    waiting.servers[1].silent = {"tcp"}
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD)
    assert len(advance(waiting)["changes"]) == 2


def test_clock_that_is_set_back_makes_no_move_early(waiting):
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(-86400)
    advance(waiting)
    waiting.pass_time(HOLD - 2)
    assert advance(waiting)["changes"] == {}
    waiting.pass_time(3)
    assert len(advance(waiting)["changes"]) == 2


def test_retired_key_waits_while_the_clock_is_set_back(rotated):
    rotated.pass_time(-10 * 86400)
    assert advance(rotated)["changes"] == {}
    rotated.pass_time(10 * 86400 + QUEUE - 60)
    assert advance(rotated)["changes"] == {}


def test_revoked_key_is_kept_while_its_old_record_exists(rotated):
    found = desired_records(rotated.settings, "example.com")
    (old,) = [record for record in found if record.selector == "default"]
    rotated.put(old.name, old.value)
    rotated.pass_time(QUEUE)
    advance(rotated)
    rotated.pass_time(10 * 86400)
    done = advance(rotated)
    assert done["changes"] == {}
    assert "still holds a key" in done["waiting"][0]["waits_for"]
    rotated.put(old.name, None, servers=rotated.servers[:1])
    rotated.publish("default", servers=rotated.servers[1:])
    assert advance(rotated)["changes"] == {name("default"): change("revoked", None)}


def test_revocation_erases_the_private_key(rotated):
    rotated.pass_time(QUEUE)
    advance(rotated)
    found = dict(rotated.rows("state, key IS NULL"))
    assert found == {"active": False, "revoked": True}


def test_selector_of_a_removed_key_is_never_used_again(signing):
    made = []
    for _ in range(4):
        rotation_commands.rotate(signing.settings, "example.com", force=True)
        made += signing.selectors("active")
    for selector in (*made[:-1], "default"):
        keys_commands.delete(signing.settings, "example.com", selector)
    rotation_commands.rotate(signing.settings, "example.com")
    (new,) = signing.selectors("pending")
    assert len({*made, "default", new}) == 6
    assert new == f"{made[0]}-5"


def test_new_key_follows_the_present_settings(site):
    site.pillar["domains"] = {"example.com": {"bits": 1024}}
    site.make_keys()
    site.pillar["domains"] = {"example.com": {"bits": 2048}}
    rotation_commands.rotate(site.settings, "example.com")
    assert site.rows("state, bits") == [("active", 1024), ("pending", 2048)]


def test_rotation_includes_both_algorithms_and_all_addresses_of_a_domain(site):
    site.pillar["domains"] = {
        "example.com": {
            "algorithm": ["rsa", "ed25519"],
            "bits": 1024,
            "addresses": {"news@example.com": {"algorithm": "ed25519"}},
        }
    }
    site.make_keys()
    assert len(site.selectors("active")) == 3
    rotation_commands.rotate(site.settings, "example.com", algorithm="rsa")
    assert len(site.selectors("pending")) == 1
    rotation_commands.rotate(site.settings, "example.com")
    found = site.rows("algorithm, address, state")
    for slot in (("rsa", ""), ("ed25519", ""), ("ed25519", "news@example.com")):
        assert [state for *where, state in found if tuple(where) == slot] == ["active", "pending"]


def test_new_key_has_the_given_selector(signing):
    for _ in range(2):
        rotation_commands.rotate(signing.settings, "example.com", selector="s2027")
        assert signing.states() == {"default": "active", "s2027": "pending"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"selector": "default"}, StepRefused),
        ({"selector": "gone"}, StepRefused),
        ({"selector": "a_b"}, InvalidValue),
        ({"algorithm": "rsa"}, InvalidValue),
        ({"algorithm": "dsa"}, InvalidValue),
        ({"domain": "example.net"}, DatabaseError),
        ({"domain": "exa mple"}, InvalidValue),
    ],
)
def test_wrong_argument_changes_nothing(signing, arguments, error):
    keys_commands.generate(signing.settings, "example.com", "gone")
    keys_commands.delete(signing.settings, "example.com", "gone")
    with pytest.raises(error):
        rotation_commands.rotate(signing.settings, **{"domain": "example.com", **arguments})
    assert signing.states() == {"default": "active"}


def test_selector_for_one_of_two_algorithms_needs_the_algorithm(site):
    site.pillar["domains"] = {"example.com": {"algorithm": ["rsa", "ed25519"], "bits": 1024}}
    site.make_keys()
    with pytest.raises(InvalidValue, match="use one of ed25519, rsa"):
        rotation_commands.rotate(site.settings, "example.com", selector="s2027")
    rotation_commands.rotate(site.settings, "example.com", "s2027", "ed25519")
    assert site.states()["s2027"] == "pending"


def test_rotation_of_an_alias_names_the_domain_whose_keys_sign(signing):
    signing.pillar["domains"]["example.org"] = {"alias_of": "example.com"}
    with pytest.raises(InvalidValue, match=r"the keys of example\.com sign"):
        rotation_commands.rotate(signing.settings, "example.org")


def test_rotation_uses_a_key_that_was_generated_beside_another(signing):
    keys_commands.generate(signing.settings, "example.com", "s2027")
    assert advance(signing)["waiting"][0]["selector"] == "s2027"
    rotation_commands.rotate(signing.settings, "example.com")
    assert signing.states() == {"default": "active", "s2027": "pending"}


def test_rotation_uses_a_key_that_another_tool_inserted(signing):
    with db.session(signing.database) as connection:
        insert_as_howto(connection, "example.com", "first", traditional_pem(0))
        insert_as_howto(connection, "example.com", "second", traditional_pem(1))
    signing.pillar["domains"] = {"example.com": {"algorithm": ["rsa", "ed25519"]}}
    assert signing.states() == {"default": "active", "first": "active", "second": "pending"}
    signing.publish("second")
    advance(signing)
    signing.pass_time(HOLD)
    assert name("second") in advance(signing)["changes"]


def test_only_the_newest_of_several_pending_keys_signs(signing):
    for selector in ("one", "two", "three"):
        keys_commands.generate(signing.settings, "example.com", selector)
    for selector in ("one", "three"):
        signing.publish(selector)
    advance(signing)
    signing.pass_time(HOLD)
    advance(signing)
    assert signing.states()["three"] == "active"
    advance(signing)
    assert {signing.states()[selector] for selector in ("one", "two")} == {"revoked"}


def test_row_without_a_key_waits_for_manual_removal(signing):
    lines = traditional_pem().splitlines(keepends=True)
    # This text has the form of PEM and holds no key. Only OpenDKIM would notice, with 451.
    damaged = "".join([lines[0], *reversed(lines[1:-1]), lines[-1]])
    with db.session(signing.database) as connection:
        insert_as_howto(connection, "example.com", "broken", damaged)
        execute(connection, "UPDATE public.dkim SET state = 'pending' WHERE selector = 'broken'")
    done = rotation_commands.advance(signing.settings)
    assert done["changes"] == {}
    (wait,) = done["waiting"]
    assert "delete the row" in wait["waits_for"]
    assert done["to_publish"] == []
    with pytest.raises(StepRefused, match="does not parse as a private key, so it does not sign"):
        rotation_commands.activate(signing.settings, "example.com", "broken", force=True)


def test_first_key_signs_at_once(site):
    done = rotation_commands.rotate(site.settings, "example.com")
    assert done["changes"] == {name("default"): change(None, "active")}
    assert [record["selector"] for record in done["to_publish"]] == ["default"]


def test_first_key_waits_if_first_key_waits_is_set(site):
    site.pillar["rotation"]["first_key_waits"] = True
    site.make_keys()
    assert site.states() == {"default": "pending"}
    site.make_keys()
    rotation_commands.rotate(site.settings, "example.com")
    assert site.states() == {"default": "pending"}
    site.publish("default")
    advance(site)
    site.pass_time(HOLD)
    advance(site)
    assert site.states() == {"default": "active"}


def test_generated_first_key_waits_if_first_key_waits_is_set(site):
    site.pillar["rotation"]["first_key_waits"] = True
    assert keys_commands.generate(site.settings, "example.com")["state"] == "pending"


def test_forced_rotation_reports_the_missing_evidence(signing):
    done = rotation_commands.rotate(signing.settings, "example.com", force=True)
    (new,) = signing.selectors("active")
    assert signing.states() == {"default": "retired", new: "active"}
    (note,) = done["notes"]
    assert "without this evidence" in note
    assert "missing" in note
    assert "forced" in signing.history()[-1][3]


# --- Due rotations -------------------------------------------------------------------------------


def test_key_is_rotated_before_it_is_older_than_every(signing):
    signing.pass_time(149 * 86400)
    assert rotation_commands.rotate_due(signing.settings) == NOTHING
    signing.pass_time(31 * 86400)
    done = rotation_commands.rotate_due(signing.settings)
    assert [one["new"] for one in done["changes"].values()] == ["pending"]
    again = rotation_commands.rotate_due(signing.settings)
    assert again["changes"] == {}
    assert len(signing.selectors("pending")) == 1


def test_domain_without_pillar_settings_is_not_due(signing):
    signing.pillar["domains"] = {"example.org": {}}
    signing.pass_time(400 * 86400)
    assert rotation_commands.rotate_due(signing.settings) == NOTHING


def test_algorithms_rotate_together_if_together_is_set(site):
    site.pillar["domains"] = {"example.com": {"algorithm": ["rsa", "ed25519"], "bits": 1024}}
    site.make_keys()
    with db.session(site.database) as connection:
        old = "UPDATE public.dkim SET activated_at = now() - interval '179 days'"
        execute(connection, f"{old}, created_at = NULL WHERE algorithm = 'ed25519'")
    site.pillar["rotation"]["spread"] = "2d"
    site.pass_time(2 * 86400)
    apart = rotation_commands.rotate_due(site.settings, test=True)["changes"]
    site.pillar["rotation"]["together"] = True
    together = rotation_commands.rotate_due(site.settings, test=True)["changes"]
    assert (len(apart), len(together)) == (1, 2)


# --- Delegation ----------------------------------------------------------------------------------


@pytest.fixture
def delegated(site):
    """Keys in the operator's zone, which both servers serve. The first key signs at once."""
    site.pillar["rotation"] |= {"first_key_waits": False, "standby": False}
    site.pillar["domains"]["example.com"]["delegation"] = {"zone": "example.org"}
    site.make_keys()
    return site


def cname(site, selector, servers=None):
    target = f"{name(selector)}.example.org."
    for server in servers or site.servers:
        site.add(server, name(selector), "CNAME", target)


def test_first_key_of_a_delegated_domain_waits_for_its_cname(site):
    site.pillar["domains"]["example.com"]["delegation"] = {"zone": "example.org"}
    site.make_keys()
    assert site.states() == {"default": "pending"}
    site.publish("default")
    advance(site)
    site.pass_time(HOLD)
    (line,) = rotation_commands.status(site.settings)
    assert line["dns"] == "missing"
    assert f"{name('default')} CNAME: 127.0.0.1@" in line["next"]
    cname(site, "default")
    advance(site)
    # A resolver may cache the name's former record for its TTL.
    site.pass_time(3600 + 60)
    advance(site)
    # The next key's record exists from the start, so that both CNAMEs lead to a record.
    assert site.states() == {"default": "active", "default-2": "standby"}
    for server in site.servers:
        server.zones[dns.name.from_text("example.com")].delete_node(f"{name('default')}.")
    (active, _) = rotation_commands.status(site.settings)
    assert (active["state"], active["dns"]) == ("active", "missing")


def test_generated_key_of_a_delegated_domain_waits_by_default(site):
    site.pillar["domains"]["example.com"]["delegation"] = {"zone": "example.org"}
    assert keys_commands.generate(site.settings, "example.com")["state"] == "pending"
    site.pillar["rotation"]["first_key_waits"] = False
    assert keys_commands.generate(site.settings, "example.com", "default-2")["state"] == "active"


def test_delegated_domain_alternates_between_its_fixed_selectors(delegated):
    rotation_commands.rotate(delegated.settings, "example.com", force=True)
    assert delegated.states() == {"default": "retired", "default-2": "active"}
    done = rotation_commands.rotate(delegated.settings, "example.com", force=True)
    assert "has no free selector" in done["problems"][0]
    assert delegated.states() == {"default": "retired", "default-2": "active"}
    keys_commands.delete(delegated.settings, "example.com", "default")
    rotation_commands.rotate(delegated.settings, "example.com")
    assert delegated.states() == {"default-2": "active", "default": "pending"}


def test_delegated_key_also_waits_for_its_cname(delegated):
    rotation_commands.rotate(delegated.settings, "example.com")
    delegated.publish("default-2")
    done = advance(delegated)
    assert done["to_publish"][-1]["purpose"] == "delegation"
    delegated.pass_time(10000)
    assert "CNAME" in advance(delegated)["waiting"][0]["waits_for"]
    cname(delegated, "default-2")
    advance(delegated)
    delegated.pass_time(3600 - 60)
    # A resolver may cache an older key's record of that name for its TTL.
    assert advance(delegated)["changes"] == {}
    delegated.pass_time(120)
    assert name("default-2") in advance(delegated)["changes"]


def test_selector_without_a_cname_is_refused(delegated):
    with pytest.raises(InvalidValue, match="use one of default, default-2"):
        rotation_commands.rotate(delegated.settings, "example.com", selector="s2027")


# --- Concurrent runs and runs that end early -----------------------------------------------------


def at_once(calls):
    failures = []

    def run(call):
        try:
            start.wait()
            call()
        except Exception as error:
            failures.append(error)

    start = threading.Barrier(len(calls))
    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("force", [False, True])
def test_six_concurrent_rotations_generate_one_new_key(signing, force):
    settings = signing.settings
    at_once([lambda: rotation_commands.rotate(settings, "example.com", force=force)] * 6)
    found = sorted(signing.states().values())
    assert found == (["active", "retired"] if force else ["active", "pending"])


def test_six_concurrent_runs_make_one_switch(waiting):
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD)
    settings = waiting.settings
    at_once(
        [lambda: rotation_commands.advance(settings)] * 3
        + [lambda: rotation_commands.rotate(settings, "example.com")] * 3
    )
    assert waiting.states()["default"] == "retired"
    switches = [to for _, _, to, _ in waiting.history() if to == "active"]
    assert len(switches) == 2


def test_observation_before_a_revocation_is_no_evidence_for_the_revoked_key(rotated, monkeypatch):
    """The record is correct while the key is retired. Another run then revokes the key."""
    rotated.publish("default")
    rotated.pass_time(QUEUE)
    rotated.pillar["rotation"]["revoke_for"] = 0
    settings = rotated.settings
    observe = rotation_run.observe
    concurrent = [lambda: rotation_commands.revoke(settings, "example.com", "default", force=True)]

    def observe_then_revoke(*arguments):
        observed = observe(*arguments)
        if concurrent:
            concurrent.pop()()
        return observed

    monkeypatch.setattr(rotation_run, "observe", observe_then_revoke)
    rotation_commands.activate(settings, "example.com", "default")
    assert rotated.states()["default"] == "revoked"
    rotation_commands.advance(settings)
    assert rotated.states()["default"] == "revoked"


def test_move_that_the_database_refuses_does_not_stop_other_domains(site):
    site.pillar["domains"] = {
        "example.com": {"algorithm": "ed25519"},
        "example.org": {"algorithm": "ed25519"},
    }
    site.make_keys()
    for domain in ("example.com", "example.org"):
        keys_commands.generate(site.settings, domain, "next")
        site.publish("next", domain=domain)
    advance(site)
    site.pass_time(HOLD)
    with db.session(site.database) as connection:
        execute(
            connection,
            "ALTER TABLE public.dkim ADD CONSTRAINT no CHECK"
            " (state <> 'active' OR selector <> 'next' OR domain_id <>"
            " (SELECT 1)) NOT VALID".replace("(SELECT 1)", str(_id_of(connection, "example.com"))),
        )
    done = rotation_commands.advance(site.settings)
    assert site.states("example.com") == {"default": "active", "next": "pending"}
    assert site.states("example.org") == {"default": "retired", "next": "active"}
    (problem,) = done["problems"]
    assert problem.startswith("example.com: PostgreSQL: ")


def _id_of(connection, domain):
    ((number,),) = query(connection, "SELECT id FROM public.domains WHERE domain = %s", (domain,))
    return number


def test_evidence_is_deleted_with_its_key(waiting):
    waiting.publish(waiting.new)
    advance(waiting)
    keys_commands.delete(waiting.settings, "example.com", waiting.new)
    with db.session(waiting.database) as connection:
        assert query(connection, "SELECT * FROM public.dkim_observation") == []
        assert observe.read_evidence(connection, waiting.database, [1, 2, 3]) == {}


def test_no_return_or_log_shows_a_key(waiting, server, caplog):
    caplog.set_level("DEBUG")
    logged = server.log_from_now()
    with db.session(waiting.database) as connection:
        pems = [pem for (pem,) in query(connection, "SELECT key FROM public.dkim")]
    returned = [rotation_commands.rotate(waiting.settings, "example.com", force=True)]
    returned.append(
        rotation_commands.revoke(waiting.settings, "example.com", waiting.new, compromised=True)
    )
    shown = str(returned) + caplog.text + logged()
    assert len(pems) == 2
    for pem in pems:
        assert not [line for line in pem.splitlines()[1:-1] if line in shown]


# --- Single keys ---------------------------------------------------------------------------------


def test_missing_key_is_an_error(signing):
    for step in (rotation_commands.activate, rotation_commands.retire, rotation_commands.revoke):
        with pytest.raises(KeyNotFound, match="default"):
            step(signing.settings, "example.com", "nothere")


def test_compromised_key_is_revoked_and_a_new_key_signs_at_once(signing):
    signing.publish("default")
    done = rotation_commands.revoke(signing.settings, "example.com", "default", compromised=True)
    (new,) = signing.selectors("active")
    assert signing.states() == {"default": "revoked", new: "active"}
    assert {record["selector"] for record in done["to_publish"]} == {"default", new}
    cost, reach = done["notes"]
    assert "does not verify any more" in cost
    assert new in reach
    times = signing.rows("coalesce(revoked_at, activated_at)")
    assert times[0] == times[1]


def test_pending_key_with_evidence_replaces_a_compromised_key(waiting):
    waiting.publish(waiting.new)
    advance(waiting)
    waiting.pass_time(HOLD)
    rotation_commands.advance(waiting.settings, test=True)
    keys_commands.generate(waiting.settings, "example.com", "newer")
    done = rotation_commands.revoke(waiting.settings, "example.com", "default", compromised=True)
    assert waiting.states() == {"default": "revoked", waiting.new: "active", "newer": "pending"}
    assert len(done["changes"]) == 2


def test_revocation_of_a_compromised_key_does_not_wait_for_silent_servers(signing):
    for server in signing.servers:
        server.silent = {"udp", "tcp"}
    rotation_commands.revoke(signing.settings, "example.com", "default", compromised=True)
    assert signing.states()["default"] == "revoked"


def test_compromised_key_without_a_successor_is_revoked_only_with_force(delegated):
    keys_commands.generate(delegated.settings, "example.com", "default-2")
    rotation_commands.revoke(delegated.settings, "example.com", "default-2")
    before = delegated.states()
    done = rotation_commands.revoke(delegated.settings, "example.com", "default", compromised=True)
    assert done["changes"] == {}
    assert delegated.states() == before
    assert "has no free selector" in done["problems"][0]
    assert "force=True" in done["problems"][0]
    done = rotation_commands.revoke(
        delegated.settings, "example.com", "default", compromised=True, force=True
    )
    assert set(delegated.states().values()) == {"revoked"}
    assert done["problems"] == []
    assert any("no other key replaces it" in note for note in done["notes"])


def test_retired_key_signs_again_if_its_record_exists(rotated):
    done = rotation_commands.activate(rotated.settings, "example.com", "default")
    assert done["changes"] == {}
    assert [one["next"] for one in done["waiting"] if one["selector"] == "default"] == [
        "revoked",
        "active",
    ]
    rotated.publish("default")
    rotation_commands.activate(rotated.settings, "example.com", "default")
    rotated.pass_time(HOLD)
    rotation_commands.activate(rotated.settings, "example.com", "default")
    assert rotated.states() == {"default": "active", rotated.new: "retired"}
