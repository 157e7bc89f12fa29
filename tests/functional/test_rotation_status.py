"""The status of each key, and private keys that are made public."""

import stat

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import driver
from dkim_formula.rotation import commands as rotation_commands
from functional.postgres import as_role, execute, query
from functional.test_rotation import HOLD, QUEUE

pytestmark = pytest.mark.one_release

COLUMNS = ["domain", "selector", "algorithm", "bits", "state", "address"]
COLUMNS += ["age", "dns", "next", "when", "problem"]


def lines(site, **how):
    return {line["selector"]: line for line in rotation_commands.status(site.settings, **how)}


def test_status_is_a_flat_line_for_each_key(site):
    site.make_keys()
    site.publish("default")
    keys_commands.generate(site.settings, "example.com", "next")
    site.pass_time(3 * 86400)
    found = rotation_commands.status(site.settings)
    assert [[*line] for line in found] == [COLUMNS, COLUMNS]
    signs, waits = found
    assert (signs["selector"], signs["state"], signs["age"], signs["dns"]) == (
        "default",
        "active",
        "3d",
        "ok",
    )
    assert signs["next"] == "rotation"
    assert signs["when"].endswith("+00:00")
    assert (waits["dns"], waits["when"]) == ("missing", "")
    assert waits["next"].startswith("active: the record is not at every server")


def test_status_asks_no_server_where_it_is_not_to(site):
    site.make_keys()
    keys_commands.generate(site.settings, "example.com", "next")
    asked = len(site.servers[0].asked)
    assert {line["dns"] for line in rotation_commands.status(site.settings, dns=False)} == {"-"}
    assert len(site.servers[0].asked) == asked
    assert rotation_commands.status(site.settings, "example.org", dns=False) == []


def test_status_is_of_the_keys_that_are_asked_for(site):
    site.make_keys()
    site.publish("default")
    keys_commands.generate(site.settings, "example.com", "next")
    assert [*lines(site, state="pending")] == ["next"]
    assert [*lines(site, state="retired")] == []
    # Its record is missing; the key that signs is as it should be.
    assert [*lines(site, problem=True)] == ["next"]
    assert [*lines(site, problem=True, state="active")] == []


@pytest.mark.parametrize(
    ("glob", "is_meant"),
    [("*", True), ("EX*.com", True), ("example.???", True), ("*.example.com", False), ("?", False)],
)
def test_status_is_of_the_domains_that_a_glob_stands_for(site, glob, is_meant):
    site.make_keys()
    assert bool(lines(site, domain=glob, dns=False)) == is_meant


def test_state_that_does_not_exist_is_named(site):
    with pytest.raises(InvalidValue, match=r"state: 'activ' is not a choice.*'active'"):
        rotation_commands.status(site.settings, state="activ")


def test_status_changes_nothing_and_says_what_advance_would_do(site):
    site.make_keys()
    keys_commands.generate(site.settings, "example.com", "next")
    site.publish("next")
    rotation_commands.advance(site.settings)
    site.pass_time(HOLD)
    before = site.history()
    assert lines(site)["next"]["next"] == "active at the next dkim.advance"
    assert lines(site, dns=False)["next"]["when"] <= lines(site)["next"]["when"]
    assert site.history() == before


def test_status_of_a_key_in_the_future_is_no_crash(site):
    site.make_keys()
    site.pass_time(-86400)
    assert lines(site)["default"]["age"] == "0s"


# --- Deniability ---------------------------------------------------------------------------------


@pytest.fixture
def revealing(site, tmp_path):
    """A rotated site that publishes private keys, a moment before the old one's revocation."""
    site.directory = tmp_path / "public"
    site.directory.mkdir()
    site.pillar["rotation"]["publish_private"] = str(site.directory)
    site.make_keys()
    site.publish("default")
    with db.session(site.database) as connection:
        ((site.pem,),) = query(connection, "SELECT key FROM public.dkim")
    rotation_commands.rotate(site.settings, "example.com", force=True)
    site.pass_time(QUEUE)
    return site


def shown(site):
    return {path.name: path.read_text() for path in site.directory.iterdir()}


def kept(site):
    with db.session(site.database) as connection:
        return [pem for (pem,) in query(connection, "SELECT key FROM public.dkim_disclosure")]


def test_private_key_is_public_when_dns_shows_no_more_of_it(revealing):
    rotation_commands.advance(revealing.settings)
    assert revealing.states()["default"] == "revoked"
    assert kept(revealing) == [revealing.pem]
    revealing.pass_time(86400)
    rotation_commands.advance(revealing.settings)
    assert shown(revealing) == {}
    revealing.publish("default")
    rotation_commands.advance(revealing.settings)
    assert shown(revealing) == {}
    revealing.pass_time(3700)
    told = rotation_commands.advance(revealing.settings, test=True)["changes"]
    assert shown(revealing) == {}
    assert rotation_commands.advance(revealing.settings)["changes"] == told
    assert shown(revealing) == {"default._domainkey.example.com.pem": revealing.pem}
    (path,) = revealing.directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert kept(revealing) == []


def test_compromised_key_is_never_public(revealing):
    rotation_commands.revoke(revealing.settings, "example.com", "default", compromised=True)
    assert kept(revealing) == []


def test_nothing_is_kept_where_the_setting_is_off(revealing):
    del revealing.pillar["rotation"]["publish_private"]
    rotation_commands.advance(revealing.settings)
    assert (revealing.states()["default"], kept(revealing)) == ("revoked", [])


def test_what_waits_is_erased_where_the_setting_is_taken_away(revealing):
    rotation_commands.advance(revealing.settings)
    del revealing.pillar["rotation"]["publish_private"]
    (note,) = rotation_commands.advance(revealing.settings)["notes"]
    assert "erased" in note
    assert kept(revealing) == []


def test_directory_that_is_not_there_is_a_problem_and_loses_nothing(revealing):
    rotation_commands.advance(revealing.settings)
    revealing.publish("default")
    rotation_commands.advance(revealing.settings)
    revealing.pass_time(3700)
    revealing.directory.rmdir()
    done = rotation_commands.advance(revealing.settings)
    assert "publish_private" in done["problems"][0]
    assert kept(revealing) == [revealing.pem]


def test_reader_can_not_see_what_waits(revealing):
    rotation_commands.advance(revealing.settings)
    with db.session(revealing.database) as connection:
        execute(connection, 'CREATE ROLE "vmail-dkim-reader"')
        connection.commit()
        denied = pytest.raises(driver.driver().Error, match="permission denied")
        with as_role(connection, "vmail-dkim-reader"), denied:
            query(connection, "SELECT key FROM public.dkim_disclosure")
