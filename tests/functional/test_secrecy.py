"""Nothing of a private key, a password or a verifier in PostgreSQL's log, however much it logs."""

import functools

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import generate as keys_generate
from dkim_formula.keys import table as keys_table
from dkim_formula.keys.completion import complete_rows
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import roles, schema, scram
from dkim_formula.postgres.scram import verifier
from dkim_formula.postgres.sql import compose
from dkim_formula.private_key import PrivateKey
from dkim_formula.secret import Secret
from functional.postgres import execute, move, query, rsa_key, traditional_pem

READER = "vmail-dkim-reader"
PASSWORD = "canary-5a1e"
KEY = ("example.com", "s")

# As much as a server can be made to say of statements (PostgreSQL, «Error Reporting and Logging»,
# and auto_explain, which shows what a function or a block runs too).
LOUD = {
    "log_min_duration_statement": "0",
    "log_min_messages": "debug2",
    "log_min_error_statement": "debug5",
    "log_error_verbosity": "verbose",
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_verbose": "on",
}


@pytest.fixture(scope="module", autouse=True)
def loud(server):
    """The server with log_statement = all, as the fixture has it, and everything else."""
    with db.session(server.settings, autocommit=True) as connection:
        # Its settings are known where it is loaded.
        execute(connection, "LOAD 'auto_explain'")
        for name, value in LOUD.items():
            execute(connection, f"ALTER SYSTEM SET {name} = '{value}'")
        execute(connection, "SELECT pg_reload_conf()")
    yield
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, "LOAD 'auto_explain'")
        for name in LOUD:
            execute(connection, f"ALTER SYSTEM RESET {name}")
        execute(connection, "SELECT pg_reload_conf()")


@pytest.fixture
def said(server):
    """What the log gets from here on; the very statements must be in it, or it proves nothing."""
    before = len(server.log())

    def since() -> str:
        return server.log()[before:]

    return since


def material(pem):
    """The lines of a key, whole and by their beginnings."""
    return {line[:24] for line in pem.splitlines()[1:-1]}


@functools.cache
def ed25519_key():
    """Short enough to stand in a log by half."""
    return PrivateKey.generate("ed25519")


def assert_silent(log, *pems):
    for pem in pems:
        shown = [piece for piece in material(pem) if piece in log]
        assert shown == []
    assert "PRIVATE KEY-----\n" not in log


def test_storing_shows_no_key(ready, said):
    with db.session(ready) as connection:
        key_changes.store(connection, ready, [(DesiredKey("example.com", "s"), rsa_key())], "test")
    log = said()
    assert "COPY pg_temp.dkim_new" in log
    assert_silent(log, rsa_key().pem())


def test_generating_and_moving_shows_no_key(ready, said):
    with db.session(ready) as connection:
        keys_generate.generate(connection, ready, [DesiredKey("example.com", "s")], "test")
        ((pem,),) = query(connection, "SELECT key FROM public.dkim")
        for state in ("retired", "active", "revoked"):
            move(connection, ready, "s", state)
        key_changes.delete(connection, ready, "example.com", "s", "test")
    assert_silent(said(), pem)


def test_adopting_and_completing_shows_no_key(howto, said):
    with db.session(howto) as connection:
        schema.apply(connection, howto)
        execute(
            connection,
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT 1, 'later', key FROM public.dkim WHERE id = 2",
        )
        complete_rows(connection, howto)
    log = said()
    assert "ALTER TABLE" in log
    assert_silent(log, traditional_pem(0), traditional_pem(1))


# Whose statements are refused: a superuser's, and those of a role that may not set what is logged.
@pytest.mark.parametrize("role", [None, "vmail"])
@pytest.mark.parametrize(
    ("constraint", "refused"),
    [
        ("selector <> 'unwanted'", lambda *given: store(*given, "unwanted")),
        ("state <> 'revoked'", lambda *given: move(*given, "s", "revoked")),
        ("state <> 'retired'", lambda *given: key_changes.move(*given, ids(*given), "retired", "")),
        ("bits < 256", complete_rows),
    ],
    ids=["insert", "revoke", "retire", "complete"],
)
def test_row_that_a_constraint_of_the_site_refuses_shows_no_key(
    ready, said, role, constraint, refused
):
    """PostgreSQL's DETAIL would print the row, 64 octets of each column."""
    with db.session(ready, setup=True) as connection:
        store(connection, ready, *KEY[1:])
        if "bits" in constraint:
            execute(connection, "UPDATE public.dkim SET bits = NULL, public_key = NULL")
        execute(connection, f"ALTER TABLE public.dkim ADD CHECK ({constraint})")
    with (
        pytest.raises(DatabaseError, match="violates check constraint") as caught,
        db.session(ready, setup=True, role=role) as connection,
    ):
        refused(connection, ready)
    log = said()
    assert "violates check constraint" in log
    assert_silent(log, ed25519_key().pem())
    assert_silent(str(caught.value) + repr(caught.value), ed25519_key().pem())


