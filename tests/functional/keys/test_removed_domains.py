"""The retirement of keys whose domains disappear from the table of domains, with a real BIND."""

from dataclasses import replace

import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest
from dkim_formula import settings as pillar_settings
from dkim_formula.dns import publish
from dkim_formula.health import check_dns as dns_doctor
from dkim_formula.health import check_keys as keys_doctor
from dkim_formula.health import commands as health_commands
from dkim_formula.health import preflight
from dkim_formula.health.model import Finding, Host
from dkim_formula.keys import commands as keys_commands
from dkim_formula.keys import removed_domains
from dkim_formula.names import is_served
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import schema
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.settings.model import HostedTable
from functional.rotation.test_rotation import HOLD, QUEUE, change, name
from functional.rotations import Site
from functional.server import execute, query, rsa_key
from hypothesis import given
from hypothesis import strategies as st
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind
from support.fuzz import examples

pytestmark = pytest.mark.one_release

GONE = "DELETE FROM public.domains WHERE domain = 'example.com'"
BACK = "INSERT INTO public.domains (domain) VALUES ('example.com')"
REVOKED_FOR = 3600


class Hosting(Site):
    """A site that signs for all domains of its table of domains."""

    def __init__(self, database, bind):
        super().__init__(database, (bind.address,))
        self.pillar["domains"] = {"*": {"algorithm": "ed25519"}}
        self.pillar["dns"] |= {
            "publish": "rfc2136",
            "server": bind.address,
            "key": {"name": KEY_NAME, "algorithm": ALGORITHM, "secret": SECRET},
        }
        self.make_keys()
        publish.publish(self.settings)

    def execute(self, *statements):
        """Execute statements as the program that keeps the table of domains."""
        with db.session(self.database, setup=True) as connection:
            for statement in statements:
                execute(connection, statement)

    def states(self, domain="example.com"):
        with db.session(self.database) as connection:
            return dict(
                query(
                    connection,
                    "SELECT selector, state FROM public.dkim WHERE domain = %s ORDER BY id",
                    (domain,),
                )
            )

    def run(self, force=False):
        """Return the daily run's result. Its test run matches, and a second run changes nothing."""
        planned = rotation_commands.rotate_due(self.settings, test=True, force=force)
        done = rotation_commands.rotate_due(self.settings, force=force)
        assert (planned["changes"], [*planned["dns"]]) == (done["changes"], [*done["dns"]])
        assert planned["problems"] == done["problems"]
        again = rotation_commands.rotate_due(self.settings)
        assert (again["changes"], again["dns"]) == ({}, {})
        return done


@pytest.fixture
def bind(tmp_path):
    with Bind(tmp_path / "bind", {"example.com": "", "example.org": ""}, "127.0.53.155") as running:
        yield running


@pytest.fixture
def site(ready, bind):
    return Hosting(ready, bind)


def assert_key_is_revoked_and_removed(site, bind, selector="default"):
    """Assert that a retired key is revoked and then removed with its record."""
    (before,) = bind.texts(name(selector))
    assert not before.endswith(b"p=")
    site.pass_time(QUEUE)
    done = site.run()
    assert done["changes"] == {name(selector): change("retired", "revoked")}
    (empty,) = bind.texts(name(selector))
    assert empty.endswith(b"p=")
    site.pass_time(REVOKED_FOR)
    done = site.run()
    assert done["changes"] == {name(selector): change("revoked", None)}
    assert bind.texts(name(selector)) == set()


TAKEN_AWAY = {
    "deleted": [GONE],
    "renamed": ["UPDATE public.domains SET domain = 'new.example' WHERE domain = 'example.com'"],
}


@pytest.mark.parametrize("how", TAKEN_AWAY)
def test_key_of_a_removed_domain_is_retired_and_removed_with_its_record(site, bind, how):
    site.execute(*TAKEN_AWAY[how])
    done = site.run()
    assert done["changes"] == {name("default"): change("active", "retired")}
    assert done["problems"] == []
    assert any("example.com: neither hosted nor in dkim:domains" in one for one in done["notes"])
    assert_key_is_revoked_and_removed(site, bind)
    assert site.states() == {}
    assert site.states("example.org") == {"default": "active"}


