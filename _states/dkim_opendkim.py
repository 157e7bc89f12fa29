"""States of OpenDKIM's daemons and of their own files on this machine."""

import functools

from dkim_formula.converge import failed
from dkim_salt import managed
from salt.exceptions import CommandExecutionError, SaltInvocationError


def __virtual__():
    return "dkim_opendkim"


def configuration_accepted(name):
    """
    OpenDKIM takes its new configuration, by its own word. Fails where it would not start, before
    the file that it runs with is replaced, also under ``test=True``. Changes nothing.

    .. code-block:: yaml

        OpenDKIM takes its settings:
          dkim_opendkim.configuration_accepted: []
    """
    try:
        found = __salt__["dkim_opendkim.configuration_problems"]()
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    ret = {"name": name, "changes": {}, "result": not found["problems"]}
    if found["problems"]:
        return {**ret, "comment": "\n".join(found["problems"])}
    if not found["asked"]:
        return {**ret, "comment": "OpenDKIM is not installed yet: the run asks it once it is"}
    return {**ret, "comment": "OpenDKIM takes its new configuration"}


def login_accepted(name):
    """
    A database elsewhere lets OpenDKIM's role in by the pillar's settings, and shows the views.
    Fails where it does not, also under ``test=True``, so that a daemon that signs keeps the
    settings that it signs with. Changes nothing.

    .. code-block:: yaml

        OpenDKIM's role can log in:
          dkim_opendkim.login_accepted: []
    """
    try:
        found = __salt__["dkim_opendkim.login_problems"]()
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    ret = {"name": name, "changes": {}, "result": not found["problems"]}
    if found["problems"]:
        return {**ret, "comment": "\n".join(found["problems"])}
    if found["untried"]:
        return {**ret, "comment": f"The login was not tried: {found['untried']}"}
    return {**ret, "comment": "The database lets the role in"}


def configuration_kept(name, copy):
    """
    A configuration file that the formula is about to replace has a copy, for root alone.

    name, copy
        As ``dkim_opendkim.keep_copy``: the file, and its copy.

    .. code-block:: yaml

        /etc/opendkim.conf:
          dkim_opendkim.configuration_kept:
            - copy: /etc/opendkim.conf.before-dkim-formula
    """
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_opendkim.keep_copy"], name, copy),
        in_order="The file has its copy",
        pending="The file would be copied",
        done="The file was copied",
    )


def running(name, socket, reads, mail_service="postfix", milter="", moved_from=(), user=None):
    """
    An OpenDKIM daemon runs, its milter socket takes connections, and it has read its files as they
    are now. See ``dkim_opendkim.restart`` for what happens to mail while it is restarted.

    name
        The daemon's service.
    socket
        Its milter socket. The daemon makes it at its start, so it is as old as the daemon.
    reads
        The files that the daemon reads at its start; one that is younger asks for a restart, also
        where an earlier run was stopped before it came to that.
    mail_service, milter, moved_from
        As ``dkim_opendkim.restart``.
    user
        The account that the socket has to belong to, open for its group; any without it.

    .. code-block:: yaml

        opendkim:
          dkim_opendkim.running:
            - socket: /var/spool/postfix/opendkim/opendkim.sock
            - reads: [/etc/opendkim.conf]
            - watch:
              - file: /etc/opendkim.conf
    """
    is_up_to_date = __salt__["dkim_opendkim.is_up_to_date"](socket, reads, user)
    if is_up_to_date and moved_from:
        # An earlier run may have failed between the daemon's start and main.cf.
        try:
            due = __salt__["dkim_opendkim.restart"](
                name, socket, milter=milter, moved_from=moved_from, test=True
            )
        except (CommandExecutionError, SaltInvocationError) as error:
            return failed(name, error)
        is_up_to_date = not due["main_cf"]
    if is_up_to_date:
        comment = "It runs, with its files as they are"
        return {"name": name, "result": True, "changes": {}, "comment": comment}
    return _restarted(name, socket, mail_service, milter, moved_from)


def mod_watch(
    name, sfun, socket, reads=(), mail_service="postfix", milter="", moved_from=(), **_kwargs
):
    """A restart of the daemon where something that it watches has changed."""
    if sfun != "running":
        comment = f"dkim_opendkim.{sfun} watches nothing"
        return {"name": name, "result": False, "changes": {}, "comment": comment}
    return _restarted(name, socket, mail_service, milter, moved_from)


def _restarted(name, socket, mail_service, milter, moved_from):
    test = __opts__["test"]
    try:
        done = __salt__["dkim_opendkim.restart"](
            name,
            socket,
            mail_service=mail_service,
            milter=milter,
            moved_from=moved_from,
            test=test,
        )
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    changes = {name: {"old": None, "new": "restarted"}, **done["main_cf"]}
    ret = {"name": name, "result": None, "changes": changes}
    if test:
        return {**ret, "comment": f"{name} would be restarted"}
    comment = f"{name} was restarted"
    if done["paused"]:
        comment += f"; {mail_service} stood still meanwhile, so that no mail left unsigned"
    return {**ret, "result": True, "comment": comment}


def password_file_present(name, user):
    """
    The file that OpenDKIM takes the reader's password from is there, for the daemon alone.

    name
        The file's path.
    user
        The daemon's system user.

    .. code-block:: yaml

        /etc/opendkim-pgpass:
          dkim_opendkim.password_file_present:
            - user: opendkim
    """
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_opendkim.write_password_file"], name, user),
        in_order="The file is as it should be",
        pending="The file would be written",
        done="The file was written",
    )
