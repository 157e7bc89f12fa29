"""
States of the virtual-mail database: the database, its schema, the roles, their rights and logins.

Each state reads, makes its changes, and reads again. With ``test=True`` it reports what a run would
change.
"""

import functools

from dkim_salt import managed


def __virtual__():
    return "dkim_postgres"


def database_present(name):
    """
    Ensure that the database of ``dkim:database:name`` exists.

    .. code-block:: yaml

        The virtual-mail database exists:
          dkim_postgres.database_present: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.manage_database"],
        ok="The database exists",
        pending="The database would be created",
        done="The database was created",
    )


def schema_present(name):
    """
    Ensure that the database has the formula's tables, views and triggers, at the newest migration.
    A table made by hand is adopted, and its keys sign without interruption.

    .. code-block:: yaml

        The database holds DKIM keys:
          dkim_postgres.schema_present: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.manage_schema"],
        ok="The schema is up to date",
        pending="The schema would be brought up to date",
        done="The schema was brought up to date",
    )


def role_present(name, password="keep", relations=None):
    """
    Ensure that a role can log in and read the given relations, and do nothing else: other
    attributes, memberships and rights are revoked.

    name
        The role.
    password, relations
        As ``dkim_postgres.manage_role``.

    .. code-block:: yaml

        vmail-dkim-reader:
          dkim_postgres.role_present:
            - password: absent
    """
    arguments = {"password": password, "relations": relations}
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_postgres.manage_role"], name, **arguments),
        ok="The role is up to date",
        pending="The role would be changed",
        done="The role was changed",
    )


def writer_present(name):
    """
    Ensure that the role of ``dkim:database:writer`` has the rights that keys, rotation and records
    need, and no other rights.

    .. code-block:: yaml

        The writer has its rights:
          dkim_postgres.writer_present: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.manage_writer"],
        ok="The role is up to date",
        pending="The role would be changed",
        done="The role was changed",
    )


def closed_to_public(name):
    """
    Ensure that PUBLIC, which is every role, has no rights on the formula's tables, views and
    functions. With pillar ``dkim:database:close_keys``, no other role can read private keys;
    without it the comment names the roles that can.

    .. code-block:: yaml

        PUBLIC has no rights on the DKIM tables:
          dkim_postgres.closed_to_public: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.revoke_public"],
        ok="No rights on the DKIM tables are to be revoked",
        pending="Rights of other roles would be revoked",
        done="Rights of other roles were revoked",
    )


def former_roles_absent(name, after_restart=False):
    """
    Ensure that no reader or writer of former settings has rights in the database, and that those
    which the formula created are dropped. A role that still has a session stays until a later run
    finds no session; the comment says so.

    after_restart
        True for the state that follows the restart of OpenDKIM. Under ``test=True`` this state
        reports only the roles whose sessions end with that restart.

    .. code-block:: yaml

        Roles of former settings are gone:
          dkim_postgres.former_roles_absent: []
    """
    return managed(
        __opts__,
        name,
        functools.partial(
            __salt__["dkim_postgres.remove_former_roles"], after_restart and __opts__["test"]
        ),
        ok="No role of former settings can be removed",
        pending="Roles of former settings would be removed",
        done="Roles of former settings were removed",
    )


def password_absent(name):
    """
    Ensure that a role has no password. Succeeds if the role is missing.

    name
        The role.

    .. code-block:: yaml

        vmail-dkim-reader:
          dkim_postgres.password_absent: []
    """
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_postgres.remove_password"], name),
        ok="The role has no password",
        pending="The role's password would be removed",
        done="The role's password was removed",
    )


def access_present(name, also_root=False, keep_former=False):
    """
    Ensure that ``pg_hba.conf`` and ``pg_ident.conf`` have the lines of the reader and the writer,
    and that PostgreSQL has loaded them. PostgreSQL checks both files first; if it finds an error,
    the old files are restored.

    also_root
        True lets root log in as the reader too: for a daemon that an init script starts as root.
    keep_former
        True keeps the lines of readers and writers that the settings no longer name.

    .. code-block:: yaml

        The roles can log in:
          dkim_postgres.access_present: []
    """
    return _access(name, True, also_root, keep_former)


def access_absent(name):
    """
    Ensure that ``pg_hba.conf`` and ``pg_ident.conf`` have no lines of the reader and the writer.

    .. code-block:: yaml

        The roles can't log in:
          dkim_postgres.access_absent: []
    """
    return _access(name, False, False, False)


def _access(name, present, also_root, keep_former):
    arguments = {"present": present, "also_root": also_root, "keep_former": keep_former}
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_postgres.manage_access"], **arguments),
        ok="The access files are up to date",
        pending="The access files would be changed",
        done="The access files were changed and loaded",
    )