def test_key_of_an_inactive_domain_is_retired_and_removed(site, bind):
    table = replace(site.database.domains, only=(("active", ("1",)),))
    site.execute("ALTER TABLE public.domains ADD active boolean NOT NULL DEFAULT true")
    given = {"only_given": True, "assumed": False, "described": True}
    site.database = replace(site.database, domains=table, **given)
    with db.session(site.database, setup=True) as connection:
        schema.apply(connection, site.database)
    assert site.run()["changes"] == {}
    site.execute("UPDATE public.domains SET active = false WHERE domain = 'example.com'")
    assert site.run()["changes"] == {name("default"): change("active", "retired")}
    assert_key_is_revoked_and_removed(site, bind)


def test_renamed_domain_gets_its_own_key_and_record(site, bind):
    renamed = "UPDATE public.domains SET domain = 'new.example.org' WHERE domain = 'example.com'"
    site.execute(renamed)
    keys_commands.generate_missing(site.settings)
    publish.publish(site.settings)
    assert site.run()["changes"] == {name("default"): change("active", "retired")}
    (record,) = bind.texts("default._domainkey.new.example.org")
    assert {record} != bind.texts(name("default"))
    assert_key_is_revoked_and_removed(site, bind)
    assert bind.texts("default._domainkey.new.example.org") == {record}
    assert site.states("new.example.org") == {"default": "active"}


def test_no_record_of_a_removed_domain_is_left(site, bind):
    site.pillar["domains"]["*"]["dmarc"] = {"policy": "none"}
    publish.publish(site.settings)
    assert bind.texts("_dmarc.example.com")
    site.execute(GONE)
    site.run()
    assert_key_is_revoked_and_removed(site, bind)
    assert publish.publish(site.settings)["problems"] == []
    assert bind.texts("_dmarc.example.com") == bind.texts(name("default")) == set()
    assert bind.texts("_dmarc.example.org")
    again = publish.publish(site.settings)
    assert (again["changes"], again["problems"]) == ({}, [])


def test_key_of_a_domain_that_returns_signs_again(site, bind):
    record = bind.texts(name("default"))
    site.execute(GONE)
    site.run()
    assert bind.texts(name("default")) == record
    site.execute(BACK)
    assert keys_commands.generate_missing(site.settings, test=True)["changes"] == {}
    keys_commands.generate_missing(site.settings)
    assert site.states() == {"default": "retired"}
    done = site.run()
    assert done["changes"] == {name("default"): change("retired", "active")}
    site.pass_time(QUEUE)
    assert site.run()["changes"] == {}
    assert bind.texts(name("default")) == record


def test_key_of_a_removed_domain_signs_again_once_the_pillar_names_it(site, bind):
    site.execute(GONE)
    site.run()
    site.pillar["domains"]["example.com"] = {"algorithm": "ed25519"}
    assert site.run()["changes"] == {name("default"): change("retired", "active")}


def test_key_signs_again_at_any_time_before_its_revocation(site, bind):
    site.execute(GONE)
    site.run()
    site.pass_time(QUEUE)
    site.execute(BACK)
    assert site.run()["changes"] == {name("default"): change("retired", "active")}


@pytest.mark.parametrize("after", ["revoked", "gone"])
def test_domain_that_returns_after_the_revocation_gets_a_new_key(site, bind, after):
    site.execute(GONE)
    site.run()
    site.pass_time(QUEUE)
    site.run()
    if after == "gone":
        site.pass_time(REVOKED_FOR)
        site.run()
    site.execute(BACK)
    done = site.run()
    ((new, state),) = [one for one in site.states().items() if one[0] != "default"]
    assert state == "active"
    assert done["changes"] == {name(new): change(None, "active")}
    record = bind.texts(name(new))
    assert len(record) == 1
    site.pass_time(REVOKED_FOR)
    site.run()
    assert (bind.texts(name("default")), bind.texts(name(new))) == (set(), record)


def test_domain_that_returns_without_its_record_gets_a_new_key(site, bind):
    del site.pillar["dns"]["publish"]
    site.execute(GONE)
    site.run()
    site.execute(BACK)
    update = dns.update.UpdateMessage(
        "example.com", keyring=dns.tsig.Key(KEY_NAME, SECRET, ALGORITHM)
    )
    update.delete(f"{name('default')}.")
    assert dns.query.tcp(update, bind.address, timeout=5).rcode() == dns.rcode.NOERROR
    done = site.run()
    (new,) = [one for one, state in site.states().items() if state == "active"]
    assert new != "default"
    assert done["changes"] == {name(new): change(None, "active")}


