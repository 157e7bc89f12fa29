"""States of OpenDKIM's daemons and their files on this machine."""

import functools

from dkim_formula.converge import failed
from dkim_salt import managed
from salt.exceptions import CommandExecutionError, SaltInvocationError


def __virtual__():
    return "dkim_opendkim"


def configuration_accepted(name):
    """
    Ensure that OpenDKIM itself accepts its new configuration. Fails if OpenDKIM would not start,
    before its present file is replaced, also under ``test=True``. Changes nothing.

    .. code-block:: yaml

        OpenDKIM accepts its settings:
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
        return {**ret, "comment": "OpenDKIM is not installed yet; the run checks it later"}
    return {**ret, "comment": "OpenDKIM accepts its new configuration"}


def login_accepted(name):
    """
    Ensure that OpenDKIM's role can log in to a database on another machine by the pillar's
    settings, and can read the views. Fails otherwise, also under ``test=True``, so that a daemon
    that signs keeps its settings. Changes nothing.

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
    return {**ret, "comment": "The role can log in to the database"}


def configuration_kept(name, copy):
    """
    Ensure that a configuration file has a copy that only root can read, before the formula replaces
    the file.

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
        ok="The file has its copy",
        pending="The file would be copied",
        done="The file was copied",
    )


def running(name, socket, reads, mail_service="postfix", milter="", moved_from=(), user=None):
    """
    Ensure that an OpenDKIM daemon runs, that its milter socket accepts connections, and that the
    daemon has read its present files. ``dkim_opendkim.restart`` says what happens to mail during a
    restart.

    name
        The daemon's service.
    socket
        The path of the milter socket. The daemon creates the socket at its start.
    reads
        The files that the daemon reads at its start. A file that is newer than the socket causes a
        restart, also if an earlier run stopped before the restart.
    mail_service, milter, moved_from
        As ``dkim_opendkim.restart``.
    user
        The account that must own the socket, which its group may use. Default: any account.

    .. code-block:: yaml

        opendkim:
          dkim_opendkim.running:
            - socket: /var/spool/postfix/opendkim/opendkim.sock
            - reads: [/etc/opendkim.conf]
            - watch:
              - file: /etc/opendkim.conf
    """
    try:
        is_up_to_date = __salt__["dkim_opendkim.is_up_to_date"](socket, reads, user)
        if is_up_to_date and moved_from:
            # An earlier run may have failed after the daemon's start, before it changed main.cf.
            due = __salt__["dkim_opendkim.restart"](
                name, socket, milter=milter, moved_from=moved_from, test=True
            )
            is_up_to_date = not due["main_cf"]
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    if is_up_to_date:
        comment = f"The service {name} runs with its present files"
        return {"name": name, "result": True, "changes": {}, "comment": comment}
    return _restarted(name, socket, reads, mail_service, milter, moved_from)


def mod_watch(
    name, sfun, socket, reads=(), mail_service="postfix", milter="", moved_from=(), **_kwargs
):
    """Restart the daemon because a watched state made changes."""
    if sfun != "running":
        comment = f"dkim_opendkim.{sfun} watches nothing"
        return {"name": name, "result": False, "changes": {}, "comment": comment}
    return _restarted(name, socket, reads, mail_service, milter, moved_from)


def _restarted(name, socket, reads, mail_service, milter, moved_from):
    test = __opts__["test"]
    try:
        done = __salt__["dkim_opendkim.restart"](
            name,
            socket,
            mail_service=mail_service,
            milter=milter,
            moved_from=moved_from,
            reads=reads,
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
        comment += f"; {mail_service} was stopped during the restart, so no mail left unsigned"
    return {**ret, "result": True, "comment": comment}


def password_file_present(name, user):
    """
    Ensure that the file with the reader's password exists, and that only the daemon can read it.

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
        ok="The file is up to date",
        pending="The file would be written",
        done="The file was written",
    )
