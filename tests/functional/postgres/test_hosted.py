"""Hosted domains in the mail database's own tables, which the formula reads and never changes."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dkim_formula.errors import DatabaseError
from dkim_formula.health import preflight
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hosted, inspection, schema
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.settings import read
from dkim_formula.settings.database_presets import PRESETS
from dkim_formula.settings.model import HostedTable
from functional.rotation.test_rotation import change
from functional.rotations import Site
from functional.server import execute, query, traditional_pem
from support.nameserver import Nameserver

pytestmark = pytest.mark.one_release

CASES = Path(__file__).resolve().parents[2] / "cases" / "tables"


def load(database, *files):
    """Execute the SQL of some cases in a database."""
    with db.session(database, setup=True) as connection:
        execute(connection, "SET search_path TO public")
        for file in files:
            execute(connection, (CASES / file).read_text())


def pillar_of(database, name=None):
    """Return the pillar of a case, with the test's own database."""
    pillar = {"database": {"manage": False}, "domains": {"*": {}}}
    if name is not None:
        pillar = yaml.safe_load((CASES / name).read_text())["dkim"]
    return {
        **pillar,
        "database": {**pillar["database"], "name": database.name, "port": database.port},
    }


def reading_of(database, name=None, **overruled):
    pillar = pillar_of(database, name)
    pillar["database"] |= overruled
    return read(pillar)


def run(settings):
    """Do what a highstate does in the database. Return the domains that have an active key."""
    with db.session(settings.database, setup=True) as connection:
        schema.apply(connection, settings.database)
    keys_commands.generate_missing(settings)
    return signing(settings)


def signing(settings):
    return {key["domain"] for key in keys_commands.list_keys(settings) if key["state"] == "active"}


def test_case_05_row_without_a_name_is_left_out_and_counted(database):
    load(database, "howto.sql", "05-null-name.sql")
    with db.session(database, setup=True) as connection:
        execute(connection, "INSERT INTO public.domains (domain) VALUES ('other.example')")
    reading = reading_of(database, "05-null-name.yaml")
    assert run(reading.settings) == {"good.example", "other.example"}
    (advice,) = [text for text in preflight.check(reading)["advice"] if "public.domains" in text]
    assert advice.endswith("left out: 1")


def test_case_07_table_with_more_required_columns_stays_unchanged(database):
    """Keys belong to names, so new.example needs no row, and ``create_missing`` is refused."""
    load(database, "07-not-null.sql")
    reading = reading_of(database, "07-not-null.yaml")
    (problem,) = reading.problems
    assert problem.startswith("dkim:database:domains:create_missing: unknown key: nothing is added")
    reading = reading_of(database, "07-not-null.yaml", domains={})
    assert preflight.check(reading)["problems"] == []
    assert run(reading.settings) == {"good.example", "new.example"}
    with db.session(database, setup=True) as connection:
        assert query(connection, "SELECT domain FROM public.domains") == [("good.example",)]
    (advice,) = [text for text in preflight.check(reading)["advice"] if "new.example" in text]
    assert "not hosted" in advice


def test_case_08_domain_is_deleted_by_the_sites_own_statement(database):
    load(database, "howto.sql")
    settings = reading_of(database).settings
    with db.session(database, setup=True) as connection:
        (freed, *_) = schema.apply(connection, settings.database).notes
    assert "foreign key of domain_id is dropped" in freed
    keys_commands.generate_missing(settings)
    load(database, "08-delete-domain.sql")
    with db.session(database, setup=True) as connection:
        assert query(connection, "SELECT * FROM public.domains") == []
    # The table had only this row, so it looks like a table that was emptied by mistake.
    done = rotation_commands.rotate_due(settings)
    assert done["problems"][0].startswith("1 of 1 domains with keys are neither hosted nor in")
    assert signing(settings) == {"good.example"}
    check_end_of_key(database, force=True)