def test_pending_key_of_a_removed_domain_never_signs(site, bind):
    rotation_commands.rotate(site.settings, "example.com")
    (new,) = [one for one, state in site.states().items() if state == "pending"]
    site.execute(GONE)
    site.pass_time(HOLD)
    assert site.run()["changes"] == {
        name("default"): change("active", "retired"),
        name(new): change("pending", "revoked"),
    }


def test_keys_of_domains_in_the_pillar_are_kept(site, bind):
    site.pillar["domains"] = {"example.com": {"algorithm": "ed25519"}, "example.org": False}
    site.execute("DELETE FROM public.domains")
    assert site.run()["changes"] == {}


def test_key_of_a_hosted_domain_without_pillar_settings_is_kept(site, bind):
    site.pillar["domains"] = {"example.org": {"algorithm": "ed25519"}}
    assert site.run()["changes"] == {}


@pytest.mark.parametrize("row", ["EXAMPLE.com", " example.com", "example.com."])
def test_row_that_spells_a_domain_oddly_keeps_its_key(site, bind, row):
    site.execute(f"UPDATE public.domains SET domain = '{row}' WHERE domain = 'example.com'")
    assert site.run()["changes"] == {}


def test_row_of_one_label_keeps_its_key(site, bind):
    site.pillar["domains"]["intern"] = {"algorithm": "ed25519"}
    site.make_keys()
    site.execute("INSERT INTO public.domains (domain) VALUES ('intern')")
    del site.pillar["domains"]["intern"]
    rotation_commands.rotate_due(site.settings)
    assert site.states("intern") == {"default": "active"}


SPELLINGS = ["a.example", "A.Example", "a.example.", " a.example", "b.example", "intern", "ALL"]


def test_advice_reports_orphans_whenever_the_complete_read_finds_some(ready):
    site = Site(ready, ())
    site.pillar = {"domains": {"*": {}, "example.org": {}, "b.example": False}}
    results = set()

    @examples(40, deadline=None, database=None)
    @given(
        st.sets(st.sampled_from(SPELLINGS), max_size=4),
        st.dictionaries(
            st.sampled_from([*SPELLINGS, "example.org"]),
            st.sampled_from(["pending", "active", "retired"]),
            max_size=3,
        ),
    )
    def check(hosted, keys):
        with db.session(site.database, setup=True) as connection:
            execute(connection, "TRUNCATE public.domains, public.dkim CASCADE")
            execute(
                connection,
                "INSERT INTO public.domains (domain) SELECT unnest(%s::text[])",
                ([*hosted],),
            )
            for domain, state in keys.items():
                execute(
                    connection,
                    "INSERT INTO public.dkim (domain, selector, algorithm, key, state)"
                    " VALUES (%s, 'default', 'rsa', %s, %s)",
                    (domain, rsa_key().pem(), state if is_served(domain) else "pending"),
                )
        found = removed_domains.read(site.settings)
        advice = removed_domains.advice(site.settings)
        assert bool(advice) == bool(found.due or found.sudden)
        results.add(bool(advice))

    check()
    assert results == {True, False}


# --- Many domains at once -------------------------------------------------------------------------

SUDDEN = {
    "emptied": (["DELETE FROM public.domains"], "public.domains has no row that counts"),
    "dropped": (["DROP TABLE public.domains CASCADE"], "there is no table public.domains"),
    "altered": (["ALTER TABLE public.domains RENAME domain TO name"], "can't be read"),
    "broken": (
        [
            "ALTER TABLE public.domains RENAME TO kept",
            "CREATE FUNCTION public.breaks() RETURNS text LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE 'it is broken'; END $$",
            "CREATE VIEW public.domains AS SELECT public.breaks() AS domain, 1 AS id",
        ],
        "can't be read",
    ),
}


# Statements that undo those of SUDDEN.
RESTORED = {
    "emptied": ["INSERT INTO public.domains (domain) VALUES ('example.com'), ('example.org')"],
    "dropped": [
        "CREATE TABLE public.domains (id serial PRIMARY KEY, domain text NOT NULL UNIQUE)",
        "INSERT INTO public.domains (domain) VALUES ('example.com'), ('example.org')",
    ],
    "altered": ["ALTER TABLE public.domains RENAME name TO domain"],
    "broken": ["DROP VIEW public.domains", "ALTER TABLE public.kept RENAME TO domains"],
}
BOTH = ("default._domainkey.example.com", "default._domainkey.example.org")


