"""Guarantees of the database itself, which hold for every program that writes to it."""

import threading

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import safe_errors
from dkim_formula.private_key import PrivateKey
from functional.server import (
    OWNER,
    execute,
    insert_as_howto,
    query,
    rsa_key,
    traditional_pem,
)


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        yield connection


def refused(connection, statement, arguments=None):
    """Run a statement that must fail. Return its error."""
    with pytest.raises(DatabaseError) as caught, safe_errors.errors_translated():
        execute(connection, statement, arguments)
    connection.rollback()
    return str(caught.value)


def insert(connection, domain, selector, **columns):
    """Insert a row with any columns."""
    columns = {"key": rsa_key().pem(), **columns}
    execute(
        connection,
        f"INSERT INTO public.dkim (domain, selector, {', '.join(columns)})"
        f" VALUES (%s, %s, {', '.join(['%s'] * len(columns))})",
        (domain, selector, *columns.values()),
    )


def row(connection, selector):
    ((found),) = query(
        connection,
        "SELECT state, algorithm, bits, public_key FROM public.dkim WHERE selector = %s",
        (selector,),
    )
    return found


def test_tool_that_knows_only_the_columns_of_the_howto_still_works(opened):
    execute(opened, f"SET ROLE {OWNER}")
    insert_as_howto(opened, "example.com", "default", traditional_pem())
    execute(opened, "RESET ROLE")
    assert row(opened, "default") == ("active", "rsa", None, None)
    assert query(opened, "SELECT selector FROM public.dkim_key_table") == [("default",)]


def test_role_of_a_tool_needs_no_rights_on_the_formulas_other_tables(opened):
    execute(opened, "CREATE ROLE mailadm")
    execute(
        opened,
        "GRANT SELECT ON public.domains TO mailadm;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON public.dkim TO mailadm;"
        "GRANT USAGE ON public.dkim_id_seq TO mailadm; SET ROLE mailadm",
    )
    insert_as_howto(opened, "example.com", "default", traditional_pem())
    execute(opened, "DELETE FROM public.dkim; RESET ROLE")
    assert query(opened, "SELECT from_state, to_state FROM public.dkim_history ORDER BY id") == [
        (None, "active"),
        ("active", None),
    ]


def test_second_key_that_a_tool_inserts_is_pending(opened):
    insert_as_howto(opened, "example.com", "one", traditional_pem(0))
    insert_as_howto(opened, "example.com", "two", traditional_pem(1))
    assert row(opened, "two")[0] == "pending"


def test_ed25519_key_that_a_tool_inserts_is_recognised_by_its_form(opened):
    insert_as_howto(opened, "example.com", "one", traditional_pem(0))
    insert_as_howto(opened, "example.com", "ed", PrivateKey.generate("ed25519").pem())
    assert row(opened, "ed")[:2] == ("active", "ed25519")


@pytest.mark.parametrize(
    "key_text",
    ["", "words", "\n" + traditional_pem(), traditional_pem()[:99]],
    ids=["empty", "words", "after an empty line", "cut off"],
)
def test_row_of_a_tool_without_a_valid_key_does_not_sign(opened, key_text):
    insert_as_howto(opened, "example.com", "broken", key_text)
    assert row(opened, "broken")[0] == "pending"
    assert query(opened, "SELECT * FROM public.dkim_signing_table") == []


def test_replacing_a_key_removes_its_old_public_half(opened):
    insert(opened, "example.com", "s", public_key="x", bits=1, algorithm="rsa")
    execute(opened, "UPDATE public.dkim SET key = %s", (traditional_pem(1),))
    assert row(opened, "s") == ("active", "rsa", None, None)


def test_second_active_key_of_an_algorithm_is_refused(opened):
    insert(opened, "example.com", "one", state="active")
    opened.commit()
    text = refused(
        opened,
        "INSERT INTO public.dkim (domain, selector, key, state)"
        " SELECT domain, 'two', key, 'active' FROM public.dkim",
    )
    assert "dkim_one_active" in text