def test_case_08_rotation_removes_the_key_of_a_deleted_domain(database):
    load(database, "howto.sql")
    with db.session(database, setup=True) as connection:
        execute(connection, "INSERT INTO public.domains (domain) VALUES ('other.example')")
    settings = reading_of(database).settings
    assert run(settings) == {"good.example", "other.example"}
    load(database, "08-delete-domain.sql")
    check_end_of_key(database)
    assert signing(settings) == {"other.example"}


def check_end_of_key(database, force=False):
    """Check that rotations retire, revoke and remove the key of good.example, each when due."""
    name = "default._domainkey.good.example"
    site = Site(database, ())
    with Nameserver({"good.example": ""}) as server:
        zones = {"good.example": {"nameservers": [str(server)]}}
        settings = read(pillar_of(database) | {"dns": {"timeout": 1, "zones": zones}}).settings
        for step in (("active", "retired"), ("retired", "revoked"), ("revoked", None)):
            announced = rotation_commands.rotate_due(settings, test=True, force=force)
            done = rotation_commands.rotate_due(settings, force=force)
            assert announced["changes"] == done["changes"] == {name: change(*step)}
            site.pass_time(30 * 86400)


def test_case_09_inactive_and_backup_domains_get_no_key(database):
    load(database, "09-inactive.sql")
    reading = reading_of(database, "09-inactive.yaml")
    assert reading.problems == ()
    assert run(reading.settings) == {"good.example"}
    advice = preflight.check(reading)["advice"]
    assert any(text.endswith("left out: 1") for text in advice)
    (named,) = [text for text in advice if "'ALL'" in text]
    assert "store it as 'all'" in named
    assert any(text.startswith("dkim:database:domains:only: missing") for text in advice)


def test_case_10_tables_of_a_panel_keep_their_names_and_owners(database):
    load(database, "10-names-taken.sql")
    reading = reading_of(database, "10-names-taken.yaml")
    assert preflight.check(reading)["problems"] == []
    tables = "SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class WHERE"
    tables += " relnamespace = 'public'::regnamespace ORDER BY 1"
    with db.session(database, setup=True) as connection:
        before = query(connection, tables)
    assert run(reading.settings) == {"good.example"}
    with db.session(database, setup=True) as connection:
        assert query(connection, tables) == before
        assert query(connection, "SELECT pattern FROM dkim.dkim_signing_table") == [
            ("good.example",)
        ]


# --- Any table ------------------------------------------------------------------------------------


def by_hand(database, **given):
    """Return settings whose table is described by hand."""
    return replace(
        database,
        preset=None,
        schema="dkim",
        assumed=False,
        described=True,
        only_given=True,
        **given,
    )


def names_of(database):
    with db.session(database, setup=True) as connection:
        schema.apply(connection, database)
        assert not schema.apply(connection, database)
    with db.session(database) as connection:
        return hosted.hosted(connection, database)


def make(connection, *statements):
    for statement in statements:
        execute(connection, statement)
    connection.commit()


@pytest.mark.parametrize("kind", ["boolean", "smallint", "integer", "text", "char(1)", "numeric"])
@pytest.mark.parametrize("given", [True, 1, "1", [1, 7]])
def test_flag_of_any_type_matches_each_spelling_in_the_pillar(database, connection, kind, given):
    if kind == "boolean" and given == [1, 7]:
        given = ["t", "1"]
    make(
        connection,
        f"CREATE TABLE public.mail (name text, flag {kind});"
        " INSERT INTO public.mail VALUES ('on.example', '1'), ('off.example', '0'),"
        " ('null.example', NULL)",
    )
    reading = read(
        {"database": {"domains": {"table": "mail", "name": "name", "only": {"flag": given}}}}
    )
    assert reading.problems == ()
    table = reading.settings.database.domains
    assert names_of(by_hand(database, domains=table)) == ["on.example"]


def test_null_can_be_one_of_the_required_values(database, connection):
    make(
        connection,
        "CREATE TABLE public.mail (name text, kind text);"
        " INSERT INTO public.mail VALUES ('a.example', 'local'), ('b.example', NULL),"
        " ('c.example', 'relay')",
    )
    table = HostedTable("public", "mail", "name", (("kind", ("local", None)),))
    assert names_of(by_hand(database, domains=table)) == ["a.example", "b.example"]


