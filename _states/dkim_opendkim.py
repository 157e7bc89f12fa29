"""States of OpenDKIM's own files on this machine."""

from dkim_salt import converged


def __virtual__():
    return "dkim_opendkim"


def configuration_kept(name, copy):
    """
    A configuration file that the formula is about to replace has a copy, for root alone.

    name, copy
        As ``dkim_opendkim.copy_changes``: the file, and its copy.

    .. code-block:: yaml

        /etc/opendkim.conf:
          dkim_opendkim.configuration_kept:
            - copy: /etc/opendkim.conf.before-dkim-formula
    """
    return converged(
        __opts__,
        name,
        lambda: __salt__["dkim_opendkim.copy_changes"](name, copy),
        lambda: __salt__["dkim_opendkim.keep_copy"](name, copy),
        in_order="The file has its copy",
        pending="The file would be copied",
        done="The file was copied",
    )
