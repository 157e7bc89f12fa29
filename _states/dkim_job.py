"""
States of the jobs that systemd timers run: metrics, the page of dkim.report, due rotations.

A job asks no master for a pillar. It runs with the settings of the last highstate, which are in a
file that only root can read.
"""

from dkim_salt import managed


def __virtual__():
    return "dkim_job"


def configured(name):
    """
    Ensure that a job has the minion's pillar ``dkim``, and the library of this minion.

    name
        ``metrics``, ``report`` or ``rotation``.

    .. code-block:: yaml

        rotation:
          dkim_job.configured: []
    """
    return managed(
        __opts__,
        name,
        lambda test: __salt__["dkim_sls.manage_job"](name, test=test),
        ok="The job has these settings",
        pending="The job would get other settings",
        done="The job got other settings",
    )


def absent(name):
    """
    Ensure that a job has no settings.

    name
        ``metrics``, ``report`` or ``rotation``.

    .. code-block:: yaml

        rotation:
          dkim_job.absent: []
    """
    return managed(
        __opts__,
        name,
        lambda test: __salt__["dkim_sls.remove_job"](name, test=test),
        ok="The job has no settings",
        pending="The job's settings would be removed",
        done="The job's settings were removed",
    )
