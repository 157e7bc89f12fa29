"""The text of the metrics, and their file."""

import os
import stat

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.health import metrics as exposition
from dkim_formula.health.model import Results, Sample, right, unknown, wrong
from dkim_formula.health.run import MONITORED
from hypothesis import given
from hypothesis import strategies as st
from support.exposition import parse

NOW = 1_800_000_000.0


def results(*found):
    findings = [one for one in found if not isinstance(one, Sample)]
    return Results(NOW, tuple(findings), tuple(one for one in found if isinstance(one, Sample)))


def written(local, **kept):
    return parse(exposition.render(exposition.samples(local, kept)))


def test_metrics_parse_and_contain_all_known_values():
    up = [Sample("dkim_service_up", 1, {"service": name}) for name in ("opendkim", "postfix")]
    local = results(*up, *(right(name, "well") for name in MONITORED))
    metrics = written(local, database=results(Sample("dkim_domains_hosted", 2)))
    assert metrics["dkim_service_up"] == {
        (("service", "opendkim"),): 1,
        (("service", "postfix"),): 1,
    }
    assert metrics["dkim_domains_hosted"] == {(): 2}
    assert metrics["dkim_metrics_timestamp_seconds"] == {(): NOW}
    assert metrics["dkim_database_checked_timestamp_seconds"] == {(): NOW}
    assert metrics["dkim_problems"] == {(("check", name),): 0 for name in MONITORED}
    assert "dkim_problem_info" not in metrics


def test_problems_are_counted_by_their_check():
    domains = wrong("unsigned", "2 domains", "", items=("a.example",), count=2)
    others = wrong("unsigned", "3 domains", "", "not in the pillar", items=("b.example",), count=3)
    metrics = written(results(domains, others))
    assert metrics["dkim_problems"] == {(("check", "unsigned"),): 5}
    assert metrics["dkim_problem_info"] == {
        (("check", "unsigned"), ("item", "a.example")): 1,
        (("check", "unsigned"), ("item", "b.example")): 1,
    }


def test_problems_are_named_up_to_twenty():
    names = tuple(f"d{number}.example" for number in range(30))
    metrics = written(results(wrong("unsigned", "30 domains", "", items=names, count=30)))
    assert len(metrics["dkim_problem_info"]) == 20


def test_unknown_values_have_no_metrics():
    down = [wrong("database", "it is away", ""), Sample("dkim_database_up", 0)]
    skipped = [unknown(name, "skipped") for name in ("key-age", "rotation", "unsigned")]
    metrics = written(results(right("service", "it runs")), database=results(*down, *skipped))
    assert metrics["dkim_database_up"] == {(): 0}
    assert not metrics.keys() & {"dkim_keys", "dkim_domains_hosted", "dkim_dns_records"}
    shown = {dict(labels)["check"] for labels in metrics["dkim_problems"]}
    assert shown == {"service", "database"}


@given(st.text(), st.text())
def test_labels_are_parsed_unchanged(subject, item):
    local = results(
        Sample("dkim_service_up", 0, {"service": subject}),
        wrong("unsigned", "1 domain", "", items=(item,)),
    )
    metrics = written(local)
    assert metrics["dkim_service_up"] == {(("service", subject),): 0}
    assert (("check", "unsigned"), ("item", item)) in metrics["dkim_problem_info"]


def test_file_of_metrics_is_readable_by_all_and_replaced_atomically(tmp_path):
    path = tmp_path / "dkim.prom"
    exposition.write(str(path), "old 1\n")
    with path.open() as reader:
        exposition.write(str(path), "new 1\n")
        assert reader.read() == "old 1\n"
    assert path.read_text() == "new 1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["dkim.prom"]


@pytest.mark.parametrize(
    "path", [None, 7, "dkim.prom", "/tmp/passwd", "/none/dkim.prom", "/a\0.prom"]
)
def test_invalid_path_is_refused(path):
    with pytest.raises(InvalidValue, match="path"):
        exposition.write(path, "")
