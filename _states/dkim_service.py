"""
States of services that hold without systemd too.

Salt's own ones do nothing and succeed ("Running in OFFLINE mode") where systemctl is installed and
systemd is not the first process (salt/utils/systemd.py, ``offline``; Salt 3008): in a container
without an init, where Debian's packages bring systemctl and the init scripts both. There these
start and stop by the init script; elsewhere they are Salt's own.
"""

import os

from dkim_formula.converge import failed
from dkim_salt import converged
from salt.exceptions import CommandExecutionError


def __virtual__():
    return "dkim_service"


def running(name, reload=False):
    """
    A service runs, and starts with the machine; without systemd it runs. One that watches something
    that changed is restarted.

    reload
        It is told to read its configuration again instead.

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
        lambda: _wrong(name, runs=True),
        lambda: _tell(name, "start"),
        in_order=f"The service {name} runs",
        pending=f"The service {name} would be started",
        done=f"The service {name} was started",
    )


def dead(name):
    """
    A service does not run, nor start with the machine; without systemd it does not run.

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
        lambda: _wrong(name, runs=False),
        lambda: _tell(name, "stop"),
        in_order=f"The service {name} does not run",
        pending=f"The service {name} would be stopped",
        done=f"The service {name} was stopped",
    )


def mod_watch(name, sfun, reload=False, **kwargs):
    """A restart of the service where something that it watches has changed, or a reload."""
    if not _offline() or sfun != "running":
        return __states__["service.mod_watch"](name, sfun=sfun, reload=reload, **kwargs)
    what = "reload" if reload else "restart"
    ret = {"name": name, "changes": {name: {"old": None, "new": f"{what}ed"}}}
    if __opts__["test"]:
        return {**ret, "result": None, "comment": f"The service {name} would be {what}ed"}
    ran = __salt__["service.status"](name)
    try:
        _tell(name, what)
    except CommandExecutionError as error:
        runs = __salt__["service.status"](name)
        if runs != ran:
            # An init script restarts by a stop and a start, and the start may fail.
            error.done = {name: {"old": ran, "new": runs}}
        return failed(name, error)
    return {**ret, "result": True, "comment": f"The service {name} was {what}ed"}


def _offline():
    return "service.offline" in __salt__ and __salt__["service.offline"]()


def _wrong(name, runs):
    # Before its package is installed there is no script to ask.
    there = os.path.exists(f"/etc/init.d/{name}")
    if (there and __salt__["service.status"](name)) == runs:
        return {"changes": {}}
    return {"changes": {name: {"old": not runs, "new": runs}}}


def _tell(name, what):
    if not __salt__[f"service.{what}"](name):
        raise CommandExecutionError(f"service {name} {what} failed; its init script says why")
