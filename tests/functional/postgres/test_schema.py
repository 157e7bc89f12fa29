"""The schema in an empty database, beside tables of other forms, and after later changes."""

import threading
from dataclasses import replace

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hosted, inspection, schema
from dkim_formula.settings.model import HostedTable
from functional.server import execute, query, rsa_key

OURS = {
    "dkim",
    "dkim_history",
    "dkim_migration",
    "dkim_published",
    "dkim_observation",
    "dkim_awaited",
    "dkim_replica",
    "dkim_alias_domain",
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


def test_empty_database_gets_all_tables_and_views(database, connection):
    schema.apply(connection, database)
    assert set(relations(connection)) == OURS


@pytest.mark.parametrize("owner", ["vmail-dkim-owner", "another-owner"])
@pytest.mark.parametrize("name", ["public", "dkim"])
def test_plan_without_a_database_equals_the_changes_of_the_run(server, database, owner, name):
    database = replace(database, keys_owner=owner, schema=name)
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, f"DROP DATABASE {database.name}")
    planned = postgres_commands.manage_schema(database, test=True)["changes"]
    postgres_commands.manage_database(database)
    assert postgres_commands.manage_schema(database)["changes"] == planned
    assert postgres_commands.manage_schema(database, test=True)["changes"] == {}


def test_plan_equals_the_changes_of_the_run(database, connection):
    planned = schema.plan(schema.read(connection, database), database)
    assert planned
    assert schema.apply(connection, database) == planned


def test_second_run_changes_nothing(database, connection):
    schema.apply(connection, database)
    assert not schema.apply(connection, database)


def test_run_that_migrates_during_the_inspection_is_no_other_program(database, monkeypatch):
    ask, asked = inspection.relation_kind, []

    def relation_kind(*relation):
        kind = ask(*relation)
        asked.append(relation)
        if len(asked) == 1:
            with db.session(database) as connection:
                schema.apply(connection, database)
        return kind

    with db.session(database) as connection, connection.cursor() as cursor:
        monkeypatch.setattr(inspection, "relation_kind", relation_kind)
        assert inspection._names_taken(cursor, database) == []
    assert len(asked) > 1


def test_two_concurrent_runs_migrate_once(database):
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


def test_new_objects_belong_to_the_owner_role(database, connection):
    schema.apply(connection, database)
    assert set(relations(connection).values()) == {database.keys_owner}
    functions = query(
        connection,
        "SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace",
    )
    assert functions == [(database.keys_owner,)]


def test_public_has_no_rights(database, connection):
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
    assert callable_ == [("dkim_startup_scan",)]


def test_owner_of_the_table_of_domains_owns_nothing_else(database, connection):
    execute(connection, "CREATE ROLE mailadm")
    execute(connection, "CREATE TABLE public.domains (id serial PRIMARY KEY, domain text UNIQUE)")
    execute(connection, "ALTER TABLE public.domains OWNER TO mailadm")
    schema.apply(connection, database)
    owners = relations(connection)
    assert owners.pop("domains") == "mailadm"
    assert set(owners.values()) == {database.keys_owner}
    readable = query(
        connection,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v') AND relname <> 'domains'"
        " AND has_any_column_privilege('mailadm', oid, 'SELECT, INSERT, UPDATE')",
    )
    assert readable == []


@pytest.mark.parametrize("id_type", ["integer", "bigint", "uuid"])
@pytest.mark.parametrize("name_type", ["text", "character varying(255)"])
def test_table_of_domains_may_have_other_names_and_types(database, connection, id_type, name_type):
    settings = replace(
        database,
        preset=None,
        schema="dkim",
        domains=HostedTable(schema="Mail Site", table="virtual domains", name="Name"),
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
    key_changes.store(connection, settings, [(DesiredKey("a.example", "s"), rsa_key())], "test")
    assert hosted.hosted(connection, settings) == ["a.example"]
    signing = query(connection, "SELECT pattern, identifier FROM dkim.dkim_signing_table")
    assert signing == [("a.example", "1")]
    key = query(
        connection,
        "SELECT domain, selector FROM dkim.dkim_key_table WHERE identifier = '1'",
    )
    assert key == [("a.example", "s")]
    assert not schema.apply(connection, settings)


def test_changed_view_is_restored_and_keeps_its_grants(ready):
    with db.session(ready) as connection:
        execute(connection, "CREATE ROLE reader")
        execute(connection, "GRANT SELECT ON public.dkim_key_table TO reader")
        execute(
            connection,
            "CREATE OR REPLACE VIEW public.dkim_key_table AS SELECT ''::text COLLATE \"C\" AS"
            " identifier, ''::text COLLATE \"C\" AS domain, ''::text AS selector, ''::text AS key",
        )
        assert set(schema.apply(connection, ready).changes) == {schema.DEFINITIONS}
        assert query(connection, "SELECT * FROM public.dkim_key_table") == []
        assert query(
            connection, "SELECT has_table_privilege('reader', 'public.dkim_key_table', 'SELECT')"
        ) == [(True,)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE public.dkim DISABLE TRIGGER dkim_checked",
        "ALTER TABLE public.dkim DISABLE TRIGGER USER",
        "DROP TRIGGER dkim_signing_kept_update ON public.dkim",
        "DROP FUNCTION public.dkim_recorded() CASCADE",
        "DROP FUNCTION public.dkim_replicas()",
        "CREATE OR REPLACE FUNCTION public.dkim_startup_scan() RETURNS boolean LANGUAGE sql STABLE"
        " AS 'SELECT true'",
        "ALTER FUNCTION public.dkim_checked() OWNER TO vmail",
        "ALTER FUNCTION public.dkim_hosted_rows() SECURITY INVOKER",
    ],
)
def test_changed_function_or_trigger_is_restored(ready, change):
    with db.session(ready) as connection:
        execute(connection, change)
        assert set(schema.apply(connection, ready).changes) == {schema.DEFINITIONS}
        assert not schema.apply(connection, ready)
        row = "INSERT INTO public.dkim (domain, selector, key) VALUES ('example.com', 's', %s)"
        execute(connection, row, (rsa_key(0).pem(),))
        signing = query(connection, "SELECT pattern FROM public.dkim_signing_table")
        assert signing == [("example.com",)]
        assert query(connection, "SELECT to_state FROM public.dkim_history") == [("active",)]