def store(connection, database, selector):
    key_changes.store(
        connection, database, [(DesiredKey(KEY[0], selector), ed25519_key())], "test", None
    )


def ids(connection, database):
    return [key.id for key in keys_table.list_keys(connection, database)]


def test_store_that_is_cut_off_shows_no_key(ready, said):
    pairs = [(DesiredKey("example.com", f"s{number}"), rsa_key()) for number in range(3000)]

    def store():
        with db.session(ready) as connection:
            # A session sets its own limit, so one of the database would not count.
            execute(connection, "SET statement_timeout = '1ms'")
            key_changes.store(connection, ready, pairs, "test", "pending")

    with pytest.raises(DatabaseError) as caught:
        store()
    log = said()
    assert "statement timeout" in log
    assert_silent(log, rsa_key().pem())
    assert_silent(str(caught.value), rsa_key().pem())


def stored_verifier(connection, name=READER):
    ((stored,),) = query(
        connection, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (name,)
    )
    return stored


def assert_no_verifier(text, verifier):
    """Neither whole nor by one of its parts: salt, StoredKey, ServerKey (RFC 5803, section 3)."""
    assert verifier.startswith("SCRAM-SHA-256$")
    parts = verifier.removeprefix("SCRAM-SHA-256$4096:").replace("$", ":").split(":")
    assert [part for part in parts if part in text] == []


def test_password_and_verifier_show_nowhere(ready, said):
    with db.session(ready) as connection:
        wanted = roles.DesiredRole(READER, password=Secret(PASSWORD))
        planned = roles.apply(connection, wanted)
        assert "password" in planned.changes
        verifier = stored_verifier(connection)
    log = said()
    assert "CREATE ROLE" in log
    assert PASSWORD not in log
    assert_no_verifier(log, verifier)
    assert PASSWORD not in repr(planned) + repr(wanted)


def test_password_is_set_anew_and_taken_away(ready):
    with db.session(ready) as connection:
        roles.apply(connection, roles.DesiredRole(READER, password=Secret(PASSWORD)))
        before = stored_verifier(connection)
        changed = roles.DesiredRole(READER, password=Secret("another"))
        assert roles.apply_password(connection, changed).changes
        assert scram.matches(stored_verifier(connection), Secret("another"))
        assert stored_verifier(connection) != before
        roles.apply_password(connection, roles.DesiredRole(READER, password="absent"))
        assert stored_verifier(connection) is None


def test_role_with_a_quote_in_its_name_gets_its_password(ready):
    name = "quo\"te's; DROP TABLE public.dkim; --"
    with db.session(ready) as connection:
        roles.apply(connection, roles.DesiredRole(name, password=Secret(PASSWORD)))
        assert scram.matches(stored_verifier(connection, name), Secret(PASSWORD))
        execute(connection, compose("DROP ROLE {name}", name=name))


def test_password_that_is_refused_shows_no_verifier(ready, said, monkeypatch):
    """By an account that may not set it: the statement and its context would be logged."""
    made = []

    def remembered(*arguments):
        made.append(verifier(*arguments))
        return made[-1]

    monkeypatch.setattr(roles.scram, "verifier", remembered)
    wanted = roles.DesiredRole(READER, password=Secret(PASSWORD))
    with db.session(ready) as connection:
        roles.apply(connection, roles.DesiredRole(READER))
    # Planned as one that may, since the plan of one that may not has no password in it.
    with db.session(ready) as connection:
        snapshot = roles.look(connection, wanted)
    with (
        pytest.raises(DatabaseError) as caught,
        db.session(ready, role="vmail") as connection,
        connection.cursor() as cursor,
    ):
        roles._set_password(cursor, snapshot, wanted)
    log = said()
    assert "permission denied" in str(caught.value)
    assert "ERROR:  42501" in log
    assert_no_verifier(log + str(caught.value), made[0])
