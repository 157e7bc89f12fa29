"""The reader's login to a remote database, before a change and for a self-test."""

import functools
import pwd
from collections.abc import Callable

from ..errors import DatabaseUnavailable
from ..key_text import read_stored
from ..keys.model import Key
from ..postgres.driver import driver
from ..postgres.objects import key_view, signing_view
from ..postgres.sql import compose
from ..settings.model import Database, Settings
from ..signer.daemons import environment
from . import check_database, child
from .model import Host

# Each of several hosts has check_database.LOGIN_WITHIN. A hundred thousand keys take seconds.
SECONDS = 120.0
# Variables that name files of the daemon. These files may still be missing, or have old settings.
_OF_FILES = ("PGPASSFILE", "PGSERVICEFILE", "PGSERVICE")
_REMEDY = (
    "apply dkim.database at {host!r} with this reader's settings and this machine among "
    "dkim:database:reader:clients, and check the route to it (docs/remote-database.md)"
)
_NOT_YET = "the PostgreSQL driver is not installed yet"

# The condition on the pattern is necessary: the view takes a query without one for the query of the
# daemon's start, and shows nothing.
_SIGNED_FOR = """
SELECT s.pattern, k.domain, k.selector, k.key
  FROM {signing} AS s JOIN {key} AS k USING (identifier)
 WHERE s.pattern <> '' AND (%(all)s OR k.domain = %(domain)s
    OR s.pattern IN (%(domain)s, '.' || %(domain)s)
    OR right(s.pattern, length(%(domain)s) + 1) = '@' || %(domain)s)
 ORDER BY s.pattern
"""


def problems(settings: Settings) -> tuple[list[str], str]:
    """
    Log in as the daemons will by the pillar's settings, and read the views that they will read.

    Returns the problems, a sentence each, and the reason why no login was tried, or ''. No login is
    tried if the database is on this machine, since the same run may create it. Changes nothing.
    """
    database = settings.database
    if not database.host:
        return [], "the database is on this machine"
    host = Host(settings)
    found: dict[str, None] = {}
    for daemon in host.daemons:
        try:
            found |= dict.fromkeys(_login_problems(host, daemon.algorithm))
        except DatabaseUnavailable:
            return [], _NOT_YET
    if not found:
        return [], ""
    remedy = _REMEDY.format(host=database.host)
    return [f"dkim:database: {'; '.join(found)}; {remedy}"], ""


def _login_problems(host: Host, algorithm: str) -> list[str]:
    database = host.settings.database
    password = database.reader.password if database.reader.auth == "password" else None
    try:
        return _as_daemon(
            host,
            lambda: list(check_database.as_reader(database, algorithm, password=password)),
            without=_OF_FILES,
        )
    except (child.ChildFailed, child.TookTooLong) as error:
        return [str(error)]


def signed_for(host: Host, domain: str | None = None) -> dict[str, list[Key]]:
    """
    Return the keys that the daemons' views show, by the pattern that each key signs for.

    Logs in as the daemon, with its own files. A private key does not leave the process that reads
    the views.

    domain
        Only patterns of this domain's senders, and patterns that this domain's keys sign for.

    Raises DatabaseUnavailable if psycopg2 is missing, and OpenDKIMError.
    """
    found: dict[str, list[Key]] = {}
    for algorithm in (daemon.algorithm for daemon in host.daemons):
        read = functools.partial(_public_halves, host.settings.database, algorithm, domain)
        rows = _as_daemon(host, read)
        for pattern, owner, selector, public in rows:
            found.setdefault(pattern, []).append(_key(owner, selector, algorithm, public))
    return found


def ask(host: Host, statement: str) -> list[object]:
    """
    Return the host that the daemon's login reaches, and the columns of a statement's only row.

    Raises DatabaseUnavailable if psycopg2 is missing, and FormulaError.
    """
    return _as_daemon(host, lambda: _row(host.settings.database, statement))


def _row(database: Database, statement: str) -> list[object]:
    connection = check_database.connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return [connection.info.host, *cursor.fetchone()]
    finally:
        connection.close()


def _public_halves(
    database: Database, algorithm: str, domain: str | None
) -> list[list[str | None]]:
    statement = compose(
        _SIGNED_FOR,
        signing=(database.schema, signing_view(algorithm)),
        key=(database.schema, key_view(algorithm)),
    )
    connection = check_database.connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, {"all": domain is None, "domain": domain or ""})
            return [[*row[:3], _public_half(row[3])] for row in cursor]
    finally:
        connection.close()


def _public_half(text: str) -> str | None:
    private = read_stored(text).private
    return None if private is None else private.public_base64()


def _key(domain: str, selector: str, algorithm: str, public: str | None) -> Key:
    """Return a key of the views, which show only active keys and no history."""
    return Key(0, domain, selector, algorithm, None, "active", "", None, None, None, None, public)


def _as_daemon(host: Host, function: Callable[[], list], without: tuple[str, ...] = ()) -> list:
    """
    Call a function as the daemon's account, which owns the certificate, with its variables.

    without
        The variables to leave out.
    """
    driver()
    variables = environment(host.settings.database)
    kept = {name: value for name, value in variables.items() if name not in without}
    return child.run(function, SECONDS, child.Account(_account(host), environment=kept))


def _account(host: Host) -> str:
    """Return the daemon's account, or before its installation root, which can use a password."""
    try:
        return pwd.getpwnam(host.user).pw_name
    except KeyError:
        return "root"
