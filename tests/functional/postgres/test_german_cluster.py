"""A cluster in German and ISO-8859-1, so its encoding is not UTF-8 and its messages are German."""

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from dkim_formula.errors import DatabaseError, DatabaseUnavailable
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import schema
from dkim_formula.postgres import server as databases
from dkim_formula.settings.model import Database
from functional.server import (
    SOCKET_DIRECTORY,
    Server,
    as_postgres,
    execute,
    free_port,
    newest_server,
    query,
)

LOCALE = "de_DE"  # of ISO-8859-1, as glibc's list of locales has it


@pytest.fixture(scope="module")
def german():
    """The settings of a database that does not exist yet in the German cluster."""
    made = subprocess.run(["localedef", "-i", LOCALE, "-f", "ISO-8859-1", LOCALE], check=False)
    assert made.returncode == 0
    programs = newest_server()
    SOCKET_DIRECTORY.mkdir(exist_ok=True)
    shutil.chown(SOCKET_DIRECTORY, "postgres", "postgres")
    folder = Path(tempfile.mkdtemp(prefix="dkim-german-"))
    shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    as_postgres(str(programs / "initdb"), "-D", str(data), "-A", "peer", f"--locale={LOCALE}", "-N")
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(
            f"port = {port}\nunix_socket_directories = '{SOCKET_DIRECTORY}'\n"
            "listen_addresses = ''\nfsync = off\n"
        )
    control = [str(programs / "pg_ctl"), "-w", "-D", str(data)]
    as_postgres(*control, "-l", str(data / "log.txt"), "start")
    try:
        yield Database(name="germanmail", port=Server(data, port, programs).port)
    finally:
        as_postgres(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_cluster_is_german_and_in_latin_1(german):
    with db.session(replace(german, name="postgres"), setup=True) as connection:
        assert query(
            connection,
            "SELECT pg_encoding_to_char(encoding), datctype, current_setting('lc_messages')"
            " FROM pg_database WHERE datname = 'template0'",
        ) == [("LATIN1", LOCALE, LOCALE)]


def test_missing_database_and_refused_login_are_distinguished(german):
    with pytest.raises(DatabaseUnavailable) as absent, db.session(replace(german, name="gone")):
        pass
    assert absent.value.reason == "no_database"
    stranger = replace(german, name="postgres", user="nobody-known")
    with pytest.raises(DatabaseUnavailable) as refused, db.session(stranger):
        pass
    assert refused.value.reason == "refused"


def test_missing_schema_is_recognised_by_its_sqlstate(german):
    setup_ = replace(german, name="postgres")
    with (
        pytest.raises(DatabaseError, match=r"apply the state dkim\.database"),
        db.session(setup_) as connection,
    ):
        execute(connection, "SELECT * FROM public.dkim")


def test_new_database_is_in_utf_8_with_a_locale_that_fits(german):
    assert databases.apply(german)
    with db.session(german) as connection:
        assert query(
            connection,
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database"
            " WHERE datname = current_database()",
        ) == [("UTF8", "C.UTF-8", "C.UTF-8")]
        schema.apply(connection, german)
    with db.session(german) as connection:
        execute(
            connection,
            "INSERT INTO public.dkim_history (dkim_id, domain, selector, algorithm,"
            " address, who) VALUES (1, 'münchen.example', 's', 'rsa', '', 'me')",
        )
        assert query(connection, "SELECT domain FROM public.dkim_history") == [("münchen.example",)]
    assert not databases.apply(german)
