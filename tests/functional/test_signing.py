"""The flat table that look-ups are answered from says what the tables behind it say."""

import random
import threading

import pytest
from dkim_formula.database import connection as db
from dkim_formula.database import keystore, patterns, schema, signing
from dkim_formula.database.connection import compose
from dkim_formula.database.keystore import Wanted
from dkim_formula.database.objects import names
from dkim_formula.errors import DatabaseError
from functional.postgres import execute, query, rsa_key, traditional_pem

SHOWN = "SELECT pattern, identifier FROM public.dkim_signing_table ORDER BY 1"


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        pairs = [(Wanted(name, "s"), rsa_key(0)) for name in ("example.com", "example.org")]
        keystore.store(connection, ready, pairs, "test")
        yield connection


def drawn(connection, settings):
    """What the flat table has to hold: the joins, a domain's own key before an extra pattern."""
    with connection.cursor() as cursor:
        rows = signing._ROWS
        cursor.execute(
            compose(
                "SELECT DISTINCT ON (r.pattern, r.algorithm) r.pattern, r.algorithm, r.identifier,"
                f" r.domain_name FROM ({rows}) AS r"
                " ORDER BY r.pattern, r.algorithm, r.domain_name IS NULL",
                **names(settings),
            )
        )
        return cursor.fetchall()


def held(connection):
    return query(
        connection,
        "SELECT pattern, algorithm, identifier, domain_name FROM public.dkim_signing ORDER BY 1, 2",
    )


def rename(connection, old, new):
    execute(connection, "UPDATE public.domains SET domain = %s WHERE domain = %s", (new, old))


def patterns_shown(connection):
    return [pattern for pattern, _ in query(connection, SHOWN)]


def test_domain_that_the_site_renames_is_followed_at_once(opened):
    rename(opened, "example.com", "new.example")
    assert patterns_shown(opened) == ["example.org", "new.example"]
    assert query(opened, "SELECT domain FROM public.dkim_key_table ORDER BY 1") == [
        ("example.org",),
        ("new.example",),
    ]


def test_tools_role_that_renames_needs_no_rights_on_our_tables(opened):
    execute(opened, "CREATE ROLE tool; GRANT SELECT, UPDATE ON public.domains TO tool")
    execute(opened, "SET ROLE tool")
    rename(opened, "example.com", "new.example")
    execute(opened, "RESET ROLE")
    assert patterns_shown(opened) == ["example.org", "new.example"]


def test_names_that_move_up_in_one_statement_are_all_followed(opened):
    before = dict(query(opened, SHOWN))
    execute(
        opened,
        "UPDATE public.domains SET domain = CASE domain"
        " WHEN 'example.com' THEN 'third.example' ELSE 'example.com' END",
    )
    assert dict(query(opened, SHOWN)) == {
        "third.example": before["example.com"],
        "example.com": before["example.org"],
    }


def test_alias_signs_again_once_the_domain_of_that_name_is_renamed_away(opened, ready):
    patterns.apply(opened, ready, {"alias.example": ("example.com", "")})
    before = query(opened, SHOWN)
    rename(opened, "example.org", "alias.example")
    own = dict(before)["example.org"]
    assert dict(query(opened, SHOWN))["alias.example"] == own
    rename(opened, "alias.example", "example.org")
    assert query(opened, SHOWN) == before


def test_truncated_tables_leave_nothing_that_signs(opened, ready):
    patterns.apply(opened, ready, {".example.com": ("example.com", "")})
    execute(opened, "TRUNCATE public.dkim_pattern")
    assert patterns_shown(opened) == ["example.com", "example.org"]
    execute(opened, "TRUNCATE public.dkim CASCADE")
    assert patterns_shown(opened) == []


