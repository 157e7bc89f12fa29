"""Sessions: their role, their settings, and errors that show no secret."""

import os
import socket
import threading
from dataclasses import replace

import psycopg2
import pytest
from dkim_formula.errors import DatabaseError, DatabaseUnavailable
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import schema, sql
from dkim_formula.postgres.listening import listens
from dkim_formula.secret import Secret
from functional.server import execute, query, rsa_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_root_logs_in_as_postgres_without_a_password(database):
    with db.session(database) as connection:
        assert query(connection, "SELECT session_user, inet_client_addr()") == [("postgres", None)]


def test_process_is_root_again_after_connecting(database):
    with db.session(database):
        assert os.geteuid() == 0


def test_process_is_root_again_after_a_failed_connect(database):
    with pytest.raises(DatabaseUnavailable), db.session(replace(database, name="nowhere")):
        pass
    assert os.geteuid() == 0


def test_sessions_of_several_threads_do_not_affect_each_other(database):
    users = []

    def log_in():
        for _ in range(10):
            with db.session(database) as connection:
                users.extend(query(connection, "SELECT session_user"))

    threads = [threading.Thread(target=log_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert users == [("postgres",)] * 40
    assert os.geteuid() == 0


def test_changes_are_committed_when_a_session_ends_without_an_error(database):
    with db.session(database) as connection:
        execute(connection, "CREATE TABLE public.kept (n integer)")
    with db.session(database) as connection:
        assert query(connection, "SELECT count(*) FROM public.kept") == [(0,)]


def test_changes_are_rolled_back_after_an_error(database):
    def fail(connection):
        execute(connection, "CREATE TABLE public.lost (n integer)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), db.session(database) as connection:
        fail(connection)
    with db.session(database) as connection:
        assert query(connection, "SELECT to_regclass('public.lost')") == [(None,)]


def test_missing_database_is_distinguished_from_a_missing_server(database):
    with pytest.raises(DatabaseUnavailable) as absent, db.session(replace(database, name="gone")):
        pass
    assert absent.value.reason == "no_database"
    assert "dkim:database:name" in str(absent.value)
    assert "'gone'" in str(absent.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGHOST", "192.0.2.1"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGTARGETSESSIONATTRS", "standby"),
    ],
)
def test_environment_for_other_programs_leads_to_no_other_server(
    database, monkeypatch, variable, value
):
    monkeypatch.setenv(variable, value)
    with db.session(database) as connection:
        assert query(connection, "SELECT inet_client_addr()") == [(None,)]


def test_missing_database_is_recognised_with_another_server_in_the_environment(
    database, monkeypatch
):
    monkeypatch.setenv("PGHOST", "/nowhere")
    with pytest.raises(DatabaseUnavailable) as absent, db.session(replace(database, name="gone")):
        pass
    assert absent.value.reason == "no_database"


def test_missing_database_is_recognised_in_any_language(database, monkeypatch):
    connect = psycopg2.connect

    def in_german(**parameters):
        if parameters["dbname"] == "gone":
            raise psycopg2.OperationalError("FATAL:  Datenbank »gone« existiert nicht")
        return connect(**parameters)

    monkeypatch.setattr(psycopg2, "connect", in_german)
    with pytest.raises(DatabaseUnavailable) as absent, db.session(replace(database, name="gone")):
        pass
    assert absent.value.reason == "no_database"


REFUSALS = {
    "a role that is not there": {"user": "nobody-known"},
    "another account than the role's": {"user": "vmail"},
    "a database that is not there": {"name": "gone"},
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refused_session_has_no_sqlstate(database, what):
    """Measured: psycopg2 has no SQLSTATE here, so the library uses other evidence."""
    given = replace(database, **REFUSALS[what])
    with pytest.raises(psycopg2.OperationalError) as refused:
        psycopg2.connect(dbname=given.name, user=given.user, host="", port=given.port)
    assert refused.value.pgcode is None


@pytest.mark.parametrize("what", REFUSALS)
@pytest.mark.parametrize(
    "words", ["FATAL:  verweigert", "timeout expired", "Is the server running"]
)
def test_refusal_is_recognised_with_any_wording(database, monkeypatch, what, words):
    connect = psycopg2.connect
    given = replace(database, **REFUSALS[what])

    def in_other_words(**parameters):
        try:
            return connect(**parameters)
        except psycopg2.OperationalError:
            raise psycopg2.OperationalError(words) from None

    monkeypatch.setattr(psycopg2, "connect", in_other_words)
    with pytest.raises(DatabaseUnavailable) as refused, db.session(given):
        pass
    expected = "no_database" if "name" in REFUSALS[what] else "refused"
    assert refused.value.reason == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.0.0.1,db.invalid", True), ("db.invalid", False)],
)
def test_listening_server_is_found_by_its_socket(host, expected):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert listens(host, listening.getsockname()[1]) is expected


def test_closed_port_and_unused_socket_file_are_no_server(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not listens("127.0.0.1", port)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / ".s.PGSQL.5432"))
    assert not listens(str(tmp_path), 5432)


