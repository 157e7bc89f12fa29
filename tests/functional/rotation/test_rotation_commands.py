"""Each cell of «What each command does in each state» in docs/rotation.md, also with test=True."""

from pathlib import Path

import pytest
from dkim_formula.errors import StepRefused
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import commands as keys_commands
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.private_key import PrivateKey
from dkim_formula.rotation import commands as rotation_commands
from functional.rotation.test_rotation import HOLD, QUEUE

pytestmark = pytest.mark.one_release

CONTRACT = Path(__file__).parents[3] / "docs" / "rotation.md"

REFUSED = "refused"


def _retired(site):
    site.make_keys()
    rotation_commands.rotate(site.settings, "example.com", force=True)
    return "default"


def _pending(site):
    site.make_keys()
    keys_commands.generate(site.settings, "example.com", "next")
    return "next"


def _active(site):
    site.make_keys()
    return "default"


def _revoked(site):
    selector = _retired(site)
    site.publish(selector)
    rotation_commands.revoke(site.settings, "example.com", selector, force=True)
    return selector


STATES = {"pending": _pending, "active": _active, "retired": _retired, "revoked": _revoked}


def _command(function, **arguments):
    def call(site, selector, **test):
        return function(site.settings, "example.com", selector, **arguments, **test)

    return call


def _advance(site, _selector, **test):
    return rotation_commands.advance(site.settings, "example.com", **test)


COMMANDS = {
    "advance": _advance,
    "activate": _command(rotation_commands.activate),
    "activate force": _command(rotation_commands.activate, force=True),
    "retire": _command(rotation_commands.retire),
    "retire force": _command(rotation_commands.retire, force=True),
    "revoke": _command(rotation_commands.revoke),
    "revoke force": _command(rotation_commands.revoke, force=True),
    "revoke compromised": _command(rotation_commands.revoke, compromised=True),
    "delete": _command(keys_commands.delete),
    "delete force": _command(keys_commands.delete, force=True),
}


def table():
    """Return the contract's cells by command and state."""
    part = CONTRACT.read_text().split("## What each command does in each state")[1].split("##")[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    head = [cell.strip(" `") for cell in rows[0]]
    return {
        (row[0].strip(" `"), state): cell.strip()
        for row in rows[2:]
        for state, cell in zip(head[1:], row[1:], strict=True)
    }


TABLE = table()


def test_contract_has_every_command_and_state():
    assert TABLE.keys() == {(command, state) for command in COMMANDS for state in STATES}


# The meaning of a cell's words: the key's state right after the command, and its state once all
# that the key waits for has happened. None is a removed key.
WAITS = {
    "through the gate, or waits": ("as before", "active"),
    "in its time, else refused": (REFUSED, "revoked"),
    "`revoked` in its time": ("as before", "revoked"),
    "gone in its time": ("as before", None),
    "gone": (None, None),
    "refused": (REFUSED, REFUSED),
    "nothing": ("as before", "as before"),
    "": ("as before", "as before"),
}


def expected(cell, state):
    """Return the key's state right after the command, and after all that the key waits for."""
    word = cell.split(", none")[0].split(", another")[0]
    found = WAITS.get(word, (word.strip("`"), word.strip("`")))
    return tuple(state if one == "as before" else one for one in found)


@pytest.mark.parametrize(("command", "state"), TABLE)
def test_command_fulfils_the_contract(site, command, state):
    cell = TABLE[command, state]
    at_once, in_time = expected(cell, state)
    selector = STATES[state](site)
    assert site.states()[selector] == state
    assert _state_after(site, command, selector) == at_once
    if at_once != in_time:
        _let_pass(site, selector, state)
        assert _state_after(site, command, selector) == in_time
    signing = len(site.selectors("active"))
    assert signing == (0 if "none signs" in cell else 1)


def _state_after(site, command, selector):
    before = site.states()
    try:
        COMMANDS[command](site, selector)
    except StepRefused:
        assert site.states() == before
        return REFUSED
    return site.states().get(selector)


def _let_pass(site, selector, state):
    """Let happen what the key waits for: its record in DNS, and time."""
    site.publish(selector)
    if state in ("pending", "retired"):
        rotation_commands.activate(site.settings, "example.com", selector)
    site.pass_time(QUEUE if state == "retired" else HOLD)
    if state == "revoked":
        site.pass_time(3600)


@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize(
    ("command", "state"), [cell for cell in TABLE if not cell[0].startswith("delete")]
)
def test_test_run_reports_what_the_run_then_does(site, command, state, passes):
    selector = STATES[state](site)
    if passes:
        _let_pass(site, selector, state)
    before = site.states()
    planned = _report(site, command, selector, test=True)
    assert site.states() == before
    assert planned == _report(site, command, selector)


def _report(site, command, selector, **test):
    """Return a command's report without its times, or that the command is refused."""
    try:
        done = COMMANDS[command](site, selector, **test)
    except StepRefused:
        return REFUSED
    return {
        "changes": done["changes"],
        "publish": [record["name"] for record in done["to_publish"]],
        "waiting": [(one["selector"], one["next"]) for one in done["waiting"]],
        "problems": done["problems"],
    }


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("made", [False, True])
def test_test_run_of_a_rotation_reports_the_planned_key(site, force, made):
    if made:
        site.make_keys()
    planned = rotation_commands.rotate(site.settings, "example.com", force=force, test=True)
    assert site.states() == ({"default": "active"} if made else {})
    done = rotation_commands.rotate(site.settings, "example.com", force=force)
    assert planned["changes"] == done["changes"]
    assert [one["name"] for one in planned["to_publish"]] == [
        one["name"] for one in done["to_publish"]
    ]
    assert planned["to_publish"][0]["value"] == "the record of a key that is to be generated"


def test_selector_that_differs_from_a_used_one_in_case_alone_is_never_used(site):
    """DNS ignores case, so both keys would have their records at one name."""
    site.make_keys()
    with db.session(site.database) as connection:
        pairs = [(DesiredKey("example.com", "Mail", "ed25519"), PrivateKey.generate("ed25519"))]
        key_changes.store(connection, site.database, pairs, "imported", "retired")
    found = keys_commands.generate(site.settings, "example.com", "mail")
    assert (found["existed"], found["selector"], found["state"]) == (True, "Mail", "retired")
    with pytest.raises(StepRefused, match="that is retired"):
        rotation_commands.rotate(site.settings, "example.com", "mail")
    keys_commands.delete(site.settings, "example.com", "Mail")
    for function in (keys_commands.generate, rotation_commands.rotate):
        with pytest.raises(StepRefused, match="not used twice"):
            function(site.settings, "example.com", "mail")
    assert [*site.states()] == ["default"]
