"""The flat table that answers look-ups agrees with the tables that it is derived from."""

import random
import threading

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import patterns
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import safe_errors, signing_table_triggers
from dkim_formula.postgres.objects import names
from dkim_formula.postgres.sql import compose
from functional.server import execute, query, rsa_key, traditional_pem
from support.share import short_form

SHOWN = "SELECT pattern, identifier FROM public.dkim_signing_table ORDER BY 1"


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        pairs = [(DesiredKey(name, "s"), rsa_key(0)) for name in ("example.com", "example.org")]
        key_changes.store(connection, ready, pairs, "test")
        yield connection


def desired_rows(connection, settings):
    """Return the rows that the flat table must have."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT r.pattern, r.algorithm, r.identifier"
                f" FROM ({signing_table_triggers.ROWS}) AS r ORDER BY 1, 2",
                **names(settings),
            )
        )
        return cursor.fetchall()


def present_rows(connection):
    return query(
        connection,
        "SELECT pattern, algorithm, identifier FROM public.dkim_signing ORDER BY 1, 2",
    )


def rename(connection, old, new):
    execute(connection, "UPDATE public.domains SET domain = %s WHERE domain = %s", (new, old))


def patterns_shown(connection):
    return [pattern for pattern, _ in query(connection, SHOWN)]


def test_rename_of_a_domain_leaves_its_pattern(opened):
    before = query(opened, SHOWN)
    rename(opened, "example.com", "new.example")
    assert query(opened, SHOWN) == before


def test_role_that_renames_a_domain_needs_no_rights_on_the_formulas_tables(opened):
    execute(opened, "CREATE ROLE tool; GRANT SELECT, UPDATE ON public.domains TO tool")
    execute(opened, "SET ROLE tool")
    rename(opened, "example.com", "new.example")


def test_truncation_of_the_tables_removes_their_patterns(opened, ready):
    patterns.apply(opened, ready, {".example.com": ("example.com", "")})
    execute(opened, "TRUNCATE public.dkim_pattern")
    assert patterns_shown(opened) == ["example.com", "example.org"]
    execute(opened, "TRUNCATE public.dkim CASCADE")
    assert patterns_shown(opened) == []


def test_deleted_domain_keeps_its_pattern_until_its_key_is_retired(opened):
    before = query(opened, SHOWN)
    execute(opened, "DELETE FROM public.domains")
    assert query(opened, SHOWN) == before


def test_private_key_of_2048_bits_stays_in_its_row(opened):
    """A key in the TOAST table would cost each message one more look-up."""
    stored = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = %s::regclass"
    assert query(opened, stored, ("public.dkim",)) == [(0,)]


def test_fill_repairs_a_wrong_flat_table(opened, ready):
    right = present_rows(opened)
    execute(opened, "DELETE FROM public.dkim_signing WHERE pattern = 'example.com'")
    execute(opened, "INSERT INTO public.dkim_signing VALUES ('stray.example', 'rsa', '1')")
    execute(
        opened, "UPDATE public.dkim_signing SET identifier = '77' WHERE pattern = 'example.org'"
    )
    with opened.cursor() as cursor:
        signing_table_triggers.fill(cursor, ready)
    assert present_rows(opened) == right


HOSTS = [f"{letter}.example" for letter in "abcde"]


def random_change(connection, choice):
    """Return one change that a person, a tool or the formula may make. Many are refused."""
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
@pytest.mark.parametrize("seed", short_form([0, 1]))
def test_flat_table_is_correct_after_any_change_of_the_tables(ready, seed):
    choice, accepted, shown = random.Random(seed), 0, set()
    with db.session(ready) as connection:
        for _ in range(200):
            statement = random_change(connection, choice)
            execute(connection, "SAVEPOINT before")
            try:
                with safe_errors.errors_translated():
                    execute(connection, *statement)
            except DatabaseError:
                execute(connection, "ROLLBACK TO SAVEPOINT before")
                continue
            accepted += 1
            rows = present_rows(connection)
            assert rows == desired_rows(connection, ready), statement
            shown.update(row[0] for row in rows)
        assert accepted > 50
        assert len(shown) > len(HOSTS)


def test_flat_table_is_correct_after_concurrent_changes_of_pattern_and_state(ready):
    with db.session(ready) as connection:
        key_changes.store(connection, ready, [(DesiredKey("example.com", "s"), rsa_key(0))], "test")
    for attempt in range(10):
        state = ("retired", "active")[attempt % 2]
        add = (
            "INSERT INTO public.dkim_pattern (pattern, domain)"
            f" VALUES ('.a{attempt}.example', 'example.com')"
        )
        barrier = threading.Barrier(2)

        def run(statement, barrier=barrier):
            with db.session(ready) as connection:
                query(connection, "SELECT 1")
                barrier.wait()
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
            assert present_rows(connection) == desired_rows(connection, ready), attempt
            assert query(connection, "SELECT count(*) FROM public.dkim_pattern") == [(attempt + 1,)]
