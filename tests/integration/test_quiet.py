"""Salt's output and log: short for a run that changes nothing, and without warnings for any."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support import salt
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True
# Salt may also warn while it imports its modules.
WARM = False

# Everything that the formula sets up on one machine: both daemons, the beacon, the metrics.
PILLAR = {
    "dkim": {
        "domains": {"example.com": {"algorithm": ["rsa", "ed25519"]}},
        "monitoring": {"beacon": True, "textfile": "/var/lib/prometheus/node-exporter"},
        "rotation": {"automatic": True, "schedule": "1h"},
    }
}
# The runs in order: the state, and whether the run is a test run.
RUNS = {
    "asked first": ("state.highstate", True),
    "first": ("state.highstate", False),
    "second": ("state.highstate", False),
    "asked second": ("state.highstate", True),
    "asked to clean": ("dkim.clean", True),
    "cleaned": ("dkim.clean", False),
    "cleaned again": ("dkim.clean", False),
    "back": ("state.highstate", False),
}
CHANGE_NOTHING = ["second", "asked second", "cleaned again"]


@pytest.fixture(scope="module")
def box(machine: Machine) -> Machine:
    salt.install_formula(machine, PILLAR)
    return machine


@pytest.fixture(scope="module")
def runs(box: Machine) -> Mapping[str, salt.Run]:
    return {name: salt.apply(box, state, test) for name, (state, test) in RUNS.items()}


@pytest.mark.parametrize("name", [*RUNS])
def test_no_run_logs_a_warning(runs: Mapping[str, salt.Run], name: str) -> None:
    run = runs[name]
    assert run.succeeded, str(run)
    assert run.log == ""


@pytest.mark.parametrize("name", CHANGE_NOTHING)
def test_run_changes_nothing(runs: Mapping[str, salt.Run], name: str) -> None:
    assert runs[name].changed == []
    assert runs[name].would_change == []


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a state's changes."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    else:
        yield str(value)


def test_changes_do_not_name_migrations_by_number(runs: Mapping[str, salt.Run]) -> None:
    for state in runs["first"].changed:
        if state.function.startswith("dkim"):
            text = " ".join(texts(state.changes))
            assert not re.search(r"\bmigration \d", text), str(state)


@pytest.mark.usefixtures("runs")
def test_run_that_changes_nothing_prints_a_summary_and_the_records(box: Machine) -> None:
    result = box.run([salt.HIGHSTATE, "--pillar", salt.PILLAR])
    assert result.stderr == ""
    above, _, records = result.stdout.partition("Total run time:")
    # The minion's name, two lines of numbers between rules, and the total.
    assert len([line for line in above.splitlines() if line.strip()]) <= 8, above
    assert "Name:" not in above
    assert records.count("Publish these records:") == 1
    assert records.count("IN TXT") == 2
