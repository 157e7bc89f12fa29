"""Roles that can read private keys in a table of the howto: reported, and closed by a setting."""

import contextlib
import random
from dataclasses import replace

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.health import check_database as doctor_database
from dkim_formula.health import preflight
from dkim_formula.health.model import Host
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.settings import Reading, read
from functional.server import (
    OWNER,
    as_role,
    execute,
    insert_as_howto,
    private_keys_read_by,
    query,
    set_up,
    traditional_pem,
)

pytestmark = pytest.mark.one_release

ROLES = ("panel", "backup", "stats")
SHOWING = ("public.dkim", "public.dkim_key_table", "public.dkim_key_table_ed25519")


@pytest.fixture
def settings(howto, access_files):
    """The howto's database with roles of the site, before the formula's first run."""
    admin(howto, *(f"CREATE ROLE {role}" for role in ROLES))
    where = {"name": howto.name, "port": howto.port, "preset": "howto"}
    return read({"database": where, "domains": {"*": {}}}).settings


@pytest.fixture
def closed(settings):
    return replace(settings, database=replace(settings.database, close_keys=True))


def admin(database, *statements):
    with db.session(database, setup=True) as connection:
        for statement in statements:
            execute(connection, statement)


def rights(database):
    with db.session(database, setup=True) as connection:
        return query(
            connection,
            "SELECT pg_get_userbyid(relowner), relacl::text FROM pg_class"
            " WHERE oid = 'public.dkim'::regclass",
        )


def reports(settings):
    """Return what check, run and doctor each report about roles that read private keys."""
    advice = preflight.check(Reading(settings, (), ()))["advice"]
    notes = postgres_commands.revoke_public(settings.database, test=True)["notes"]
    found = doctor_database.private_keys(Host(settings, ()))
    doctor = [] if "own roles alone" in found.message else [found.message]
    return [
        [text for text in texts if "dkim:database:close_keys" in text]
        for texts in (advice, notes, doctor)
    ]


def test_roles_that_read_keys_are_named_and_keep_their_rights(settings):
    admin(settings.database, "GRANT SELECT ON public.dkim TO panel", "GRANT backup TO stats")
    admin(settings.database, "GRANT SELECT (key) ON public.dkim TO backup")
    before = rights(settings.database)
    set_up(settings.database)
    granted = rights(settings.database)[0][1]
    assert (rights(settings.database)[0][0], granted.startswith(before[0][1][:-1])) == (OWNER, True)
    for (text,) in reports(settings):
        assert f"in public.dkim by backup, panel, stats, {OWNER}, and the formula does" in text
        assert "set it to true" in text
    assert doctor_database.private_keys(Host(settings, ())).ok


def test_no_role_is_named_if_the_formula_created_the_table(database, access_files):
    where = {"name": database.name, "port": database.port}
    settings = read({"database": where, "domains": {"a.example": {}}}).settings
    set_up(settings.database)
    assert reports(settings) == [[], [], []]


def test_keys_are_closed_as_announced_and_only_once(closed):
    set_up(replace(closed.database, close_keys=False))
    admin(closed.database, "GRANT SELECT, TRIGGER ON public.dkim TO panel")
    announced = postgres_commands.revoke_public(closed.database, test=True)
    assert announced["changes"] == {
        "owner of public.dkim": {"old": OWNER, "new": closed.database.keys_owner},
        f"rights of {OWNER} on public.dkim": {
            "old": "the owner's",
            "new": "SELECT but of key, INSERT, UPDATE, DELETE",
        },
        "SELECT on private keys in public.dkim for panel": {"old": True, "new": False},
        "TRIGGER on public.dkim for panel": {"old": True, "new": False},
    }
    assert not doctor_database.private_keys(Host(closed, ())).ok
    assert postgres_commands.revoke_public(closed.database)["changes"] == announced["changes"]
    assert postgres_commands.revoke_public(closed.database, test=True) == {
        "changes": {},
        "notes": [],
    }
    assert reports(closed) == [[], [], []]
    assert doctor_database.private_keys(Host(closed, ())).ok
    assert postgres_commands.manage_schema(closed.database, test=True)["changes"] == {}
    assert postgres_commands.manage_writer(closed.database, test=True)["changes"] == {}


