"""A temporary PostgreSQL server, which logs every statement. Each test has its own database."""

import contextlib
import functools
import itertools
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import schema

# Fixtures for every test of this folder.
from functional.replication import standby  # noqa: F401
from functional.rotations import site  # noqa: F401
from functional.salt_loaders import loaded, mailhost, minion  # noqa: F401
from functional.server import (
    HOWTO,
    HOWTO_TABLES,
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

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server():
    programs = newest_server()
    if os.geteuid() != 0:
        pytest.skip("needs root, which connects to the server as postgres")
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
            "log_duration = off\nautovacuum = off\nfull_page_writes = off\n"
            "synchronous_commit = off\n"
        )
    control = [str(programs / "pg_ctl"), "-w", "-D", str(data)]
    as_postgres(*control, "-l", str(data / "log.txt"), "start")
    try:
        yield Server(data, port, programs)
    finally:
        as_postgres(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@contextlib.contextmanager
def own_database(server, template):
    """
    Create a database for one test. Afterwards drop the database, every role that the test created,
    and every membership.
    """
    settings = replace(server.settings, name=f"vmail{next(_numbers)}")
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        make_database(connection, settings.name, template)
    try:
        yield settings
    finally:
        with db.session(server.settings, setup=True, autocommit=True) as connection:
            execute(connection, f"DROP DATABASE IF EXISTS {settings.name} WITH (FORCE)")
            for (role,) in query(
                connection,
                "SELECT rolname FROM pg_roles"
                " WHERE rolname !~ '^(pg_|postgres)' AND rolname <> ALL (%s)",
                ([OWNER, server.settings.keys_owner],),
            ):
                execute(connection, f'DROP ROLE "{role}"')
            for role, member in query(
                connection,
                "SELECT roleid::regrole, member::regrole FROM pg_auth_members"
                " WHERE roleid::regrole::text !~ '^pg_'",
            ):
                execute(connection, f"REVOKE {role} FROM {member}")


def make_database(connection, name, template):
    if not query(connection, "SELECT FROM pg_roles WHERE rolname = %s", (OWNER,)):
        execute(connection, f"CREATE ROLE {OWNER}")
    # file_copy costs half as much as wal_log, the default since PostgreSQL 15.
    execute(
        connection,
        f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template} STRATEGY file_copy",
    )


@pytest.fixture
def another_database(server):
    """A function that creates a database from a template, for tests that need several databases."""
    return functools.partial(own_database, server)


@pytest.fixture
def database(server):
    """An empty database for the test. Its owner is not a superuser."""
    with own_database(server, "template0") as settings:
        yield settings


@pytest.fixture
def connection(database):
    with db.session(database) as opened:
        yield opened


@pytest.fixture(scope="session")
def ready_template(server):
    """
    The name of a template database with the formula's schema and two domains. Its table of keys
    was the howto's, so other tools can still insert rows by ``domain_id``.
    """
    settings = replace(server.settings, name="ready")
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        make_database(connection, settings.name, "template0")
    with db.session(settings) as opened:
        execute(opened, f"SET ROLE {OWNER}")
        execute(opened, HOWTO_TABLES)
        execute(
            opened, "INSERT INTO public.domains (domain) VALUES ('example.com'), ('example.org')"
        )
        execute(opened, "RESET ROLE")
        schema.apply(opened, settings)
    return settings.name


@pytest.fixture
def ready(server, ready_template):
    """The settings of a database with the formula's schema and two domains."""
    with own_database(server, ready_template) as settings:
        yield settings


@pytest.fixture
def howto(database):
    """The howto's database, created by its owner, with one key for each of two domains."""
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


@pytest.fixture
def access_files(server):
    """The server's access files, restored after the test."""
    kept = {path: path.read_bytes() for path in server.data.glob("pg_*.conf")}
    yield
    for path, content in kept.items():
        path.write_bytes(content)
    with db.session(server.settings, setup=True) as connection:
        query(connection, "SELECT pg_reload_conf()")
