"""
Jobs in the schedule of a minion, whether one runs or not.

Salt's own ``schedule.present`` tells nothing of a change under ``test=True`` and has to be told
whether a minion runs (``offline``, Salt 3008); these find out, and obey.
"""

from dkim_formula.converge import failed
from dkim_formula.errors import keeping_what_was_done
from dkim_formula.settings.duration import in_words
from dkim_salt import converged
from salt.exceptions import CommandExecutionError


def __virtual__():
    return "dkim_schedule"


def present(name, calls, every):
    """
    The minion calls a function by itself. Where no ``salt-minion`` runs with this configuration,
    the job is kept for the next that does, and the comment says so.

    name
        The job's name.
    calls
        An execution function, called without arguments.
    every
        Seconds from one call to the next.

    .. code-block:: yaml

        Keys go on by themselves:
          dkim_schedule.present:
            - name: dkim_rotation
            - calls: dkim.advance
            - every: 3600
    """
    job = {"function": calls, "seconds": every}
    if __opts__.get("master_type") == "disable":
        # Its return has nowhere to go, and the minion would log «'NoneType' object has no
        # attribute 'send'» each time (measured, Salt 3008.3).
        job["return_job"] = False
    offline = not _minion_runs()
    note = "No salt-minion runs with this configuration: the job waits for one"
    return _converged(name, job, offline, [note] if offline else [])


def absent(name):
    """
    The minion has no such job.

    .. code-block:: yaml

        dkim_rotation:
          dkim_schedule.absent: []
    """
    try:
        # What was ever added is in the file too, which costs less to read.
        offline = not _job(name, offline=True) or not _minion_runs()
    except CommandExecutionError as error:
        return failed(name, error)
    return _converged(name, None, offline, [])


def _converged(name, job, offline, notes):
    def look():
        there = _job(name, offline)
        change = {"old": _text(there), "new": _text(job)}
        return {"changes": {} if there == job else {name: change}, "notes": notes}

    def change():
        done = {}
        with keeping_what_was_done(lambda: done):
            there = _job(name, offline)
            if there:
                _tell("delete", name, offline)
                done[name] = {"old": _text(there), "new": None}
            if job:
                _tell("add", name, offline, **job)

    return converged(
        __opts__,
        name,
        look,
        change,
        in_order="The schedule is as it should be",
        pending="The schedule would be changed",
        done="The schedule was changed",
    )


def _minion_runs():
    # Whether anybody listens to the minion's event bus: False comes back where nobody does.
    return __salt__["event.fire"]({}, "dkim/schedule")


def _job(name, offline):
    """What the schedule has under that name, as far as it is ours; None where it has nothing."""
    jobs = __salt__["schedule.list"](show_all=True, return_yaml=False, offline=offline)
    job = jobs.get(name)
    ours = ("function", "seconds", "return_job")
    return job and {key: value for key, value in job.items() if key in ours}


def _text(job):
    return job and f"{job['function']} every {in_words(job['seconds'])}"


def _tell(what, name, offline, **job):
    done = __salt__[f"schedule.{what}"](name, offline=offline, **job)
    if not done["result"]:
        raise CommandExecutionError(f"schedule.{what} {name}: {done['comment']}")
