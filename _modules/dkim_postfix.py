"""
The formula's milters in Postfix's main.cf and master.cf, beside other milters.

Salt has no state that adds an entry to a list of main.cf. This module reads and writes the list
with postconf(1).
"""

from collections.abc import Mapping

from dkim_formula.errors import InvalidValue
from dkim_formula.postfix import milter_plan, saved_values, service_milters
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
    Set the parameters of main.cf and master.cf that send mail through the formula's milters.
    Postfix must be restarted afterwards.

    present
        The formula's milters, as main.cf writes them: ``unix:opendkim/opendkim.sock``. The path is
        relative to the queue directory, where services with and without chroot find the socket.
    default_action
        What Postfix does while one of these milters does not answer; written in the milter's entry.
        Default: what the entry says, else ``milter_default_action`` of main.cf, else ``accept``.
    absent
        Milters of the formula to remove.
    sockets
        The paths of the milters' sockets on this machine. If one of them does not answer,
        CommandExecutionError is raised and nothing is changed.
    moved_from
        A mapping of the formula's milters to lists of earlier addresses of the same daemon.
    unsigned_services
        Services of master.cf whose mail bypasses the formula's milters: ``smtp/inet``.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {parameter: {"old", "new"}}, "notes": [text]}``; under ``test``, every
    parameter is missing if Postfix is not installed. A parameter of master.cf is
    ``service/type/parameter``. The notes name other mail that bypasses the formula's milters, and
    other milters that don't answer.

    Raises CommandExecutionError if main.cf can't be read.

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
    Remove the formula's milters from main.cf and master.cf; other milters stay.

    absent
        A list of the formula's milters.
    moved_from
        As ``dkim_postfix.manage_milters``.
    test
        True changes nothing, and returns what a run would change.

    Returns and raises as ``dkim_postfix.manage_milters``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.remove_milters '[unix:opendkim/opendkim.sock]' test=True
    """
    listed = arguments.list_of(arguments.milter, absent, "absent")
    plan = milter_plan.absent(
        service_milters.read(), listed, _addresses(moved_from), saved_values.read()
    )
    return _carried_out(plan, test)


def _planned(present, default_action, absent, moved_from, unsigned_services):
    if default_action is not None:
        arguments.choice(*MILTER_DEFAULT_ACTIONS)(default_action, "default_action")
    return milter_plan.present(
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
