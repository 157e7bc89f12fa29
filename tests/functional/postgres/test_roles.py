"""The reader's role has exactly its rights. The formula revokes all others."""

import pytest
from dkim_formula.errors import DatabaseError, InvalidValue
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import objects, roles, safe_errors, sql
from dkim_formula.secret import Secret
from functional.server import execute, query

NAME = "vmail-dkim-reader"
PASSWORD = Secret("a long enough password")


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        yield connection


@pytest.fixture
def desired(ready):
    return roles.DesiredRole(NAME, relations=objects.reader_relations(ready))


def readable(connection):
    """Return the relations outside the catalogue that the role can read fully or partly."""
    found = query(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v') AND (has_table_privilege(%s, oid, 'SELECT')"
        " OR has_any_column_privilege(%s, oid, 'SELECT')) ORDER BY 1",
        (NAME, NAME),
    )
    return {name for (name,) in found}


def test_new_role_can_log_in_and_read_only_the_views(opened, desired):
    roles.apply(opened, desired)
    assert readable(opened) == set(objects.VIEWS)
    assert query(
        opened,
        "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
        " FROM pg_roles WHERE rolname = %s",
        (NAME,),
    ) == [(True, False, False, False, False, False)]


def test_plan_equals_the_changes_of_the_run(opened, desired, ready):
    planned = roles.plan(roles.read(opened, desired), desired, ready.name)
    assert planned == roles.plan(roles.ABSENT, desired, ready.name)
    assert roles.apply(opened, desired) == planned


@pytest.mark.parametrize("name", ["postgres", "pg_monitor", "vmail", "vmail-dkim-owner"])
def test_role_with_other_work_is_refused(ready, name):
    """Every other right of the role would be revoked: SUPERUSER of postgres, and its password."""
    with pytest.raises(InvalidValue, match=f"name: '{name}' is a role"):
        postgres_commands.desired_role(ready, name, "keep")
    with pytest.raises(InvalidValue, match=f"name: '{name}' is a role"):
        postgres_commands.remove_password(ready, name, test=True)


def test_second_run_changes_nothing(opened, desired):
    roles.apply(opened, desired)
    assert not roles.apply(opened, desired)


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
def test_excessive_right_is_revoked(opened, desired, ready, too_much):
    roles.apply(opened, desired)
    right = roles.read(opened, desired)
    statement = too_much.format(f'"{NAME}"').replace("DATABASE current", f"DATABASE {ready.name}")
    execute(opened, statement)
    opened.commit()
    planned = roles.plan(roles.read(opened, desired), desired, ready.name)
    assert planned
    assert roles.apply(opened, desired) == planned
    assert roles.read(opened, desired) == right
    assert not roles.apply(opened, desired)


def test_default_privileges_do_not_open_later_tables(opened, desired):
    roles.apply(opened, desired)
    execute(opened, f'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "{NAME}"')
    opened.commit()
    roles.apply(opened, desired)
    execute(opened, "CREATE TABLE public.later (n integer)")
    assert "later" not in readable(opened)


def test_table_that_the_role_owns_is_reported_and_kept(opened, desired):
    roles.apply(opened, desired)
    execute(
        opened,
        f'CREATE TABLE public.theirs (n integer); ALTER TABLE public.theirs OWNER TO "{NAME}"',
    )
    opened.commit()
    planned = roles.apply(opened, desired)
    assert any("theirs" in note for note in planned.notes)
    assert query(opened, "SELECT tableowner FROM pg_tables WHERE tablename = 'theirs'") == [(NAME,)]


def test_unchanged_password_is_set_only_once(opened):
    desired = roles.DesiredRole(NAME, password=PASSWORD)
    assert "password" in roles.apply(opened, desired).changes
    ((first,),) = query(opened, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (NAME,))
    assert not roles.apply(opened, desired)
    assert query(opened, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (NAME,)) == [
        (first,)
    ]
    assert first.startswith("SCRAM-SHA-256$")


def test_another_password_replaces_the_old_one(opened):
    roles.apply(opened, roles.DesiredRole(NAME, password=Secret("the old one")))
    desired = roles.DesiredRole(NAME, password=PASSWORD)
    assert set(roles.apply(opened, desired).changes) == {"password"}
    assert not roles.apply(opened, desired)


def test_verifier_that_postgresql_made_is_recognized(opened):
    execute(opened, f"CREATE ROLE \"{NAME}\" LOGIN PASSWORD 'a long enough password'")
    opened.commit()
    planned = roles.apply(opened, roles.DesiredRole(NAME, password=PASSWORD))
    assert "password" not in planned.changes


def test_password_is_kept_or_removed(opened):
    roles.apply(opened, roles.DesiredRole(NAME, password=PASSWORD))
    assert not roles.apply(opened, roles.DesiredRole(NAME))
    assert set(roles.apply(opened, roles.DesiredRole(NAME, password="absent")).changes) == {
        "password"
    }
    assert query(opened, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (NAME,)) == [
        (None,)
    ]


def test_connection_limit_of_the_administrator_stays(opened, desired):
    roles.apply(opened, desired)
    execute(opened, f'ALTER ROLE "{NAME}" CONNECTION LIMIT 5')
    assert not roles.apply(opened, desired)
    limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s"
    assert query(opened, limit, (NAME,)) == [(5,)]


def test_grant_on_a_missing_relation_is_an_error_and_changes_nothing(opened):
    desired = roles.DesiredRole(NAME, relations=(("public", "nowhere"),))
    with pytest.raises(DatabaseError, match="nowhere"), safe_errors.errors_translated():
        roles.apply(opened, desired)
    opened.rollback()
    assert not roles.read(opened, desired).exists


@pytest.mark.parametrize("relation", ["Odd Name", 'quo"ted', "select", "user", "ünïcode"])
def test_odd_names_converge(opened, relation):
    with opened.cursor() as cursor:
        cursor.execute(
            sql.compose("CREATE VIEW {name} AS SELECT 1 AS n", name=("public", relation))
        )
    desired = roles.DesiredRole(NAME, relations=(("public", relation),))
    roles.apply(opened, desired)
    assert not roles.apply(opened, desired)
