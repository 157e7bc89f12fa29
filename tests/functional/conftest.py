"""A real PostgreSQL, thrown away afterwards, that logs every statement; a database a test."""

import itertools
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from dkim_formula.database import connection as db
from dkim_formula.database import schema
from functional.postgres import (
    HOWTO,
    OWNER,
    SOCKET_DIRECTORY,
    Server,
    as_postgres,
    execute,
    free_port,
    insert_as_howto,
    newest_server,
    query,
    traditional_pem,
)

# Fixtures, here for every test of this folder.
from functional.salt_loaders import loaded, mailhost, minion  # noqa: F401

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server():
    programs = newest_server()
    if os.geteuid() != 0:
        pytest.skip("the server is reached as root, by taking on postgres")
    SOCKET_DIRECTORY.mkdir(exist_ok=True)
    shutil.chown(SOCKET_DIRECTORY, "postgres", "postgres")
    folder = Path(tempfile.mkdtemp(prefix="dkim-functional-"))
    shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    as_postgres(str(programs / "initdb"), "-D", str(data), "-A", "peer", "-E", "UTF8", "-N")
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(
            f"port = {port}\nunix_socket_directories = '{SOCKET_DIRECTORY}'\n"
            "listen_addresses = ''\nlog_statement = all\nlog_min_messages = info\nfsync = off\n"
            "log_duration = off\nautovacuum = off\n"
        )
    control = [str(programs / "pg_ctl"), "-w", "-D", str(data)]
    as_postgres(*control, "-l", str(data / "log.txt"), "start")
    try:
        yield Server(data, port, programs)
    finally:
        as_postgres(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def database(server):
    """An empty database of its own for the test, owned by a role that is no superuser."""
    name = f"vmail{next(_numbers)}"
    settings = replace(server.settings, name=name)
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, f"DROP ROLE IF EXISTS {OWNER}")
        execute(connection, f"CREATE ROLE {OWNER}")
        execute(connection, f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0")
    yield settings
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        roles = query(connection, "SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_|postgres)'")
        for (role,) in roles:
            execute(connection, f'DROP ROLE "{role}"')


@pytest.fixture
def connection(database):
    with db.session(database) as opened:
        yield opened


@pytest.fixture
def ready(database):
    """The settings of a database that has our schema and two domains."""
    with db.session(database) as opened:
        schema.apply(opened, database)
        execute(
            opened, "INSERT INTO public.domains (domain) VALUES ('example.com'), ('example.org')"
        )
    return database


@pytest.fixture
def howto(database):
    """The howto's database, made by its owner, with a key each for two domains."""
    with db.session(database) as opened:
        execute(opened, 'CREATE ROLE "vmail-dkim-reader" LOGIN')
        execute(opened, f"SET ROLE {OWNER}")
        execute(opened, HOWTO)
        execute(
            opened, "INSERT INTO public.domains (domain) VALUES ('example.com'), ('example.org')"
        )
        for domain, number in (("example.com", 0), ("example.org", 1)):
            insert_as_howto(opened, domain, "default", traditional_pem(number))
    return database
