"""The reader's role: exactly what it is to have, taken back where it is more."""

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import objects, roles, safe_errors, sql
from dkim_formula.secret import Secret
from functional.postgres import execute, query

NAME = "vmail-dkim-reader"
PASSWORD = Secret("a long enough password")


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        yield connection


@pytest.fixture
def wanted(ready):
    return roles.DesiredRole(NAME, relations=objects.reader_relations(ready))


def readable(connection):
    """The relations outside the catalogue that the role can read, in whole or in part."""
    found = query(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v') AND (has_table_privilege(%s, oid, 'SELECT')"
        " OR has_any_column_privilege(%s, oid, 'SELECT')) ORDER BY 1",
        (NAME, NAME),
    )
    return {name for (name,) in found}


def test_new_role_logs_in_and_reads_the_views_alone(opened, wanted):
    roles.apply(opened, wanted)
    assert readable(opened) == set(objects.VIEWS)
    assert query(
        opened,
        "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = %s",
        (NAME,),
    ) == [(True, False, False, False, False, False)]


def test_what_is_announced_is_what_the_run_does(opened, wanted, ready):
    announced = roles.plan(roles.look(opened, wanted), wanted, ready.name)
    assert announced == roles.plan(roles.ABSENT, wanted, ready.name)
    assert roles.apply(opened, wanted) == announced


def test_second_run_changes_nothing(opened, wanted):
    roles.apply(opened, wanted)
    assert not roles.apply(opened, wanted)


@pytest.mark.parametrize(
    "too_much",
    [
        "ALTER ROLE {} SUPERUSER",
        "ALTER ROLE {} CREATEDB CREATEROLE REPLICATION BYPASSRLS",
        "ALTER ROLE {} NOLOGIN",
        "GRANT SELECT ON public.dkim TO {}",
        "GRANT SELECT (key), UPDATE (selector) ON public.dkim TO {}",
        "GRANT ALL ON public.dkim_key_table TO {}",
        "GRANT SELECT ON public.dkim_key_table TO {} WITH GRANT OPTION",
        "GRANT USAGE ON public.dkim_id_seq TO {}",
        "GRANT EXECUTE ON FUNCTION public.dkim_hosted TO {}",
        "GRANT CREATE ON SCHEMA public TO {}",
        "GRANT USAGE ON SCHEMA public TO {} WITH GRANT OPTION",
        "GRANT CREATE ON DATABASE current TO {}",
        "GRANT pg_read_all_data TO {}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {}",
    ],
)
def test_what_is_too_wide_is_taken_back(opened, wanted, ready, too_much):
    roles.apply(opened, wanted)
    right = roles.look(opened, wanted)
    statement = too_much.format(f'"{NAME}"').replace("DATABASE current", f"DATABASE {ready.name}")
    execute(opened, statement)
    opened.commit()
    planned = roles.plan(roles.look(opened, wanted), wanted, ready.name)
    assert planned
    assert roles.apply(opened, wanted) == planned
    assert roles.look(opened, wanted) == right
    assert not roles.apply(opened, wanted)


def test_default_privileges_do_not_open_later_tables(opened, wanted):
    roles.apply(opened, wanted)
    execute(opened, f'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "{NAME}"')
    opened.commit()
    roles.apply(opened, wanted)
    execute(opened, "CREATE TABLE public.later (n integer)")
    assert "later" not in readable(opened)


def test_possession_is_told_of_and_left(opened, wanted):
    roles.apply(opened, wanted)
    execute(
        opened,
        f'CREATE TABLE public.theirs (n integer); ALTER TABLE public.theirs OWNER TO "{NAME}"',
    )
    opened.commit()
    planned = roles.apply(opened, wanted)
    assert any("theirs" in note for note in planned.notes)
    assert query(opened, "SELECT tableowner FROM pg_tables WHERE tablename = 'theirs'") == [(NAME,)]


def test_password_is_set_once(opened):
    wanted = roles.DesiredRole(NAME, password=PASSWORD)
    assert "password" in roles.apply(opened, wanted).changes
    ((first,),) = query(opened, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (NAME,))
    assert not roles.apply(opened, wanted)
    assert query(opened, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (NAME,)) == [
        (first,)
    ]
    assert first.startswith("SCRAM-SHA-256$")


def test_another_password_replaces_it(opened):
    roles.apply(opened, roles.DesiredRole(NAME, password=Secret("the old one")))
    wanted = roles.DesiredRole(NAME, password=PASSWORD)
    assert set(roles.apply(opened, wanted).changes) == {"password"}
    assert not roles.apply(opened, wanted)


def test_verifier_that_postgresql_made_is_known_again(opened):
    execute(opened, f"CREATE ROLE \"{NAME}\" LOGIN PASSWORD 'a long enough password'")
    opened.commit()
    planned = roles.apply(opened, roles.DesiredRole(NAME, password=PASSWORD))
    assert "password" not in planned.changes


def test_password_is_left_alone_or_taken_away(opened):
    roles.apply(opened, roles.DesiredRole(NAME, password=PASSWORD))
    assert not roles.apply(opened, roles.DesiredRole(NAME))
    assert set(roles.apply(opened, roles.DesiredRole(NAME, password="absent")).changes) == {
        "password"
    }
    assert query(opened, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (NAME,)) == [
        (None,)
    ]


def test_connection_limit_and_memberships(opened):
    execute(opened, "CREATE ROLE readers")
    wanted = roles.DesiredRole(NAME, connection_limit=5, memberships=("readers",))
    roles.apply(opened, wanted)
    assert not roles.apply(opened, wanted)
    assert query(
        opened,
        "SELECT rolconnlimit, pg_has_role(%s, 'readers', 'member') FROM pg_roles"
        " WHERE rolname = %s",
        (NAME, NAME),
    ) == [(5, True)]


def test_grant_on_what_is_not_there_is_an_error_and_nothing_changes(opened):
    wanted = roles.DesiredRole(NAME, relations=(("public", "nowhere"),))
    with pytest.raises(DatabaseError, match="nowhere"), safe_errors.errors_translated():
        roles.apply(opened, wanted)
    opened.rollback()
    assert not roles.look(opened, wanted).exists


@pytest.mark.parametrize("relation", ["Odd Name", 'quo"ted', "select", "user", "ünïcode"])
def test_odd_names_converge(opened, relation):
    with opened.cursor() as cursor:
        cursor.execute(
            sql.compose("CREATE VIEW {name} AS SELECT 1 AS n", name=("public", relation))
        )
    wanted = roles.DesiredRole(NAME, relations=(("public", relation),))
    roles.apply(opened, wanted)
    assert not roles.apply(opened, wanted)
