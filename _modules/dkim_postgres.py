"""
PostgreSQL for the dkim formula: the database, its schema, the two roles and their ways in.

Root takes the local ``postgres`` account's identity for connecting; pillar ``dkim:database`` names
another server, or another account. Each thing has two functions: one tells what differs, one makes
it so. No password is ever in an argument or a return.

:depends: psycopg2
"""

from dkim_formula.operations import setup
from dkim_salt import read_pillar, sound_settings, translated


def __virtual__():
    return "dkim_postgres"


def _database(present=True):
    # What is taken away does not depend on a sound pillar: dkim.clean.
    return (sound_settings(__pillar__) if present else read_pillar(__pillar__).settings).database


@translated
def database_changes():
    """
    Whether the virtual-mail database and its owner role are there.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.database_changes
    """
    return setup.database_changes(_database())


@translated
def make_database():
    """
    Makes the database and its owner role where they are missing; returns what was made.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.make_database
    """
    return setup.make_database(_database())


@translated
def schema_changes():
    """
    Which migrations and which views are due in the database.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.schema_changes
    """
    return setup.schema_changes(_database())


@translated
def migrate():
    """
    Brings the schema up to date, in one transaction: a table made by hand or by an older tool is
    adopted in place. Returns what was done.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.migrate
    """
    return setup.migrate(_database())


@translated
def role_changes(name, password="keep", relations=None):
    """
    What of a role is not as it is to be: it logs in, has no other attribute, is a member of no
    role, and may SELECT from the given relations and do nothing else in the database.

    name
        The role.
    password
        ``keep`` leaves it as it is, ``absent`` takes it away, ``pillar`` makes it the one of
        ``dkim:database:reader:password``.
    relations
        A list of ``schema.relation``; default: the views that OpenDKIM reads.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.role_changes vmail-dkim-reader
    """
    database = _database()
    return setup.role_changes(database, setup.wanted_role(database, name, password, relations))


@translated
def manage_role(name, password="keep", relations=None):
    """
    Makes the role so; rights that are too wide are taken back. A password goes to PostgreSQL as a
    SCRAM verifier alone. Arguments and return as ``dkim_postgres.role_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_role vmail-dkim-reader password=absent
    """
    database = _database()
    return setup.manage_role(database, setup.wanted_role(database, name, password, relations))


@translated
def worker_changes():
    """
    What of the worker's role, ``dkim:database:worker``, is not as it is to be: it logs in, has no
    other attribute, owns nothing, and has the rights that keys, rotation and records need.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.worker_changes
    """
    return setup.worker_changes(_database())


@translated
def manage_worker():
    """
    Makes that role so; rights that are too wide are taken back. Returns as
    ``dkim_postgres.worker_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_worker
    """
    return setup.manage_worker(_database())


@translated
def public_changes():
    """
    Which rights on the formula's tables, views and functions PUBLIC has, and with it every role.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.public_changes
    """
    return setup.public_changes(_database())


@translated
def close_to_public():
    """
    Takes these rights back. Returns as ``dkim_postgres.public_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.close_to_public
    """
    return setup.close_to_public(_database())


@translated
def password_changes(name):
    """
    Whether a role has a password.

    name
        The role.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``, without changes where it has
    none or is not there.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.password_changes vmail-dkim-reader
    """
    return setup.password_changes(_database(), name)


@translated
def remove_password(name):
    """
    Takes a role's password away.

    name
        The role.

    Returns what was changed, as ``dkim_postgres.password_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.remove_password vmail-dkim-reader
    """
    return setup.remove_password(_database(), name)


@translated
def former_role_changes(at_restart=False):
    """
    Which readers and workers of former settings are to go. A role that the formula made is dropped,
    unless it owns something; one that was there before loses its rights in the database and stays.

    at_restart
        True: only those whose sessions end with the restart of this machine's OpenDKIM.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.former_role_changes
    """
    return setup.former_role_changes(_database(), at_restart)


@translated
def remove_former_roles():
    """
    Removes these roles and rights, but for those of a role that still has a session. Returns as
    ``dkim_postgres.former_role_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.remove_former_roles
    """
    return setup.remove_former_roles(_database())


@translated
def access_changes(present=True, also_root=False):
    """
    Which of the formula's lines in ``pg_hba.conf`` and ``pg_ident.conf`` are to come, move or go.

    present
        False: they are to go.
    also_root
        True lets root log in as the reader too: for a daemon that an init script starts as root.

    Returns ``{"changes": {file: {"old", "new"}}, "notes": [text]}``. Raises CommandExecutionError
    where a file is broken already.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.access_changes
    """
    return setup.access_changes(_database(present), present, also_root)


@translated
def manage_access(present=True, also_root=False):
    """
    Writes these lines, has PostgreSQL check both files and reload; what PostgreSQL finds fault
    with is put back. Arguments and return as ``dkim_postgres.access_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postgres.manage_access
    """
    return setup.manage_access(_database(present), present, also_root)