def in_dns(bind):
    return [bind.texts(one) for one in BOTH]


def assert_nothing_is_retired(site, bind, cause):
    before = in_dns(bind)
    done = site.run()
    assert (done["changes"], done["dns"]) == ({}, {})
    (problem,) = done["problems"]
    assert problem.startswith("2 of 2 domains with keys are neither hosted nor in dkim:domains")
    assert cause in problem
    assert "force=True" in problem
    assert site.states() == {"default": "active"}
    assert in_dns(bind) == before


@pytest.mark.parametrize("how", SUDDEN)
def test_table_that_is_suddenly_empty_missing_or_broken_retires_no_key(site, bind, how):
    statements, cause = SUDDEN[how]
    site.execute(*statements)
    assert_nothing_is_retired(site, bind, cause)
    # Days later, a retired key would be revoked.
    site.pass_time(QUEUE)
    assert_nothing_is_retired(site, bind, cause)
    site.execute(*RESTORED[how])
    before = in_dns(bind)
    done = site.run()
    assert (done["changes"], done["dns"], done["problems"]) == ({}, {}, [])
    assert in_dns(bind) == before


@pytest.mark.parametrize("how", SUDDEN)
def test_keys_of_domains_that_disappear_on_purpose_are_removed_with_force(site, bind, how):
    site.execute(*SUDDEN[how][0])
    for step in (("active", "retired"), ("retired", "revoked"), ("revoked", None)):
        done = site.run(force=True)
        assert done["problems"] == []
        assert done["changes"] == dict.fromkeys(BOTH, change(*step))
        if step[1] == "revoked":
            assert all(text.endswith(b"p=") for texts in in_dns(bind) for text in texts)
        assert rotation_commands.advance(site.settings)["problems"] == []
        site.pass_time(QUEUE)
    assert in_dns(bind) == [set(), set()]
    assert site.states() == {}


@pytest.mark.parametrize(
    ("removed", "of", "is_sudden"), [(11, 100, True), (10, 20, False), (11, 120, False)]
)
def test_removal_of_many_domains_at_once_is_sudden(ready, removed, of, is_sudden):
    site = Site(ready, ())
    site.pillar = {"domains": {"*": {"algorithm": "ed25519"}}}
    with db.session(site.database, setup=True) as connection:
        execute(
            connection,
            "INSERT INTO public.domains (domain)"
            " SELECT format('d%%s.example', n) FROM generate_series(1, %s) AS n",
            (of - 2,),
        )
    site.make_keys()
    with db.session(site.database, setup=True) as connection:
        execute(
            connection,
            "DELETE FROM public.domains WHERE domain IN"
            " (SELECT format('d%%s.example', n) FROM generate_series(1, %s) AS n)",
            (removed,),
        )
    done = rotation_commands.advance(site.settings)
    assert bool(done["problems"]) == is_sudden
    retired = [one for one in keys_commands.list_keys(site.settings) if one["state"] == "retired"]
    assert len(retired) == (0 if is_sudden else removed)
    if is_sudden:
        assert done["problems"][0].startswith(f"{removed} of {of} domains with keys")
        assert len(rotation_commands.advance(site.settings, force=True)["changes"]) == removed


# --- The table of alias domains -------------------------------------------------------------------

ALIASES = HostedTable(table="alias_domain", name="alias_domain", only=(("active", ("1",)),))
ALIAS_GONE = "DELETE FROM public.alias_domain WHERE alias_domain = 'example.org'"
ALIAS_BACK = "INSERT INTO public.alias_domain VALUES ('example.org')"
ALIASES_SUDDEN = {
    "emptied": (["TRUNCATE public.alias_domain"], "public.alias_domain has no row that counts"),
    "disabled": (
        ["UPDATE public.alias_domain SET active = false"],
        "public.alias_domain has no row that counts",
    ),
    "dropped": (["DROP TABLE public.alias_domain"], "there is no table public.alias_domain"),
    "altered": (["ALTER TABLE public.alias_domain RENAME alias_domain TO name"], "can't be read"),
    "broken": (
        [
            "ALTER TABLE public.alias_domain RENAME TO kept",
            "CREATE FUNCTION public.breaks() RETURNS text LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE 'it is broken'; END $$",
            "CREATE VIEW public.alias_domain AS"
            " SELECT public.breaks() AS alias_domain, true AS active",
        ],
        "can't be read",
    ),
}
ALIASES_RESTORED = {
    "emptied": [ALIAS_BACK],
    "disabled": ["UPDATE public.alias_domain SET active = true"],
    "dropped": [
        "CREATE TABLE public.alias_domain (alias_domain text, active boolean DEFAULT true)",
        ALIAS_BACK,
    ],
    "altered": ["ALTER TABLE public.alias_domain RENAME name TO alias_domain"],
    "broken": [
        "DROP VIEW public.alias_domain",
        "ALTER TABLE public.kept RENAME TO alias_domain",
    ],
}


