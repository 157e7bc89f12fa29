"""The status of each key, and the disclosure of private keys."""

import stat

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import driver
from dkim_formula.rotation import commands as rotation_commands
from functional.rotation.test_rotation import HOLD, QUEUE
from functional.server import as_role, execute, query

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


def test_status_without_dns_asks_no_server(site):
    site.make_keys()
    keys_commands.generate(site.settings, "example.com", "next")
    asked = len(site.servers[0].asked)
    assert {line["dns"] for line in rotation_commands.status(site.settings, dns=False)} == {"-"}
    assert len(site.servers[0].asked) == asked
    assert rotation_commands.status(site.settings, "example.org", dns=False) == []


def test_status_has_only_the_requested_keys(site):
    site.make_keys()
    site.publish("default")
    keys_commands.generate(site.settings, "example.com", "next")
    assert [*lines(site, state="pending")] == ["next"]
    assert [*lines(site, state="retired")] == []
    # The pending key's record is missing. The active key has no problem.
    assert [*lines(site, problem=True)] == ["next"]
    assert [*lines(site, problem=True, state="active")] == []


@pytest.mark.parametrize(
    ("glob", "is_meant"),
    [("*", True), ("EX*.com", True), ("example.???", True), ("*.example.com", False), ("?", False)],
)
def test_status_has_the_domains_that_match_a_glob(site, glob, is_meant):
    site.make_keys()
    assert bool(lines(site, domain=glob, dns=False)) == is_meant


def test_unknown_state_is_an_error_that_names_it(site):
    with pytest.raises(InvalidValue, match=r"state: 'activ' is not a choice.*'active'"):
        rotation_commands.status(site.settings, state="activ")


def test_status_changes_nothing_and_reports_the_next_move(site):
    site.make_keys()
    keys_commands.generate(site.settings, "example.com", "next")
    site.publish("next")
    rotation_commands.advance(site.settings)
    site.pass_time(HOLD)
    before = site.history()
    assert lines(site)["next"]["next"] == "active at the next dkim.advance"
    assert lines(site, dns=False)["next"]["when"] <= lines(site)["next"]["when"]
    assert site.history() == before


def test_key_from_the_future_has_age_zero(site):
    site.make_keys()
    site.pass_time(-86400)
    assert lines(site)["default"]["age"] == "0s"


# --- Disclosure ----------------------------------------------------------------------------------


@pytest.fixture
def disclosing(site, tmp_path):
    """A rotated site that discloses private keys, right before the old key's revocation."""
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


def disclosed(site):
    return {path.name: path.read_text() for path in site.directory.iterdir()}


def stored(site):
    with db.session(site.database) as connection:
        return [pem for (pem,) in query(connection, "SELECT key FROM public.dkim_disclosure")]


def test_private_key_is_disclosed_once_dns_has_no_usable_record_of_it(disclosing):
    rotation_commands.advance(disclosing.settings)
    assert disclosing.states()["default"] == "revoked"
    assert stored(disclosing) == [disclosing.pem]
    disclosing.pass_time(86400)
    rotation_commands.advance(disclosing.settings)
    assert disclosed(disclosing) == {}
    disclosing.publish("default")
    rotation_commands.advance(disclosing.settings)
    assert disclosed(disclosing) == {}
    disclosing.pass_time(3700)
    planned = rotation_commands.advance(disclosing.settings, test=True)["changes"]
    assert disclosed(disclosing) == {}
    assert rotation_commands.advance(disclosing.settings)["changes"] == planned
    assert disclosed(disclosing) == {"default._domainkey.example.com.pem": disclosing.pem}
    (path,) = disclosing.directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stored(disclosing) == []


def test_compromised_key_is_never_disclosed(disclosing):
    rotation_commands.revoke(disclosing.settings, "example.com", "default", compromised=True)
    assert stored(disclosing) == []


def test_private_key_is_erased_without_publish_private(disclosing):
    del disclosing.pillar["rotation"]["publish_private"]
    rotation_commands.advance(disclosing.settings)
    assert (disclosing.states()["default"], stored(disclosing)) == ("revoked", [])


def test_stored_private_key_is_erased_once_publish_private_is_removed(disclosing):
    rotation_commands.advance(disclosing.settings)
    del disclosing.pillar["rotation"]["publish_private"]
    (note,) = rotation_commands.advance(disclosing.settings)["notes"]
    assert "erased" in note
    assert stored(disclosing) == []


def test_missing_directory_is_a_problem_and_the_key_stays_stored(disclosing):
    rotation_commands.advance(disclosing.settings)
    disclosing.publish("default")
    rotation_commands.advance(disclosing.settings)
    disclosing.pass_time(3700)
    disclosing.directory.rmdir()
    done = rotation_commands.advance(disclosing.settings)
    assert "publish_private" in done["problems"][0]
    assert stored(disclosing) == [disclosing.pem]


def test_reader_cannot_read_stored_private_keys(disclosing):
    rotation_commands.advance(disclosing.settings)
    with db.session(disclosing.database) as connection:
        execute(connection, 'CREATE ROLE "vmail-dkim-reader"')
        connection.commit()
        denied = pytest.raises(driver.driver().Error, match="permission denied")
        with as_role(connection, "vmail-dkim-reader"), denied:
            query(connection, "SELECT key FROM public.dkim_disclosure")
