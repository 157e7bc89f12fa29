"""
The functions that bring database, schema, roles and access files to their desired state.

Each function returns ``{"changes": {name: {"old", "new"}}, "notes": [text]}``: the changes that it
made, or with ``test`` the changes that it would make.
"""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from ..errors import MISSING, DatabaseUnavailable, InvalidValue, keeping_what_was_done
from ..plan import Plan
from ..secret import Secret
from ..settings.arguments import list_of
from ..settings.database_values import qualified_table, writer_name
from ..settings.model import Database
from . import (
    access_files,
    former_roles,
    key_readers,
    objects,
    owners,
    public_rights,
    roles,
    schema,
    writer_rights,
)
from . import server as postgres_server
from .connection import session

Found = TypeVar("Found")

NO_DATABASE_YET = "the database does not exist yet: these are the changes for a new one"
NO_DRIVER_YET = (
    "the database can't be read, because Salt's Python has no psycopg2 yet: these are the changes "
    "for a new database; run state.apply dkim.python, then run again for those of your database"
)


def manage_database(database: Database, test: bool = False) -> dict[str, object]:
    """Create the database and the role that owns it if they are missing."""
    if not test:
        return _to_dict(postgres_server.apply(database))
    return _preview(
        database,
        lambda: postgres_server.plan(postgres_server.read(database), database),
        lambda: postgres_server.plan(postgres_server.ABSENT, database),
    )


def manage_schema(database: Database, test: bool = False) -> dict[str, object]:
    """Bring the schema up to date in one transaction."""

    def read_owner(connection) -> owners.Snapshot:
        with connection.cursor() as cursor:
            return owners.read(cursor, database.keys_owner)

    def absent() -> Plan:
        owner = _from_server(database, read_owner, owners.MISSING)
        return schema.plan(schema.absent(database, owner), database)

    return _managed(
        database,
        test,
        plan=lambda connection: schema.plan(schema.read(connection, database), database),
        apply=lambda connection: schema.apply(connection, database),
        absent=absent,
    )


def manage_role(
    database: Database, desired: roles.DesiredRole, test: bool = False
) -> dict[str, object]:
    """Give a role the desired attributes, memberships and rights, and no others."""
    return _managed(
        database,
        test,
        plan=lambda connection: roles.plan(roles.read(connection, desired), desired, database.name),
        apply=lambda connection: roles.apply(connection, desired),
        absent=lambda: roles.plan(_without_database(database, desired), desired, database.name),
    )


def manage_writer(database: Database, test: bool = False) -> dict[str, object]:
    """Give the writer's role its attributes, rights and password, and no others."""

    def plan(connection) -> Plan:
        desired = _writer(database, connection)
        return roles.plan(roles.read(connection, desired), desired, database.name)

    def absent() -> Plan:
        desired = _writer(database, None)
        return roles.plan(_without_database(database, desired), desired, database.name)

    return _managed(
        database,
        test,
        plan=plan,
        apply=lambda connection: roles.apply(connection, _writer(database, connection)),
        absent=absent,
    )


def revoke_public(database: Database, test: bool = False) -> dict[str, object]:
    """
    Revoke every right on the formula's tables, views and functions from PUBLIC.

    With ``close_keys``, also revoke the rights to read private keys from all other roles. Notes
    name the roles that can read private keys.
    """

    def plan(connection) -> Plan:
        closed = public_rights.plan(public_rights.read(connection, database))
        keys = key_readers.plan(key_readers.read(connection, database), database)
        return Plan({**closed.changes, **keys.changes}, keys.notes)

    def apply(connection) -> Plan:
        closed = public_rights.apply(connection, database)
        with keeping_what_was_done(lambda: closed.changes):
            keys = key_readers.apply(connection, database)
        return Plan({**closed.changes, **keys.changes}, keys.notes)

    return _managed(database, test, plan=plan, apply=apply)


def remove_password(database: Database, name: str, test: bool = False) -> dict[str, object]:
    """Remove a role's password. A missing role has none."""
    desired = roles.DesiredRole(name=_login_role(database, name), password="absent")
    return _managed(
        database,
        test,
        plan=lambda connection: roles.password_plan(roles.read(connection, desired), desired),
        apply=lambda connection: roles.apply_password(connection, desired),
        absent=lambda: roles.password_plan(_without_database(database, desired), desired),
    )