@pytest.fixture
def aliasing(site):
    """A site whose example.org is an alias domain and no row of the table of domains."""
    site.execute(
        "CREATE TABLE public.alias_domain (alias_domain text, active boolean DEFAULT true)",
        ALIAS_BACK,
        "DELETE FROM public.domains WHERE domain = 'example.org'",
        "INSERT INTO public.domains (domain) VALUES ('example.net')",
    )
    given = {"aliases": ALIASES, "assumed": False, "described": True}
    site.database = replace(site.database, **given)
    with db.session(site.database, setup=True) as connection:
        schema.apply(connection, site.database)
    assert site.run()["changes"] == {}
    return site


@pytest.mark.parametrize("how", ALIASES_SUDDEN)
def test_table_of_aliases_that_turns_empty_missing_or_broken_retires_no_key(aliasing, how):
    statements, cause = ALIASES_SUDDEN[how]
    aliasing.execute(*statements)
    for _ in range(2):
        done = aliasing.run()
        assert (done["changes"], done["dns"]) == ({}, {})
        (problem,) = done["problems"]
        assert "domains with keys are neither hosted nor in dkim:domains any more" in problem
        assert cause in problem
        assert "force=True" in problem
        assert removed_domains.advice(aliasing.settings) == [problem]
        # Days later, a retired key would be revoked.
        aliasing.pass_time(QUEUE)
    aliasing.execute(*ALIASES_RESTORED[how])
    done = aliasing.run()
    assert (done["changes"], done["problems"]) == ({}, [])


def test_keys_of_alias_domains_that_disappear_on_purpose_are_removed_with_force(aliasing):
    aliasing.execute(*ALIASES_SUDDEN["emptied"][0])
    # A run for one domain must not make the next run forget the others.
    rotation_commands.advance(aliasing.settings, "example.com", force=True)
    assert aliasing.run()["problems"]
    done = aliasing.run(force=True)
    assert done["changes"] == {name("default", "example.org"): change("active", "retired")}
    assert done["problems"] == []
    assert rotation_commands.advance(aliasing.settings)["problems"] == []


def test_single_alias_domain_is_retired_while_others_stay(aliasing):
    aliasing.execute("INSERT INTO public.alias_domain VALUES ('other.example')", ALIAS_GONE)
    done = aliasing.run()
    assert done["changes"] == {name("default", "example.org"): change("active", "retired")}
    assert done["problems"] == []


def test_domain_is_retired_although_the_table_of_aliases_has_always_been_empty(aliasing):
    aliasing.execute("INSERT INTO public.domains (domain) VALUES ('example.org')", ALIAS_GONE)
    assert aliasing.run()["changes"] == {}
    aliasing.execute(GONE)
    done = aliasing.run()
    assert done["changes"] == {name("default"): change("active", "retired")}
    assert done["problems"] == []


def test_domain_in_both_tables_is_no_alias_domain(aliasing):
    """PostfixAdmin's alias domains are in both tables."""
    aliasing.execute("INSERT INTO public.domains (domain) VALUES ('Example.org.')")
    assert aliasing.run()["changes"] == {}
    aliasing.execute("TRUNCATE public.alias_domain")
    assert aliasing.run()["problems"] == []
    aliasing.execute("DELETE FROM public.domains WHERE domain = 'Example.org.'")
    done = aliasing.run()
    assert done["changes"] == {name("default", "example.org"): change("active", "retired")}
    assert done["problems"] == []


