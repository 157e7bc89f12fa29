"""Keys of domains that the site's own program takes away: followed to their end in a real BIND."""

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
from functional.postgres import execute, query, rsa_key
from functional.rotations import Site
from functional.test_rotation import HOLD, QUEUE, change, name
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind

pytestmark = pytest.mark.one_release

GONE = "DELETE FROM public.domains WHERE domain = 'example.com'"
BACK = "INSERT INTO public.domains (domain) VALUES ('example.com')"
REVOKED_FOR = 3600


class Hosting(Site):
    """A site that signs for whatever its table of domains has."""

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

    def does(self, *statements):
        """What the site's own program does."""
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
        """What the daily run does, which its test run has told before; another changes nothing."""
        told = rotation_commands.rotate_due(self.settings, test=True, force=force)
        done = rotation_commands.rotate_due(self.settings, force=force)
        assert (told["changes"], [*told["dns"]]) == (done["changes"], [*done["dns"]])
        assert told["problems"] == done["problems"]
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


def goes_to_its_end(site, bind, selector="default"):
    """A retired key is revoked in its time, then gone, and its record with it."""
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
def test_key_of_a_domain_that_went_comes_to_its_end_and_its_record_too(site, bind, how):
    site.does(*TAKEN_AWAY[how])
    done = site.run()
    assert done["changes"] == {name("default"): change("active", "retired")}
    assert done["problems"] == []
    assert any("example.com: neither hosted nor in dkim:domains" in one for one in done["notes"])
    goes_to_its_end(site, bind)
    assert site.states() == {}
    assert site.states("example.org") == {"default": "active"}


def test_key_of_a_domain_that_is_switched_off_comes_to_its_end(site, bind):
    table = replace(site.database.domains, only=(("active", ("1",)),))
    site.does("ALTER TABLE public.domains ADD active boolean NOT NULL DEFAULT true")
    given = {"only_given": True, "assumed": False, "described": True}
    site.database = replace(site.database, domains=table, **given)
    with db.session(site.database, setup=True) as connection:
        schema.apply(connection, site.database)
    assert site.run()["changes"] == {}
    site.does("UPDATE public.domains SET active = false WHERE domain = 'example.com'")
    assert site.run()["changes"] == {name("default"): change("active", "retired")}
    goes_to_its_end(site, bind)


def test_renamed_domain_gets_a_key_and_a_record_of_its_own(site, bind):
    site.does("UPDATE public.domains SET domain = 'new.example.org' WHERE domain = 'example.com'")
    keys_commands.generate_missing(site.settings)
    publish.publish(site.settings)
    assert site.run()["changes"] == {name("default"): change("active", "retired")}
    (record,) = bind.texts("default._domainkey.new.example.org")
    assert {record} != bind.texts(name("default"))
    goes_to_its_end(site, bind)
    assert bind.texts("default._domainkey.new.example.org") == {record}
    assert site.states("new.example.org") == {"default": "active"}


def test_no_record_is_left_of_a_domain_that_went(site, bind):
    site.pillar["domains"]["*"]["dmarc"] = {"policy": "none"}
    publish.publish(site.settings)
    assert bind.texts("_dmarc.example.com")
    site.does(GONE)
    site.run()
    goes_to_its_end(site, bind)
    assert publish.publish(site.settings)["problems"] == []
    assert bind.texts("_dmarc.example.com") == bind.texts(name("default")) == set()
    assert bind.texts("_dmarc.example.org")
    again = publish.publish(site.settings)
    assert (again["changes"], again["problems"]) == ({}, [])


def test_domain_that_comes_back_has_its_key_again(site, bind):
    record = bind.texts(name("default"))
    site.does(GONE)
    site.run()
    assert bind.texts(name("default")) == record
    site.does(BACK)
    assert keys_commands.generate_missing(site.settings, test=True)["changes"] == {}
    keys_commands.generate_missing(site.settings)
    assert site.states() == {"default": "retired"}
    done = site.run()
    assert done["changes"] == {name("default"): change("retired", "active")}
    site.pass_time(QUEUE)
    assert site.run()["changes"] == {}
    assert bind.texts(name("default")) == record


def test_domain_that_the_pillar_takes_up_has_its_key_again(site, bind):
    site.does(GONE)
    site.run()
    site.pillar["domains"]["example.com"] = {"algorithm": "ed25519"}
    assert site.run()["changes"] == {name("default"): change("retired", "active")}


