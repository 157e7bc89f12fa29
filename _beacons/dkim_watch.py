"""
Fires an event where DKIM signing is in trouble, when that grows, and when it is over.

Tags are ``salt/beacon/MINION/dkim_watch/KIND/CHANGE``; KIND is ``service``, ``socket``,
``settings``, ``database``, ``key-age``, ``rotation``, ``dns`` or ``unsigned``, CHANGE ``began``,
``grew``, ``goes-on`` or ``ended``. What is watched and when it is worth an event is pillar
``dkim:watch``; see ``docs/watching.md``.
"""

import logging
import multiprocessing
import os
import signal
import time

from dkim_formula.operations import watch
from dkim_formula.text import octets_shown
from dkim_salt import pillar_at_hand, read_pillar

log = logging.getLogger(__name__)

__virtualname__ = "dkim_watch"

# The look at database and DNS that is under way.
_look = {"process": None, "began": 0.0}

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
          dkim_watch:
            - interval: 60
    """
    if not isinstance(config, list):
        return False, "Configuration for dkim_watch must be a list"
    return True, "Valid beacon configuration"


def beacon(config):  # pylint: disable=unused-argument
    """
    What is new since the last beat: a list of events ``{tag, kind, subject, change, since, what,
    todo, items, count}``.

    A beat looks at services and sockets. Database and DNS may take their time, and the minion
    stands still during a beat, so they are asked by a process of their own, whose findings a later
    beat tells.
    """
    reading, folder = read_pillar(_pillar()), os.path.join(__opts__["cachedir"], watch.FOLDER)
    _see_to_look(reading, folder)
    told = watch.beat(reading, folder, __salt__["service.status"])
    return octets_shown([{"tag": f"{one['kind']}/{one['change']}", **one} for one in told])


def _pillar():
    """``pillar_at_hand``, and what that had to render kept for a while: a beat comes often."""
    if __pillar__:
        return __pillar__
    now = time.monotonic()
    if _rendered["pillar"] is None or now > _rendered["until"]:
        pillar = pillar_at_hand(__opts__, __grains__, __pillar__)
        _rendered.update(pillar=pillar, until=now + RENDERED_FOR)
    return _rendered["pillar"]


def _see_to_look(reading, folder):
    process = _look["process"]
    if process is not None and process.is_alive():
        return
    if process is not None:
        _look["process"] = None
        if process.exitcode:
            log.warning("dkim_watch: a look ended with %s", process.exitcode)
            watch.gave_up(reading, folder, _look["began"])
    if watch.is_due(reading, folder):
        # As Salt starts its jobs: the pillar, with its secrets, is not written anywhere for it.
        process = multiprocessing.get_context("fork").Process(
            target=_gather, args=(reading, folder), name="dkim_watch", daemon=True
        )
        _look.update(process=process, began=time.time())
        process.start()


def _gather(reading, folder):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # The kernel ends a look that hangs, also in the middle of a call of libpq.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(watch.longest_look(reading.settings))
    watch.gather(reading, folder)