def test_active_keys_of_two_algorithms_are_allowed(opened):
    insert(opened, "example.com", "one", state="active")
    insert(opened, "example.com", "two", state="active", key=PrivateKey.generate("ed25519").pem())
    assert row(opened, "two")[1] == "ed25519"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("state = 'asleep'", "asleep"),
        ("algorithm = 'dsa'", "dsa"),
        ("bits = 0", "0 bits"),
        ("key = NULL", "only a revoked key"),
        ("key = 'words'", "no whole private key"),
        ("domain = NULL", "needs a domain"),
        ("domain = '*'", "no domain name"),
        ("domain = 'Upper.example'", "no domain name"),
        ("selector = NULL", "selector"),
    ],
)
def test_invalid_row_is_refused_and_the_log_shows_no_key(opened, server, change, says):
    insert(opened, "example.com", "one", state="active")
    opened.commit()
    logged = server.log_from_now()
    assert says in refused(opened, f"UPDATE public.dkim SET {change}")
    assert rsa_key().pem().splitlines()[1] not in logged()


def test_revoking_erases_the_private_key_for_every_program(opened):
    insert(opened, "example.com", "one", state="active")
    execute(opened, "UPDATE public.dkim SET state = 'revoked'")
    assert query(opened, "SELECT key, revoked_at = now() FROM public.dkim") == [(None, True)]


def test_revoked_key_cannot_leave_its_state(opened):
    insert(opened, "example.com", "one", state="revoked")
    opened.commit()
    for state in ("active", "retired", "pending"):
        assert "only a revoked key" in refused(opened, f"UPDATE public.dkim SET state = '{state}'")


def test_each_move_sets_its_time(opened):
    insert(opened, "example.com", "one", state="pending")
    times = "SELECT activated_at = now(), retired_at = now(), revoked_at = now() FROM public.dkim"
    assert query(opened, times) == [(None, None, None)]
    for state, expected in (
        ("active", (True, None, None)),
        ("retired", (True, True, None)),
        ("active", (True, None, None)),
        ("revoked", (True, None, True)),
    ):
        execute(opened, "UPDATE public.dkim SET state = %s", (state,))
        assert query(opened, times) == [expected], state


def test_history_records_who_changed_a_key_and_why(opened):
    execute(opened, "SET dkim.why = 'a reason'")
    insert(opened, "example.com", "one", state="active")
    execute(opened, "UPDATE public.dkim SET state = 'retired'")
    execute(opened, "UPDATE public.dkim SET bits = 2048")
    execute(opened, "DELETE FROM public.dkim")
    assert query(
        opened,
        "SELECT domain, selector, algorithm, address, who, from_state, to_state, why"
        " FROM public.dkim_history ORDER BY id",
    ) == [
        (
            "example.com",
            "one",
            "rsa",
            "",
            "postgres by dkim-formula",
            before,
            after,
            "a reason",
        )
        for before, after in ((None, "active"), ("active", "retired"), ("retired", None))
    ]


TWICE = r"example\.org has an active rsa key"


def add_pattern(connection, pattern, domain):
    execute(
        connection,
        "INSERT INTO public.dkim_pattern (pattern, domain) VALUES (%s, %s)",
        (pattern, domain),
    )


def test_alias_of_a_domain_that_signs_itself_is_refused(opened):
    insert(opened, "example.com", "one", state="active")
    insert(opened, "example.org", "one", state="active")
    with pytest.raises(DatabaseError, match=TWICE), safe_errors.errors_translated():
        add_pattern(opened, "example.org", "example.com")


def test_key_of_a_domain_that_is_an_alias_is_refused(opened):
    insert(opened, "example.com", "one", state="active")
    add_pattern(opened, "example.org", "example.com")
    with pytest.raises(DatabaseError, match=TWICE), safe_errors.errors_translated():
        insert(opened, "example.org", "one", state="active")


def test_key_of_a_domain_is_refused_if_its_alias_has_its_own_key(opened):
    insert(opened, "example.org", "one", state="active")
    add_pattern(opened, "example.org", "example.com")
    with pytest.raises(DatabaseError, match=TWICE), safe_errors.errors_translated():
        insert(opened, "example.com", "one", state="active")


def test_alias_may_have_a_key_of_the_other_algorithm(opened):
    insert(opened, "example.com", "one", state="active")
    insert(opened, "example.org", "ed", state="active", key=PrivateKey.generate("ed25519").pem())
    add_pattern(opened, "example.org", "example.com")
    assert len(query(opened, "SELECT * FROM public.dkim_signing_table")) == 2