def test_database_of_a_newer_formula_is_refused(ready):
    with db.session(ready) as connection:
        execute(connection, "INSERT INTO public.dkim_migration VALUES (99, 'of the future')")
        connection.commit()
        with pytest.raises(DatabaseError, match="migration 99"):
            schema.apply(connection, ready)


def test_missing_table_that_the_pillar_names_is_refused(database, connection):
    named = replace(database, assumed=False)
    with pytest.raises(DatabaseError, match="dkim:database:domains:table"):
        schema.apply(connection, named)
    assert relations(connection) == {}


def test_schema_that_needs_quotes_is_refused(database, connection):
    """OpenDKIM writes the name into its queries without quotes."""
    with pytest.raises(DatabaseError, match="dkim:database:schema: 'user'"):
        schema.apply(connection, replace(database, schema="user"))


def test_tables_with_the_formulas_names_are_refused_with_the_setting_to_use(database, connection):
    execute(connection, "CREATE TABLE public.dkim_signing (id int)")
    connection.commit()
    with pytest.raises(DatabaseError, match=r"public\.dkim_signing: names in use.*schema"):
        schema.apply(connection, database)
    assert set(relations(connection)) == {"dkim_signing"}


def test_table_without_key_columns_is_refused_and_not_changed(database, connection):
    execute(connection, "CREATE TABLE public.dkim (id serial PRIMARY KEY, what text)")
    connection.commit()
    with pytest.raises(DatabaseError, match="domain_id, selector, key"):
        schema.apply(connection, database)
    assert set(relations(connection)) == {"dkim"}


def test_inspection_of_an_adopted_howto_table_finds_nothing(ready):
    with db.session(ready) as connection:
        assert inspection.inspect(connection, ready) == inspection.Inspection()
        execute(connection, f'ALTER TABLE public.dkim OWNER TO "{ready.keys_owner}"')
        assert inspection.inspect(connection, ready) == inspection.Inspection()
        assert not schema.apply(connection, ready)


def test_table_of_domains_without_the_column_is_a_problem(database, connection):
    execute(connection, "CREATE TABLE public.domains (id serial PRIMARY KEY, name text)")
    (problem,) = inspection.inspect(connection, database).problems
    assert "domains:name" in problem


def test_view_of_domains_is_read_like_a_table(database, connection):
    execute(connection, "CREATE VIEW public.domains AS SELECT 'a.example'::text AS domain")
    schema.apply(connection, database)
    assert hosted.hosted(connection, database) == ["a.example"]


def test_key_table_without_its_table_of_domains_is_a_problem(howto):
    with db.session(howto) as connection:
        execute(connection, "DROP VIEW public.dkim_signing_table, public.dkim_key_table")
        execute(connection, "DROP TABLE public.domains CASCADE")
        (problem,) = inspection.inspect(connection, howto).problems
        assert "keys by domain_id" in problem


def test_owner_of_the_keys_gets_access_to_the_table_of_domains(howto):
    with db.session(howto) as connection:
        execute(connection, "CREATE ROLE other")
        execute(connection, "ALTER TABLE public.domains OWNER TO other")
        schema.apply(connection, howto)
        assert hosted.hosted(connection, howto) == ["example.com", "example.org"]
        execute(connection, f'REVOKE ALL ON public.domains FROM "{howto.keys_owner}"')
        assert set(schema.apply(connection, howto).changes) == {schema.DEFINITIONS}
        assert hosted.hosted(connection, howto) == ["example.com", "example.org"]
