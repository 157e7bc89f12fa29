"""The schema on a bare database, on sites of other shapes, and over time."""

import threading
from dataclasses import replace

import pytest
from dkim_formula.database import connection as db
from dkim_formula.database import inspection, keystore, schema
from dkim_formula.database.keystore import Wanted
from dkim_formula.errors import DatabaseError
from dkim_formula.settings.model import DomainsTable
from functional.postgres import OWNER, execute, query, rsa_key

OURS = {
    "domains",
    "dkim",
    "dkim_history",
    "dkim_migration",
    "dkim_published",
    "dkim_seen",
    "dkim_disclosure",
    "dkim_pattern",
    "dkim_signing",
    "dkim_key_table",
    "dkim_key_table_ed25519",
    "dkim_signing_table",
    "dkim_signing_table_ed25519",
}


def relations(connection, namespace="public"):
    return dict(
        query(
            connection,
            "SELECT relname, pg_get_userbyid(relowner) FROM pg_class"
            " WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'v')",
            (namespace,),
        )
    )


def test_bare_database_gets_all_of_it(database, connection):
    schema.apply(connection, database)
    assert set(relations(connection)) == OURS


def test_what_is_announced_without_a_database_is_what_the_run_does(database, connection):
    announced = schema.plan(schema.ABSENT, database)
    assert schema.apply(connection, database) == announced


def test_what_is_announced_is_what_the_run_does(database, connection):
    announced = schema.plan(schema.look(connection, database), database)
    assert announced
    assert schema.apply(connection, database) == announced


def test_second_run_changes_nothing(database, connection):
    schema.apply(connection, database)
    assert not schema.apply(connection, database)


def test_two_runs_at_once_migrate_once(database):
    plans, errors = [], []

    def run():
        try:
            with db.session(database) as connection:
                plans.append(schema.apply(connection, database))
        except DatabaseError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(bool(plan) for plan in plans) == [False, False, True]


def test_everything_new_belongs_to_the_databases_owner(database, connection):
    schema.apply(connection, database)
    assert set(relations(connection).values()) == {OWNER}
    functions = query(
        connection,
        "SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace",
    )
    assert functions == [(OWNER,)]


