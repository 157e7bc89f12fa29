"""PostgreSQL for functional tests: the server's handle, the howto's schema, helpers for SQL."""

import contextlib
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import table as keys_table
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.private_key import PrivateKey
from dkim_formula.settings.model import Database

SOCKET_DIRECTORY = Path("/var/run/postgresql")  # libpq's default in Debian and in psycopg2-binary
OWNER = "vmail"


def newest_server() -> Path:
    """Return the folder of the newest server's programs. Skip the test if none is installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if not found:
        pytest.skip("no PostgreSQL server is installed")
    return found[-1].parent


@dataclass(frozen=True)
class Server:
    """The running server: its files, and the settings that the library connects with."""

    data: Path
    port: int
    programs: Path

    @property
    def settings(self) -> Database:
        return Database(name="postgres", port=self.port)

    def log_from_now(self) -> Callable[[], str]:
        """
        Return a function that returns the log since this call.

        The whole log has every statement of every earlier test, and takes seconds to read.
        """
        path = self.data / "log.txt"
        start = path.stat().st_size

        def read() -> str:
            with path.open("rb") as stream:
                stream.seek(start)
                return stream.read().decode(errors="replace")

        return read

    def psql(self, dbname: str, *arguments: str, user: str = "postgres", as_user: str = "postgres"):
        """Run psql as a system user, so that pg_hba.conf decides on the login of that user."""
        command = ["psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-p", str(self.port), "-U", user]
        return subprocess.run(
            ["runuser", "-u", as_user, "--", *command, "-d", dbname, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )


def as_postgres(*command: str) -> None:
    subprocess.run(
        ["runuser", "-u", "postgres", "--", *command], check=True, capture_output=True, cwd="/"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


HOWTO_TABLES = """
CREATE TABLE public.domains (id SERIAL PRIMARY KEY, domain TEXT NOT NULL UNIQUE);
CREATE TABLE public.dkim (
    id SERIAL PRIMARY KEY,
    domain_id INTEGER NOT NULL REFERENCES public.domains(id),
    selector TEXT NOT NULL DEFAULT 'default',
    key TEXT NOT NULL,
    UNIQUE(domain_id, selector)
);
CREATE VIEW public.dkim_signing_table AS
    SELECT selector || '.' || domains.domain AS identifier, domains.domain AS pattern
    FROM public.dkim INNER JOIN public.domains ON dkim.domain_id = domains.id;
CREATE VIEW public.dkim_key_table AS
    SELECT selector || '.' || domains.domain AS identifier, domains.domain AS domain, selector, key
    FROM public.dkim INNER JOIN public.domains ON dkim.domain_id = domains.id;
"""
HOWTO = (
    HOWTO_TABLES
    + """
GRANT SELECT ON public.dkim_signing_table TO "vmail-dkim-reader";
GRANT SELECT ON public.dkim_key_table TO "vmail-dkim-reader";
"""
)


def insert_as_howto(connection, domain: str, selector: str, key: str) -> None:
    """Insert a key as the howto's own tool does, by the three columns that the tool knows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT id, %s, %s FROM public.domains WHERE domain = %s",
            (selector, key, domain),
        )


def move(connection, database, selector: str, state: str, domain="example.com", why="test"):
    """Move a key to a state through the library, without any evidence. Return the moved key."""
    key = keys_table.find(connection, database, domain, selector)
    if state == "active":
        key_changes.switch_to(connection, database, [key.id], why)
    else:
        key_changes.move(connection, database, [key.id], state, why)
    return keys_table.find(connection, database, domain, selector)


def rsa_key(number: int = 0) -> PrivateKey:
    """Return the RSA key of a number. Each key is generated once for all tests."""
    return _generated(number)


@cache
def _generated(number: int) -> PrivateKey:
    return PrivateKey.generate("rsa", 2048)


@cache
def traditional_pem(number: int = 0) -> str:
    """Return the RSA key of a number as the howto stores keys, in PKCS#1."""
    key = serialization.load_pem_private_key(rsa_key(number).pem().encode(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def execute(connection, statement: str, arguments=None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)


def query(connection, statement: str, arguments=None) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchall()


@contextlib.contextmanager
def session_as(settings: Database, role: str):
    """Open a session of the library and take a role."""
    with db.session(settings) as connection:
        execute(connection, f'SET ROLE "{role}"')
        connection.commit()
        yield connection


@contextlib.contextmanager
def as_role(connection, role: str):
    """Run a session with the rights of another role, which it cannot leave by RESET ROLE."""
    execute(connection, f'SET SESSION AUTHORIZATION "{role}"')
    try:
        yield
    finally:
        connection.rollback()
        execute(connection, "RESET SESSION AUTHORIZATION")


def set_up(database: Database) -> None:
    """Set up the whole database, as a highstate does."""
    postgres_commands.manage_schema(database)
    postgres_commands.revoke_public(database)
    postgres_commands.manage_role(
        database, postgres_commands.desired_role(database, database.reader.name, password="keep")
    )
    postgres_commands.manage_writer(database)
    postgres_commands.manage_access(database)


_READABLE = """
SELECT format('%%I.%%I', n.nspname, c.relname),
       string_agg(format('%%I::text', a.attname), ', ' ORDER BY a.attnum)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_|^information_schema$'
   AND has_schema_privilege(%(role)s, n.oid, 'USAGE')
   AND has_column_privilege(%(role)s, c.oid, a.attnum, 'SELECT')
 GROUP BY 1
"""


def private_keys_read_by(database: Database, role: str) -> list[str]:
    """Return the relations in which a role can read the text of a private key."""
    found = []
    with db.session(database, setup=True) as connection:
        readable = query(connection, _READABLE, {"role": role})
        execute(connection, f"SET SESSION AUTHORIZATION {role}")
        for relation, text in readable:
            ((count,),) = query(
                connection,
                f"SELECT count(*) FROM {relation} WHERE concat({text}) LIKE '%%PRIVATE KEY%%'",
            )
            found += [relation] if count else []
    return found
