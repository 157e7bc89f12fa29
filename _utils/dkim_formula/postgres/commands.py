"""
Database, schema, roles and access files, brought to what the settings say.

Each function returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``: what it changed, or
with ``test`` what it would change.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace

from ..errors import MISSING, DatabaseUnavailable, InvalidValue, keeping_what_was_done
from ..plan import Plan
from ..secret import Secret
from ..settings.arguments import list_of
from ..settings.database_values import identifier, qualified_table
from ..settings.model import Database
from . import (
    access_files,
    former_roles,
    key_readers,
    objects,
    owners,
    public_rights,
    rights,
    roles,
    schema,
)
from . import server as postgres_server
from .connection import session

NOT_THERE_YET = "there is no database to look at yet: this is what a new one gets"
NO_DRIVER_YET = (
    "the database can't be looked at: Salt's Python has no psycopg2 yet, and this is what a new "
    "database gets; after state.apply dkim.python it is told what yours gets"
)


def manage_database(database: Database, test: bool = False) -> dict[str, object]:
    """Make the database and the role that owns it where they are missing."""
    if not test:
        return plain(postgres_server.apply(database))
    return _looked(
        database,
        lambda: postgres_server.plan(postgres_server.look(database), database),
        lambda: postgres_server.plan(postgres_server.ABSENT, database),
    )


def manage_schema(database: Database, test: bool = False) -> dict[str, object]:
    """Bring the schema up to date in one transaction."""

    def absent() -> Plan:
        # A role is the whole server's, which may be there before the database.
        owner = owners.MISSING
        with (
            contextlib.suppress(DatabaseUnavailable),
            session(database, setup=True, dbname=postgres_server.MAINTENANCE) as connection,
            connection.cursor() as cursor,
        ):
            owner = owners.look(cursor, database.keys_owner)
        return schema.plan(replace(schema.ABSENT, owner=owner), database)

    return _managed(
        database,
        test,
        plan=lambda connection: schema.plan(schema.look(connection, database), database),
        apply=lambda connection: schema.apply(connection, database),
        absent=absent,
    )


def manage_role(
    database: Database, wanted: roles.DesiredRole, test: bool = False
) -> dict[str, object]:
    """Give a role the attributes, memberships and rights that it is to have, and no others."""
    return _managed(
        database,
        test,
        plan=lambda connection: roles.plan(roles.look(connection, wanted), wanted, database.name),
        apply=lambda connection: roles.apply(connection, wanted),
        absent=lambda: roles.plan(roles.ABSENT, wanted, database.name),
    )


def manage_writer(database: Database, test: bool = False) -> dict[str, object]:
    """Give the writer's role its attributes, rights and password, and no others."""

    def plan(connection) -> Plan:
        wanted = _writer(database, connection)
        return roles.plan(roles.look(connection, wanted), wanted, database.name)

    return _managed(
        database,
        test,
        plan=plan,
        apply=lambda connection: roles.apply(connection, _writer(database, connection)),
        absent=lambda: roles.plan(roles.ABSENT, _writer(database, None), database.name),
    )


def revoke_public(database: Database, test: bool = False) -> dict[str, object]:
    """
    Take from PUBLIC every right on the formula's tables, views and functions; with ``close_keys``
    also the reading of private keys from all others. Notes name who reads private keys.
    """

    def plan(connection) -> Plan:
        closed = public_rights.plan(public_rights.look(connection, database))
        keys = key_readers.plan(key_readers.look(connection, database), database)
        return Plan({**closed.changes, **keys.changes}, keys.notes)

    def apply(connection) -> Plan:
        closed = public_rights.apply(connection, database)
        with keeping_what_was_done(lambda: closed.changes):
            keys = key_readers.apply(connection, database)
        return Plan({**closed.changes, **keys.changes}, keys.notes)

    return _managed(database, test, plan=plan, apply=apply)


def remove_password(database: Database, name: str, test: bool = False) -> dict[str, object]:
    """Take a role's password away; a role that is missing has none."""
    wanted = roles.DesiredRole(name=identifier(name, "name"), password="absent")
    return _managed(
        database,
        test,
        plan=lambda connection: roles.password_plan(roles.look(connection, wanted), wanted),
        apply=lambda connection: roles.apply_password(connection, wanted),
    )


def remove_former_roles(
    database: Database, at_restart: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Take their rights from readers and writers of former settings, and drop the roles that the
    formula made.

    at_restart
        Under ``test``: only those whose sessions end with the restart of this machine's OpenDKIM.
    """
    return _managed(
        database,
        test,
        plan=lambda connection: former_roles.plan(
            former_roles.look(connection, database), at_restart
        ),
        apply=lambda connection: former_roles.apply(connection, database),
    )


def manage_access(
    database: Database, present: bool = True, also_root: bool = False, test: bool = False
) -> dict[str, object]:
    """Write the formula's lines of pg_hba.conf and pg_ident.conf; have PostgreSQL load them."""
    return _managed(
        database,
        test,
        plan=lambda connection: access_files.plan(
            access_files.look(connection), database, present, also_root
        ),
        apply=lambda connection: access_files.apply(connection, database, present, also_root),
        absent=lambda: access_files.plan(access_files.ABSENT, database, present, also_root),
        dbname=postgres_server.MAINTENANCE,
    )


def _writer(database: Database, connection) -> roles.DesiredRole:
    """Return the writer's role; without a connection as a new database needs it."""
    with connection.cursor() if connection else contextlib.nullcontext() as cursor:
        return roles.DesiredRole(
            name=database.writer.name,
            password=database.writer.password or "absent",
            grants=rights.wanted(cursor, database),
            marked_for=database.name,
        )


def wanted_role(
    database: Database, name: str, password: str, relations: object = None
) -> roles.DesiredRole:
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
    return roles.DesiredRole(
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


def _managed(
    database: Database,
    test: bool,
    *,
    plan: Callable[..., Plan],
    apply: Callable[..., Plan],
    absent: Callable[[], Plan] = Plan,
    dbname: str | None = None,
) -> dict[str, object]:
    """
    Return what was changed, or under ``test`` what would be: ``{"changes", "notes"}``.

    plan, apply
        Get the connection. ``apply`` reads, plans and changes in one transaction.
    absent
        Gives the plan for a database that the formula has yet to make.
    """

    def within(function: Callable[..., Plan]) -> Plan:
        with session(database, setup=True, dbname=dbname) as connection:
            return function(connection)

    if test:
        return _looked(database, lambda: within(plan), absent)
    return plain(within(apply))


def _looked(
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