def test_key_that_has_waited_for_long_comes_back_if_it_is_not_revoked(site, bind):
    site.does(GONE)
    site.run()
    site.pass_time(QUEUE)
    site.does(BACK)
    assert site.run()["changes"] == {name("default"): change("retired", "active")}


@pytest.mark.parametrize("after", ["revoked", "gone"])
def test_domain_that_comes_back_too_late_has_a_new_key(site, bind, after):
    site.does(GONE)
    site.run()
    site.pass_time(QUEUE)
    site.run()
    if after == "gone":
        site.pass_time(REVOKED_FOR)
        site.run()
    site.does(BACK)
    done = site.run()
    ((new, state),) = [one for one in site.states().items() if one[0] != "default"]
    assert state == "active"
    assert done["changes"] == {name(new): change(None, "active")}
    record = bind.texts(name(new))
    assert len(record) == 1
    site.pass_time(REVOKED_FOR)
    site.run()
    assert (bind.texts(name("default")), bind.texts(name(new))) == (set(), record)


def test_domain_whose_record_somebody_removed_has_a_new_key_when_it_is_back(site, bind):
    del site.pillar["dns"]["publish"]
    site.does(GONE)
    site.run()
    site.does(BACK)
    update = dns.update.UpdateMessage(
        "example.com", keyring=dns.tsig.Key(KEY_NAME, SECRET, ALGORITHM)
    )
    update.delete(f"{name('default')}.")
    assert dns.query.tcp(update, bind.address, timeout=5).rcode() == dns.rcode.NOERROR
    done = site.run()
    (new,) = [one for one, state in site.states().items() if state == "active"]
    assert new != "default"
    assert done["changes"] == {name(new): change(None, "active")}


def test_pending_key_of_a_domain_that_went_never_signs(site, bind):
    rotation_commands.rotate(site.settings, "example.com")
    (new,) = [one for one, state in site.states().items() if state == "pending"]
    site.does(GONE)
    site.pass_time(HOLD)
    assert site.run()["changes"] == {
        name("default"): change("active", "retired"),
        name(new): change("pending", "revoked"),
    }


def test_what_the_pillar_names_or_leaves_out_stays(site, bind):
    site.pillar["domains"] = {"example.com": {"algorithm": "ed25519"}, "example.org": False}
    site.does("DELETE FROM public.domains")
    assert site.run()["changes"] == {}


def test_hosted_domain_that_the_pillar_does_not_choose_stays(site, bind):
    site.pillar["domains"] = {"example.org": {"algorithm": "ed25519"}}
    assert site.run()["changes"] == {}


@pytest.mark.parametrize("row", ["EXAMPLE.com", " example.com", "example.com."])
def test_row_that_spells_a_domain_oddly_keeps_its_key(site, bind, row):
    site.does(f"UPDATE public.domains SET domain = '{row}' WHERE domain = 'example.com'")
    assert site.run()["changes"] == {}


def test_row_of_one_label_keeps_its_key(site, bind):
    site.pillar["domains"]["intern"] = {"algorithm": "ed25519"}
    site.make_keys()
    site.does("INSERT INTO public.domains (domain) VALUES ('intern')")
    del site.pillar["domains"]["intern"]
    rotation_commands.rotate_due(site.settings)
    assert site.states("intern") == {"default": "active"}


SPELLINGS = ["a.example", "A.Example", "a.example.", " a.example", "b.example", "intern", "ALL"]


def test_check_speaks_of_orphans_wherever_the_whole_look_finds_some(ready):
    site = Site(ready, ())
    site.pillar = {"domains": {"*": {}, "example.org": {}, "b.example": False}}
    told = set()

    @settings(max_examples=150, deadline=None, database=None)
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
        found = removed_domains.look(site.settings)
        said = removed_domains.advice(site.settings)
        assert bool(said) == bool(found.due or found.sudden)
        told.add(bool(said))

    check()
    assert told == {True, False}


# --- All at once ----------------------------------------------------------------------------------

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


# What makes good again what SUDDEN does.
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


def retires_nothing(site, bind, says):
    before = in_dns(bind)
    done = site.run()
    assert (done["changes"], done["dns"]) == ({}, {})
    (problem,) = done["problems"]
    assert problem.startswith("2 of 2 domains with keys are neither hosted nor in dkim:domains")
    assert says in problem
    assert "force=True" in problem
    assert site.states() == {"default": "active"}
    assert in_dns(bind) == before


