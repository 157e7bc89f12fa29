"""OpenDKIM's daemons and their own files on this machine."""

from dkim_formula.health import overrides, reader_login
from dkim_formula.settings import arguments
from dkim_formula.settings.lookup import sound_names
from dkim_formula.signer import config, passfile, trial
from dkim_formula.signer import restart as opendkim_restart
from dkim_salt import read_pillar, sound_settings, translated


def __virtual__():
    return "dkim_opendkim"


@translated
def configuration_problems():
    """
    Ask OpenDKIM whether it takes the configuration that the pillar gives it. Changes nothing, and
    writes no file. ``dkim.check`` does the same where OpenDKIM is installed already.

    Returns ``{"problems": [text], "asked": bool}``; ``asked`` is False where it is not installed.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.configuration_problems
    """
    found = sound_settings(__pillar__)
    lookup = sound_names(found.lookup)
    return {
        "problems": trial.problems(found, lookup),
        "asked": trial.can_ask(lookup["opendkim_user"]),
    }


@translated
def login_problems():
    """
    Log in at a database elsewhere as the daemons will, by the pillar's settings, and look at the
    views that they will read. Changes nothing; the daemons' files are not read.

    Returns ``{"problems": [text], "untried": text}``; ``untried`` says why the login could not be
    tried, and is empty where it was.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.login_problems
    """
    problems, untried = reader_login.problems(sound_settings(__pillar__))
    return {"problems": problems, "untried": untried}


class _Services:
    """Salt's ``service`` module, whichever provider this machine has."""

    @staticmethod
    def start(name):
        return __salt__["service.start"](name)

    @staticmethod
    def stop(name):
        return __salt__["service.stop"](name)

    @staticmethod
    def restart(name):
        # Salt asks `systemctl status` whether a unit changed, which misses a new drop-in (measured,
        # Salt 3008.3). It has that function also where systemctl is installed and can't work.
        if "service.systemctl_reload" in __salt__ and not __salt__["service.offline"]():
            __salt__["service.systemctl_reload"]()
        return __salt__["service.restart"](name)


@translated
def restart(service, socket, mail_service="postfix", milter="", moved_from=(), test=False):
    """
    Restarts an OpenDKIM daemon and waits until its milter socket takes connections. Where Postfix
    would send mail on unsigned in the meantime (``milter_default_action = accept``), it stands
    still for these seconds.

    service, socket
        The daemon's service and its socket's path.
    mail_service
        Postfix's service.
    milter, moved_from
        The daemon's address in main.cf, and the addresses that it had there before.

    test
        Only tell: the return is that of a run, and nothing is changed.

    Returns ``{"restarted": service, "paused": bool, "main_cf": {parameter: {"old", "new"}}}``.
    Refuses where a unit file of the site's would keep the daemon from signing after its start, as
    ``dkim.check`` says.

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
        test=test,
    )


@translated
def is_up_to_date(socket, reads=(), user=None):
    """
    Whether a daemon accepts connections at a milter socket, and made it after the files that it
    reads at its start were last written.

    socket
        The socket's path.
    reads
        A list of files.
    user
        The account that the socket has to belong to, open for its group; any without it.

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
    Write the file that OpenDKIM's libpq takes the reader's password from (PostgreSQL, «The Password
    File»), mode 0400, the daemon's own. The password comes from the pillar.

    path
        The file's path.
    user
        The daemon's system user.
    test
        True changes nothing, and returns what would be changed.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": []}``, never the password. Raises
    SaltInvocationError where the pillar has no password, or the machine no such user.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.write_password_file /etc/opendkim-pgpass opendkim test=True
    """
    database = sound_settings(__pillar__).database
    return (passfile.changes if test else passfile.write)(database, path, user)


@translated
def keep_copy(path, copy, test=False):
    """
    Copy a configuration file, owner root and mode 0400; a password in it is left out.

    path, copy
        Of the file, and of its copy. A copy that is there is never written again.
    test
        True changes nothing, and returns what would be changed.

    Returns ``{"changes": {copy: {"old", "new"}}, "notes": []}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.keep_copy /etc/opendkim.conf /root/opendkim.conf test=True
    """
    path = arguments.absolute_path(path, "path")
    copy = arguments.absolute_path(copy, "copy")
    if not config.lacks_copy(path, copy):
        return {"changes": {}, "notes": []}
    if not test:
        config.keep(path, copy)
    return {"changes": {copy: {"old": None, "new": f"copy of {path}"}}, "notes": []}
