"""
Many machines, seen from the master: which minion has which role, and how each of them does.

The roles are pillar ``dkim:fleet``; ``docs/many-machines.md`` has the whole way. What is to be
changed is changed by ``salt-run state.orchestrate dkim.orchestrate.rollout`` and its like.
"""

import salt.client
import salt.utils.minions
from dkim_formula import settings
from dkim_formula.fleet import overview, roles

# Not dkim.py: that name would hide the library dkimpy from every import of this process.
__virtualname__ = "dkim"


def __virtual__():
    return __virtualname__


def hosts():
    """
    Return the minions of each role, and bring the formula's modules to them. Nothing else is
    changed on a minion; the orchestrations begin with it, also under ``test=True``.

    Returns ``{"database": [id], "standby": [id], "mail": [id], "publisher": [id], "all": [id],
    "problems": [text]}``; with a problem, no minion can be worked on.

    CLI Example:

    .. code-block:: bash

        salt-run dkim.hosts
    """
    reading, matched = _matched()
    found = roles.hosts(matched)
    answered = _asked(found["all"], "saltutil.sync_all")
    return {**found, "problems": roles.problems(reading, matched, answered)}


def fleet(format="text"):  # pylint: disable=redefined-builtin
    """
    Look at every host of the fleet: daemons, the database that it reaches, the lag of a standby, a
    self-test, versions, and what is wrong. Changes nothing, and delivers no message.

    format
        ``text``: a line a host, then what a person has to do. ``data``: the same as data, which
        ``--out=json`` prints.

    Returns the text, or ``{"hosts": [{"id", "roles", "salt", "problem", "report"}], "problems":
    [text]}``; ``report`` is what ``dkim_sls.host_report`` returns on the host, None where it does
    not answer.

    CLI Example:

    .. code-block:: bash

        salt-run dkim.fleet
        salt-run --out=json dkim.fleet format=data
    """
    reading, matched = _matched()
    names = roles.hosts(matched)["all"]
    versions = _asked(names, "test.version")
    reports = {}
    for of_hosts, alike in roles.alike(versions, matched).items():
        reports |= _asked(alike, "dkim_sls.host_report", [list(of_hosts)])
    found = [
        _host(name, roles.of_host(name, matched), versions.get(name, ""), reports.get(name))
        for name in names
    ]
    problems = roles.problems(reading, matched, names)
    if format == "data":
        return {"hosts": found, "problems": problems}
    return overview.text(found, problems)


def _host(name, of_host, version, said):
    report = said if isinstance(said, dict) else None
    problem = "" if report else str(said or "it does not answer; start its salt-minion")
    return {
        "id": name,
        "roles": of_host,
        "salt": version,
        "problem": problem,
        "report": report,
    }


def _matched():
    """The checked pillar, and the minions whose keys are accepted, by role."""
    pillar = __salt__["pillar.show_pillar"](__opts__["id"])
    reading = settings.read(pillar.get("dkim"))
    check = salt.utils.minions.CkMinions(__opts__)
    return reading, {
        role: check.check_minions(target, "compound")["minions"]
        for role, target in roles.targets(reading.settings.fleet).items()
    }


def _asked(names, function, arguments=()):
    """What a function returns on these minions, by the names of those that answer."""
    if not names:
        return {}
    with salt.client.get_local_client(mopts=__opts__) as client:
        said = client.cmd(names, function, arguments, tgt_type="list", full_return=True)
    # A minion that is silent has a text for its return: «Minion did not return» (measured, 3008.3).
    return {name: one["ret"] for name, one in said.items() if one and one.get("out") != "no_return"}