@pytest.mark.parametrize("how", SUDDEN)
def test_table_that_is_suddenly_empty_gone_or_broken_retires_nothing(site, bind, how):
    statements, says = SUDDEN[how]
    site.does(*statements)
    retires_nothing(site, bind, says)
    # Days later, when keys that were retired would be revoked.
    site.pass_time(QUEUE)
    retires_nothing(site, bind, says)
    site.does(*RESTORED[how])
    before = in_dns(bind)
    done = site.run()
    assert (done["changes"], done["dns"], done["problems"]) == ({}, {}, [])
    assert in_dns(bind) == before


@pytest.mark.parametrize("how", SUDDEN)
def test_keys_come_to_their_end_where_a_sudden_disappearance_is_meant(site, bind, how):
    site.does(*SUDDEN[how][0])
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
def test_many_domains_at_once_are_sudden(ready, removed, of, is_sudden):
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


# --- What is said ---------------------------------------------------------------------------------


def test_status_and_list_name_an_orphaned_key_and_what_comes_next(site, bind):
    site.does(GONE)

    def said():
        (line,) = rotation_commands.status(site.settings, "example.com")
        (key,) = keys_commands.list_keys(site.settings, "example.com")
        return line["next"], key["orphaned"]

    assert said() == (
        "orphaned; retired at the next dkim.advance",
        "the next dkim.advance has it retired",
    )
    site.run()
    line, key = said()
    assert line.startswith("orphaned; revoked: mail that the key signed may be in transit")
    assert key == "retired, and goes on to its end"
    (other,) = keys_commands.list_keys(site.settings, "example.org")
    assert other["orphaned"] == ""
    assert rotation_commands.status(site.settings, "example.org")[0]["next"] == "rotation"


def reading_of(site):
    reading = pillar_settings.read(site.pillar)
    return replace(reading, settings=replace(reading.settings, database=site.database))


def said_everywhere(site, tmp_path):
    """What check, doctor and health say of orphaned keys."""
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


def test_check_and_doctor_say_what_comes_next_and_health_raises_no_alarm(site, bind, tmp_path):
    assert said_everywhere(site, tmp_path)[0] == []
    site.does(GONE)
    (advice,), (finding,), problems = said_everywhere(site, tmp_path)
    assert advice.startswith("example.com: neither hosted nor in dkim:domains any more")
    assert "the next dkim.advance retires the keys" in advice
    assert (finding.ok, finding.message) == (True, advice)
    assert problems == []
    site.run()
    site.pass_time(100 * 86400)
    advice, (finding,), problems = said_everywhere(site, tmp_path)
    assert (advice, finding.ok, problems) == ([], True, [])
    assert "example.com" in finding.message


@pytest.mark.parametrize("how", SUDDEN)
def test_check_doctor_and_health_say_that_domains_went_suddenly(site, bind, tmp_path, how):
    statements, says = SUDDEN[how]
    site.does(*statements)
    (advice,), (finding,), problems = said_everywhere(site, tmp_path)
    assert advice.startswith("2 of 2 domains with keys are neither hosted nor in dkim:domains")
    assert says in advice
    assert (finding.ok, finding.message) == (False, advice)
    assert [one["message"] for one in problems if "force=True" in one["message"]]
    (line,) = rotation_commands.status(site.settings, "example.com")
    assert line["next"].startswith("orphaned; signs on until dkim.advance force=True")


def test_doctor_asks_for_the_records_of_orphaned_keys_and_raises_no_alarm(site, bind):
    def said():
        host = Host(reading_of(site).settings, domains_asked=50)
        found = [*dns_doctor.records(host), *dns_doctor.orphaned(host)]
        return {one.check: one.ok for one in found if isinstance(one, Finding)}

    assert said() == {"dns": True}
    site.does(GONE)
    site.run()
    assert said() == {"dns": True, "dns of orphaned keys": True}
    update = dns.update.UpdateMessage(
        "example.com", keyring=dns.tsig.Key(KEY_NAME, SECRET, ALGORITHM)
    )
    update.delete(f"{name('default')}.")
    assert dns.query.tcp(update, bind.address, timeout=5).rcode() == dns.rcode.NOERROR
    assert said() == {"dns": True, "dns of orphaned keys": None}