def test_key_that_a_tool_inserts_for_an_alias_is_pending(opened):
    insert(opened, "example.com", "one", state="active")
    add_pattern(opened, "example.org", "example.com")
    insert_as_howto(opened, "example.org", "own", traditional_pem(1))
    assert row(opened, "own")[0] == "pending"


@pytest.mark.parametrize("pattern", ["Example.net", "user@Example.net", "", "a b", "a@b@c"])
def test_pattern_that_could_never_match_is_refused(opened, pattern):
    with pytest.raises(DatabaseError, match="dkim_pattern_form"), safe_errors.errors_translated():
        add_pattern(opened, pattern, "example.com")


def test_domain_with_a_key_can_be_renamed_and_deleted(opened):
    insert_as_howto(opened, "example.com", "one", traditional_pem())
    execute(opened, "UPDATE public.domains SET domain = 'new.example' WHERE id = 1")
    execute(opened, "DELETE FROM public.domains")
    assert row(opened, "one")[0] == "active"


def test_row_of_a_tool_gets_the_name_of_its_domain(opened):
    execute(opened, "INSERT INTO public.domains (domain) VALUES ('Mixed.Example')")
    insert_as_howto(opened, "Mixed.Example", "one", traditional_pem())
    assert query(opened, "SELECT domain, state FROM public.dkim") == [("mixed.example", "active")]


def test_row_of_a_tool_without_a_domain_is_refused(opened, server):
    logged = server.log_from_now()
    text = refused(
        opened,
        "INSERT INTO public.dkim (domain_id, selector, key) VALUES (77, 'one', 'secret text')",
    )
    assert "no domain has the domain_id 77" in text
    assert "DETAIL" not in logged()


@pytest.mark.parametrize("name", ["*", ".", "a b.example", " lead.example", "b\u00fccher.example"])
def test_key_of_an_invalid_domain_name_does_not_sign(opened, name):
    execute(opened, "INSERT INTO public.domains (domain) VALUES (%s)", (name,))
    insert_as_howto(opened, name, "one", traditional_pem())
    assert row(opened, "one")[0] == "pending"
    assert query(opened, "SELECT * FROM public.dkim_signing_table") == []


def both_at_once(settings, first, second):
    """Run two transactions at once. Return the error of each transaction that failed."""
    meeting, outcome = threading.Barrier(2), {}

    def run(name, work):
        try:
            with db.session(settings) as connection:
                query(connection, "SELECT 1")
                meeting.wait()
                work(connection)
        except DatabaseError as error:
            outcome[name] = str(error)

    threads = [
        threading.Thread(target=run, args=pair) for pair in (("first", first), ("second", second))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def test_one_of_two_concurrent_keys_for_the_same_pattern_is_refused(ready):
    """Two sessions activate the key of a domain and the key of its alias at the same time."""
    for attempt in range(10):
        with db.session(ready) as connection:
            execute(connection, "DELETE FROM public.dkim; DELETE FROM public.dkim_pattern")
            add_pattern(connection, "example.org", "example.com")
        outcome = both_at_once(
            ready,
            lambda connection: insert(connection, "example.com", "one", state="active"),
            lambda connection: insert(connection, "example.org", "one", state="active"),
        )
        assert len(outcome) == 1, (attempt, outcome)
        with db.session(ready) as connection:
            patterns = query(connection, "SELECT pattern FROM public.dkim_signing_table")
        assert len(patterns) == len(set(patterns)) > 0


def test_concurrent_pattern_or_key_for_the_same_name_is_refused(ready):
    for attempt in range(10):
        with db.session(ready) as connection:
            execute(connection, "DELETE FROM public.dkim; DELETE FROM public.dkim_pattern")
            insert(connection, "example.com", "one", state="active")
        outcome = both_at_once(
            ready,
            lambda connection: add_pattern(connection, "example.org", "example.com"),
            lambda connection: insert(connection, "example.org", "one", state="active"),
        )
        assert len(outcome) == 1, (attempt, outcome)
        with db.session(ready) as connection:
            patterns = query(connection, "SELECT pattern FROM public.dkim_signing_table")
        assert len(patterns) == len(set(patterns))
