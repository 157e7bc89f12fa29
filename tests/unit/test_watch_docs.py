"""docs/watching.md says what the library does: kinds, metrics, and rules that go by them."""

import re
from pathlib import Path

import pytest
import yaml
from dkim_formula.settings import read
from dkim_formula.settings.model import Settings
from dkim_formula.watch import exposition
from dkim_formula.watch.facts import Facts, Keys, Late, Local, Names
from dkim_formula.watch.trouble import KINDS, judge

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
RULES = next(yaml.safe_load(block) for block in BLOCKS if block.startswith("groups:"))
ALERTS = RULES["groups"][0]["rules"]

# Something is wrong of every kind that facts can show, so that every metric has a sample.
SEEN = Facts(
    Local(1, {"opendkim": False}, {"/socket": False}),
    Keys(
        1,
        counts=(("rsa", "active", 1),),
        oldest=(("rsa", 1.0),),
        late=(Late("a", "active", None), Late("b", "retired", None)),
        late_counts=(("active", 1), ("retired", 1)),
        hosted=1,
        unsigned=("a.example",),
        unsigned_count=1,
    ),
    Names(1, counts=(("absent", 1),), wrong=("a TXT: absent",), wrong_count=1),
)
METRICS = {
    metric.name: {name for labels, _ in metric.samples for name in labels}
    for metric in exposition.metrics(SEEN, judge(Settings(), (), SEEN))
}


def table(heading):
    """The first two columns of the table below a heading's text."""
    rows = TEXT.partition(heading)[2].partition("| --- |")[2].partition("\n\n")[0]
    return [
        [re.findall(r"`([^`]+)`", cell) for cell in line.split(" | ")[:2]]
        for line in rows.splitlines()[1:]
    ]


def test_every_kind_of_trouble_is_explained():
    assert sorted(name for (name,), _ in table("## What is wrong")) == sorted(KINDS)


def test_every_metric_is_listed_with_its_labels():
    listed = {name: set(labels) for (name,), labels in table("node_exporter reads it")}
    assert listed == METRICS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_rule_is_one_and_goes_by_metrics_that_there_are(alert):
    # Prometheus, «Alerting rules» and «Metric names and labels».
    assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", alert["alert"])
    assert re.fullmatch(r"[0-9]+[smhdwy]", alert.get("for", "0s"))
    named = re.findall(r"\bdkim_\w+", alert["expr"])
    assert named
    assert set(named) <= METRICS.keys()
    used = re.findall(r"[{,](\w+)!?=", alert["expr"])
    used += re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])
    labels = set().union(*(METRICS[name] for name in named)) | {"instance"}
    assert set(used) <= labels


def test_every_kind_has_an_alert():
    expressions = " ".join(alert["expr"] for alert in ALERTS)
    for metric in (
        "dkim_service_up",
        "dkim_socket_up",
        "dkim_database_up",
        'dkim_keys_late{state="active"}',
        'dkim_keys_late{state!="active"}',
        "dkim_dns_records_wrong",
        "dkim_domains_unsigned",
        'dkim_trouble{kind="settings"}',
    ):
        assert metric in expressions


def test_pillar_of_the_example_is_right():
    (pillar,) = (yaml.safe_load(block)["dkim"] for block in BLOCKS if block.startswith("dkim:"))
    assert read(pillar).problems == ()
