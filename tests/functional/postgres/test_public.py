"""Other roles of the same database see no key and cannot interfere with the formula."""

import pytest
from dkim_formula.health import preflight
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.settings import read
from functional.server import execute, query

OPENED = (
    "GRANT SELECT ON public.dkim TO PUBLIC",
    "GRANT SELECT (key) ON public.dkim TO PUBLIC",
    "GRANT ALL ON public.dkim_key_table TO PUBLIC",
    "GRANT INSERT ON public.dkim_history TO PUBLIC",
    "GRANT EXECUTE ON FUNCTION public.dkim_recorded() TO PUBLIC",
)

# Functions and operators with the names of PostgreSQL's own; each records that it was called.
TRIPWIRES = """
CREATE TABLE public.tripped (what text, by_whom text);
GRANT ALL ON public.tripped TO PUBLIC;
CREATE FUNCTION public.tripped(what text) RETURNS void LANGUAGE sql AS
    $$ INSERT INTO public.tripped VALUES (what, current_user) $$;
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS
    $$ SELECT public.tripped('now'); SELECT pg_catalog.now() $$;
CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS
    $$ SELECT public.tripped('lower'); SELECT pg_catalog.lower($1) $$;
CREATE FUNCTION public.md5(text) RETURNS text LANGUAGE sql AS
    $$ SELECT public.tripped('md5'); SELECT pg_catalog.md5($1) $$;
CREATE FUNCTION public.current_query() RETURNS text LANGUAGE sql AS
    $$ SELECT public.tripped('current_query'); SELECT pg_catalog.current_query() $$;
CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS
    $$ SELECT public.tripped('set_config'); SELECT pg_catalog.set_config($1, $2, $3) $$;
CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE sql AS
    $$ SELECT public.tripped('current_setting'); SELECT pg_catalog.current_setting($1) $$;
CREATE FUNCTION public.equal(text, text) RETURNS boolean LANGUAGE sql AS
    $$ SELECT public.tripped('='); SELECT pg_catalog.texteq($1, $2) $$;
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.equal);
CREATE FUNCTION public.different(text, text) RETURNS boolean LANGUAGE sql AS
    $$ SELECT public.tripped('<>'); SELECT pg_catalog.textne($1, $2) $$;
CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.different);
CREATE VIEW public.pg_class AS SELECT * FROM pg_catalog.pg_class;
CREATE VIEW public.pg_roles AS SELECT * FROM pg_catalog.pg_roles;
"""


def admin(database, *statements):
    with db.session(database, setup=True) as connection:
        for statement in statements:
            execute(connection, statement)


@pytest.fixture
def settings(ready):
    where = {"name": ready.name, "port": ready.port}
    domains = {"example.com": {"algorithm": "ed25519"}}
    return read({"database": where, "domains": domains}).settings


@pytest.mark.parametrize("grant", OPENED)
def test_right_of_public_is_revoked(ready, grant):
    admin(ready, grant)
    announced = postgres_commands.revoke_public(ready, test=True)["changes"]
    assert announced
    assert postgres_commands.revoke_public(ready)["changes"] == announced
    assert not postgres_commands.revoke_public(ready, test=True)["changes"]


def test_right_that_another_role_granted_to_public_is_revoked(ready):
    admin(
        ready,
        "CREATE ROLE gossip",
        "GRANT USAGE ON SCHEMA public TO gossip",
        "GRANT SELECT ON public.dkim TO gossip WITH GRANT OPTION",
        "SET ROLE gossip",
        "GRANT SELECT ON public.dkim TO PUBLIC",
    )
    assert postgres_commands.revoke_public(ready)["changes"]
    assert not postgres_commands.revoke_public(ready, test=True)["changes"]


