"""Keys of domains that the site's own program takes away: followed to their end in a real BIND."""

from dataclasses import replace

import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest
from dkim_formula import settings as pillar_settings
from dkim_formula.database import connection as db
from dkim_formula.doctor import keys as keys_doctor
from dkim_formula.doctor.site import Site as DoctorSite
from dkim_formula.operations import check, keys, publish, rotation, watch
from dkim_formula.postgres import schema
from functional.postgres import execute, query
from functional.rotations import Site
from functional.test_rotation import HOLD, QUEUE, change, name
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind

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
        told = rotation.rotate_due(self.settings, test=True, force=force)
        done = rotation.rotate_due(self.settings, force=force)
        assert (told["changes"], [*told["dns"]]) == (done["changes"], [*done["dns"]])
        assert told["problems"] == done["problems"]
        again = rotation.rotate_due(self.settings)
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
    site.database = replace(site.database, domains=table, only_given=True, assumed=False)
    with db.session(site.database, setup=True) as connection:
        schema.apply(connection, site.database)
    assert site.run()["changes"] == {}
    site.does("UPDATE public.domains SET active = false WHERE domain = 'example.com'")
    assert site.run()["changes"] == {name("default"): change("active", "retired")}
    goes_to_its_end(site, bind)


def test_domain_that_comes_back_has_its_key_again(site, bind):
    site.does(GONE)
    site.run()
    site.does(BACK)
    assert keys.missing(site.settings)["changes"] == {}
    keys.generate_missing(site.settings)
    assert site.states() == {"default": "retired"}
    done = site.run()
    assert done["changes"] == {name("default"): change("retired", "active")}
    site.pass_time(QUEUE)
    assert site.run()["changes"] == {}


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
    assert len(bind.texts(name(new))) == 1


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
    rotation.rotate(site.settings, "example.com")
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
    rotation.rotate_due(site.settings)
    assert site.states("intern") == {"default": "active"}


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


@pytest.mark.parametrize("how", SUDDEN)
def test_table_that_is_suddenly_empty_gone_or_broken_retires_nothing(site, bind, how):
    statements, says = SUDDEN[how]
    site.does(*statements)
    done = site.run()
    assert done["changes"] == {}
    (problem,) = done["problems"]
    assert problem.startswith("2 of 2 domains with keys are neither hosted nor in dkim:domains")
    assert says in problem
    assert "force=True" in problem
    assert site.states() == {"default": "active"}
    forced = rotation.rotate_due(site.settings, force=True)
    assert forced["problems"] == []
    assert forced["changes"][name("default")] == change("active", "retired")
    goes_on = rotation.advance(site.settings)
    assert goes_on["problems"] == []


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
    done = rotation.advance(site.settings)
    assert bool(done["problems"]) == is_sudden
    retired = [one for one in keys.list_keys(site.settings) if one["state"] == "retired"]
    assert len(retired) == (0 if is_sudden else removed)
    if is_sudden:
        assert done["problems"][0].startswith(f"{removed} of {of} domains with keys")
        assert len(rotation.advance(site.settings, force=True)["changes"]) == removed


# --- What is said ---------------------------------------------------------------------------------


def test_status_and_list_name_an_orphaned_key_and_what_comes_next(site, bind):
    site.does(GONE)

    def said():
        (line,) = rotation.status(site.settings, "example.com")
        (key,) = keys.list_keys(site.settings, "example.com")
        return line["next"], key["orphaned"]

    assert said() == (
        "orphaned; retired at the next dkim.advance",
        "the next dkim.advance has it retired",
    )
    site.run()
    line, key = said()
    assert line.startswith("orphaned; revoked: mail that it signed may be on its way")
    assert key == "retired, and goes on to its end"
    (other,) = keys.list_keys(site.settings, "example.org")
    assert other["orphaned"] == ""
    assert rotation.status(site.settings, "example.org")[0]["next"] == "rotation"


def reading_of(site):
    reading = pillar_settings.read(site.pillar)
    return replace(reading, settings=replace(reading.settings, database=site.database))


def said_everywhere(site, tmp_path):
    """What check, doctor and watch say of orphaned keys."""
    reading = reading_of(site)
    advice = [text for text in check.check(reading)["advice"] if "dkim:domains any more" in text]
    found = keys_doctor.orphaned(DoctorSite(reading.settings, ()))
    troubles = watch.watch(reading, str(tmp_path), lambda _service: True, fresh=True)["troubles"]
    kinds = {"database", "rotation", "dns", "key-age", "unsigned"}
    return advice, found, [one for one in troubles if one["kind"] in kinds]


def test_check_and_doctor_say_what_comes_next_and_the_watch_raises_no_alarm(site, bind, tmp_path):
    assert said_everywhere(site, tmp_path)[0] == []
    site.does(GONE)
    (advice,), (finding,), troubles = said_everywhere(site, tmp_path)
    assert advice.startswith("example.com: neither hosted nor in dkim:domains any more")
    assert "the next dkim.advance retires the keys" in advice
    assert (finding.ok, finding.found) == (True, advice)
    assert troubles == []
    site.run()
    site.pass_time(100 * 86400)
    advice, (finding,), troubles = said_everywhere(site, tmp_path)
    assert (advice, finding.ok, troubles) == ([], True, [])
    assert "example.com" in finding.found


@pytest.mark.parametrize("how", SUDDEN)
def test_check_doctor_and_watch_say_that_domains_went_suddenly(site, bind, tmp_path, how):
    statements, says = SUDDEN[how]
    site.does(*statements)
    (advice,), (finding,), troubles = said_everywhere(site, tmp_path)
    assert advice.startswith("2 of 2 domains with keys are neither hosted nor in dkim:domains")
    assert says in advice
    assert (finding.ok, finding.found) == (False, advice)
    assert [one["what"] for one in troubles if "force=True" in one["what"]]
    (line,) = rotation.status(site.settings, "example.com")
    assert line["next"].startswith("orphaned; signs on until dkim.advance force=True")
