"""PostgreSQL's log has no part of a private key, password or verifier at any log setting."""

import functools

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import bulk_generation
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import table as keys_table
from dkim_formula.keys.completion import complete_rows
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import roles, schema, scram
from dkim_formula.postgres.scram import verifier
from dkim_formula.postgres.sql import compose
from dkim_formula.private_key import PrivateKey
from dkim_formula.secret import Secret
from functional.server import execute, move, query, rsa_key, session_as, traditional_pem

READER = "vmail-dkim-reader"
PASSWORD = "canary-5a1e"
KEY = ("example.com", "s")

# All settings that make a server log more of statements (PostgreSQL, «Error Reporting and
# Logging»). auto_explain also logs the statements inside a function or a block.
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
    """The server with the settings of ``LOUD``, besides log_statement = all of the fixture."""
    with db.session(server.settings, autocommit=True) as connection:
        # A session knows the settings of auto_explain only after LOAD.
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
def logged(server):
    """
    A function that returns the log since the start of the test.

    Tests assert that the log has the statements. Otherwise an empty log would prove secrecy.
    """
    return server.log_from_now()


def material(pem):
    """Return the beginnings of a key's lines."""
    return {line[:24] for line in pem.splitlines()[1:-1]}


@functools.cache
def ed25519_key():
    """Return a key so short that a truncated log entry would have half of it."""
    return PrivateKey.generate("ed25519")


def assert_silent(log, *pems):
    for pem in pems:
        shown = [piece for piece in material(pem) if piece in log]
        assert shown == []
    assert "PRIVATE KEY-----\n" not in log


def test_log_of_a_stored_key_has_no_key(ready, logged):
    with db.session(ready) as connection:
        key_changes.store(connection, ready, [(DesiredKey("example.com", "s"), rsa_key())], "test")
    log = logged()
    assert "COPY pg_temp.dkim_new" in log
    assert_silent(log, rsa_key().pem())


def test_log_of_generation_and_moves_has_no_key(ready, logged):
    with db.session(ready) as connection:
        bulk_generation.generate(connection, ready, [DesiredKey("example.com", "s")], "test")
        ((pem,),) = query(connection, "SELECT key FROM public.dkim")
        for state in ("retired", "active", "revoked"):
            move(connection, ready, "s", state)
        key_changes.delete(connection, ready, "example.com", "s", "test")
    assert_silent(logged(), pem)


def test_log_of_an_adoption_has_no_key(howto, logged):
    with db.session(howto) as connection:
        schema.apply(connection, howto)
        execute(
            connection,
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT 1, 'later', key FROM public.dkim WHERE id = 2",
        )
        complete_rows(connection, howto)
    log = logged()
    assert "ALTER TABLE" in log
    assert_silent(log, traditional_pem(0), traditional_pem(1))


# The role whose statements are refused: a superuser, and a role that may not change what is logged.
@pytest.mark.parametrize("role", ["postgres", "vmail"])
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
def test_log_of_a_refused_row_has_no_key(ready, logged, role, constraint, refused):
    """PostgreSQL's DETAIL would contain the row, with 64 octets of each column."""
    with db.session(ready, setup=True) as connection:
        store(connection, ready, *KEY[1:])
        if "bits" in constraint:
            execute(connection, "UPDATE public.dkim SET bits = NULL, public_key = NULL")
        execute(connection, f"ALTER TABLE public.dkim ADD CHECK ({constraint})")
    with (
        pytest.raises(DatabaseError, match="violates check constraint") as caught,
        session_as(ready, role) as connection,
    ):
        refused(connection, ready)
    log = logged()
    assert "violates check constraint" in log
    assert_silent(log, ed25519_key().pem())
    assert_silent(str(caught.value) + repr(caught.value), ed25519_key().pem())


def store(connection, database, selector):
    key_changes.store(
        connection, database, [(DesiredKey(KEY[0], selector), ed25519_key())], "test", None
    )


def ids(connection, database):
    return [key.id for key in keys_table.list_keys(connection, database)]


def test_log_of_a_store_that_times_out_has_no_key(ready, logged):
    pairs = [(DesiredKey("example.com", f"s{number}"), rsa_key()) for number in range(3000)]

    def store():
        with db.session(ready) as connection:
            # A session sets its own limit, so a limit of the database would have no effect.
            execute(connection, "SET statement_timeout = '1ms'")
            key_changes.store(connection, ready, pairs, "test", "pending")

    with pytest.raises(DatabaseError) as caught:
        store()
    log = logged()
    assert "statement timeout" in log
    assert_silent(log, rsa_key().pem())
    assert_silent(str(caught.value), rsa_key().pem())


def stored_verifier(connection, name=READER):
    ((stored,),) = query(
        connection, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (name,)
    )
    return stored


def assert_no_verifier(text, verifier):
    """Assert that the text has no part of a verifier: salt, StoredKey, ServerKey (RFC 5803, 3)."""
    assert verifier.startswith("SCRAM-SHA-256$")
    parts = verifier.removeprefix("SCRAM-SHA-256$4096:").replace("$", ":").split(":")
    assert [part for part in parts if part in text] == []


def test_log_has_neither_password_nor_verifier(ready, logged):
    with db.session(ready) as connection:
        desired = roles.DesiredRole(READER, password=Secret(PASSWORD))
        planned = roles.apply(connection, desired)
        assert "password" in planned.changes
        verifier = stored_verifier(connection)
    log = logged()
    assert "CREATE ROLE" in log
    assert PASSWORD not in log
    assert_no_verifier(log, verifier)
    assert PASSWORD not in repr(planned) + repr(desired)


def test_password_is_changed_and_removed(ready):
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


def test_log_of_a_refused_password_has_no_verifier(ready, logged, monkeypatch):
    """PostgreSQL logs the statement and its context if the account may not set the password."""
    made = []

    def recorded(*arguments):
        made.append(verifier(*arguments))
        return made[-1]

    monkeypatch.setattr(roles.scram, "verifier", recorded)
    desired = roles.DesiredRole(READER, password=Secret(PASSWORD))
    with db.session(ready) as connection:
        roles.apply(connection, roles.DesiredRole(READER))
    # The plan is made by a role that may set passwords. Another role's plan would have none.
    with db.session(ready) as connection:
        snapshot = roles.read(connection, desired)
    with (
        pytest.raises(DatabaseError) as caught,
        session_as(ready, "vmail") as connection,
        connection.cursor() as cursor,
    ):
        roles._set_password(cursor, snapshot, desired)
    log = logged()
    assert "permission denied" in str(caught.value)
    assert "ERROR:  42501" in log
    assert_no_verifier(log + str(caught.value), made[0])