ODD = ["ALL", "admin", "*", "", " lead.example", "a b.example", "dot.example.", "bücher.example"]


def test_names_are_lowercased_and_unique_and_odd_rows_are_left_out(database, connection):
    make(
        connection,
        "CREATE TABLE public.mail (name text); CREATE TABLE public.also (name varchar(255));"
        " INSERT INTO public.mail VALUES ('Mixed.Example'), ('mixed.example'), (NULL);"
        " INSERT INTO public.also VALUES ('mixed.example'), ('alias.example')",
    )
    execute(connection, "INSERT INTO public.mail SELECT unnest(%s)", (ODD,))
    connection.commit()
    both = by_hand(
        database,
        domains=HostedTable("public", "mail", "name"),
        aliases=HostedTable("public", "also", "name"),
    )
    assert names_of(both) == ["alias.example", "mixed.example"]
    with db.session(both) as opened:
        assert hosted.count_left_out(opened, both) == len(ODD) + 1
        assert set(hosted.odd_names(opened, both, 240)) == set(ODD)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"table": "nowhere"}, ["domains:table: there is no table public.nowhere"]),
        ({"name": "title"}, ["domains:name: public.mail has no column 'title'; use one of name"]),
        ({"only": (("on", ("1",)),)}, ["only:on: public.mail has no column 'on'"]),
        ({"only": (("flag", ("maybe",)),)}, ["only:flag: 'maybe' can't be compared", "boolean"]),
        ({"only": (("made", ("1",)),)}, ["only:made: '1' can't be compared", "timestamp"]),
    ],
)
def test_tables_columns_and_values_of_the_pillar_are_checked(database, connection, given, says):
    make(
        connection,
        "CREATE TABLE public.mail (name text, flag boolean, made timestamptz, data json)",
    )
    table = replace(HostedTable("public", "mail", "name"), **given)
    with pytest.raises(DatabaseError) as caught:
        schema.apply(connection, by_hand(database, domains=table))
    assert all(text in str(caught.value) for text in says)


def test_view_that_fails_is_a_problem(database, connection):
    make(
        connection,
        "CREATE FUNCTION public.one() RETURNS text LANGUAGE plpgsql STABLE AS"
        " $$ BEGIN RAISE 'it is broken'; END $$;"
        " CREATE VIEW public.mail AS SELECT public.one() AS name",
    )
    broken = by_hand(database, domains=HostedTable("public", "mail", "name"))
    (problem,) = inspection.inspect(connection, broken).problems
    assert problem.endswith("public.mail can't be read: it is broken")


@pytest.mark.parametrize("kind", ["text", "varchar(255)", "char(40)", "name"])
def test_name_column_of_any_type_is_read_and_can_still_be_altered(database, connection, kind):
    make(
        connection,
        f"CREATE TABLE public.mail (name {kind} PRIMARY KEY);"
        " INSERT INTO public.mail VALUES ('a.example')",
    )
    site = by_hand(database, domains=HostedTable("public", "mail", "name"))
    assert names_of(site) == ["a.example"]
    make(connection, "ALTER TABLE public.mail ALTER name TYPE varchar(300)")
    assert names_of(site) == ["a.example"]


def test_table_of_another_owner_needs_only_a_grant_of_select(database, connection):
    make(
        connection,
        "CREATE ROLE panel; CREATE SCHEMA mail AUTHORIZATION panel;"
        " CREATE TABLE mail.domain (name text PRIMARY KEY, quota int, active boolean);"
        " ALTER TABLE mail.domain OWNER TO panel;"
        " INSERT INTO mail.domain VALUES ('a.example', 1, true)",
    )
    table = HostedTable("mail", "domain", "name", (("active", ("1",)),))
    assert names_of(by_hand(database, domains=table)) == ["a.example"]
    granted = query(
        connection,
        "SELECT a.attname::text, x.privilege_type FROM pg_attribute AS a, aclexplode(a.attacl) AS x"
        " WHERE a.attrelid = 'mail.domain'::regclass ORDER BY 1",
    )
    assert granted == [("active", "SELECT"), ("name", "SELECT")]
    foreign_keys = query(
        connection,
        "SELECT count(*) FROM pg_constraint WHERE confrelid = 'mail.domain'::regclass",
    )
    assert foreign_keys == [(0,)]
    assert query(
        connection, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'mail.domain'::regclass"
    ) == [(0,)]


