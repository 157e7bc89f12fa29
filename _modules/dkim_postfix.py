"""
Milters in Postfix's main.cf and master.cf, among other people's.

Salt has no state that joins a list in main.cf; this module reads and writes it with postconf(1).
"""

from collections.abc import Mapping

from dkim_formula.errors import InvalidValue
from dkim_formula.postfix import joining, service_milters
from dkim_formula.settings import arguments
from dkim_formula.settings.model import MILTER_DEFAULT_ACTIONS
from dkim_formula.settings.validation import shown
from dkim_formula.signer import restart as opendkim_restart
from dkim_salt import translated


def __virtual__():
    return "dkim_postfix"


@translated
def manage_milters(
    present,
    default_action=None,
    absent=(),
    sockets=(),
    moved_from=None,
    unsigned_services=(),
    test=False,
):
    """
    Set what main.cf and master.cf lack for mail to go through our milters. Postfix has to be
    restarted afterwards.

    present
        A list of our milters, as main.cf writes them: ``unix:opendkim/opendkim.sock``. The path is
        relative to the queue directory, where chrooted and other services both find it.
    default_action
        What Postfix does while one of them does not answer, written at its own entry. Without it:
        what the entry says, else ``milter_default_action`` of main.cf, else ``accept``.
    absent
        Milters of ours that are to be there no more.
    sockets
        The milters' sockets as this machine sees them; CommandExecutionError, and nothing is
        changed, where one of them does not answer.
    moved_from
        A mapping of our milters to lists of addresses that the same daemon had before.
    unsigned_services
        Services of master.cf that are to go round our milters: ``smtp/inet``.
    test
        True changes nothing, and returns what would be changed.

    Returns ``{"changes": {parameter: {"old", "new"}}, "notes": [text]}``; under ``test`` everything
    is missing where Postfix is not installed yet. A parameter of master.cf is
    ``service/type/parameter``. The notes name mail that goes round our milters all the same, and
    other milters that don't answer.

    Raises CommandExecutionError where main.cf can't be read.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.manage_milters '[unix:opendkim/opendkim.sock]' tempfail test=True
    """
    sockets = arguments.list_of(arguments.absolute_path, sockets, "sockets")
    if not test:
        for socket in sockets:
            opendkim_restart.must_answer(socket)
    plan = _planned(present, default_action, absent, moved_from, unsigned_services)
    return _carried_out(plan, test)


@translated
def remove_milters(absent, moved_from=None, test=False):
    """
    Take our milters out of main.cf and master.cf; other milters stay.

    absent
        A list of our milters.
    moved_from
        As ``dkim_postfix.manage_milters``.
    test
        True changes nothing, and returns what would be changed.

    Returns and raises as ``dkim_postfix.manage_milters``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.remove_milters '[unix:opendkim/opendkim.sock]' test=True
    """
    gone = arguments.list_of(arguments.milter, absent, "absent")
    plan = joining.absent(
        service_milters.read(), gone, _addresses(moved_from), joining.remembered()
    )
    return _carried_out(plan, test)


def _planned(present, default_action, absent, moved_from, unsigned_services):
    if default_action is not None:
        arguments.choice(*MILTER_DEFAULT_ACTIONS)(default_action, "default_action")
    return joining.present(
        service_milters.read(),
        arguments.list_of(arguments.milter, present, "present"),
        default_action,
        arguments.list_of(arguments.milter, absent, "absent"),
        _addresses(moved_from),
        arguments.list_of(arguments.text, unsigned_services, "unsigned_services"),
    )


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


def _carried_out(plan, test):
    if not test:
        plan.apply()
    return {"changes": plan.changes(), "notes": list(plan.notes)}
