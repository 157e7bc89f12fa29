"""The database and its owner."""

from dataclasses import replace

import pytest
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import server as databases
from functional.postgres import execute, query


@pytest.fixture
def wanted(server):
    settings = replace(server.settings, name='mail "site"', owner="mail owner")
    yield settings
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, 'DROP DATABASE IF EXISTS "mail ""site"""')
        execute(connection, 'DROP ROLE IF EXISTS "mail owner"')


def test_database_is_made_with_an_owner_who_can_not_log_in(wanted):
    databases.apply(wanted)
    with db.session(wanted) as connection:
        assert query(
            connection,
            "SELECT r.rolname, r.rolcanlogin, r.rolsuper, pg_encoding_to_char(d.encoding)"
            " FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba"
            " WHERE d.datname = current_database()",
        ) == [("mail owner", False, False, "UTF8")]


def test_what_is_announced_is_what_the_run_does(wanted):
    announced = databases.plan(databases.look(wanted), wanted)
    assert databases.apply(wanted) == announced == databases.plan(databases.ABSENT, wanted)


def test_second_run_changes_nothing(wanted):
    databases.apply(wanted)
    assert not databases.apply(wanted)


def test_existing_database_keeps_its_owner(wanted, server):
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, 'CREATE DATABASE "mail ""site"""')
    assert not databases.apply(wanted)
    assert not databases.look(wanted).owner.exists
