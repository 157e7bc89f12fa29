"""
Milters in Postfix's main.cf, among other people's.

Salt has no state that joins a list in main.cf; this module reads and writes it with postconf(1).
"""

from dkim_formula import arguments
from dkim_formula.postfix import main_cf, milters
from dkim_formula.signer import restart as opendkim_restart
from dkim_salt import translated


def __virtual__():
    return "dkim_postfix"


@translated
def milter_changes(present, default_action="accept", absent=()):
    """
    What main.cf lacks for mail to go through our milters.

    present
        A list of our milters, as main.cf writes them: ``unix:/opendkim/opendkim.sock``.
    default_action
        ``milter_default_action``, postconf(5).
    absent
        Milters of ours that are to be there no more.

    Returns ``{"changes": {parameter: {"old", "new"}}, "notes": []}``; everything is missing where
    Postfix is not installed yet. Raises CommandExecutionError where main.cf can't be read.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.milter_changes '[unix:/opendkim/opendkim.sock]' tempfail
    """
    return _changes(*_planned(present, default_action, absent))


@translated
def join_milters(present, default_action="accept", absent=(), sockets=()):
    """
    Sets what ``dkim_postfix.milter_changes`` tells, and returns it. Postfix has to be restarted.

    present, default_action, absent
        As ``dkim_postfix.milter_changes``.
    sockets
        The milters' sockets as this machine sees them; CommandExecutionError, and nothing is
        changed, where one of them does not answer.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.join_milters '[unix:/opendkim/opendkim.sock]' tempfail
    """
    for socket in arguments.list_of(arguments.absolute_path, sockets, "sockets"):
        opendkim_restart.must_answer(socket)
    return _write(*_planned(present, default_action, absent))


@translated
def leftover_changes(absent):
    """
    What main.cf still has of our milters.

    absent
        A list of our milters.

    Returns and raises as ``dkim_postfix.milter_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.leftover_changes '[unix:/opendkim/opendkim.sock]'
    """
    return _changes(*_leftover(absent))


@translated
def leave_milters(absent):
    """
    Takes our milters out of main.cf; other people's stay.

    absent
        A list of our milters.

    Returns what was changed, as ``dkim_postfix.leftover_changes``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_postfix.leave_milters '[unix:/opendkim/opendkim.sock]'
    """
    return _write(*_leftover(absent))


def _planned(present, default_action, absent):
    ours = arguments.list_of(arguments.milter, present, "present")
    gone = arguments.list_of(arguments.milter, absent, "absent")
    action = arguments.choice(*milters.DEFAULT_ACTIONS)(default_action, "default_action")
    current = main_cf.explicit_or_nothing()
    return current, milters.plan_present(current, ours, action, gone), []


def _leftover(absent):
    gone = arguments.list_of(arguments.milter, absent, "absent")
    current = main_cf.explicit_or_nothing()
    return current, *milters.plan_absent(current, gone)


def _write(current, values, unset):
    main_cf.write(values, unset)
    return _changes(current, values, unset)


def _changes(current, values, unset):
    new = {**values, **dict.fromkeys(unset)}
    return {
        "changes": {name: {"old": current.get(name), "new": new[name]} for name in new},
        "notes": [],
    }
