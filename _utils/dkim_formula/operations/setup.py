"""Database, schema, role and access files: what differs from the settings, and making it so."""

from collections.abc import Callable

from ..arguments import list_of
from ..database import access, objects, public, rights, roles, server
from ..database.connection import session
from ..database.plan import Plan
from ..errors import MISSING, DatabaseUnavailable, InvalidValue
from ..postgres import former_roles, schema
from ..secret import Secret
from ..settings.database import identifier, qualified_table
from ..settings.model import Database

NOT_THERE_YET = "there is no database to look at yet: this is what a new one gets"
NO_DRIVER_YET = (
    "the database can't be looked at: Salt's Python has no psycopg2 yet, and this is what a new "
    "database gets; after state.apply dkim.python it is told what yours gets"
)


def database_changes(database: Database) -> dict[str, object]:
    """What is missing of the database and its owner role: ``{"changes", "notes"}``."""
    return _look(
        database,
        lambda: server.plan(server.look(database), database),
        lambda: server.plan(server.ABSENT, database),
    )


def make_database(database: Database) -> dict[str, object]:
    """Makes the database and its owner role where they are missing."""
    return plain(server.apply(database))


def schema_changes(database: Database) -> dict[str, object]:
    """Which migrations and definitions are due in the database."""

    def present() -> Plan:
        with session(database, setup=True) as connection:
            return schema.plan(schema.look(connection, database), database)

    return _look(database, present, lambda: schema.plan(schema.ABSENT, database))


def migrate(database: Database) -> dict[str, object]:
    """Brings the schema up to date in one transaction."""
    with session(database, setup=True) as connection:
        return plain(schema.apply(connection, database))


def role_changes(database: Database, wanted: roles.Wanted) -> dict[str, object]:
    """What differs of a role's attributes, memberships and rights."""

    def present() -> Plan:
        with session(database, setup=True) as connection:
            return roles.plan(roles.look(connection, wanted), wanted, database.name)

    return _look(database, present, lambda: roles.plan(roles.ABSENT, wanted, database.name))


def manage_role(database: Database, wanted: roles.Wanted) -> dict[str, object]:
    """Makes the role as it is to be."""
    with session(database, setup=True) as connection:
        return plain(roles.apply(connection, wanted))


def worker_changes(database: Database) -> dict[str, object]:
    """What differs of the worker's role: its attributes, memberships, rights and password."""

    def present() -> Plan:
        with session(database, setup=True) as connection, connection.cursor() as cursor:
            wanted = _worker(database, cursor)
            return roles.plan(roles.look(connection, wanted), wanted, database.name)

    def absent() -> Plan:
        return roles.plan(roles.ABSENT, _worker(database, None), database.name)

    return _look(database, present, absent)


def manage_worker(database: Database) -> dict[str, object]:
    """Makes the worker's role as it is to be."""
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        return plain(roles.apply(connection, _worker(database, cursor)))


def public_changes(database: Database) -> dict[str, object]:
    """Which rights on our tables, views and functions PUBLIC is to lose."""

    def present() -> Plan:
        with session(database, setup=True) as connection:
            return public.plan(public.look(connection, database))

    return _look(database, present, Plan)


def close_to_public(database: Database) -> dict[str, object]:
    """Takes these rights back."""
    with session(database, setup=True) as connection:
        return plain(public.apply(connection, database))


def password_changes(database: Database, name: str) -> dict[str, object]:
    """Whether a role has a password that it should not have; nothing where there is no role."""
    wanted = roles.Wanted(name=identifier(name, "name"), password="absent")

    def present() -> Plan:
        with session(database, setup=True) as connection:
            return roles.password_plan(roles.look(connection, wanted), wanted)

    return _look(database, present, Plan)


def remove_password(database: Database, name: str) -> dict[str, object]:
    """Takes a role's password away."""
    wanted = roles.Wanted(name=identifier(name, "name"), password="absent")
    with session(database, setup=True) as connection:
        return plain(roles.apply_password(connection, wanted))