def test_first_run_under_test_announces_the_closing(closed):
    announced = postgres_commands.revoke_public(closed.database, test=True)["changes"]
    postgres_commands.manage_schema(closed.database)
    assert postgres_commands.revoke_public(closed.database)["changes"] == announced


@pytest.mark.parametrize("statement", ["SELECT key FROM public.dkim", "SELECT * FROM public.dkim"])
def test_former_owner_cannot_read_keys(closed, statement):
    set_up(closed.database)
    with db.session(closed.database, setup=True) as connection, as_role(connection, OWNER):
        assert len(query(connection, "SELECT id, domain_id, selector FROM public.dkim")) == 2
    with pytest.raises(DatabaseError, match="42501"):
        as_former_owner(closed.database, statement)


def test_former_owner_cannot_grant_itself_a_right(closed):
    """PostgreSQL warns and grants nothing."""
    set_up(closed.database)
    as_former_owner(closed.database, f"GRANT SELECT ON public.dkim TO {OWNER}")
    assert private_keys_read_by(closed.database, OWNER) == []


def as_former_owner(database, *statements):
    admin(database, f"SET SESSION AUTHORIZATION {OWNER}", *statements)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE public.dkim SET selector = key",
        "DELETE FROM public.dkim WHERE key LIKE '%'",
        "UPDATE public.dkim SET selector = 'x' RETURNING key",
        "CREATE VIEW public.mine AS SELECT key FROM public.dkim; SELECT * FROM public.mine",
        "CREATE TRIGGER t BEFORE UPDATE ON public.dkim FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE public.dkim OWNER TO vmail",
        "SELECT * FROM public.dkim_key_table",
        'SET ROLE "vmail-dkim-owner"',
    ],
)
def test_former_owner_has_no_other_way_to_a_key(closed, statement):
    set_up(closed.database)
    with pytest.raises(DatabaseError, match="42501"):
        as_former_owner(closed.database, statement)


def test_scripts_of_the_former_owner_can_still_write(closed):
    set_up(closed.database)
    with db.session(closed.database, setup=True) as connection:
        execute(connection, f"SET SESSION AUTHORIZATION {OWNER}")
        execute(connection, "INSERT INTO public.domains (domain) VALUES ('new.example')")
        insert_as_howto(connection, "new.example", "own", traditional_pem(2))
        execute(connection, "UPDATE public.dkim SET selector = 'mail' WHERE selector = 'own'")
    keys_commands.generate_missing(closed)
    found = {
        (key["domain"], key["selector"]): key["state"] for key in keys_commands.list_keys(closed)
    }
    assert found["new.example", "mail"] == "active"
    as_former_owner(closed.database, "DELETE FROM public.dkim WHERE selector = 'mail'")
    assert ("new.example", "mail") not in {
        (key["domain"], key["selector"]) for key in keys_commands.list_keys(closed)
    }


def test_roles_of_the_formula_keep_their_access(closed):
    set_up(closed.database)
    with db.session(closed.database) as connection:
        assert query(connection, "SELECT session_user") == [(closed.database.writer.name,)]
    reader = closed.database.reader.name
    with db.session(closed.database, setup=True) as connection, as_role(connection, reader):
        assert len(query(connection, "SELECT key FROM public.dkim_key_table")) == 2
    # Setting another reader must not revoke the views from a daemon that runs as the former reader.
    renamed = replace(closed.database, reader=replace(closed.database.reader, name="other-reader"))
    postgres_commands.revoke_public(renamed)
    with db.session(closed.database, setup=True) as connection, as_role(connection, reader):
        assert len(query(connection, "SELECT key FROM public.dkim_key_table")) == 2