def test_site_whose_keys_go_with_their_domain_can_go_on_so(opened, ready):
    patterns.apply(opened, ready, {".example.com": ("example.com", "")})
    execute(
        opened,
        "ALTER TABLE public.dkim DROP CONSTRAINT dkim_domain_id_fkey, ADD FOREIGN KEY (domain_id)"
        " REFERENCES public.domains (id) ON DELETE CASCADE",
    )
    execute(opened, "DELETE FROM public.domains WHERE domain = 'example.com'")
    assert patterns_shown(opened) == ["example.org"]


def test_key_of_a_domain_that_is_gone_does_not_sign(opened):
    execute(opened, "ALTER TABLE public.dkim DROP CONSTRAINT dkim_domain_id_fkey")
    execute(opened, "DELETE FROM public.domains WHERE domain = 'example.com'")
    assert patterns_shown(opened) == ["example.org"]


def test_private_key_of_2048_bits_stays_in_its_row(opened):
    """A key in the table behind would cost each message a look-up more."""
    stored = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = %s::regclass"
    assert query(opened, stored, ("public.dkim",)) == [(0,)]


def test_table_made_wrong_is_made_right_with_the_views(opened, ready):
    right = held(opened)
    execute(opened, "DELETE FROM public.dkim_signing WHERE pattern = 'example.com'")
    execute(opened, "INSERT INTO public.dkim_signing VALUES ('stray.example', 'rsa', '1', NULL)")
    execute(
        opened, "UPDATE public.dkim_signing SET identifier = '77' WHERE pattern = 'example.org'"
    )
    with opened.cursor() as cursor:
        signing.fill(cursor, ready)
    assert held(opened) == right


UNFIT = [
    "ALTER TABLE public.domains ALTER domain DROP NOT NULL",
    "ALTER TABLE public.domains DROP CONSTRAINT domains_domain_key",
    "ALTER TABLE public.domains ALTER domain TYPE char(20)",
    "CREATE DOMAIN public.fqdn AS text; ALTER TABLE public.domains ALTER domain TYPE public.fqdn",
]


@pytest.mark.parametrize("statement", UNFIT)
def test_names_that_no_reference_can_follow_are_joined(howto, statement):
    with db.session(howto) as connection:
        views = "public.dkim_signing_table, public.dkim_key_table"
        execute(connection, f"DROP VIEW {views}")
        execute(connection, statement)
        schema.apply(connection, howto)
        assert not schema.apply(connection, howto)
        assert held(connection) == []
        assert len(query(connection, SHOWN)) == 2
        rename(connection, "example.com", "new.example")
        assert [pattern.strip() for pattern in patterns_shown(connection)] == [
            "example.org",
            "new.example",
        ]


def test_site_that_makes_its_names_unique_gets_the_flat_table_at_the_next_run(howto):
    with db.session(howto) as connection:
        execute(connection, "ALTER TABLE public.domains DROP CONSTRAINT domains_domain_key")
        schema.apply(connection, howto)
        before = query(connection, SHOWN)
        execute(connection, "ALTER TABLE public.domains ADD UNIQUE (domain)")
        assert set(schema.apply(connection, howto).changes) == {schema.DEFINITIONS}
        assert len(held(connection)) == 2
        assert query(connection, SHOWN) == before
        assert not schema.apply(connection, howto)


def test_site_that_gives_its_unique_names_up_gets_the_joins_back(opened, ready):
    before = query(opened, SHOWN)
    execute(opened, "ALTER TABLE public.domains DROP CONSTRAINT domains_domain_key CASCADE")
    assert set(schema.apply(opened, ready).changes) == {schema.DEFINITIONS}
    rename(opened, "example.org", "renamed.example")
    assert patterns_shown(opened) == ["example.com", "renamed.example"]
    rename(opened, "renamed.example", "example.org")
    assert query(opened, SHOWN) == before


BEFORE_ROTATION = (
    "DROP TABLE public.dkim_seen, public.dkim_disclosure; DROP INDEX public.dkim_unfinished;"
    "DELETE FROM public.dkim_migration WHERE number = 7"
)