def remove_former_roles(
    database: Database, at_restart: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Revoke the rights of readers and writers of former settings, and drop those that the formula
    made.

    at_restart
        With ``test``: only roles whose sessions end when this machine's OpenDKIM is restarted.
    """
    return _managed(
        database,
        test,
        plan=lambda connection: former_roles.plan(
            former_roles.read(connection, database), at_restart
        ),
        apply=lambda connection: former_roles.apply(connection, database),
    )


def manage_access(
    database: Database,
    present: bool = True,
    also_root: bool = False,
    test: bool = False,
    keep_former: bool = False,
) -> dict[str, object]:
    """Write the formula's lines in pg_hba.conf and pg_ident.conf, and have PostgreSQL load them."""
    how = (present, also_root, keep_former)
    return _managed(
        database,
        test,
        plan=lambda connection: access_files.plan(access_files.read(connection), database, *how),
        apply=lambda connection: access_files.apply(connection, database, *how),
        absent=lambda: access_files.plan(access_files.ABSENT, database, *how),
        dbname=postgres_server.MAINTENANCE,
    )


def _writer(database: Database, connection) -> roles.DesiredRole:
    """Return the desired role of the writer. Without a connection, as a new database needs it."""
    with connection.cursor() if connection else contextlib.nullcontext() as cursor:
        return roles.DesiredRole(
            name=database.writer.name,
            password=database.writer.password or "absent",
            grants=writer_rights.desired(cursor, database),
            marked_for=database.name,
        )


def desired_role(
    database: Database, name: str, password: str, relations: object = None
) -> roles.DesiredRole:
    """
    Return the desired role that the arguments of a state describe.

    password
        ``keep``, ``absent``, or ``pillar`` (the value of ``dkim:database:reader:password``).
    relations
        A list of ``schema.relation`` or ``relation``, or None for the views that OpenDKIM reads.

    Raises InvalidValue for a role that has other work: every other right of it would be revoked.
    """
    pairs = objects.reader_relations(database)
    if relations is not None:
        pairs = tuple(list_of(_relation, relations, "relations"))
    return roles.DesiredRole(
        name=_login_role(database, name),
        password=_password(database, password),
        relations=pairs,
        marked_for=database.name if name == database.reader.name else None,
    )


def _login_role(database: Database, name: object) -> str:
    role = writer_name(name, "name")
    if role in (database.owner, database.keys_owner, database.user):
        raise InvalidValue(
            "name", role, "is a role of dkim:database with other work", "give the reader's role"
        )
    return role


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
    # The value is not shown, because it may be a password.
    raise InvalidValue(
        "password", "…", "is none of the choices", "give one of keep, absent, pillar"
    )


def awaits_setup(error: DatabaseUnavailable, database: Database) -> bool:
    """Return whether the database is missing only because the formula has not made it yet."""
    return error.reason == "no_driver" or (
        database.manage and error.reason in ("no_server", "no_database")
    )


def setup_note(error: DatabaseUnavailable) -> str:
    """Return the note of a test run that could not read the database."""
    return NO_DRIVER_YET if error.reason == "no_driver" else NO_DATABASE_YET


def _without_database(database: Database, desired: roles.DesiredRole) -> roles.Snapshot:
    return _from_server(
        database,
        lambda connection: roles.read_without_database(connection, desired),
        roles.ABSENT,
    )


def _from_server(database: Database, read: Callable[..., Found], missing: Found) -> Found:
    """
    Return what a function of a connection reads on the server; ``missing`` without a server.

    Roles belong to the server, so they may exist before the database.
    """
    with (
        contextlib.suppress(DatabaseUnavailable),
        session(database, setup=True, dbname=postgres_server.MAINTENANCE) as connection,
    ):
        return read(connection)
    return missing


def _to_dict(plan: Plan) -> dict[str, object]:
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
    Make the changes, or with ``test`` plan them, and return ``{"changes", "notes"}``.

    plan, apply
        Functions of the connection. ``apply`` reads, plans and changes in one transaction.
    absent
        Returns the plan for a database that the formula has not made yet.
    """

    def within(function: Callable[..., Plan]) -> Plan:
        with session(database, setup=True, dbname=dbname) as connection:
            return function(connection)

    if test:
        return _preview(database, lambda: within(plan), absent)
    return _to_dict(within(apply))


def _preview(
    database: Database, present: Callable[[], Plan], absent: Callable[[], Plan]
) -> dict[str, object]:
    try:
        return _to_dict(present())
    except DatabaseUnavailable as error:
        if not awaits_setup(error, database):
            raise
        note = setup_note(error)
    planned = _to_dict(absent())
    return {**planned, "notes": [*planned["notes"], note]}
