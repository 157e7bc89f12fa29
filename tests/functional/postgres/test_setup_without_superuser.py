"""Set-up by a role that is no superuser: it converges, and reports what it may not do."""

import time
from dataclasses import replace

import pytest
from dkim_formula.errors import AccessFileError, DatabaseError
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import roles
from dkim_formula.secret import Secret
from functional.server import execute, query

ADMIN, READER = "mailadmin", "vmail-dkim-reader"
NEW = "adminmail"


@pytest.fixture
def trusted(server):
    """Let any user log in as that role over the socket."""
    hba = server.data / "pg_hba.conf"
    kept = hba.read_text()
    hba.write_text(f"local all {ADMIN} trust\nlocal all probe trust\n{kept}")
    reload(server)
    yield
    hba.write_text(kept)
    reload(server)


def reload(server):
    with db.session(server.settings, setup=True) as connection:
        before = query(connection, "SELECT pg_conf_load_time()")
        execute(connection, "SELECT pg_reload_conf()")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with db.session(server.settings, setup=True) as connection:
            if query(connection, "SELECT pg_conf_load_time()") != before:
                return
    raise AssertionError("the server did not reload")


@pytest.fixture
def admin(server, database, trusted):
    """Settings with a set-up role that may only create roles and databases."""
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, f"CREATE ROLE {ADMIN} LOGIN CREATEROLE CREATEDB")
        owner = database.keys_owner
        # The role outlasts a test, and it may not change a reader that a superuser made before.
        if query(connection, "SELECT FROM pg_roles WHERE rolname = %s", (owner,)):
            execute(connection, f'GRANT "{owner}" TO {ADMIN} WITH ADMIN OPTION')
    yield replace(database, user=ADMIN, name=NEW, owner="mailowner")
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, f"DROP DATABASE IF EXISTS {NEW}")


def steps(settings):
    """Yield each step of set-up without access files, in the order of the states."""
    yield (
        postgres_commands.manage_database(settings, test=True),
        lambda: postgres_commands.manage_database(settings),
    )
    yield (
        postgres_commands.manage_schema(settings, test=True),
        lambda: postgres_commands.manage_schema(settings),
    )
    yield (
        postgres_commands.revoke_public(settings, test=True),
        lambda: postgres_commands.revoke_public(settings),
    )
    password = "pillar" if settings.reader.password else "absent"
    reader = postgres_commands.desired_role(settings, READER, password)
    yield (
        postgres_commands.manage_role(settings, reader, test=True),
        lambda: postgres_commands.manage_role(settings, reader),
    )
    yield (
        postgres_commands.manage_writer(settings, test=True),
        lambda: postgres_commands.manage_writer(settings),
    )
    yield (
        postgres_commands.remove_former_roles(settings, test=True),
        lambda: postgres_commands.remove_former_roles(settings),
    )


def set_up(settings):
    for planned, make in steps(settings):
        assert make()["changes"] == planned["changes"]


@pytest.mark.parametrize("password", [None, Secret("reads by password")])
def test_set_up_converges(admin, password):
    settings = replace(admin, reader=replace(admin.reader, password=password))
    set_up(settings)
    assert [planned["changes"] for planned, _ in steps(settings)] == [{}] * 6
    with db.session(settings) as connection:
        assert query(connection, "SELECT current_user") == [(ADMIN,)]


def test_membership_in_the_owner_role_is_shown_by_a_test_run(admin):
    joins = {f"role {ADMIN}, member of mailowner": {"old": False, "new": True}}
    planned = postgres_commands.manage_database(admin, test=True)["changes"]
    assert joins.items() <= planned.items()
    made = postgres_commands.manage_database(admin)["changes"]
    assert made == planned
    with db.session(admin, dbname=db.MAINTENANCE) as connection:
        assert query(connection, "SELECT pg_has_role('mailowner', 'USAGE')") == [(True,)]


def test_set_up_by_the_owner_of_an_existing_database_converges(server, admin):
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, f"CREATE DATABASE {NEW} OWNER {ADMIN} TEMPLATE template0")
        execute(connection, f"ALTER ROLE {ADMIN} NOCREATEDB")
    set_up(admin)
    assert [planned["changes"] for planned, _ in steps(admin)] == [{}] * 6


def test_former_reader_is_removed(admin):
    set_up(admin)
    new = replace(admin, reader=replace(admin.reader, name="mail-signer"))
    with db.session(new) as connection:
        roles.apply(connection, postgres_commands.desired_role(new, "mail-signer", "keep"))
    assert f"role {READER}" in postgres_commands.remove_former_roles(new)["changes"]
    assert not postgres_commands.remove_former_roles(new, test=True)["changes"]


def test_right_that_only_a_superuser_can_revoke_is_reported_with_its_statement(server, admin):
    set_up(admin)
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, f'ALTER ROLE "{READER}" SUPERUSER')
    with pytest.raises(DatabaseError) as refused:
        postgres_commands.manage_role(admin, postgres_commands.desired_role(admin, READER, "keep"))
    assert "NOSUPERUSER" in str(refused.value)
    statement = str(refused.value).rpartition(": ")[2]
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, statement)
    assert not postgres_commands.manage_role(
        admin, postgres_commands.desired_role(admin, READER, "keep")
    )["changes"]


def test_access_files_are_refused_until_the_reported_statements_are_executed(server, admin):
    set_up(admin)
    with pytest.raises(AccessFileError) as refused:
        postgres_commands.manage_access(admin, test=True)
    statements = str(refused.value).partition(": GRANT")[2]
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, "GRANT" + statements)
    try:
        files = {
            name: (server.data / name).read_bytes() for name in ("pg_hba.conf", "pg_ident.conf")
        }
        try:
            planned = postgres_commands.manage_access(admin, test=True)["changes"]
            assert planned
            assert postgres_commands.manage_access(admin)["changes"] == planned
            assert not postgres_commands.manage_access(admin, test=True)["changes"]
        finally:
            for name, content in files.items():
                (server.data / name).write_bytes(content)
    finally:
        with db.session(server.settings, setup=True, autocommit=True) as connection:
            execute(connection, f"DROP OWNED BY {ADMIN}")
