"""States of the formula's milters in Postfix's main.cf and master.cf."""

import functools

from dkim_salt import managed


def __virtual__():
    return "dkim_postfix"


def milters_present(
    name,
    present,
    default_action=None,
    absent=(),
    sockets=(),
    moved_from=None,
    unsigned_services=(),
):
    """
    Ensure that mail of every service goes through the formula's milters, after the other milters.
    The comment names mail that bypasses the formula's milters, and other milters that don't answer.

    present, default_action, absent, moved_from, unsigned_services
        As ``dkim_postfix.manage_milters``.
    sockets
        The paths of the milters' sockets on this machine. If one does not answer, main.cf is not
        changed: with ``tempfail``, Postfix defers all mail without the milter.

    .. code-block:: yaml

        Postfix has OpenDKIM sign:
          dkim_postfix.milters_present:
            - present: ['unix:opendkim/opendkim.sock']
            - default_action: tempfail
    """
    arguments = {
        "default_action": default_action,
        "absent": absent,
        "sockets": sockets,
        "moved_from": moved_from,
        "unsigned_services": unsigned_services,
    }
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_postfix.manage_milters"], present, **arguments),
        ok="Postfix has the formula's milters",
        pending="Postfix's configuration would be changed",
        done="Postfix's configuration was changed",
    )


def milters_absent(name, absent, moved_from=None):
    """
    Ensure that main.cf and master.cf have none of the formula's milters; other milters stay.

    absent, moved_from
        As ``dkim_postfix.remove_milters``.

    .. code-block:: yaml

        Postfix does not use OpenDKIM:
          dkim_postfix.milters_absent:
            - absent: ['unix:opendkim/opendkim.sock']
    """
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_postfix.remove_milters"], absent, moved_from),
        ok="Postfix has none of the formula's milters",
        pending="Postfix's configuration would be changed",
        done="Postfix's configuration was changed",
    )