ODD_SETTINGS = {
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "search_path": "site, public",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "20ms",
    "idle_in_transaction_session_timeout": "20ms",
    "lock_timeout": "20ms",
    "lc_messages": "C",
    "standard_conforming_strings": "off",
    "client_min_messages": "error",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "session_replication_role": "replica",
    "row_security": "on",
    "role": "vmail",
}
SESSION_STATE = """
SELECT current_user, '2026-03-04 05:06:07+00'::timestamptz::text, interval '1 day 2 hours'::text,
       'a\\b', '\\x00ff'::bytea::text, quote_ident('plain'), current_schemas(true)::text,
       (SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid()
          AND pg_sleep(0.03) IS NOT NULL),
       current_setting('transaction_read_only'), current_setting('transaction_isolation'),
       current_setting('session_replication_role'), 'ü€'
"""


@given(st.dictionaries(st.sampled_from(sorted(ODD_SETTINGS)), st.booleans(), min_size=1))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_settings_of_the_site_change_nothing_in_a_session(database, chosen):
    """The settings may belong to the role, to the database, or some to each."""
    with db.session(database) as connection:
        expected = query(connection, SESSION_STATE)
    where = {True: "ROLE postgres", False: f"DATABASE {database.name}"}
    # PostgreSQL applies a setting of `role` only if it belongs to a role.
    owners = {name: where[of_role or name == "role"] for name, of_role in chosen.items()}
    with db.session(replace(database, name="postgres"), autocommit=True) as connection:
        for name, owner in owners.items():
            values = [value.strip() for value in ODD_SETTINGS[name].split(",")]
            literals = ", ".join(f"'{value}'" for value in values)
            execute(connection, f'ALTER {owner} SET "{name}" TO {literals}')
    try:
        with db.session(database) as connection:
            assert query(connection, SESSION_STATE) == expected
            execute(connection, "CREATE TABLE public.written ()")
            connection.rollback()
    finally:
        with db.session(replace(database, name="postgres"), autocommit=True) as connection:
            execute(connection, "ALTER ROLE postgres RESET ALL")
            execute(connection, f"ALTER DATABASE {database.name} RESET ALL")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP", "UTF8"])
def test_text_is_written_and_read_in_any_encoding(server, database, encoding):
    settings_ = replace(database, name="encoded")
    with db.session(server.settings, autocommit=True) as connection:
        execute(
            connection,
            f"CREATE DATABASE encoded TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'",
        )
    try:
        with db.session(settings_) as connection:
            schema.apply(connection, settings_)
        with db.session(settings_) as connection:
            execute(connection, "CREATE TEMPORARY TABLE t (v text)")
            execute(connection, "INSERT INTO t VALUES (%s), ('plain')", ("plain",))
            if encoding == "SQL_ASCII":
                execute(connection, "INSERT INTO t VALUES (convert_from('\\xff61', 'SQL_ASCII'))")
                execute(connection, "INSERT INTO t VALUES (%s)", ("ü",))
                (odd, good) = query(
                    connection, "SELECT v FROM t WHERE v <> 'plain' ORDER BY 1 DESC"
                )
                assert (odd, good) == (("\udcffa",), ("ü",))
                assert query(connection, "SELECT count(*) FROM t WHERE v = %s", odd) == [(1,)]
            assert query(connection, "SELECT count(*) FROM t WHERE v = 'plain'") == [(2,)]
            with connection.cursor() as cursor:
                sql.copy_rows(cursor, "t", ("v",), [("plain",)])
    finally:
        with db.session(server.settings, autocommit=True) as connection:
            execute(connection, "DROP DATABASE encoded")


