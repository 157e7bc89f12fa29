"""OpenDKIM's daemons and their own files on this machine."""

from dkim_formula.health import overrides, remote_database
from dkim_formula.settings import arguments
from dkim_formula.settings.lookup import valid_names
from dkim_formula.signer import config_check, config_copy, passfile
from dkim_formula.signer import restart as opendkim_restart
from dkim_salt import read_pillar, translated, valid_settings


def __virtual__():
    return "dkim_opendkim"


@translated
def configuration_problems():
    """
    Check by OpenDKIM itself whether it accepts the configuration that the pillar produces. Changes
    nothing and writes no file. ``dkim.check`` does the same if OpenDKIM is installed.

    Returns ``{"problems": [text], "asked": bool}``; ``asked`` is False if OpenDKIM is not
    installed.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.configuration_problems
    """
    found = valid_settings(__pillar__)
    lookup = valid_names(found.lookup)
    return {
        "problems": config_check.problems(found, lookup),
        "asked": config_check.can_ask(lookup["opendkim_user"]),
    }


@translated
def login_problems():
    """
    Log in to a database on another machine as the daemons do, by the pillar's settings, and read
    the daemons' views. Changes nothing, and reads no file of the daemons.

    Returns ``{"problems": [text], "untried": text}``; ``untried`` says why the login could not be
    tried, and is empty if it was tried.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.login_problems
    """
    problems, untried = remote_database.problems(valid_settings(__pillar__))
    return {"problems": problems, "untried": untried}


class _Services:
    """Salt's ``service`` module, by the provider of this machine."""

    @staticmethod
    def start(name):
        return __salt__["service.start"](name)

    @staticmethod
    def stop(name):
        return __salt__["service.stop"](name)

    @staticmethod
    def restart(name):
        # Salt asks `systemctl status` whether a unit changed, which misses a new drop-in (measured,
        # Salt 3008.3). The function also exists where systemctl is installed but can't work.
        if "service.systemctl_reload" in __salt__ and not __salt__["service.offline"]():
            __salt__["service.systemctl_reload"]()
        return __salt__["service.restart"](name)


@translated
def restart(
    service, socket, mail_service="postfix", milter="", moved_from=(), reads=(), test=False
):
    """
    Restart an OpenDKIM daemon and wait until its milter socket accepts connections. Postfix is
    stopped during the restart where it would send mail on unsigned (``milter_default_action =
    accept``).

    service, socket
        The daemon's service, and the path of its socket.
    mail_service
        Postfix's service.
    milter, moved_from
        The daemon's address in main.cf, and its earlier addresses there.
    reads
        The files that the daemon reads at its start. A file with a future time gets the present
        time, so that the next run can compare it with the socket.
    test
        True changes nothing, and returns what a run would return.

    Returns ``{"restarted": service, "paused": bool, "main_cf": {parameter: {"old", "new"}}}``.
    Raises CommandExecutionError, without a restart, if a unit file that the formula does not manage
    keeps the daemon from signing; ``dkim.check`` names such a file.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.restart opendkim /var/spool/postfix/opendkim/opendkim.sock
    """
    service = arguments.text(service, "service")
    overrides.refuse_to_start(read_pillar(__pillar__).settings, service)
    return opendkim_restart.restart(
        _Services,
        service,
        arguments.absolute_path(socket, "socket"),
        mail_service=arguments.text(mail_service, "mail_service"),
        milter=milter and arguments.milter(milter, "milter"),
        moved_from=arguments.list_of(arguments.text, moved_from, "moved_from"),
        reads=arguments.list_of(arguments.absolute_path, reads, "reads"),
        test=test,
    )


@translated
def is_up_to_date(socket, reads=(), user=None):
    """
    Return whether a daemon accepts connections at a milter socket, and created the socket after
    the last change of the files that it reads at its start.

    socket
        The socket's path.
    reads
        A list of files.
    user
        The account that must own the socket, which its group may use. Default: any account.

    Returns True or False.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.is_up_to_date /run/opendkim.sock '[/etc/opendkim.conf]'
    """
    return opendkim_restart.is_up_to_date(
        arguments.absolute_path(socket, "socket"),
        arguments.list_of(arguments.absolute_path, reads, "reads"),
        user if user is None else arguments.text(user, "user"),
    )


@translated
def write_password_file(path, user, test=False):
    """
    Write the file from which OpenDKIM's libpq reads the reader's password (PostgreSQL, «The
    Password File»). The daemon owns the file, mode 0400. The password is that of the pillar.

    path
        The file's path.
    user
        The daemon's system user.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": []}``, never the password. Raises
    SaltInvocationError if the pillar has no password, or if the user is missing.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.write_password_file /etc/opendkim-pgpass opendkim test=True
    """
    database = valid_settings(__pillar__).database
    planned = passfile.changes(database, path, user)
    if not test:
        passfile.write(database, path, user)
    return planned


@translated
def keep_copy(path, copy, test=False):
    """
    Copy a configuration file without its passwords. Root owns the copy, mode 0400.

    path, copy
        The paths of the file and of its copy. An existing copy is never overwritten.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {copy: {"old", "new"}}, "notes": []}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.keep_copy /etc/opendkim.conf /root/opendkim.conf test=True
    """
    path = arguments.absolute_path(path, "path")
    copy = arguments.absolute_path(copy, "copy")
    if not config_copy.lacks_copy(path, copy):
        return {"changes": {}, "notes": []}
    if not test:
        config_copy.save_copy(path, copy)
    return {"changes": {copy: {"old": None, "new": f"copy of {path}"}}, "notes": []}
