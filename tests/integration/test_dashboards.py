"""Metrics, alert rules and the dashboard with a real Prometheus, and the page with a browser."""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from support import salt
from support.machine import ROOT, Machine, watchers
from support.progress import to_stderr

pytestmark = pytest.mark.one_release(watchers.RELEASE)


DOCS = ROOT / "docs" / "monitoring"
PAGE = "/var/www/dkim/index.html"
TEXTFILE = "/var/lib/prometheus/node-exporter/dkim.prom"
PILLAR = {
    "dkim": {
        "database": {
            # With mail hosts on other machines the metrics have the end dates of the server's
            # certificate and of the reader's password.
            "reader": {"clients": ["192.0.2.25"], "password": "between-two-hosts"},
        },
        "domains": {"example.com": {}, "example.org": {"algorithm": ["rsa", "ed25519"]}},
        "monitoring": {
            "textfile": "/var/lib/prometheus/node-exporter",
            # The timer writes its first file at once.
            "textfile_every": "1h",
            "database_every": "1s",
            "report": {"path": "/var/www/dkim/index.html", "group": "www-data", "every": "1h"},
        },
        # Nothing serves DNS on this machine.
        "dns": {"timeout": 1, "deadline": 5},
    }
}
# A stand-in for node_exporter that serves the file.
EXPORTER = f"""\
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("{TEXTFILE}", "rb") as stream:
            text = stream.read()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text)
http.server.HTTPServer(("127.0.0.1", 9100), Handler).serve_forever()
"""
PROMETHEUS = """\
global: {scrape_interval: 2s, evaluation_interval: 2s}
rule_files: [/root/docs/alerts.yml]
scrape_configs:
  - job_name: node
    static_configs: [{targets: ['127.0.0.1:9100']}]
"""
DASHBOARD = json.loads((DOCS / "dashboard.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]


def promtool(machine: Machine, arguments: str) -> None:
    machine.run(f"cd /root/docs && promtool {arguments}")


def ask(machine: Machine, path: str) -> object:
    """Return the data of Prometheus's answer, None without an answer."""
    script = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:9090{path}').read().decode())"
    output = machine.run(["/opt/tests/bin/python", "-c", script], check=False).stdout
    return json.loads(output)["data"] if output else None


def query(machine: Machine, expression: str) -> list[dict]:
    # Grafana replaces its variables like this.
    expression = expression.replace("$instance", ".*")
    assert "$" not in expression
    return ask(machine, f"/api/v1/query?query={quote(expression)}")["result"]


@pytest.fixture(scope="module")
def machine(release: str) -> Iterator[Machine]:
    """A machine that signs and has Prometheus installed. Its records are not published."""
    with Machine(release, layers=watchers.layers(to_stderr()), warm_salt=True) as fresh:
        fresh.run("systemctl disable --now prometheus prometheus-node-exporter || true")
        salt.install_formula(fresh, PILLAR)
        run = salt.apply(fresh)
        assert run.succeeded, str(run)
        for file in DOCS.iterdir():
            fresh.write(f"/root/docs/{file.name}", file.read_text())
        fresh.wait_for(f"grep -q dkim_dns_records_wrong {TEXTFILE}", deadline=300)
        yield fresh


@pytest.fixture(scope="module")
def prometheus(machine: Machine) -> Machine:
    end = "VALID UNTIL '2100-01-01'"
    machine.run(
        ["psql", "-d", "vmail", "-c", f'ALTER ROLE "vmail-dkim-reader" {end}'], user="postgres"
    )
    machine.run("systemctl start dkim-metrics.service", timeout=300)
    machine.write("/root/exporter.py", EXPORTER)
    machine.write("/root/prometheus.yml", PROMETHEUS)
    machine.run("systemd-run --unit=exporter /usr/bin/python3 /root/exporter.py")
    machine.run(
        "systemd-run --unit=watching prometheus --config.file=/root/prometheus.yml "
        "--storage.tsdb.path=/root/series --web.listen-address=127.0.0.1:9090"
    )
    machine.wait_for(
        lambda: (
            ask(machine, "/api/v1/query?query=dkim_metrics_timestamp_seconds") is not None
            and len(query(machine, "count_over_time(dkim_metrics_timestamp_seconds[1h]) > 2")) == 1
        ),
        what="Prometheus has scraped three times",
    )
    return machine


def test_promtool_accepts_the_metrics(machine: Machine):
    promtool(machine, f"check metrics < {TEXTFILE}")


def test_promtool_rejects_a_metric_that_breaks_the_conventions(machine: Machine):
    """The check of the metrics can fail."""
    with_counter = "echo '# TYPE dkim_x counter\ndkim_x 1' | promtool check metrics"
    assert machine.run(with_counter, check=False).returncode != 0


def test_alert_rules_are_valid(machine: Machine):
    promtool(machine, "check rules alerts.yml")


def test_every_alert_fires_for_its_test_series_only(machine: Machine):
    promtool(machine, "test rules alerts_test.yml")


@pytest.mark.soak
def test_prometheus_reads_the_metrics_and_evaluates_the_rules(prometheus: Machine):
    (target,) = ask(prometheus, "/api/v1/targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    prometheus.wait_for(lambda: not [r for r in rules(prometheus) if r["health"] == "unknown"])
    assert {rule["health"] for rule in rules(prometheus)} == {"ok"}


def rules(machine: Machine) -> list[dict]:
    (group,) = ask(machine, "/api/v1/rules")["groups"]
    return group["rules"]


@pytest.mark.soak
@pytest.mark.parametrize("expression", QUERIES)
def test_query_of_every_panel_returns_data(prometheus: Machine, expression: str):
    found = query(prometheus, expression)
    assert found
    assert all(re.fullmatch(r"-?[0-9.e+]+", series["value"][1]) for series in found)


@pytest.mark.soak
def test_dashboards_list_of_machines_has_the_machine(prometheus: Machine):
    assert ask(prometheus, "/api/v1/label/instance/values") == ["127.0.0.1:9100"]


@pytest.mark.soak
def test_alert_fires_when_a_daemon_stops(prometheus: Machine):
    prometheus.run("systemctl stop opendkim && systemctl start dkim-metrics.service", timeout=300)
    prometheus.wait_for(
        lambda: any(
            alert["labels"]["alertname"] == "DkimServiceDown"
            for alert in ask(prometheus, "/api/v1/alerts")["alerts"]
        ),
        what="the alert is pending",
    )
    prometheus.run("systemctl start opendkim && systemctl start dkim-metrics.service", timeout=300)


# --- The page -----------------------------------------------------------------------------------

SIZE = (1200, 1600)
DARK = "--blink-settings=preferredColorScheme=0"


def browse(machine: Machine, page: str, *options: str) -> str:
    """Load a page from the machine's disk in Chromium, and return the lines of its console."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--enable-logging=stderr", f"--window-size={SIZE[0]},{SIZE[1]}", *options]
    output = machine.run([*command, f"file://{page}"], timeout=300).stderr
    return "\n".join(line for line in output.splitlines() if ":CONSOLE" in line)


def picture(machine: Machine, page: str, *options: str) -> tuple[tuple[int, int], bytes]:
    """Return the size of a page's screenshot and its rows of pixels in PNG's form (RFC 2083)."""
    assert browse(machine, page, "--screenshot=/root/page.png", *options) == ""
    data = machine.path("/root/page.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, packed, size = 8, b"", (0, 0)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            size = struct.unpack(">II", content[:8])
        elif kind == b"IDAT":
            packed += content
        at += 12 + length
    return size, zlib.decompress(packed)


def test_timer_writes_the_page_and_its_group_can_read_it(machine: Machine):
    machine.wait_for(f"test -s {PAGE}", deadline=300)
    assert machine.run(["stat", "-c", "%a %U %G", PAGE]).stdout == "640 root www-data\n"
    machine.run(["cat", PAGE], user="www-data")
    assert machine.run(["cat", PAGE], user="nobody", check=False).returncode != 0


def test_browser_shows_the_page_without_an_error(machine: Machine):
    size, pixels = picture(machine, PAGE)
    assert size == SIZE
    # The page has text in several colours. In an empty page all bytes of the rows are equal.
    assert len(set(pixels)) > 50


@pytest.mark.soak
def test_page_follows_the_browsers_dark_mode(machine: Machine):
    light, dark = picture(machine, PAGE)[1], picture(machine, PAGE, DARK)[1]
    assert light != dark


@pytest.mark.soak
def test_page_can_be_printed(machine: Machine):
    assert browse(machine, PAGE, "--print-to-pdf=/root/page.pdf") == ""
    assert machine.path("/root/page.pdf").read_bytes().startswith(b"%PDF-")


def test_browse_returns_an_error_of_a_page(machine: Machine):
    machine.write("/root/bad.html", "<script>nothing.here()</script>")
    assert "nothing is not defined" in browse(machine, "/root/bad.html", "--dump-dom")


def test_page_has_the_keys_and_no_secret(machine: Machine):
    text = machine.read(PAGE)
    for word in ("example.com", "example.org", "ed25519", "rsa 2048", "problem"):
        assert word in text
    keys = machine.run(["psql", "-d", "vmail", "-Atc", "SELECT key FROM dkim"], user="postgres")
    lines = [line for line in keys.stdout.splitlines() if len(line) > 20]
    assert lines
    assert [line for line in [*lines, "between-two-hosts"] if line in text] == []


def test_test_run_of_report_writes_no_page(machine: Machine):
    preview = salt.call(machine, "dkim.report", "/root/other.html", test=True)
    assert preview["changes"] == {"/root/other.html": {"old": "absent", "new": "as of now"}}
    assert not machine.exists("/root/other.html")
    assert salt.call(machine, "dkim.report", "/root/other.html")["changes"] == preview["changes"]
    assert machine.run(["stat", "-c", "%a %G", "/root/other.html"]).stdout == "640 www-data\n"


def test_second_run_changes_nothing_and_disabled_files_are_removed(machine: Machine):
    assert salt.apply(machine, "dkim.monitoring").changed == []
    off = {"dkim": {**PILLAR["dkim"], "monitoring": {"textfile": False}}}
    preview = salt.apply(machine, "dkim.monitoring", True, off)
    done = salt.apply(machine, "dkim.monitoring", False, off)
    assert {one.id for one in preview.would_change} == {one.id for one in done.changed}
    left = (
        f"ls {PAGE} {TEXTFILE} /etc/systemd/system/dkim-report.* /etc/systemd/system/dkim-metrics.*"
    )
    assert machine.run(left, check=False).stdout == ""
