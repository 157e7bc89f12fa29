"""Nothing of a private key or a password in PostgreSQL's log, log_statement=all and all."""

import pytest
from dkim_formula.database import connection as db
from dkim_formula.database import generation, keystore, roles, schema
from dkim_formula.database.keystore import Wanted
from dkim_formula.errors import DatabaseError
from dkim_formula.secret import Secret
from functional.postgres import execute, query, rsa_key, traditional_pem


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


def assert_silent(log, *pems):
    for pem in pems:
        shown = [piece for piece in material(pem) if piece in log]
        assert shown == []
    assert "PRIVATE KEY-----\n" not in log


def test_storing_shows_no_key(ready, said):
    with db.session(ready) as connection:
        keystore.store(connection, ready, [(Wanted("example.com", "s"), rsa_key())], "test")
    log = said()
    assert "COPY pg_temp.dkim_new" in log
    assert_silent(log, rsa_key().pem())


def test_generating_and_moving_shows_no_key(ready, said):
    with db.session(ready) as connection:
        generation.generate(connection, ready, [Wanted("example.com", "s")], "test")
        ((pem,),) = query(connection, "SELECT key FROM public.dkim")
        for state in ("retired", "active", "revoked"):
            keystore.set_state(connection, ready, "example.com", "s", state, "test")
        keystore.delete(connection, ready, "example.com", "s", "test")
    assert_silent(said(), pem)


def test_adopting_and_completing_shows_no_key(howto, said):
    with db.session(howto) as connection:
        schema.apply(connection, howto)
        execute(
            connection,
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT 1, 'later', key FROM public.dkim WHERE id = 2",
        )
        keystore.complete(connection, howto)
    log = said()
    assert "ALTER TABLE" in log
    assert_silent(log, traditional_pem(0), traditional_pem(1))


def test_failing_store_shows_no_key(ready, said):
    """A site's own constraint refuses the row: PostgreSQL's DETAIL would print it whole."""
    with db.session(ready) as connection:
        execute(connection, "ALTER TABLE public.dkim ADD CHECK (selector <> 'unwanted')")
    pair = (Wanted("example.com", "unwanted"), rsa_key())
    with pytest.raises(DatabaseError) as caught, db.session(ready) as connection:
        keystore.store(connection, ready, [pair], "test")
    log = said()
    assert "violates check constraint" in log
    assert_silent(log, rsa_key().pem())
    assert_silent(str(caught.value) + repr(caught.value), rsa_key().pem())


def test_store_that_is_cut_off_shows_no_key(ready, said):
    pairs = [(Wanted("example.com", f"s{number}"), rsa_key()) for number in range(3000)]
    with db.session(ready) as connection:
        execute(connection, f"ALTER DATABASE {ready.name} SET statement_timeout = '1ms'")
    with pytest.raises(DatabaseError) as caught, db.session(ready) as connection:
        keystore.store(connection, ready, pairs, "test", "pending")
    log = said()
    assert "statement timeout" in log
    assert_silent(log, rsa_key().pem())
    assert_silent(str(caught.value), rsa_key().pem())


def test_password_shows_nowhere(ready, said):
    with db.session(ready) as connection:
        wanted = roles.Wanted("vmail-dkim-reader", password=Secret("canary-5a1e"))
        planned = roles.apply(connection, wanted)
        assert "password" in planned.changes
    log = said()
    assert "ROLE" in log
    assert "canary-5a1e" not in log
    assert "canary-5a1e" not in repr(planned) + repr(wanted)
