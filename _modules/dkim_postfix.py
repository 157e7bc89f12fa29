"""
Milters in Postfix's main.cf and master.cf, among other people's.

Salt has no state that joins a list in main.cf; this module reads and writes it with postconf(1).
"""

from collections.abc import Mapping

from dkim_formula import arguments
from dkim_formula.errors import InvalidValue
from dkim_formula.postfix import joining, milters, services
from dkim_formula.settings.check import shown
from dkim_formula.signer import restart as opendkim_restart
from dkim_salt import translated


def __virtual__():
    return "dkim_postfix"


@translated
def milter_changes(present, default_action=None, absent=(), moved_from=None, unsigned_services=()):
    """
    Return what main.cf and master.cf lack for mail to go through our milters.

    present
        A list of our milters, as main.cf writes them: ``unix:opendkim/opendkim.sock``. The path is
        relative to the queue directory, where chrooted and other services both find it.
    default_action
        What Postfix does while one of them does not answer, written at its own entry. Without it:
        what the entry says, else ``milter_default_action`` of main.cf, else ``accept``.
    absent
        Milters of ours that are to be there no more.
    moved_from
        A mapping of our milters to lists of addresses that the same daemon had before.
    unsigned_services
        Services of master.cf that are to go round our milters: ``smtp/inet``.

    Returns ``{"changes": {parameter: {"old", "new"}}, "notes": [text]}``; everything is missing
    where Postfix is not installed yet. A parameter of master.cf is ``service/type/parameter``. The
    notes name mail that goes round our milters all the same, and other milters that don't answer.

    Raises CommandExecutionError where main.cf can't be read.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.milter_changes '[unix:opendkim/opendkim.sock]' tempfail
    """
    return _told(_planned(present, default_action, absent, moved_from, unsigned_services))


@translated
def join_milters(
    present, default_action=None, absent=(), sockets=(), moved_from=None, unsigned_services=()
):
    """
    Set what ``dkim_postfix.milter_changes`` tells, and return it. Postfix has to be restarted.

    present, default_action, absent, moved_from, unsigned_services
        As ``dkim_postfix.milter_changes``.
    sockets
        The milters' sockets as this machine sees them; CommandExecutionError, and nothing is
        changed, where one of them does not answer.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.join_milters '[unix:opendkim/opendkim.sock]' tempfail
    """
    for socket in arguments.list_of(arguments.absolute_path, sockets, "sockets"):
        opendkim_restart.must_answer(socket)
    return _applied(_planned(present, default_action, absent, moved_from, unsigned_services))


@translated
def leftover_changes(absent, moved_from=None):
    """
    Return what main.cf and master.cf still have of our milters.

    absent
        A list of our milters.
    moved_from
        As ``dkim_postfix.milter_changes``.

    Returns and raises as ``dkim_postfix.milter_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.leftover_changes '[unix:opendkim/opendkim.sock]'
    """
    return _told(_leftover(absent, moved_from))


@translated
def leave_milters(absent, moved_from=None):
    """
    Take our milters out of main.cf and master.cf; other people's stay.

    absent, moved_from
        As ``dkim_postfix.leftover_changes``.

    Returns what was changed, as ``dkim_postfix.leftover_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.leave_milters '[unix:opendkim/opendkim.sock]'
    """
    return _applied(_leftover(absent, moved_from))


def _planned(present, default_action, absent, moved_from, unsigned_services):
    if default_action is not None:
        arguments.choice(*milters.DEFAULT_ACTIONS)(default_action, "default_action")
    return joining.present(
        services.read(),
        arguments.list_of(arguments.milter, present, "present"),
        default_action,
        arguments.list_of(arguments.milter, absent, "absent"),
        _addresses(moved_from),
        arguments.list_of(arguments.text, unsigned_services, "unsigned_services"),
    )


def _leftover(absent, moved_from):
    gone = arguments.list_of(arguments.milter, absent, "absent")
    return joining.absent(services.read(), gone, _addresses(moved_from), joining.remembered())


def _addresses(moved_from):
    if moved_from is None:
        return {}
    if not isinstance(moved_from, Mapping):
        raise InvalidValue(
            "moved_from",
            shown(moved_from),
            "is not a mapping",
            "give one of milters to lists of their older addresses",
        )
    return {
        arguments.milter(milter, "moved_from"): arguments.list_of(
            arguments.text, older, "moved_from"
        )
        for milter, older in moved_from.items()
    }


def _applied(plan):
    plan.apply()
    return _told(plan)


def _told(plan):
    return {"changes": plan.changes(), "notes": list(plan.notes)}
