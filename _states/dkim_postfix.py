"""States of the milters in Postfix's main.cf."""

from salt.exceptions import CommandExecutionError

from dkim_formula.converge import converge, failed


def __virtual__():
    return "dkim_postfix"


def _converged(name, look, change, **comments):
    try:
        return converge(name, __opts__["test"], look, change, **comments)
    except CommandExecutionError as error:
        return failed(name, error)


def milters_present(name, present, default_action="accept", absent=()):
    """
    Mail of every way in goes through our milters, after the milters that are there already.

    present, default_action, absent
        As ``dkim_postfix.milter_changes``.

    .. code-block:: yaml

        Postfix has OpenDKIM sign:
          dkim_postfix.milters_present:
            - present: ['unix:/opendkim/opendkim.sock']
            - default_action: tempfail
    """
    return _converged(
        name,
        lambda: __salt__["dkim_postfix.milter_changes"](present, default_action, absent),
        lambda: __salt__["dkim_postfix.join_milters"](present, default_action, absent),
        in_order="main.cf is as it should be",
        pending="main.cf would be changed",
        done="main.cf was changed",
    )


def milters_absent(name, absent):
    """
    main.cf has none of our milters; other people's stay.

    absent
        A list of our milters.

    .. code-block:: yaml

        Postfix does without OpenDKIM:
          dkim_postfix.milters_absent:
            - absent: ['unix:/opendkim/opendkim.sock']
    """
    return _converged(
        name,
        lambda: __salt__["dkim_postfix.leftover_changes"](absent),
        lambda: __salt__["dkim_postfix.leave_milters"](absent),
        in_order="main.cf has no milter of ours",
        pending="main.cf would be changed",
        done="main.cf was changed",
    )