def test_changed_filter_in_the_pillar_takes_effect_at_once(database, connection):
    make(
        connection,
        "CREATE TABLE public.mail (name text, flag boolean);"
        " INSERT INTO public.mail VALUES ('a.example', true), ('b.example', false)",
    )
    every = by_hand(database, domains=HostedTable("public", "mail", "name"))
    some = replace(every, domains=replace(every.domains, only=(("flag", ("1",)),)))
    assert names_of(every) == ["a.example", "b.example"]
    with db.session(some) as opened:
        assert hosted.hosted(opened, some) == ["a.example"]
    assert names_of(some) == ["a.example"]


# --- No table, and presets ------------------------------------------------------------------------


def test_empty_database_signs_for_the_domains_of_the_pillar(database):
    pillar = pillar_of(database) | {"domains": {"good.example": {}}}
    reading = read(pillar)
    assert preflight.check(reading)["problems"] == []
    assert run(reading.settings) == {"good.example"}
    assert preflight.check(reading)["problems"] == []
    assert not [text for text in preflight.check(reading)["advice"] if "hosted" in text]


@pytest.mark.parametrize("preset", [one for one in PRESETS if one != "howto"])
def test_setting_of_a_preset_can_be_overridden(preset):
    reading = read(
        {"database": {"preset": preset, "domains": {"table": "other"}, "schema": "mine"}}
    )
    found = reading.settings.database
    assert reading.problems == ()
    assert (found.domains.table, found.schema, found.keys_table) == ("other", "mine", "dkim_keys")


def test_preset_that_would_abandon_the_keys_of_the_howto_is_refused(howto):
    """A domain of such a key would get a new key, which signs before its record is published."""
    other = by_hand(howto, domains=howto.domains)
    with db.session(howto) as connection, pytest.raises(DatabaseError, match="preset to howto"):
        schema.apply(connection, other)


def test_setting_that_would_abandon_the_formulas_tables_is_refused(ready):
    other = by_hand(ready, domains=ready.domains)
    with db.session(ready) as connection, pytest.raises(DatabaseError, match="as they were"):
        schema.apply(connection, other)


def test_table_of_the_howto_is_adopted_in_any_schema(database, connection):
    """The schema has a table of domains with other names, and the howto's table of keys."""
    make(
        connection,
        "CREATE SCHEMA mail; SET search_path TO mail;"
        " CREATE TABLE virtual_domains (nr bigserial PRIMARY KEY, fqdn varchar(80) UNIQUE);"
        " CREATE TABLE dkim (id serial PRIMARY KEY, domain_id bigint NOT NULL"
        " REFERENCES virtual_domains, selector text NOT NULL DEFAULT 'default', key text NOT NULL,"
        " UNIQUE (domain_id, selector));"
        " INSERT INTO virtual_domains (fqdn) VALUES ('a.example'), ('b.example');",
    )
    execute(
        connection, "INSERT INTO mail.dkim (domain_id, key) VALUES (1, %s)", (traditional_pem(),)
    )
    given = {"preset": "howto", "domains": {"table": "mail.virtual_domains", "name": "fqdn"}}
    settings = reading_of(database, **given).settings
    connection.commit()
    assert settings.database.schema == "mail"
    assert run(settings) == {"a.example", "b.example"}
    execute(
        connection,
        "INSERT INTO mail.dkim (domain_id, selector, key) VALUES (2, 'own', %s)",
        (traditional_pem(1),),
    )
    assert query(connection, "SELECT domain, domain_id FROM mail.dkim ORDER BY id") == [
        ("a.example", 1),
        ("b.example", 2),
        ("b.example", 2),
    ]
