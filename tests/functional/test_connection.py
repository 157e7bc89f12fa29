"""Sessions: who we are in them, and what their errors say and keep to themselves."""

import os
import threading
from dataclasses import replace

import psycopg2
import pytest
from dkim_formula.database import connection as db
from dkim_formula.errors import DatabaseError, DatabaseUnavailable
from dkim_formula.secret import Secret
from functional.postgres import execute, query, rsa_key


def test_root_is_let_in_as_postgres_without_a_password(database):
    with db.session(database) as connection:
        assert query(connection, "SELECT session_user, inet_client_addr()") == [("postgres", None)]


def test_root_is_root_again_after_connecting(database):
    with db.session(database):
        assert os.geteuid() == 0


def test_root_is_root_again_after_a_failed_connect(database):
    with pytest.raises(DatabaseUnavailable), db.session(replace(database, name="nowhere")):
        pass
    assert os.geteuid() == 0


def test_sessions_of_several_threads_do_not_disturb_one_another(database):
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


def test_work_is_committed_at_a_good_end(database):
    with db.session(database) as connection:
        execute(connection, "CREATE TABLE public.kept (n integer)")
    with db.session(database) as connection:
        assert query(connection, "SELECT count(*) FROM public.kept") == [(0,)]


def test_work_is_rolled_back_at_an_error(database):
    def fail(connection):
        execute(connection, "CREATE TABLE public.lost (n integer)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), db.session(database) as connection:
        fail(connection)
    with db.session(database) as connection:
        assert query(connection, "SELECT to_regclass('public.lost')") == [(None,)]


def test_role_is_taken_on(database):
    with db.session(database, role="vmail") as connection:
        assert query(connection, "SELECT current_user, session_user") == [("vmail", "postgres")]


def test_missing_database_is_told_from_a_missing_server(database):
    with pytest.raises(DatabaseUnavailable) as absent, db.session(replace(database, name="gone")):
        pass
    assert absent.value.reason == "no_database"
    assert "dkim:database:name" in str(absent.value)
    assert "'gone'" in str(absent.value)


def test_missing_database_is_told_in_any_language(database, monkeypatch):
    connect = psycopg2.connect

    def in_german(**parameters):
        if parameters["dbname"] == "gone":
            raise psycopg2.OperationalError("FATAL:  Datenbank »gone« existiert nicht")
        return connect(**parameters)

    monkeypatch.setattr(psycopg2, "connect", in_german)
    with pytest.raises(DatabaseUnavailable) as absent, db.session(replace(database, name="gone")):
        pass
    assert absent.value.reason == "no_database"


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


def test_refusal_names_the_settings_and_not_the_password(database):
    stranger = replace(database, user="nobody-known", password=Secret("canary-7f3a"))
    with pytest.raises(DatabaseUnavailable) as refused, db.session(stranger):
        pass
    assert refused.value.reason == "refused"
    assert "dkim:database:user" in str(refused.value)
    assert "canary-7f3a" not in repr(refused.value) + str(refused.value)


def test_error_shows_no_row(database):
    pem = rsa_key().pem()
    with db.session(database) as connection:
        execute(connection, "CREATE TABLE public.t (key text, n integer CHECK (n > 0))")
    with pytest.raises(DatabaseError) as caught, db.session(database) as connection:
        execute(connection, "INSERT INTO public.t VALUES (%s, 0)", (pem,))
    assert "23514" in str(caught.value)
    assert pem.splitlines()[1] not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_statement_without_the_schema_says_how_to_get_it(database):
    with (
        pytest.raises(DatabaseError, match=r"apply the state dkim\.database"),
        db.session(database) as connection,
    ):
        execute(connection, "SELECT * FROM public.dkim")


def test_copied_text_arrives_as_it_was(connection):
    values = ["a\tb", "c\nd", "e\\f", "\\N", "", "ü", "\r\n", None]
    execute(connection, "CREATE TEMPORARY TABLE copied (n integer, value text)")
    with connection.cursor() as cursor:
        db.copy_rows(cursor, "copied", ("n", "value"), enumerate(values))
    found = query(connection, "SELECT value FROM pg_temp.copied ORDER BY n")
    assert [value for (value,) in found] == values