MISSING = {
    "USAGE": "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
    "TEMPORARY": "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
    "SELECT": "REVOKE SELECT ON public.dkim FROM writer",
    "UPDATE": "REVOKE UPDATE ON public.dkim_pattern FROM writer",
}


@pytest.mark.parametrize("right", MISSING)
def test_error_names_the_missing_right_and_a_grant_that_works(ready, right):
    with db.session(ready, setup=True) as connection:
        execute(connection, "CREATE ROLE writer")
        execute(
            connection,
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO writer",
        )
        execute(connection, MISSING[right].format(database=ready.name))
    statements = (
        "CREATE TEMPORARY TABLE t (n integer)",
        "SELECT FROM public.dkim",
        "UPDATE public.dkim_pattern SET pattern = pattern",
    )

    def work():
        with db.session(ready, setup=True) as connection:
            execute(connection, "SET SESSION AUTHORIZATION writer")
            connection.commit()
            for statement in statements:
                execute(connection, statement)
            connection.rollback()

    with pytest.raises(DatabaseError) as refused:
        work()
    assert right in str(refused.value)
    grants = str(refused.value).partition("run as a superuser: ")[2]
    with db.session(ready, setup=True) as connection:
        execute(connection, grants)
    work()


def test_silent_port_is_no_server(database):
    with pytest.raises(DatabaseUnavailable) as absent, db.session(replace(database, port=1)):
        pass
    assert absent.value.reason == "no_server"
    assert "dkim:database:port" in str(absent.value)


def test_unknown_host_is_no_server(database):
    away = replace(database, host="db.invalid", user="somebody")
    with pytest.raises(DatabaseUnavailable) as absent, db.session(away):
        pass
    assert absent.value.reason == "no_server"


def test_error_of_a_refused_login_names_the_settings_and_hides_the_password(database):
    stranger = replace(database, user="nobody-known", password=Secret("canary-7f3a"))
    with pytest.raises(DatabaseUnavailable) as refused, db.session(stranger):
        pass
    assert refused.value.reason == "refused"
    assert "dkim:database:user" in str(refused.value)
    assert "canary-7f3a" not in repr(refused.value) + str(refused.value)


def test_error_of_a_statement_shows_no_row(database):
    pem = rsa_key().pem()
    with db.session(database) as connection:
        execute(connection, "CREATE TABLE public.t (key text, n integer CHECK (n > 0))")
    with pytest.raises(DatabaseError) as caught, db.session(database) as connection:
        execute(connection, "INSERT INTO public.t VALUES (%s, 0)", (pem,))
    assert "23514" in str(caught.value)
    assert pem.splitlines()[1] not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_error_without_the_schema_says_which_state_creates_it(database):
    with (
        pytest.raises(DatabaseError, match=r"apply the state dkim\.database"),
        db.session(database) as connection,
    ):
        execute(connection, "SELECT * FROM public.dkim")


def test_copied_text_is_stored_unchanged(connection):
    values = ["a\tb", "c\nd", "e\\f", "\\N", "", "ü", "\r\n", None]
    execute(connection, "CREATE TEMPORARY TABLE copied (n integer, value text)")
    with connection.cursor() as cursor:
        sql.copy_rows(cursor, "copied", ("n", "value"), enumerate(values))
    found = query(connection, "SELECT value FROM pg_temp.copied ORDER BY n")
    assert [value for (value,) in found] == values
