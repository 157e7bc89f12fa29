"""The creation of the database and of its owner."""

from dataclasses import replace
from functools import partial

import pytest
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import server as databases
from functional.server import execute, query


@pytest.fixture
def desired(server):
    settings = replace(server.settings, name='mail "site"', owner="mail owner")
    yield settings
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, 'DROP DATABASE IF EXISTS "mail ""site"""')
        execute(connection, 'DROP ROLE IF EXISTS "mail owner"')


def test_new_database_has_an_owner_that_cannot_log_in(desired):
    databases.apply(desired)
    with db.session(desired) as connection:
        assert query(
            connection,
            "SELECT r.rolname, r.rolcanlogin, r.rolsuper, pg_encoding_to_char(d.encoding)"
            " FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba"
            " WHERE d.datname = current_database()",
        ) == [("mail owner", False, False, "UTF8")]


def test_plan_equals_the_changes_of_the_run(desired):
    planned = databases.plan(databases.read(desired), desired)
    assert databases.apply(desired) == planned == databases.plan(databases.ABSENT, desired)


def test_second_run_changes_nothing(desired):
    databases.apply(desired)
    assert not databases.apply(desired)


def test_existing_database_keeps_its_owner(desired, server):
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, 'CREATE DATABASE "mail ""site"""')
    assert not databases.apply(desired)
    assert not databases.read(desired).owner.exists


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("what", ["reader", "writer", "password"])
def test_plan_for_a_role_without_a_database_equals_the_changes_of_the_run(
    server, database, what, exists
):
    """Roles belong to the server, so they may exist before the database."""
    reader, writer = database.reader.name, database.writer.name
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, f"DROP DATABASE {database.name}")
        for name in (reader, writer) if exists else ():
            execute(connection, f"CREATE ROLE \"{name}\" CREATEDB PASSWORD 'a long password'")
    desired = postgres_commands.desired_role(database, reader, "absent")
    manage = {
        "reader": partial(postgres_commands.manage_role, database, desired),
        "writer": partial(postgres_commands.manage_writer, database),
        "password": partial(postgres_commands.remove_password, database, reader),
    }[what]
    planned = manage(test=True)["changes"]
    assert ("password" in planned) == exists
    postgres_commands.manage_database(database)
    postgres_commands.manage_schema(database)
    assert manage()["changes"] == planned