def test_public_gets_nothing(database, connection):
    execute(connection, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC")
    execute(connection, "CREATE ROLE anybody")
    schema.apply(connection, database)
    rights = query(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v') AND has_table_privilege('anybody', oid,"
        " 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')",
    )
    assert rights == []
    callable_ = query(
        connection,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege('anybody', oid, 'EXECUTE')",
    )
    assert callable_ == []


def test_new_things_belong_to_the_owner_of_the_sites_table(database, connection):
    execute(connection, "CREATE ROLE mailadm")
    execute(connection, "CREATE TABLE public.domains (id serial PRIMARY KEY, domain text UNIQUE)")
    execute(connection, "ALTER TABLE public.domains OWNER TO mailadm")
    schema.apply(connection, database)
    assert set(relations(connection).values()) == {"mailadm"}


@pytest.mark.parametrize("id_type", ["integer", "bigint", "uuid"])
@pytest.mark.parametrize("name_type", ["text", "character varying(255)"])
def test_site_with_names_and_types_of_its_own(database, connection, id_type, name_type):
    settings = replace(
        database,
        domains=DomainsTable(schema="Mail Site", table="virtual domains", id="nr", name="Name"),
    )
    default = {"uuid": "DEFAULT gen_random_uuid()"}.get(id_type, "GENERATED ALWAYS AS IDENTITY")
    execute(connection, 'CREATE SCHEMA "Mail Site"')
    execute(
        connection,
        f'CREATE TABLE "Mail Site"."virtual domains" (nr {id_type} {default} PRIMARY KEY,'
        f' "Name" {name_type} NOT NULL UNIQUE)',
    )
    execute(
        connection, """INSERT INTO "Mail Site"."virtual domains" ("Name") VALUES ('a.example')"""
    )
    schema.apply(connection, settings)
    keystore.store(connection, settings, [(Wanted("a.example", "s"), rsa_key())], "test")
    signing = query(connection, 'SELECT pattern, identifier FROM "Mail Site".dkim_signing_table')
    assert signing == [("a.example", "1")]
    key = query(
        connection,
        """SELECT domain, selector FROM "Mail Site".dkim_key_table WHERE identifier = '1'""",
    )
    assert key == [("a.example", "s")]
    assert not schema.apply(connection, settings)


def test_views_follow_when_the_pillar_names_another_table(ready):
    moved = replace(ready, domains=replace(ready.domains, name="also"))
    with db.session(ready) as connection:
        keystore.store(connection, ready, [(Wanted("example.com", "s"), rsa_key())], "test")
        execute(connection, "ALTER TABLE public.domains ADD COLUMN also text")
        execute(connection, "UPDATE public.domains SET also = 'other-' || domain")
        planned = schema.apply(connection, moved)
        assert set(planned.changes) == {schema.DEFINITIONS}
        assert query(connection, "SELECT pattern FROM public.dkim_signing_table") == [
            ("other-example.com",)
        ]


def test_view_that_somebody_changed_is_made_right_and_keeps_its_grants(ready):
    with db.session(ready) as connection:
        execute(connection, "CREATE ROLE reader")
        execute(connection, "GRANT SELECT ON public.dkim_key_table TO reader")
        execute(
            connection,
            "CREATE OR REPLACE VIEW public.dkim_key_table AS SELECT ''::text AS identifier,"
            " ''::text AS domain, ''::text AS selector, ''::text AS key",
        )
        assert set(schema.apply(connection, ready).changes) == {schema.DEFINITIONS}
        assert query(connection, "SELECT * FROM public.dkim_key_table") == []
        assert query(
            connection, "SELECT has_table_privilege('reader', 'public.dkim_key_table', 'SELECT')"
        ) == [(True,)]


def test_newer_database_is_refused_and_left_alone(ready):
    with db.session(ready) as connection:
        execute(connection, "INSERT INTO public.dkim_migration VALUES (99, 'of the future')")
        connection.commit()
        with pytest.raises(DatabaseError, match="migration 99"):
            schema.apply(connection, ready)


def test_missing_table_is_refused_where_the_database_is_not_managed(database, connection):
    unmanaged = replace(database, manage=False)
    with pytest.raises(DatabaseError, match="dkim:database:domains:table"):
        schema.apply(connection, unmanaged)
    assert relations(connection) == {}


def test_table_that_holds_no_keys_is_refused_and_left_alone(database, connection):
    execute(connection, "CREATE TABLE public.dkim (id serial PRIMARY KEY, what text)")
    connection.commit()
    with pytest.raises(DatabaseError, match="domain_id, selector, key"):
        schema.apply(connection, database)
    assert set(relations(connection)) == {"dkim"}


def test_inspection_of_a_good_site_is_silent(ready):
    with db.session(ready) as connection:
        assert inspection.inspect(connection, ready) == inspection.Inspection()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("CREATE TABLE public.domains (id serial PRIMARY KEY, name text)", "domains:name"),
        ("CREATE TABLE public.domains (nr serial PRIMARY KEY, domain text)", "domains:id"),
        ("CREATE TABLE public.domains (id integer, domain text UNIQUE)", "UNIQUE"),
        ("CREATE VIEW public.domains AS SELECT 1 AS id, 'a'::text AS domain", "is no table"),
    ],
)
def test_unfit_domains_table_is_a_problem(database, connection, statement, says):
    execute(connection, statement)
    problems = inspection.inspect(connection, database).problems
    assert len(problems) == 1
    assert says in problems[0]


def test_key_table_of_another_id_type_is_a_problem(howto):
    with db.session(howto) as connection:
        execute(connection, "ALTER TABLE public.dkim DROP CONSTRAINT dkim_domain_id_fkey")
        execute(connection, "DROP VIEW public.dkim_signing_table, public.dkim_key_table")
        execute(connection, "ALTER TABLE public.dkim ALTER domain_id TYPE bigint")
        (problem,) = inspection.inspect(connection, howto).problems
        assert "bigint" in problem
        assert "integer" in problem


def test_owner_who_may_not_read_the_domains_is_a_problem(howto):
    with db.session(howto) as connection:
        execute(connection, "CREATE ROLE other")
        execute(connection, "ALTER TABLE public.domains OWNER TO other")
        execute(connection, f"REVOKE ALL ON public.domains FROM {OWNER}")
        (problem,) = inspection.inspect(connection, howto).problems
        assert f'GRANT SELECT ON public.domains TO "{OWNER}"' in problem


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("ALTER TABLE public.domains DROP CONSTRAINT domains_domain_key CASCADE", "has no index"),
        (
            "ALTER TABLE public.domains DROP CONSTRAINT domains_domain_key CASCADE;"
            "CREATE INDEX ON public.domains (domain);"
            "INSERT INTO public.domains (domain) VALUES ('example.com')",
            "more than once",
        ),
    ],
)
def test_unwise_domains_table_is_advised_upon(ready, statement, says):
    with db.session(ready) as connection:
        execute(connection, statement)
        (advice,) = inspection.inspect(connection, ready).advice
        assert says in advice
