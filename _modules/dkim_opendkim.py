"""OpenDKIM's own files on this machine."""

from dkim_formula import arguments
from dkim_formula.signer import config
from dkim_salt import translated


def __virtual__():
    return "dkim_opendkim"


@translated
def copy_changes(path, copy):
    """
    Return what lacks for a configuration file to be kept: its copy, where there is none.

    path, copy
        Of the file, and of its copy. A copy that is there is never written again.

    Returns ``{"changes": {copy: {"old", "new"}}, "notes": []}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.copy_changes /etc/opendkim.conf /root/opendkim.conf
    """
    path, copy = _paths(path, copy)
    if not config.lacks_copy(path, copy):
        return {"changes": {}, "notes": []}
    return {"changes": {copy: {"old": None, "new": f"copy of {path}"}}, "notes": []}


@translated
def keep_copy(path, copy):
    """
    Copy a configuration file, owner root and mode 0400; a password in it is left out.

    path, copy
        As ``dkim_opendkim.copy_changes``.

    Returns what was lacking, as that does.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_opendkim.keep_copy /etc/opendkim.conf /root/opendkim.conf
    """
    lacking = copy_changes(path, copy)
    if lacking["changes"]:
        config.keep(*_paths(path, copy))
    return lacking


def _paths(path, copy):
    return arguments.absolute_path(path, "path"), arguments.absolute_path(copy, "copy")