@pytest.mark.parametrize(("further_back", "due"), [("", {6}), (BEFORE_ROTATION, {6, 7})])
def test_database_of_an_older_formula_is_brought_along(opened, ready, further_back, due):
    patterns.apply(opened, ready, {".example.com": ("example.com", "")})
    right = held(opened)
    execute(
        opened,
        "DROP VIEW public.dkim_signing_table, public.dkim_signing_table_ed25519;"
        "DROP TABLE public.dkim_signing; DELETE FROM public.dkim_migration WHERE number = 6;"
        "DROP FUNCTION public.dkim_signing_set, public.dkim_signing_kept,"
        " public.dkim_signing_followed CASCADE;"
        "ALTER TABLE public.dkim RESET (toast_tuple_target)",
    )
    if further_back:
        execute(opened, further_back)
    expected = {f"migration {number}" for number in due} | {schema.DEFINITIONS}
    assert set(schema.apply(opened, ready).changes) == expected
    assert held(opened) == right


HOSTS = [f"{letter}.example" for letter in "abcde"]


def change_something(connection, choice):
    """One change, as the site, a tool or the formula may make it; many of them are refused."""
    domain, other = choice.sample(HOSTS, 2)
    slot = "(SELECT id FROM public.domains WHERE domain = %s)"
    key = "(SELECT id FROM public.dkim ORDER BY md5(id::text || %s) LIMIT 1)"
    state = choice.choice(["pending", "active", "retired", "revoked"])
    address = choice.choice(["", "", f"user@{domain}"])
    pattern = choice.choice([*HOSTS, f".{domain}", f"user@{domain}"])
    seed = str(choice.random())
    statements = [
        ("INSERT INTO public.domains (domain) VALUES (%s)", (domain,)),
        ("UPDATE public.domains SET domain = %s WHERE domain = %s", (domain, other)),
        ("DELETE FROM public.domains WHERE domain = %s", (domain,)),
        (
            "INSERT INTO public.dkim (domain_id, selector, key, address, algorithm)"
            f" VALUES ({slot}, %s, %s, %s, %s)",
            (domain, seed, traditional_pem(), address, choice.choice(["rsa", "ed25519"])),
        ),
        (f"UPDATE public.dkim SET state = %s WHERE id = {key}", (state, seed)),
        (f"UPDATE public.dkim SET domain_id = {slot} WHERE id = {key}", (domain, seed)),
        (f"DELETE FROM public.dkim WHERE id = {key}", (seed,)),
        (
            "INSERT INTO public.dkim_pattern (pattern, domain_id, address)"
            f" VALUES (%s, {slot}, %s)",
            (pattern, domain, address),
        ),
        (
            f"UPDATE public.dkim_pattern SET domain_id = {slot} WHERE pattern = %s",
            (domain, pattern),
        ),
        ("UPDATE public.dkim_pattern SET pattern = %s WHERE pattern = %s", (pattern, other)),
        ("DELETE FROM public.dkim_pattern WHERE pattern = %s", (pattern,)),
    ]
    weights = [3, 3, 1, 6, 6, 1, 1, 5, 1, 1, 1]
    return choice.choices(statements, weights)[0]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_whatever_is_done_to_the_tables_the_flat_one_says_the_same(ready, seed):
    choice, kept, shown = random.Random(seed), 0, set()
    with db.session(ready) as connection:
        for _ in range(200):
            statement = change_something(connection, choice)
            execute(connection, "SAVEPOINT before")
            try:
                with db.errors_translated():
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
        keystore.store(connection, ready, [(Wanted("example.com", "s"), rsa_key(0))], "test")
    for attempt in range(10):
        state = ("retired", "active")[attempt % 2]
        add = (
            "INSERT INTO public.dkim_pattern (pattern, domain_id)"
            f" SELECT '.a{attempt}.example', id FROM public.domains WHERE domain = 'example.com'"
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
