"""The page of dkim.report: its data, from a real database and name servers, and its file."""

import grp
import html
import os
import stat
from dataclasses import replace

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.health import commands as health_commands
from dkim_formula.health import report
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.screens.page import page
from dkim_formula.settings import Reading
from dkim_formula.settings.monitoring import Report
from functional.server import execute, query

pytestmark = pytest.mark.one_release

NAME = "default._domainkey.example.com"


def report_data(site, fresh=True):
    if fresh:
        health_commands.health(Reading(site.settings), site.folder, lambda _name: True, True)
    return health_commands.report(
        Reading(site.settings), site.folder, lambda _name: True, "mail.example.net"
    )


def dns_of(state):
    return {key["selector"]: key["dns"] for key in state["keys"]}


def test_keys_have_the_verdict_of_the_last_check(healthy):
    assert dns_of(report_data(healthy)) == {"default": "ok"}
    healthy.put(NAME, "v=DKIM1; k=ed25519; p=AAAA")
    assert dns_of(report_data(healthy, fresh=False)) == {"default": "ok"}
    state = report_data(healthy)
    assert dns_of(state) == {"default": "different"}
    assert state["records"]["wrong"] == [{"name": NAME, "type": "TXT", "verdict": "different"}]
    assert state["records"]["by_verdict"] == {"different": 1}


def test_key_that_is_newer_than_the_check_has_no_verdict(healthy):
    report_data(healthy)
    keys_commands.generate(healthy.settings, "example.com", "next")
    assert dns_of(report_data(healthy, fresh=False)) == {"default": "ok", "next": "-"}
    assert dns_of(report_data(healthy)) == {"default": "ok", "next": "missing"}


def test_keys_have_no_verdict_if_dns_is_not_asked(healthy):
    healthy.pillar["monitoring"] = {"dns_every": False}
    state = report_data(healthy)
    assert dns_of(state) == {"default": "-"}
    assert state["records"] == {"by_verdict": {}, "wrong": [], "count": 0}


def test_report_asks_no_name_server(healthy):
    report_data(healthy)
    asked = len(healthy.servers[0].asked)
    report_data(healthy, fresh=False)
    assert len(healthy.servers[0].asked) == asked


def test_page_says_that_the_database_does_not_answer(healthy):
    healthy.database = replace(healthy.database, port=1)
    state = report_data(healthy)
    assert "database" in [one["check"] for one in state["problems"]]
    assert "does not answer" in state["unknown_keys"]
    assert state["unknown_keys"] in html.unescape(page(state))


def test_page_of_a_host_that_only_signs_names_the_host_with_the_keys(healthy):
    healthy.database = replace(healthy.database, host="db.example.com")
    assert "db.example.com has the keys" in report_data(healthy)["unknown_keys"]


def test_page_says_that_the_pillar_is_wrong(healthy):
    reading = Reading(healthy.settings, ("dkim:domains: wrong",))
    state = health_commands.report(reading, healthy.folder, lambda _name: True, "m")
    assert next(one["check"] for one in state["problems"]) == "settings"
    assert "pillar is wrong" in state["unknown_keys"]


def test_page_has_no_private_key(healthy):
    keys_commands.generate(healthy.settings, "example.com", "rsa2026", "rsa")
    text = page(report_data(healthy))
    with db.session(healthy.database, setup=True) as connection:
        rows = query(connection, "SELECT key FROM public.dkim")
    secrets = [line for (pem,) in rows for line in pem.splitlines() if len(line) > 20]
    assert len(rows) == 2
    assert [line for line in secrets if line in text] == []
    assert "PRIVATE KEY" not in text


def test_hostile_domain_name_is_escaped(healthy):
    hostile = "<img src=x onerror=alert(1)>.example"
    with db.session(healthy.database, setup=True) as connection:
        execute(
            connection,
            "INSERT INTO public.dkim (domain, selector, algorithm, key, state)"
            " SELECT %s, 's', algorithm, key, 'pending' FROM public.dkim LIMIT 1",
            (hostile,),
        )
    text = page(report_data(healthy))
    assert "<img" not in text
    assert "&lt;img" in text


def test_page_has_its_owner_and_mode_and_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "index.html"
    report.write(str(path), "www-data", "old")
    with path.open() as reader:
        report.write(str(path), "www-data", "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert (status.st_uid, grp.getgrgid(status.st_gid).gr_name) == (0, "www-data")
    assert os.listdir(tmp_path) == ["index.html"]


PAGE = Report("/srv/page.html", "www-data")


@pytest.mark.parametrize(
    ("of_pillar", "given", "expected"),
    [
        (PAGE, (None, None), ("/srv/page.html", "www-data")),
        (PAGE, ("/tmp/a.html", None), ("/tmp/a.html", "www-data")),
        (PAGE, (None, "adm"), ("/srv/page.html", "adm")),
        (None, ("/tmp/a.html", None), ("/tmp/a.html", "root")),
    ],
)
def test_missing_argument_is_taken_from_the_pillar(of_pillar, given, expected):
    assert report.target(of_pillar, *given) == expected


@pytest.mark.parametrize(
    ("of_pillar", "given", "named"),
    [
        (None, (None, None), "dkim:monitoring:report:path"),
        (PAGE, ("page.html", None), "path"),
        (PAGE, ("/etc/passwd", None), "path"),
        (PAGE, (7, None), "path"),
        (PAGE, ("/none/page.html", None), "path"),
        (PAGE, ("/tmp/a\0.html", None), "path"),
        (PAGE, (None, "no-such-group"), "group"),
        (PAGE, (None, 7), "group"),
        (replace(PAGE, group="no-such-group"), (None, None), "dkim:monitoring:report:group"),
    ],
)
def test_invalid_path_or_group_is_refused(of_pillar, given, named):
    with pytest.raises(InvalidValue, match=f"^{named}: "):
        report.target(of_pillar, *given)