def test_readers_by_membership_and_triggers_are_reported(closed):
    admin(
        closed.database,
        "GRANT pg_read_all_data TO backup",
        "CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER spies BEFORE INSERT ON public.dkim FOR EACH ROW"
        " EXECUTE FUNCTION public.spy()",
    )
    set_up(closed.database)
    for texts in reports(closed):
        text = "\n".join(texts)
        assert "private keys can still be read in public.dkim by backup" in text
        assert "by membership in a role that has the right; REVOKE the membership" in text
        assert "the trigger spies (function public.spy) of public.dkim receives each" in text
    assert not doctor_database.private_keys(Host(closed, ())).ok


@pytest.mark.parametrize("seed", range(12))
def test_no_role_reads_a_key_after_any_grants(closed, seed):
    """Grants on the table, its columns and the views are generated, and passed on by roles."""
    chance = random.Random(seed)
    set_up(replace(closed.database, close_keys=False))
    for _ in range(12):
        grant(closed.database, chance)
    assert private_keys_read_by(closed.database, OWNER)
    postgres_commands.revoke_public(closed.database)
    assert postgres_commands.revoke_public(closed.database, test=True) == {
        "changes": {},
        "notes": [],
    }
    for role in (OWNER, *ROLES):
        assert private_keys_read_by(closed.database, role) == []


def test_keys_are_closed_if_the_account_has_a_role_of_its_own(closed):
    set_up(replace(closed.database, close_keys=False))
    admin(
        closed.database,
        f"ALTER ROLE postgres IN DATABASE {closed.database.name} SET role = stats",
        "GRANT SELECT ON public.dkim TO panel WITH GRANT OPTION",
        "SET ROLE panel",
        "GRANT SELECT ON public.dkim TO backup",
    )
    postgres_commands.revoke_public(closed.database)
    for role in ROLES:
        assert private_keys_read_by(closed.database, role) == []


def grant(database, chance):
    """Execute one grant as the owner or a role. A refused grant is ignored."""
    relation = chance.choice(SHOWING)
    what = chance.choice(["SELECT", "SELECT (key)", "ALL", "SELECT, TRIGGER", "INSERT"])
    # Some roles lose their right again, but grants that they made on a column stay.
    if chance.random() < 0.15:
        admin(database, f"REVOKE ALL ON {relation} FROM {chance.choice(ROLES)} CASCADE")
    by, to = chance.choice([None, *ROLES]), chance.choice(ROLES)
    option = chance.choice(["", " WITH GRANT OPTION"])
    # 42501: the role has no grant option. 0LP01: the role would grant to its own grantor.
    with contextlib.suppress(DatabaseError):
        admin(
            database,
            "RESET ROLE" if by is None else f"SET ROLE {by}",
            f"GRANT {what} ON {relation} TO {to}{option}",
        )


def test_only_the_setting_closes_keys_in_the_formulas_own_schema(database, access_files):
    admin(
        database,
        *(f"CREATE ROLE {role}" for role in ROLES),
        "CREATE TABLE public.virtual_domains (id serial, name varchar(50))",
        "INSERT INTO public.virtual_domains (name) VALUES ('a.example')",
    )
    where = {"name": database.name, "port": database.port, "preset": "ispmail"}
    settings = read({"database": where, "domains": {"*": {}}}).settings
    set_up(settings.database)
    admin(
        database, "GRANT USAGE ON SCHEMA dkim TO panel", "GRANT SELECT ON dkim.dkim_keys TO panel"
    )
    for (text,) in reports(settings):
        assert "private keys can be read in dkim.dkim_keys by panel" in text
    closed = replace(settings.database, close_keys=True)
    assert [*postgres_commands.revoke_public(closed)["changes"]] == [
        "SELECT on private keys in dkim.dkim_keys for panel"
    ]
    assert private_keys_read_by(closed, "panel") == []
