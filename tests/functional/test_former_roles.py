"""Readers and writers of former settings: their rights go, and the roles that nobody needs."""

from dataclasses import replace

import pytest
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import former_roles, objects, roles
from functional.postgres import execute, query

OLD, NEW = "vmail-dkim-reader", "mail-signer"


def manage_reader(settings):
    wanted = postgres_commands.wanted_role(settings, settings.reader.name, "keep")
    with db.session(settings, setup=True) as connection:
        return roles.apply(connection, wanted)


def with_reader(settings, name):
    return replace(settings, reader=replace(settings.reader, name=name))


def former(settings, at_restart=False):
    with db.session(settings, setup=True) as connection:
        return former_roles.plan(former_roles.look(connection, settings), at_restart)


def remove(settings):
    with db.session(settings, setup=True) as connection:
        return former_roles.apply(connection, settings)


def roles_there(settings):
    with db.session(settings, setup=True) as connection:
        found = query(
            connection, "SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s)", (OLD, NEW)
        )
    return {name for (name,) in found}


def rights(settings, role):
    with db.session(settings, setup=True) as connection:
        return roles.look(connection, roles.DesiredRole(role)).granted


@pytest.fixture
def renamed(ready):
    """The reader that the formula made has another name in the settings now."""
    manage_reader(ready)
    new = with_reader(ready, NEW)
    manage_reader(new)
    return new


def test_case_51_role_that_the_formula_made_goes_with_its_rights(renamed):
    announced = former(renamed)
    assert set(announced.changes) == {f"rights of {OLD}", f"role {OLD}"}
    assert remove(renamed) == announced
    assert roles_there(renamed) == {NEW}
    assert not remove(renamed)


def test_naming_back_makes_the_role_anew(renamed, ready):
    remove(renamed)
    manage_reader(ready)
    remove(ready)
    assert roles_there(ready) == {OLD}
    assert not manage_reader(ready)


def test_role_that_was_there_before_loses_its_rights_and_stays(ready):
    with db.session(ready, setup=True) as connection:
        execute(connection, f'CREATE ROLE "{OLD}" LOGIN')
    manage_reader(ready)
    new = with_reader(ready, NEW)
    manage_reader(new)
    planned = remove(new)
    assert set(planned.changes) == {f"rights of {OLD}"}
    assert any(f'DROP ROLE "{OLD}"' in note for note in planned.notes)
    assert not rights(new, OLD)
    assert roles_there(new) == {OLD, NEW}
    assert not remove(new)


def test_role_with_a_comment_of_the_site_is_the_site_s(ready):
    with db.session(ready, setup=True) as connection:
        execute(connection, f'CREATE ROLE "{OLD}" LOGIN')
        execute(connection, f"COMMENT ON ROLE \"{OLD}\" IS 'our own'")
    manage_reader(ready)
    new = with_reader(ready, NEW)
    manage_reader(new)
    assert not remove(new)
    with db.session(new, setup=True) as connection:
        query_of = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s"
        assert query(connection, query_of, (OLD,)) == [("our own",)]


@pytest.mark.parametrize(
    "held",
    [
        'CREATE TABLE public.theirs (n integer); ALTER TABLE public.theirs OWNER TO "{}"',
        'CREATE SCHEMA theirs AUTHORIZATION "{}"',
    ],
)
def test_role_that_owns_something_is_named_with_it(renamed, held):
    with db.session(renamed, setup=True) as connection:
        execute(connection, held.format(OLD))
    planned = remove(renamed)
    assert f"role {OLD}" not in planned.changes
    assert any("theirs" in note for note in planned.notes), planned.notes
    assert OLD in roles_there(renamed)


def test_role_with_rights_in_another_database_is_named_with_that(renamed):
    with db.session(replace(renamed, name="postgres"), setup=True) as connection:
        execute(
            connection,
            f'CREATE TABLE public.elsewhere (); GRANT SELECT ON public.elsewhere TO "{OLD}"',
        )
    try:
        planned = remove(renamed)
        assert any("database postgres" in note for note in planned.notes), planned.notes
        assert OLD in roles_there(renamed)
        assert not rights(renamed, OLD)
    finally:
        with db.session(replace(renamed, name="postgres"), setup=True) as connection:
            execute(connection, "DROP TABLE public.elsewhere")


def test_role_with_a_session_stays_and_goes_by_the_next_run(renamed, monkeypatch):
    """A daemon that was not restarted yet goes on reading."""
    look = former_roles.look

    def in_use(connection, settings):
        return [replace(role, here=True) for role in look(connection, settings)]

    monkeypatch.setattr(former_roles, "look", in_use)
    assert former(renamed, at_restart=True).changes
    planned = remove(renamed)
    assert not planned.changes
    assert any("session" in note for note in planned.notes)
    assert rights(renamed, OLD)
    monkeypatch.undo()
    assert not former(renamed, at_restart=True).changes
    assert remove(renamed).changes
    assert roles_there(renamed) == {NEW}


def test_session_of_a_role_is_seen(renamed, server):
    with db.session(renamed, setup=True) as connection:
        execute(connection, f'ALTER ROLE "{OLD}" SUPERUSER')
    hba = server.data / "pg_hba.conf"
    kept = hba.read_text()
    hba.write_text(f'local all "{OLD}" trust\n{kept}')
    try:
        with db.session(server.settings, setup=True) as connection:
            execute(connection, "SELECT pg_reload_conf()")
        with db.session(replace(renamed, user=OLD)):
            assert not former(renamed).changes
            assert former(renamed, at_restart=True).changes
    finally:
        hba.write_text(kept)
        with db.session(server.settings, setup=True) as connection:
            execute(connection, "SELECT pg_reload_conf()")


def test_roles_of_other_machines_databases_on_the_same_server_stay(ready):
    manage_reader(ready)
    far = replace(with_reader(ready, NEW), host="db.example.net", name="othermail")
    with db.session(ready, setup=True) as connection:
        assert former_roles.look(connection, far) == []
        assert [one.name for one in former_roles.look(connection, with_reader(ready, NEW))] == [OLD]


def test_comment_follows_the_database(ready):
    manage_reader(ready)
    wanted = roles.DesiredRole(
        OLD, relations=objects.reader_relations(ready), marked_for="another database"
    )
    with db.session(ready, setup=True) as connection:
        assert set(roles.apply(connection, wanted).changes) == {"comment"}
        assert not roles.apply(connection, wanted)
