"""
Settings of the jobs that timers of systemd run: metrics, the page of dkim.report, due rotations.

A job asks no master for a pillar: it runs with what the last highstate left for it, in a file for
root alone.
"""

from dkim_salt import managed


def __virtual__():
    return "dkim_job"


def configured(name):
    """
    A job has the minion's pillar ``dkim``, and the library that this minion has.

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
        in_order="The job has these settings",
        pending="The job would get other settings",
        done="The job got other settings",
    )


def absent(name):
    """
    A job has no settings.

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
        in_order="The job has no settings",
        pending="The job's settings would be removed",
        done="The job's settings were removed",
    )
