"""
States of services that also work without systemd.

Salt's own states do nothing and succeed ("Running in OFFLINE mode") where systemctl is installed
and systemd is not the first process (salt/utils/systemd.py, ``offline``; Salt 3008). This is so in
a container without an init, because Debian's packages install both systemctl and init scripts.
There, these states use the init script. Elsewhere they call Salt's own states.
"""

import os

from dkim_formula.converge import failed
from dkim_salt import converged
from salt.exceptions import CommandExecutionError


def __virtual__():
    return "dkim_service"


def running(name, reload=False):
    """
    Ensure that a service runs, and that it starts with the machine if systemd runs. A change of a
    watched state restarts the service.

    reload
        True reloads the service instead of restarting it.

    .. code-block:: yaml

        Postfix runs:
          dkim_service.running:
            - name: postfix
    """
    if not _offline():
        return __states__["service.running"](name, enable=True, reload=reload)
    return converged(
        __opts__,
        name,
        lambda: _due(name, runs=True),
        lambda: _call(name, "start"),
        ok=f"The service {name} runs",
        pending=f"The service {name} would be started",
        done=f"The service {name} was started",
    )


def dead(name):
    """
    Ensure that a service does not run, and does not start with the machine if systemd runs.

    .. code-block:: yaml

        opendkim is stopped:
          dkim_service.dead:
            - name: opendkim
    """
    if not _offline():
        return __states__["service.dead"](name, enable=False)
    return converged(
        __opts__,
        name,
        lambda: _due(name, runs=False),
        lambda: _call(name, "stop"),
        ok=f"The service {name} does not run",
        pending=f"The service {name} would be stopped",
        done=f"The service {name} was stopped",
    )


def mod_watch(name, sfun, reload=False, **kwargs):
    """Restart or reload the service because a watched state made changes."""
    if not _offline() or sfun != "running":
        return __states__["service.mod_watch"](name, sfun=sfun, reload=reload, **kwargs)
    what = "reload" if reload else "restart"
    ret = {"name": name, "changes": {name: {"old": None, "new": f"{what}ed"}}}
    if __opts__["test"]:
        return {**ret, "result": None, "comment": f"The service {name} would be {what}ed"}
    ran = __salt__["service.status"](name)
    try:
        _call(name, what)
    except CommandExecutionError as error:
        runs = __salt__["service.status"](name)
        if runs != ran:
            # An init script restarts a service by a stop and a start; the start may fail.
            error.done = {name: {"old": ran, "new": runs}}
        return failed(name, error)
    return {**ret, "result": True, "comment": f"The service {name} was {what}ed"}


def _offline():
    return "service.offline" in __salt__ and __salt__["service.offline"]()


def _due(name, runs):
    # Without the package the init script is missing, and Salt can't ask for the status.
    has_script = os.path.exists(f"/etc/init.d/{name}")
    if (has_script and __salt__["service.status"](name)) == runs:
        return {"changes": {}}
    return {"changes": {name: {"old": not runs, "new": runs}}}


def _call(name, what):
    if not __salt__[f"service.{what}"](name):
        raise CommandExecutionError(f"service {name} {what} failed; its init script says why")
