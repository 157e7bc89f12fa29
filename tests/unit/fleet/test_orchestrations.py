"""The steps of the orchestrations, rendered as the master does it."""

import json

import jinja2
import pytest
import yaml
from support.machine import ROOT

HOSTS = {
    "database": ["db1"],
    "standby": ["db2"],
    "mail": ["mail1", "mail2"],
    "publisher": ["db1"],
    "all": ["db1", "db2", "mail1", "mail2"],
    "problems": [],
}


@pytest.fixture(scope="module")
def environment():
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT), extensions=["jinja2.ext.do"], autoescape=False
    )
    found.filters["json"] = json.dumps
    return found


def steps(environment, name, **changed):
    """Return the hosts and the SLS files of each step in order."""

    def runner(function):
        assert function == "dkim.hosts"
        return HOSTS | changed

    template = environment.get_template(f"dkim/orchestrate/{name}.sls")
    states = yaml.safe_load(template.render(salt={"saltutil.runner": runner}))
    found = []
    for state in states.values():
        if "salt.state" in state:
            given = {key: value for one in state["salt.state"] for key, value in one.items()}
            found.append((given["tgt"], given["sls"]))
    return found


def test_former_roles_are_removed_after_all_mail_hosts(environment):
    found = steps(environment, "rollout")
    assert found[-3:] == [
        (["mail2"], ["dkim.selftest"]),
        (["db1"], ["dkim.database.former"]),
        (["db2"], ["dkim.database.former"]),
    ]
    assert steps(environment, "rollout", standby=[]) == [
        step for step in found if step[0] != ["db2"]
    ]


@pytest.mark.parametrize("role", ["database", "standby"])
def test_mail_host_with_the_database_is_removed_after_the_other_mail_hosts(environment, role):
    hosts = {"database": ["db1"], "standby": [], role: ["mail1"]}
    assert steps(environment, "remove", **hosts) == [
        (["mail2"], ["dkim.clean"]),
        *((tgt, ["dkim.clean"]) for tgt in (hosts["standby"], hosts["database"]) if tgt),
    ]


def test_database_host_observes_what_another_minion_has_published(environment):
    moves, publishes = (["db1"], ["dkim.rotation"]), (["ns"], ["dkim.dns"])
    found = steps(environment, "rotate", publisher=["ns"])
    at = found.index(publishes)
    assert found[at - 1 : at + 2] == [moves, publishes, moves]
    assert steps(environment, "rotate").count(moves) == 1


@pytest.mark.parametrize("name", ["rollout", "rotate", "remove"])
def test_each_step_requires_the_step_before(environment, name):
    template = environment.get_template(f"dkim/orchestrate/{name}.sls")
    states = yaml.safe_load(template.render(salt={"saltutil.runner": lambda _: HOSTS}))
    before = None
    for step, state in states.items():
        given = {key: value for one in state.get("salt.state", ()) for key, value in one.items()}
        if given:
            assert given.get("require") == (before and [{"salt": before}])
            before = step
    notice = states["The orchestration stopped at the first failed step"]
    assert {"onfail": [{"salt": before}]} in notice["test.show_notification"]
