"""
States of the virtual-mail database: that it exists, its schema, the reader's role and way in.

Each looks, tells under ``test=True`` what a run would change, changes it, and looks again.
"""

import functools

from dkim_salt import managed


def __virtual__():
    return "dkim_postgres"


def database_present(name):
    """
    The database of ``dkim:database:name`` exists.

    .. code-block:: yaml

        The virtual-mail database exists:
          dkim_postgres.database_present: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.manage_database"],
        in_order="The database is there",
        pending="The database would be made",
        done="The database was made",
    )


def schema_present(name):
    """
    The database has the formula's table, views and triggers, at the newest migration. A table made
    by hand is adopted in place and goes on signing.

    .. code-block:: yaml

        The database holds DKIM keys:
          dkim_postgres.schema_present: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.manage_schema"],
        in_order="The schema is up to date",
        pending="The schema would be brought up to date",
        done="The schema was brought up to date",
    )


def role_present(name, password="keep", relations=None):
    """
    A role that may log in and read some relations, and nothing else: attributes, memberships and
    rights that are too wide are taken back.

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
        in_order="The role is as it should be",
        pending="The role would be changed",
        done="The role was changed",
    )


def writer_present(name):
    """
    The role of ``dkim:database:writer``, which the daily work is done with, has the rights for that
    and no others.

    .. code-block:: yaml

        Salt's role does the daily work:
          dkim_postgres.writer_present: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.manage_writer"],
        in_order="The role is as it should be",
        pending="The role would be changed",
        done="The role was changed",
    )


def closed_to_public(name):
    """
    PUBLIC, which is every role, has no right on the formula's tables, views and functions. With
    pillar ``dkim:database:close_keys`` no other role reads private keys either; without it the
    comment names the roles that do.

    .. code-block:: yaml

        The keys are nobody else's:
          dkim_postgres.closed_to_public: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim_postgres.revoke_public"],
        in_order="Nobody has a right on them that is to be taken back",
        pending="Rights of others would be taken back",
        done="Rights of others were taken back",
    )


def former_roles_absent(name, after_restart=False):
    """
    No reader and no writer of former settings has a right in the database; those that the formula
    made are gone. A role that still has a session stays until a run finds none, and the comment
    says so.

    after_restart
        True for the state behind the restart of OpenDKIM: under ``test=True`` it tells of the roles
        whose sessions that restart ends, and of these alone.

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
        in_order="No role of former settings can be removed",
        pending="Roles of former settings would be removed",
        done="Roles of former settings were removed",
    )


def password_absent(name):
    """
    A role has no password. A role that is not there has none.

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
        in_order="The role has no password",
        pending="The role's password would be removed",
        done="The role's password was removed",
    )


def access_present(name, also_root=False):
    """
    The reader's and the writer's lines are in ``pg_hba.conf`` and ``pg_ident.conf``, in force.
    PostgreSQL checks both files before they are loaded; one that it finds fault with is put back.

    also_root
        True lets root log in as the reader too: for a daemon that an init script starts as root.

    .. code-block:: yaml

        OpenDKIM may log in by peer:
          dkim_postgres.access_present: []
    """
    return _access(name, True, also_root)


def access_absent(name):
    """
    The reader's and the writer's lines are in neither file.

    .. code-block:: yaml

        OpenDKIM has no way in:
          dkim_postgres.access_absent: []
    """
    return _access(name, False, False)


def _access(name, present, also_root):
    arguments = {"present": present, "also_root": also_root}
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_postgres.manage_access"], **arguments),
        in_order="The access files are as they should be",
        pending="The access files would be changed",
        done="The access files were changed and loaded",
    )
