"""The flat table that look-ups are answered from says what the tables behind it say."""

import random
import threading

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import patterns
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import safe_errors, signing_table
from dkim_formula.postgres.objects import names
from dkim_formula.postgres.sql import compose
from functional.postgres import execute, query, rsa_key, traditional_pem

SHOWN = "SELECT pattern, identifier FROM public.dkim_signing_table ORDER BY 1"


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        pairs = [(DesiredKey(name, "s"), rsa_key(0)) for name in ("example.com", "example.org")]
        key_changes.store(connection, ready, pairs, "test")
        yield connection


def drawn(connection, settings):
    """What the flat table has to hold."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT r.pattern, r.algorithm, r.identifier"
                f" FROM ({signing_table.ROWS}) AS r ORDER BY 1, 2",
                **names(settings),
            )
        )
        return cursor.fetchall()


def held(connection):
    return query(
        connection,
        "SELECT pattern, algorithm, identifier FROM public.dkim_signing ORDER BY 1, 2",
    )


def rename(connection, old, new):
    execute(connection, "UPDATE public.domains SET domain = %s WHERE domain = %s", (new, old))


def patterns_shown(connection):
    return [pattern for pattern, _ in query(connection, SHOWN)]


def test_domain_that_the_site_renames_is_another_domain(opened):
    before = query(opened, SHOWN)
    rename(opened, "example.com", "new.example")
    assert query(opened, SHOWN) == before


def test_tools_role_that_renames_needs_no_rights_on_our_tables(opened):
    execute(opened, "CREATE ROLE tool; GRANT SELECT, UPDATE ON public.domains TO tool")
    execute(opened, "SET ROLE tool")
    rename(opened, "example.com", "new.example")


def test_truncated_tables_leave_nothing_that_signs(opened, ready):
    patterns.apply(opened, ready, {".example.com": ("example.com", "")})
    execute(opened, "TRUNCATE public.dkim_pattern")
    assert patterns_shown(opened) == ["example.com", "example.org"]
    execute(opened, "TRUNCATE public.dkim CASCADE")
    assert patterns_shown(opened) == []


def test_domain_that_the_site_deletes_goes_on_signing_until_its_key_is_retired(opened):
    before = query(opened, SHOWN)
    execute(opened, "DELETE FROM public.domains")
    assert query(opened, SHOWN) == before


def test_private_key_of_2048_bits_stays_in_its_row(opened):
    """A key in the table behind would cost each message a look-up more."""
    stored = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = %s::regclass"
    assert query(opened, stored, ("public.dkim",)) == [(0,)]


def test_table_made_wrong_is_made_right_with_the_views(opened, ready):
    right = held(opened)
    execute(opened, "DELETE FROM public.dkim_signing WHERE pattern = 'example.com'")
    execute(opened, "INSERT INTO public.dkim_signing VALUES ('stray.example', 'rsa', '1')")
    execute(
        opened, "UPDATE public.dkim_signing SET identifier = '77' WHERE pattern = 'example.org'"
    )
    with opened.cursor() as cursor:
        signing_table.fill(cursor, ready)
    assert held(opened) == right


HOSTS = [f"{letter}.example" for letter in "abcde"]


def change_something(connection, choice):
    """One change, as the site, a tool or the formula may make it; many of them are refused."""
    domain, other = choice.sample(HOSTS, 2)
    key = "(SELECT id FROM public.dkim ORDER BY md5(id::text || %s) LIMIT 1)"
    state = choice.choice(["pending", "active", "retired", "revoked"])
    address = choice.choice(["", "", f"user@{domain}"])
    pattern = choice.choice([*HOSTS, f".{domain}", f"user@{domain}"])
    seed = str(choice.random())
    statements = [
        (
            "INSERT INTO public.dkim (domain, selector, key, address, algorithm)"
            " VALUES (%s, %s, %s, %s, %s)",
            (domain, seed, traditional_pem(), address, choice.choice(["rsa", "ed25519"])),
        ),
        (
            "INSERT INTO public.dkim (domain, selector, key) SELECT d, d || %s, %s"
            " FROM unnest(%s::text[]) AS d",
            (seed, traditional_pem(), HOSTS),
        ),
        (f"UPDATE public.dkim SET state = %s WHERE id = {key}", (state, seed)),
        (f"UPDATE public.dkim SET domain = %s WHERE id = {key}", (domain, seed)),
        (f"DELETE FROM public.dkim WHERE id = {key}", (seed,)),
        (
            "INSERT INTO public.dkim_pattern (pattern, domain, address) VALUES (%s, %s, %s)",
            (pattern, domain, address),
        ),
        (
            "UPDATE public.dkim_pattern SET domain = %s WHERE pattern = %s",
            (domain, pattern),
        ),
        ("UPDATE public.dkim_pattern SET pattern = %s WHERE pattern = %s", (pattern, other)),
        ("DELETE FROM public.dkim_pattern WHERE pattern = %s", (pattern,)),
    ]
    weights = [6, 1, 6, 1, 1, 5, 1, 1, 1]
    return choice.choices(statements, weights)[0]


@pytest.mark.one_release
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_whatever_is_done_to_the_tables_the_flat_one_says_the_same(ready, seed):
    choice, kept, shown = random.Random(seed), 0, set()
    with db.session(ready) as connection:
        for _ in range(200):
            statement = change_something(connection, choice)
            execute(connection, "SAVEPOINT before")
            try:
                with safe_errors.errors_translated():
                    execute(connection, *statement)
            except DatabaseError:
                execute(connection, "ROLLBACK TO SAVEPOINT before")
                continue
            kept += 1
            rows = held(connection)
            assert rows == drawn(connection, ready), statement
            shown.update(row[0] for row in rows)
        assert kept > 50
        assert len(shown) > len(HOSTS)


def test_pattern_and_state_that_change_at_once_leave_the_flat_table_right(ready):
    with db.session(ready) as connection:
        key_changes.store(connection, ready, [(DesiredKey("example.com", "s"), rsa_key(0))], "test")
    for attempt in range(10):
        state = ("retired", "active")[attempt % 2]
        add = (
            "INSERT INTO public.dkim_pattern (pattern, domain)"
            f" VALUES ('.a{attempt}.example', 'example.com')"
        )
        meeting = threading.Barrier(2)

        def run(statement, meeting=meeting):
            with db.session(ready) as connection:
                query(connection, "SELECT 1")
                meeting.wait()
                execute(connection, statement)

        threads = [
            threading.Thread(target=run, args=(statement,))
            for statement in (add, f"UPDATE public.dkim SET state = '{state}'")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with db.session(ready) as connection:
            assert held(connection) == drawn(connection, ready), attempt
            assert query(connection, "SELECT count(*) FROM public.dkim_pattern") == [(attempt + 1,)]