def test_rights_are_revoked_if_the_account_has_a_role_of_its_own(ready):
    """RESET ROLE would give the session the role of ALTER ROLE … SET role."""
    admin(
        ready,
        "CREATE ROLE gossip",
        "CREATE ROLE narrow",
        f"ALTER ROLE postgres IN DATABASE {ready.name} SET role = narrow",
        "GRANT USAGE ON SCHEMA public TO gossip",
        "GRANT SELECT ON public.dkim TO gossip WITH GRANT OPTION",
        "GRANT INSERT ON public.dkim_history TO PUBLIC",
        "SET ROLE gossip",
        "GRANT SELECT ON public.dkim TO PUBLIC",
    )
    announced = postgres_commands.revoke_public(ready, test=True)["changes"]
    assert len(announced) == 2
    assert postgres_commands.revoke_public(ready)["changes"] == announced
    assert not postgres_commands.revoke_public(ready, test=True)["changes"]


def test_fresh_schema_grants_nothing_to_public(ready):
    assert not postgres_commands.revoke_public(ready, test=True)["changes"]


def test_grants_of_the_administrator_stay(ready):
    admin(ready, "GRANT SELECT ON public.domains TO PUBLIC", "CREATE ROLE tool")
    admin(ready, "GRANT INSERT ON public.dkim TO tool")
    postgres_commands.revoke_public(ready)
    with db.session(ready, setup=True) as connection:
        can = "SELECT has_table_privilege('tool', 'public.dkim', 'INSERT')"
        assert query(connection, can) == [(True,)]
        execute(connection, "SET ROLE tool")
        assert query(connection, "SELECT count(*) FROM public.domains") == [(2,)]


def test_check_reports_what_the_reader_reaches_by_grants_of_others(ready, settings):
    reading = read({"database": {"name": ready.name, "port": ready.port}, "domains": {}})
    postgres_commands.manage_role(
        ready, postgres_commands.desired_role(ready, ready.reader.name, "keep")
    )
    assert not any("can reach" in text for text in preflight.check(reading)["advice"])
    admin(ready, "CREATE TABLE public.users (password text)")
    admin(ready, "GRANT SELECT ON public.users TO PUBLIC")
    (advice,) = (text for text in preflight.check(reading)["advice"] if "can reach" in text)
    assert "1 things beside" in advice
    assert "public.users" in advice


def test_formula_calls_nothing_that_another_role_made(ready, settings):
    """
    The database's owner puts objects before PostgreSQL's, in every search path and in public.

    A superuser that calls one of them runs the owner's code (CVE-2018-1058).
    """
    owner = "vmail"
    admin(ready, f"ALTER SCHEMA public OWNER TO {owner}", f"SET ROLE {owner}", TRIPWIRES)
    admin(ready, f"ALTER DATABASE {ready.name} SET search_path = public, pg_catalog, pg_temp")
    postgres_commands.manage_schema(ready)
    postgres_commands.manage_role(
        ready, postgres_commands.desired_role(ready, ready.reader.name, "keep")
    )
    postgres_commands.manage_writer(ready)
    postgres_commands.revoke_public(ready)
    keys_commands.generate_missing(settings)
    keys_commands.generate(settings, "example.com", "second")
    keys_commands.list_keys(settings)
    keys_commands.delete(settings, "example.com", "second")
    reading = read({"database": {"name": ready.name, "port": ready.port}})
    assert preflight.check(reading)["database_checked"]
    with db.session(ready, setup=True) as connection:
        execute(connection, f'SET ROLE "{ready.reader.name}"')
        execute(connection, "SELECT * FROM public.dkim_signing_table WHERE pattern = 'example.com'")
        execute(connection, "SELECT * FROM public.dkim_key_table WHERE identifier = '1'")
        execute(connection, "RESET ROLE")
        assert query(connection, "SELECT * FROM public.tripped") == []


def test_tripwires_record_each_call(ready):
    """Without this, the test above would prove nothing."""
    admin(ready, "ALTER SCHEMA public OWNER TO vmail", "SET ROLE vmail", TRIPWIRES)
    with db.session(ready, setup=True) as connection:
        execute(connection, "SET search_path = public, pg_catalog")
        execute(connection, "SELECT lower('X'), now() WHERE 'a'::text = 'b'::text")
        execute(connection, "SELECT lower('X'), now() WHERE 'a'::text <> 'b'::text")
        tripped = query(connection, "SELECT DISTINCT what FROM public.tripped")
    assert {what for (what,) in tripped} == {"now", "lower", "=", "<>"}
