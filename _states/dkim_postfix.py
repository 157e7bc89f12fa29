"""States of the milters in Postfix's main.cf."""

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
    Mail of every way in goes through our milters, after the milters that are there already. The
    comment names mail that goes round them all the same, and other milters that don't answer.

    present, default_action, absent, moved_from, unsigned_services
        As ``dkim_postfix.manage_milters``.
    sockets
        The milters' sockets as this machine sees them. main.cf is left as it is where one does not
        answer: with ``tempfail`` a milter that is away keeps all mail back.

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
        in_order="Postfix has our milters",
        pending="Postfix's configuration would be changed",
        done="Postfix's configuration was changed",
    )


def milters_absent(name, absent, moved_from=None):
    """
    main.cf and master.cf have none of our milters; other people's stay.

    absent, moved_from
        As ``dkim_postfix.remove_milters``.

    .. code-block:: yaml

        Postfix does without OpenDKIM:
          dkim_postfix.milters_absent:
            - absent: ['unix:opendkim/opendkim.sock']
    """
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim_postfix.remove_milters"], absent, moved_from),
        in_order="Postfix has no milter of ours",
        pending="Postfix's configuration would be changed",
        done="Postfix's configuration was changed",
    )
