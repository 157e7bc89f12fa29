"""
The fleet as the master knows it: the roles of each minion, and the state of each host.

The roles are pillar ``dkim:fleet``; see ``docs/many-machines.md``. Changes are made by ``salt-run
state.orchestrate dkim.orchestrate.rollout`` and the other orchestrations.
"""

import salt.client
import salt.utils.minions
from dkim_formula import settings
from dkim_formula.fleet import roles
from dkim_formula.screens import commands as screens

# The file is not called dkim.py, because that name hides the library dkimpy from every import.
__virtualname__ = "dkim"


def __virtual__():
    return __virtualname__


def hosts():
    """
    Return the minions of each role, and sync the formula's modules to them. Changes nothing else on
    a minion. Every orchestration calls this function first, also under ``test=True``.

    Returns ``{"database": [id], "standby": [id], "mail": [id], "publisher": [id], "all": [id],
    "problems": [text]}``; with a problem, the orchestrations refuse to run.

    CLI Example:

    .. code-block:: bash

        salt-run dkim.hosts
    """
    reading, matched = _matched()
    found = roles.hosts(matched)
    answered = _asked(found["all"], "saltutil.sync_all")
    return {**found, "problems": roles.problems(reading, matched, answered)}


def fleet(format=None):  # pylint: disable=redefined-builtin
    """
    Return the state of every host of the fleet: daemons, the database that the host uses, the lag
    of a standby, a self-test, versions, and problems. Changes nothing, and delivers no message.

    format
        Default: a screen, and the data with ``--out=json`` and other outputters. ``text``: the
        screen as text. ``data``: the data itself, for orchestrations and other callers than
        ``salt-run``.

    Returns ``{"data", "outputter"}``, of which ``salt-run`` shows the data; with a format, the text
    or the data. The data is ``{"hosts": [{"id", "roles", "salt", "problem", "report"}], "problems":
    [text]}``. ``report`` is the return of ``dkim_sls.host_report`` on the host, None if the host
    does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run dkim.fleet
        salt-run --out=json dkim.fleet
    """
    reading, matched = _matched()
    names = roles.hosts(matched)["all"]
    versions = _asked(names, "test.version")
    reports = {}
    for of_hosts, alike in roles.by_roles(versions, matched).items():
        reports |= _asked(alike, "dkim_sls.host_report", [list(of_hosts)])
    found = [
        _host(name, roles.of_host(name, matched), versions.get(name, ""), reports.get(name))
        for name in names
    ]
    problems = roles.problems(reading, matched, names)
    data = {"hosts": found, "problems": problems}
    if format == "text":
        return screens.as_text("fleet", data)
    # A runner selects its outputter by this form of its return, not by __outputter__
    # (salt.client.mixins, print_async_event, in Salt 3006 and 3008).
    return data if format == "data" else {"data": data, "outputter": "dkim_screen"}


def _host(name, host_roles, version, returned):
    report = returned if isinstance(returned, dict) else None
    problem = "" if report else str(returned or "it does not answer; start its salt-minion")
    return {
        "id": name,
        "roles": host_roles,
        "salt": version,
        "problem": problem,
        "report": report,
    }


def _matched():
    """Return the checked pillar, and the minions with accepted keys by role."""
    pillar = __salt__["pillar.show_pillar"](__opts__["id"])
    reading = settings.read(pillar.get("dkim"))
    check = salt.utils.minions.CkMinions(__opts__)
    return reading, {
        role: check.check_minions(target, "compound")["minions"]
        for role, target in roles.targets(reading.settings.fleet).items()
    }


def _asked(names, function, arguments=()):
    """Return what a function returns on minions, by the names of the minions that answer."""
    if not names:
        return {}
    with salt.client.get_local_client(mopts=__opts__) as client:
        returns = client.cmd(names, function, arguments, tgt_type="list", full_return=True)
    # The return of a silent minion is the text «Minion did not return» (measured, 3008.3).
    return {
        name: one["ret"] for name, one in returns.items() if one and one.get("out") != "no_return"
    }