def test_unreadable_tables_leave_the_known_alias_domains_known(aliasing):
    aliasing.pillar["domains"]["example.com"] = {"algorithm": "ed25519"}
    aliasing.pillar["domains"]["example.org"] = {"algorithm": "ed25519"}
    aliasing.pillar["domains"]["example.net"] = {"algorithm": "ed25519"}
    aliasing.execute(*ALIASES_SUDDEN["altered"][0])
    assert aliasing.run()["changes"] == {}
    aliasing.execute(*ALIASES_RESTORED["altered"], "TRUNCATE public.alias_domain")
    del aliasing.pillar["domains"]["example.org"]
    assert "has no row that counts" in aliasing.run()["problems"][0]


# --- Reports --------------------------------------------------------------------------------------


def test_status_and_list_keys_report_an_orphaned_key_and_its_next_move(site, bind):
    site.execute(GONE)

    def reported():
        (line,) = rotation_commands.status(site.settings, "example.com")
        (key,) = keys_commands.list_keys(site.settings, "example.com")
        return line["next"], key["orphaned"]

    assert reported() == (
        "orphaned; retired at the next dkim.advance",
        "the next dkim.advance retires the key",
    )
    site.run()
    line, key = reported()
    assert line.startswith("orphaned; revoked: mail that the key signed may be in transit")
    assert key == "retired; rotation continues until the key is deleted"
    (other,) = keys_commands.list_keys(site.settings, "example.org")
    assert other["orphaned"] == ""
    assert rotation_commands.status(site.settings, "example.org")[0]["next"] == "rotation"


def reading_of(site):
    reading = pillar_settings.read(site.pillar)
    return replace(reading, settings=replace(reading.settings, database=site.database))


def reports(site, tmp_path):
    """Return what check, doctor and health report about orphaned keys."""
    reading = reading_of(site)
    advice = [
        text for text in preflight.check(reading)["advice"] if "dkim:domains any more" in text
    ]
    found = list(keys_doctor.orphaned(Host(reading.settings)))
    problems = health_commands.health(reading, str(tmp_path), lambda _service: True, fresh=True)[
        "problems"
    ]
    checks = {"database", "orphaned-keys", "rotation", "dns", "key-age", "unsigned"}
    return advice, found, [one for one in problems if one["check"] in checks]


def test_check_and_doctor_report_the_next_move_and_health_reports_no_problem(site, bind, tmp_path):
    assert reports(site, tmp_path)[0] == []
    site.execute(GONE)
    (advice,), (finding,), problems = reports(site, tmp_path)
    assert advice.startswith("example.com: neither hosted nor in dkim:domains any more")
    assert "the next dkim.advance retires the keys" in advice
    assert (finding.ok, finding.message) == (True, advice)
    assert problems == []
    site.run()
    site.pass_time(100 * 86400)
    advice, (finding,), problems = reports(site, tmp_path)
    assert (advice, finding.ok, problems) == ([], True, [])
    assert "example.com" in finding.message


@pytest.mark.parametrize("how", SUDDEN)
def test_check_doctor_and_health_report_a_sudden_disappearance(site, bind, tmp_path, how):
    statements, cause = SUDDEN[how]
    site.execute(*statements)
    (advice,), (finding,), problems = reports(site, tmp_path)
    assert advice.startswith("2 of 2 domains with keys are neither hosted nor in dkim:domains")
    assert cause in advice
    assert (finding.ok, finding.message) == (False, advice)
    assert [one["message"] for one in problems if "force=True" in one["message"]]
    (line,) = rotation_commands.status(site.settings, "example.com")
    assert line["next"].startswith("orphaned; signs on until dkim.advance force=True")


def test_doctor_asks_for_records_of_orphaned_keys_and_reports_no_problem(site, bind):
    def reported():
        host = Host(reading_of(site).settings, domains_asked=50)
        found = [*dns_doctor.records(host), *dns_doctor.orphaned(host)]
        return {one.check: one.ok for one in found if isinstance(one, Finding)}

    assert reported() == {"dns": True}
    site.execute(GONE)
    site.run()
    assert reported() == {"dns": True, "dns of orphaned keys": True}
    update = dns.update.UpdateMessage(
        "example.com", keyring=dns.tsig.Key(KEY_NAME, SECRET, ALGORITHM)
    )
    update.delete(f"{name('default')}.")
    assert dns.query.tcp(update, bind.address, timeout=5).rcode() == dns.rcode.NOERROR
    assert reported() == {"dns": True, "dns of orphaned keys": None}
