"""
Events about problems of DKIM signing: a problem starts, increases, continues or is resolved.

Tags are ``salt/beacon/MINION/dkim_health/CHECK/CHANGE``; CHECK is ``service``, ``socket``,
``settings``, ``database``, ``database-clock``, ``login``, ``key-age``, ``rotation``, ``dns``,
``unsigned`` or ``orphaned-keys``, CHANGE ``started``, ``increased``, ``continues`` or ``resolved``.
Pillar ``dkim:monitoring`` sets what is checked, and which problems cause an event; see
``docs/monitoring.md``.
"""

import importlib.util
import logging
import multiprocessing
import os
import signal
import sys
import time

if importlib.util.find_spec("dkim_salt") is None:
    # Salt's loader of functions adds the folder of utils to the path; the loader of beacons does
    # not (salt.loader.beacons, Salt 3008). A minion may call a beacon before any function.
    _here = os.path.dirname(os.path.abspath(__file__))
    _utils = "_utils" if os.path.basename(_here) == "_beacons" else "utils"
    sys.path.append(os.path.join(os.path.dirname(_here), _utils))

# pylint: disable=wrong-import-position
from dkim_formula.health import commands as health_commands
from dkim_formula.text import octets_shown
from dkim_salt import pillar_for_beacon, read_pillar

log = logging.getLogger(__name__)

__virtualname__ = "dkim_health"

# The process that checks database and DNS now, and when it began.
_gathering = {"process": None, "began": 0.0}

# The rendered pillar of a minion without a master, and the time until which it is used.
_rendered = {"pillar": None, "until": 0.0}
RENDERED_FOR = 600  # seconds


def __virtual__():
    return __virtualname__


def validate(config):
    """
    Return whether Salt may run the beacon: ``(bool, comment)``.

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

    A call checks services and sockets. Database and DNS may be slow, and a call blocks the minion.
    So another process checks database and DNS, and a later call returns their events.
    """
    reading, folder = (
        read_pillar(_pillar()),
        os.path.join(__opts__["cachedir"], health_commands.FOLDER),
    )
    _start_gathering(reading, folder)
    events = health_commands.new_events(reading, folder, __salt__["service.status"])
    return octets_shown([{"tag": f"{one['check']}/{one['change']}", **one} for one in events])


def _pillar():
    """Return the pillar; keep a pillar that had to be rendered, because calls are frequent."""
    if __pillar__:
        return __pillar__
    now = time.monotonic()
    if _rendered["pillar"] is None or now > _rendered["until"]:
        pillar = pillar_for_beacon(__opts__, __grains__, __pillar__)
        _rendered.update(pillar=pillar, until=now + RENDERED_FOR)
    return _rendered["pillar"]


def _start_gathering(reading, folder):
    """Start a process that checks database and DNS, if they are due and none runs."""
    process = _gathering["process"]
    if process is not None and process.is_alive():
        return
    if process is not None:
        _gathering["process"] = None
        if process.exitcode:
            log.warning("dkim_health: the checks ended with %s", process.exitcode)
            health_commands.record_abort(reading, folder, _gathering["began"])
    if health_commands.is_due(reading, folder):
        # A forked process, as Salt starts its jobs: no file with the pillar's secrets is needed.
        process = multiprocessing.get_context("fork").Process(
            target=_gather, args=(reading, folder), name="dkim_health", daemon=True
        )
        _gathering.update(process=process, began=time.time())
        process.start()


def _gather(reading, folder):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # The kernel ends a check that hangs, also during a call of libpq.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(health_commands.gather_limit(reading.settings))
    health_commands.gather(reading, folder)
