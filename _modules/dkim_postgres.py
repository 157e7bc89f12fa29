"""
PostgreSQL for the dkim formula: the database, its schema, the two roles and their logins.

Root connects as the local ``postgres`` account; pillar ``dkim:database`` names another server, or
another account. Each function changes what differs from the pillar, and with ``test=True`` returns
what a run would change. No password is ever in an argument or a return.

:depends: psycopg2
"""

from dkim_formula.postgres import commands as postgres_commands
from dkim_salt import read_pillar, translated, valid_settings


def __virtual__():
    return "dkim_postgres"


def _database(present=True):
    # dkim.clean removes things also with an invalid pillar.
    return (valid_settings(__pillar__) if present else read_pillar(__pillar__).settings).database


@translated
def manage_database(test=False):
    """
    Create the virtual-mail database and its owner role if they are missing.

    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_database test=True
    """
    return postgres_commands.manage_database(_database(), test)


@translated
def manage_schema(test=False):
    """
    Bring the schema up to date in one transaction. A table that was made by hand is adopted and
    keeps its rows.

    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_schema test=True
    """
    return postgres_commands.manage_schema(_database(), test)


@translated
def manage_role(name, password="keep", relations=None, test=False):
    """
    Let a role log in and SELECT from the given relations, and do nothing else in the database.
    Other attributes, memberships and rights are revoked. PostgreSQL gets a password only as a
    SCRAM verifier.

    name
        The role. Roles of PostgreSQL's own, and those of ``dkim:database`` that own or set up
        something, are refused.
    password
        ``keep`` leaves the password as it is, ``absent`` removes it, ``pillar`` sets the one of
        ``dkim:database:reader:password``.
    relations
        A list of ``schema.relation``; default: the views that OpenDKIM reads.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_role vmail-dkim-reader password=absent test=True
    """
    database = _database()
    desired = postgres_commands.desired_role(database, name, password, relations)
    return postgres_commands.manage_role(database, desired, test)


@translated
def manage_writer(test=False):
    """
    Let the role of ``dkim:database:writer`` log in, with the rights that keys, rotation and records
    need, and no other rights.

    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_writer test=True
    """
    return postgres_commands.manage_writer(_database(), test)


@translated
def revoke_public(test=False):
    """
    Revoke every right of PUBLIC, which is every role, on the formula's tables, views and functions.
    With pillar ``dkim:database:close_keys``, only the formula's roles can read private keys
    afterwards, and one of them owns the table of keys. The notes name all roles that can read
    private keys.

    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.revoke_public test=True
    """
    return postgres_commands.revoke_public(_database(), test)


@translated
def remove_password(name, test=False):
    """
    Remove a role's password. Nothing changes if the role is missing.

    name
        The role.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.remove_password vmail-dkim-reader test=True
    """
    return postgres_commands.remove_password(_database(), name, test)


@translated
def remove_former_roles(at_restart=False, test=False):
    """
    Remove readers and writers of former settings. A role that the formula created is dropped,
    unless it owns something or still has a session. A role that existed before loses its rights in
    the database and stays.

    at_restart
        Under ``test``: True returns only the roles whose sessions end when this machine's OpenDKIM
        restarts.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.remove_former_roles test=True
    """
    return postgres_commands.remove_former_roles(_database(), at_restart, test)


@translated
def manage_access(present=True, also_root=False, test=False, keep_former=False):
    """
    Write the formula's lines of ``pg_hba.conf`` and ``pg_ident.conf``, let PostgreSQL check both
    files, and reload. If PostgreSQL finds an error, the old files are restored.

    present
        False removes the lines.
    also_root
        True lets root log in as the reader too: for a daemon that an init script starts as root.
    test
        True changes nothing, and returns what a run would change.
    keep_former
        True keeps the lines of readers and writers that the settings no longer name.

    Returns ``{"changes": {file: {"old", "new"}}, "notes": [text]}``. Raises CommandExecutionError
    if a file was invalid before.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_access test=True
    """
    database = _database(present)
    return postgres_commands.manage_access(database, present, also_root, test, keep_former)