def former_role_changes(database: Database, at_restart: bool = False) -> dict[str, object]:
    """
    Return which readers and workers of former settings are to go, with their rights.

    at_restart
        Only those whose sessions end with the restart of this machine's OpenDKIM.
    """

    def present() -> Plan:
        with session(database, setup=True) as connection:
            return former_roles.plan(former_roles.look(connection, database), at_restart)

    return _look(database, present, Plan)


def remove_former_roles(database: Database) -> dict[str, object]:
    """Take their rights from these roles, and drop those that the formula made."""
    with session(database, setup=True) as connection:
        return plain(former_roles.apply(connection, database))


def access_changes(
    database: Database, present: bool = True, also_root: bool = False
) -> dict[str, object]:
    """Which lines of pg_hba.conf and pg_ident.conf are to come, move or go."""

    def there() -> Plan:
        with session(database, setup=True, dbname=server.MAINTENANCE) as connection:
            return access.plan(access.look(connection), database, present, also_root)

    def absent() -> Plan:
        return access.plan(access.ABSENT, database, present, also_root)

    return _look(database, there, absent)


def manage_access(
    database: Database, present: bool = True, also_root: bool = False
) -> dict[str, object]:
    """Writes our lines, has PostgreSQL check and load them."""
    with session(database, setup=True, dbname=server.MAINTENANCE) as connection:
        return plain(access.apply(connection, database, present, also_root))


def _worker(database: Database, cursor) -> roles.Wanted:
    return roles.Wanted(
        name=database.worker.name,
        password=database.worker.password or "absent",
        grants=rights.wanted(cursor, database),
        marked_for=database.name,
    )


def wanted_role(
    database: Database, name: str, password: str, relations: object = None
) -> roles.Wanted:
    """
    The role ``name`` as a state describes it.

    password
        ``keep``, ``absent``, or ``pillar``: the one of ``dkim:database:reader:password``.
    relations
        A list of ``schema.relation`` or ``relation``, or None for the views that OpenDKIM reads.
    """
    pairs = objects.reader_relations(database)
    if relations is not None:
        pairs = tuple(list_of(_relation, relations, "relations"))
    return roles.Wanted(
        name=identifier(name, "name"),
        password=_password(database, password),
        relations=pairs,
        marked_for=database.name if name == database.reader.name else None,
    )


def _relation(value: object, where: str) -> tuple[str, str]:
    text = qualified_table(value, where)
    namespace, dot, relation = text.rpartition(".")
    return (namespace, relation) if dot else ("public", text)


def _password(database: Database, choice: str) -> Secret | str:
    if choice in ("keep", "absent"):
        return choice
    if choice == "pillar":
        if database.reader.password is None:
            raise InvalidValue(
                "dkim:database:reader:password", MISSING, "is not set", "give the reader a password"
            )
        return database.reader.password
    # The value is not shown: somebody may have put the password itself here.
    raise InvalidValue(
        "password", "…", "is none of the choices", "give one of keep, absent, pillar"
    )


def nothing_there_yet(error: DatabaseUnavailable, database: Database) -> bool:
    """Whether the database is missing only because the formula has not made it yet."""
    return error.reason == "no_driver" or (
        database.manage and error.reason in ("no_server", "no_database")
    )


def not_there_yet(error: DatabaseUnavailable) -> str:
    """What a test run says of changes that it could not look at the database for."""
    return NO_DRIVER_YET if error.reason == "no_driver" else NOT_THERE_YET


def plain(plan: Plan) -> dict[str, object]:
    """A plan as a function returns it."""
    return {"changes": plan.changes, "notes": list(plan.notes)}


def _look(
    database: Database, present: Callable[[], Plan], absent: Callable[[], Plan]
) -> dict[str, object]:
    try:
        return plain(present())
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, database):
            raise
        note = not_there_yet(error)
    found = plain(absent())
    return {**found, "notes": [*found["notes"], note]}
