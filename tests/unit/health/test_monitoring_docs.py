"""The page docs/monitoring.md, the alerts and the dashboard, against the checks and metrics."""

import json
import re
from pathlib import Path

import pytest
import yaml
from dkim_formula.health import metrics as exposition
from dkim_formula.health.run import MONITORED
from dkim_formula.settings import read

DOCS = Path(__file__).resolve().parents[3] / "docs"
TEXT = (DOCS / "monitoring.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
ALERTS = yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text())["groups"][0]["rules"]
CASES = yaml.safe_load((DOCS / "monitoring" / "alerts_test.yml").read_text())["tests"]
DASHBOARD = json.loads((DOCS / "monitoring" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
METRICS = {name: set(metric.labels) for name, metric in exposition.METRICS.items()}


def table(heading):
    """Return the first two columns of the table below a heading."""
    rows = TEXT.partition(heading)[2].partition("| --- |")[2].partition("\n\n")[0]
    return [
        [re.findall(r"`([^`]+)`", cell) for cell in line.split(" | ")[:2]]
        for line in rows.splitlines()[1:]
    ]


def test_every_monitored_check_is_explained():
    assert sorted(name for (name,), _ in table("## What is wrong")) == sorted(MONITORED)


def test_every_metric_is_listed_with_its_labels():
    listed = {name: set(labels) for (name,), labels in table("node_exporter reads it")}
    assert listed == METRICS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_is_a_valid_rule_with_existing_metrics(alert):
    # Prometheus, «Alerting rules» and «Metric names and labels».
    assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", alert["alert"])
    assert re.fullmatch(r"[0-9]+[smhdwy]", alert.get("for", "0s"))
    texts = alert["annotations"]
    assert texts.keys() == {"summary", "description", "runbook"}
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert_known(alert["expr"], " ".join(texts.values()))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_uses_existing_metrics(panel):
    assert panel["description"]
    for target in panel["targets"]:
        labels = " ".join(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        shown = re.sub(r"(\w+)", r"$labels.\1", labels)
        assert_known(target["expr"], shown)


def assert_known(expression, text=""):
    """Assert that every metric of an expression and every label of both texts exists."""
    named = re.findall(r"\bdkim_\w+", expression)
    assert named
    assert set(named) <= METRICS.keys()
    used = re.findall(r"[{,]\s*(\w+)[!=]~?", expression)
    for grouped in re.findall(r"\b(?:by|without) \(([^)]*)\)", expression):
        used += grouped.split(", ")
    used += re.findall(r"\$labels\.(\w+)", text)
    labels = set().union(*(METRICS[name] for name in named)) | {"instance"}
    assert set(used) <= labels


def anchors(page):
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_runbook_is_a_page_and_an_anchor_of_the_docs(alert):
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert (DOCS / page).is_file()
    assert not anchor or anchor in anchors(DOCS / page)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_has_a_case_that_fires_and_a_case_that_does_not(alert):
    expected = [
        bool(one["exp_alerts"])
        for case in CASES
        for one in case["alert_rule_test"]
        if one["alertname"] == alert["alert"]
    ]
    assert set(expected) == {True, False}


def test_every_metric_is_on_the_dashboard():
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert {name for name in METRICS if name not in asked} == set()


def test_every_check_has_an_alert():
    expressions = " ".join(alert["expr"] for alert in ALERTS)
    for metric in (
        "dkim_service_up",
        "dkim_socket_up",
        "dkim_database_up",
        'dkim_keys_overdue{state="active"}',
        'dkim_keys_overdue{state!="active"}',
        "dkim_dns_records_wrong",
        'of="standby"',
        "dkim_domains_unsigned",
        "dkim_reader_login_up",
        'dkim_problems{check="settings"}',
        'dkim_problems{check="orphaned-keys"}',
        'dkim_problems{check="database-clock"}',
    ):
        assert metric in expressions


def test_pillars_of_the_examples_are_valid():
    pillars = [yaml.safe_load(block)["dkim"] for block in BLOCKS if block.startswith("dkim:")]
    assert pillars
    assert [read({"domains": ["*"], **pillar}).problems for pillar in pillars] == [()] * len(
        pillars
    )
