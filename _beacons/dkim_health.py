"""
Events about problems of DKIM signing: when one starts, increases, continues and is resolved.

Tags are ``salt/beacon/MINION/dkim_health/CHECK/CHANGE``; CHECK is ``service``, ``socket``,
``settings``, ``database``, ``key-age``, ``rotation``, ``dns``, ``unsigned`` or ``orphaned-keys``,
CHANGE ``started``, ``increased``, ``continues`` or ``resolved``. Pillar ``dkim:monitoring`` says
what is checked, and when a problem is worth an event; see ``docs/monitoring.md``.
"""

import importlib.util
import logging
import multiprocessing
import os
import signal
import sys
import time

if importlib.util.find_spec("dkim_salt") is None:
    # Salt's loader of beacons does not have the folder of utils on the path, as the one of
    # functions does (salt.loader.beacons, Salt 3008), and a minion need not have run a function.
    _here = os.path.dirname(os.path.abspath(__file__))
    _utils = "_utils" if os.path.basename(_here) == "_beacons" else "utils"
    sys.path.append(os.path.join(os.path.dirname(_here), _utils))

# pylint: disable=wrong-import-position
from dkim_formula.health import commands as health_commands
from dkim_formula.text import octets_shown
from dkim_salt import pillar_at_hand, read_pillar

log = logging.getLogger(__name__)

__virtualname__ = "dkim_health"

# The checks of database and DNS that are under way.
_gathering = {"process": None, "began": 0.0}

# The pillar of a minion that has none at hand, and when it is to be rendered again.
_rendered = {"pillar": None, "until": 0.0}
RENDERED_FOR = 600  # seconds


def __virtual__():
    return __virtualname__


def validate(config):
    """
    Whether Salt may run the beacon: ``(bool, comment)``.

    .. code-block:: yaml

        beacons:
          dkim_health:
            - interval: 60
    """
    if not isinstance(config, list):
        return False, "Configuration for dkim_health must be a list"
    return True, "Valid beacon configuration"


def beacon(config):  # pylint: disable=unused-argument
    """
    Return the events since the last call, a list of ``{tag, check, subject, change, since, message,
    remedy, items, count}``.

    A call checks services and sockets. Database and DNS may take their time, and the minion stands
    still during a call, so a process of its own asks them, and a later call tells the result.
    """
    reading, folder = (
        read_pillar(_pillar()),
        os.path.join(__opts__["cachedir"], health_commands.FOLDER),
    )
    _see_to_gathering(reading, folder)
    told = health_commands.new_events(reading, folder, __salt__["service.status"])
    return octets_shown([{"tag": f"{one['check']}/{one['change']}", **one} for one in told])


def _pillar():
    """``pillar_at_hand``, and keep what that had to render for a while: calls are frequent."""
    if __pillar__:
        return __pillar__
    now = time.monotonic()
    if _rendered["pillar"] is None or now > _rendered["until"]:
        pillar = pillar_at_hand(__opts__, __grains__, __pillar__)
        _rendered.update(pillar=pillar, until=now + RENDERED_FOR)
    return _rendered["pillar"]


def _see_to_gathering(reading, folder):
    process = _gathering["process"]
    if process is not None and process.is_alive():
        return
    if process is not None:
        _gathering["process"] = None
        if process.exitcode:
            log.warning("dkim_health: the checks ended with %s", process.exitcode)
            health_commands.gave_up(reading, folder, _gathering["began"])
    if health_commands.is_due(reading, folder):
        # As Salt starts its jobs: the pillar, with its secrets, is not written anywhere for it.
        process = multiprocessing.get_context("fork").Process(
            target=_gather, args=(reading, folder), name="dkim_health", daemon=True
        )
        _gathering.update(process=process, began=time.time())
        process.start()


def _gather(reading, folder):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # The kernel ends a check that hangs, also in the middle of a call of libpq.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(health_commands.longest_gathering(reading.settings))
    health_commands.gather(reading, folder)
