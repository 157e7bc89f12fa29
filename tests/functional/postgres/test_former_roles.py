"""Readers and writers of former settings, which lose their rights. Unused roles are dropped."""

from dataclasses import replace

import pytest
from dkim_formula.plan import Plan
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import former_roles, objects, roles
from functional.server import execute, query

OLD, NEW = "vmail-dkim-reader", "mail-signer"


def manage_reader(settings):
    desired = postgres_commands.desired_role(settings, settings.reader.name, "keep")
    with db.session(settings, setup=True) as connection:
        return roles.apply(connection, desired)


def with_reader(settings, name):
    return replace(settings, reader=replace(settings.reader, name=name))


def former(settings, at_restart=False):
    with db.session(settings, setup=True) as connection:
        return former_roles.plan(former_roles.read(connection, settings), at_restart)


def remove(settings):
    with db.session(settings, setup=True) as connection:
        return former_roles.apply(connection, settings)


def existing_roles(settings):
    with db.session(settings, setup=True) as connection:
        found = query(
            connection, "SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s)", (OLD, NEW)
        )
    return {name for (name,) in found}


def rights(settings, role):
    with db.session(settings, setup=True) as connection:
        return roles.read(connection, roles.DesiredRole(role)).granted


def rename(settings):
    """Give the reader another name after the formula has managed the former role."""
    manage_reader(settings)
    new = with_reader(settings, NEW)
    manage_reader(new)
    return new


@pytest.fixture
def renamed(ready):
    """Settings in which the reader has another name than the role that the formula created."""
    return rename(ready)


def test_case_51_role_that_the_formula_created_is_dropped_with_its_rights(renamed):
    announced = former(renamed)
    assert set(announced.changes) == {f"rights of {OLD}", f"role {OLD}"}
    assert remove(renamed) == announced
    assert existing_roles(renamed) == {NEW}
    assert not remove(renamed)


def test_renaming_back_creates_the_role_again(renamed, ready):
    remove(renamed)
    manage_reader(ready)
    remove(ready)
    assert existing_roles(ready) == {OLD}
    assert not manage_reader(ready)


def test_role_that_existed_before_loses_its_rights_and_stays(ready):
    with db.session(ready, setup=True) as connection:
        execute(connection, f'CREATE ROLE "{OLD}" LOGIN')
    new = rename(ready)
    planned = remove(new)
    assert set(planned.changes) == {f"rights of {OLD}", f"comment of {OLD}"}
    assert any(f'DROP ROLE "{OLD}"' in note for note in planned.notes)
    assert not rights(new, OLD)
    assert existing_roles(new) == {OLD, NEW}
    assert not remove(new)


def test_rights_that_a_role_gets_after_the_formula_used_it_stay(ready):
    with db.session(ready, setup=True) as connection:
        execute(connection, f'CREATE ROLE "{OLD}" LOGIN; CREATE ROLE team')
    new = rename(ready)
    remove(new)
    with db.session(new, setup=True) as connection:
        execute(connection, f'GRANT SELECT ON public.domains TO "{OLD}"; GRANT team TO "{OLD}"')
    assert remove(new) == former(new) == Plan()
    assert rights(new, OLD)
    with db.session(new, setup=True) as connection:
        assert query(connection, "SELECT pg_has_role(%s, 'team', 'MEMBER')", (OLD,)) == [(True,)]


def test_lost_membership_of_a_former_role_is_announced(renamed):
    with db.session(renamed, setup=True) as connection:
        execute(connection, f'CREATE ROLE team; GRANT team TO "{OLD}"')
        execute(connection, f'CREATE SCHEMA theirs AUTHORIZATION "{OLD}"')
    announced = former(renamed)
    assert f"role {OLD}, member of team" in announced.changes
    assert remove(renamed) == announced
    assert not remove(renamed)


def test_role_with_a_comment_of_the_site_stays(ready):
    with db.session(ready, setup=True) as connection:
        execute(connection, f'CREATE ROLE "{OLD}" LOGIN')
        execute(connection, f"COMMENT ON ROLE \"{OLD}\" IS 'our own'")
    new = rename(ready)
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
def test_role_that_owns_an_object_stays_and_a_note_names_the_object(renamed, held):
    with db.session(renamed, setup=True) as connection:
        execute(connection, held.format(OLD))
    planned = remove(renamed)
    assert f"role {OLD}" not in planned.changes
    assert any("theirs" in note for note in planned.notes), planned.notes
    assert OLD in existing_roles(renamed)


def test_role_with_rights_in_another_database_stays_and_a_note_names_it(renamed):
    with db.session(replace(renamed, name="postgres"), setup=True) as connection:
        execute(
            connection,
            f'CREATE TABLE public.elsewhere (); GRANT SELECT ON public.elsewhere TO "{OLD}"',
        )
    try:
        planned = remove(renamed)
        assert any("database postgres" in note for note in planned.notes), planned.notes
        assert OLD in existing_roles(renamed)
        assert not rights(renamed, OLD)
    finally:
        with db.session(replace(renamed, name="postgres"), setup=True) as connection:
            execute(connection, "DROP TABLE public.elsewhere")


def test_role_with_a_session_stays_until_a_later_run(renamed, monkeypatch):
    """A daemon that was not restarted yet still reads as its former role."""
    read = former_roles.read

    def in_use(connection, settings):
        return [replace(role, has_local_session=True) for role in read(connection, settings)]

    monkeypatch.setattr(former_roles, "read", in_use)
    assert former(renamed, at_restart=True).changes
    planned = remove(renamed)
    assert not planned.changes
    assert any("session" in note for note in planned.notes)
    assert rights(renamed, OLD)
    monkeypatch.undo()
    assert not former(renamed, at_restart=True).changes
    assert remove(renamed).changes
    assert existing_roles(renamed) == {NEW}


def test_standby_has_no_former_roles_of_its_own(renamed, standby):
    with db.session(replace(renamed, port=standby.port), setup=True) as connection:
        assert former_roles.read(connection, renamed) == []
    assert former(renamed).changes


def test_session_of_a_role_is_detected(renamed, server):
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


def test_roles_for_databases_of_other_machines_on_the_same_server_stay(ready):
    manage_reader(ready)
    far = replace(with_reader(ready, NEW), host="db.example.net", name="othermail")
    with db.session(ready, setup=True) as connection:
        assert former_roles.read(connection, far) == []
        assert [one.name for one in former_roles.read(connection, with_reader(ready, NEW))] == [OLD]


def test_comment_of_the_role_names_its_database(ready):
    manage_reader(ready)
    desired = roles.DesiredRole(
        OLD, relations=objects.reader_relations(ready), marked_for="another database"
    )
    with db.session(ready, setup=True) as connection:
        assert set(roles.apply(connection, desired).changes) == {"comment"}
        assert not roles.apply(connection, desired)
