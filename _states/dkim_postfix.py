"""States of the milters in Postfix's main.cf."""

from dkim_salt import converged


def __virtual__():
    return "dkim_postfix"


def milters_present(name, present, default_action="accept", absent=(), sockets=()):
    """
    Mail of every way in goes through our milters, after the milters that are there already.

    present, default_action, absent
        As ``dkim_postfix.milter_changes``.
    sockets
        The milters' sockets as this machine sees them. main.cf is left as it is where one does not
        answer: with ``tempfail`` a milter that is away keeps all mail back.

    .. code-block:: yaml

        Postfix has OpenDKIM sign:
          dkim_postfix.milters_present:
            - present: ['unix:/opendkim/opendkim.sock']
            - default_action: tempfail
    """
    return converged(
        __opts__,
        name,
        lambda: __salt__["dkim_postfix.milter_changes"](present, default_action, absent),
        lambda: __salt__["dkim_postfix.join_milters"](present, default_action, absent, sockets),
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
    return converged(
        __opts__,
        name,
        lambda: __salt__["dkim_postfix.leftover_changes"](absent),
        lambda: __salt__["dkim_postfix.leave_milters"](absent),
        in_order="main.cf has no milter of ours",
        pending="main.cf would be changed",
        done="main.cf was changed",
    )
