"""Jobs that run without Salt, with settings that a minion saves for them."""

import inspect
import json
import subprocess
from pathlib import Path

import pytest
from dkim_formula.errors import FormulaError
from dkim_formula.postgres import connection as db
from dkim_formula.unattended import commands, jobs, saved
from functional.doubles import Services
from functional.salt_loaders import as_loaded, stand_in
from functional.server import execute, query

pytestmark = pytest.mark.one_release

PASSWORD = "canary-word-7b1e"
TSIG = "Y2FuYXJ5LXNlY3JldC1vZi10aGUtem9uZXMuLi4uLi4="
DNS = {
    "publish": "rfc2136",
    "resolver": "127.0.0.1@1",
    "timeout": 1,
    "key": {"name": "dkim.", "algorithm": "hmac-sha256", "secret": TSIG},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    found = tmp_path / "jobs"
    monkeypatch.setattr(saved, "FOLDER", str(found))
    return found


@pytest.fixture
def host(mailhost, folder, monkeypatch):
    """A minion with secrets in its pillar and a key for its first domain."""
    stand_in(monkeypatch, mailhost.functions, Services(None).functions())
    mailhost.secrets |= {PASSWORD, TSIG}
    mailhost.set_pillar(
        database={"reader": {"password": PASSWORD}},
        domains={"example.com": {"algorithm": "ed25519"}},
        dns=DNS,
    )
    mailhost.call("dkim.generate_missing")
    return mailhost


def contents(folder: Path) -> str:
    return (folder / "rotation.json").read_text()


def test_saved_settings_have_no_readable_secret(host, folder):
    host.call("dkim_sls.manage_job", "rotation")
    assert PASSWORD not in contents(folder)
    assert TSIG not in contents(folder)
    assert (folder / "rotation.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    settings = saved.load("rotation").reading.settings
    assert settings.dns.key.secret.reveal() == TSIG
    assert settings.database.reader.password.reveal() == PASSWORD


def test_test_run_shows_the_changes_of_the_run_and_a_second_run_changes_nothing(host, folder):
    planned = host.state("dkim_job.configured", "rotation", test=True)
    assert planned["result"] is None
    assert not folder.exists()
    done = host.state("dkim_job.configured", "rotation")
    assert done["result"] is True
    assert done["changes"] == planned["changes"]
    before = contents(folder)
    assert host.state("dkim_job.configured", "rotation")["changes"] == {}
    assert contents(folder) == before


@pytest.mark.parametrize(
    "section", [{"rotation": {"every": 90}}, {"dns": {**DNS, "server": "192.0.2.1"}}]
)
def test_changed_pillar_is_saved_again(host, folder, section):
    host.call("dkim_sls.manage_job", "rotation")
    host.set_pillar(domains={"example.com": {}}, **{"dns": DNS, **section})
    done = host.call("dkim_sls.manage_job", "rotation")
    path = str(folder / "rotation.json")
    assert done["changes"] == {path: {"old": "other settings", "new": "these settings"}}


@pytest.mark.parametrize("pillar", [None, {}, {"domains": {"example.com": {"bits": 1}}}])
def test_missing_or_wrong_pillar_keeps_the_saved_settings(host, folder, pillar):
    host.call("dkim_sls.manage_job", "rotation")
    before = contents(folder)
    host._loaded.opts["pillar"]["dkim"] = pillar
    assert host.state("dkim_job.configured", "rotation")["result"] is False
    assert contents(folder) == before


def test_settings_that_another_machine_encrypted_are_refused(host, folder, capsys):
    host.call("dkim_sls.manage_job", "rotation")
    data = json.loads(contents(folder))
    data["secret"] = data["secret"][:40] + data["secret"][40:].swapcase()
    (folder / "rotation.json").write_text(json.dumps(data))
    assert jobs.main(["rotation"]) == 1
    assert "apply the highstate" in capsys.readouterr().out
    assert host.call("dkim_sls.manage_job", "rotation")["changes"]


def test_missing_program_is_an_error_that_names_the_package(host, folder, monkeypatch):
    monkeypatch.setattr(saved, "PROGRAM", "systemd-creds-of-nobody")
    done = host.state("dkim_job.configured", "rotation")
    assert done["result"] is False
    assert "install systemd 250" in done["comment"]
    assert not (folder / "rotation.json").exists()


def test_rotation_job_uses_the_saved_settings(host, capsys):
    host.set_pillar(
        domains={"example.com": {"algorithm": "ed25519"}},
        dns={**DNS, "publish": "none"},
    )
    host.call("dkim_sls.manage_job", "rotation")
    host._loaded.opts["pillar"].pop("dkim")
    with db.session(host.database) as connection:
        # Triggers protect the times, except in sessions with the role "replica".
        execute(connection, "SET session_replication_role = replica")
        execute(
            connection,
            "UPDATE public.dkim SET state = 'retired', retired_at = now() - interval '400 days'",
        )
    assert jobs.main(["rotation"]) == 0
    with db.session(host.database) as connection:
        assert query(connection, "SELECT state FROM public.dkim") == [("revoked",)]
    assert "default._domainkey.example.com: retired -> revoked" in capsys.readouterr().out


def test_rotation_job_that_fails_midway_prints_what_it_did(host, capsys, monkeypatch):
    def failing(_settings):
        error = FormulaError("the connection was lost")
        error.done = {"default._domainkey.example.com": {"old": "retired", "new": "revoked"}}
        raise error

    host.call("dkim_sls.manage_job", "rotation")
    monkeypatch.setattr(jobs.rotation, "advance", failing)
    monkeypatch.setattr(jobs.rotation, "rotate_due", failing)
    assert jobs.main(["rotation"]) == 1
    assert capsys.readouterr().out == (
        "the connection was lost\ndefault._domainkey.example.com: retired -> revoked\n"
    )


def test_metrics_job_runs_in_the_folder_of_the_settings(host, folder, tmp_path):
    host.call("dkim_sls.manage_job", "metrics")
    target = tmp_path / "dkim.prom"
    # A new process does not have the monkeypatched folder.
    script = (
        "from dkim_formula.unattended import jobs, saved; saved.FOLDER = '.'; "
        f"exit(jobs.main(['metrics', {str(target)!r}]))"
    )
    python = commands.for_states()["python"]
    subprocess.run([python, "-B", "-c", script], cwd=folder, check=True)
    assert 'dkim_keys{algorithm="ed25519",state="active"} 1' in target.read_text()


def test_report_job_uses_the_saved_settings(host, folder, tmp_path):
    host.call("dkim_sls.manage_job", "report")
    target = tmp_path / "dkim.html"
    assert jobs.main(["report", str(target)]) == 0
    assert "example.com" in target.read_text()
    assert TSIG not in target.read_text()


def test_jobs_name_the_command_of_the_minion_that_saved_the_settings(
    host, folder, tmp_path, capsys, monkeypatch
):
    domains = {"example.com": {"algorithm": "ed25519"}}
    host.set_pillar(domains=domains, dns={**DNS, "publish": "none"})
    before = host.call("dkim_sls.manage_job", "report")["changes"].keys()
    command = "/srv/formula/bin/highstate --call"
    # Salt 3008 copies the options into each module that it loads.
    manage_job = inspect.unwrap(as_loaded(host.functions, "dkim_sls.manage_job"))
    monkeypatch.setitem(manage_job.__globals__["__opts__"], "dkim_call", command)
    done = host.call("dkim_sls.manage_job", "report")["changes"]
    assert done.keys() == {str(folder / "report.json")} < before
    host.call("dkim_sls.manage_job", "rotation")
    target = tmp_path / "dkim.html"
    host.call("dkim.rotate", "example.com")
    assert jobs.main(["report", str(target)]) == 0
    assert jobs.main(["rotation"]) == 0
    for text in (target.read_text(), capsys.readouterr().out):
        assert f"{command} dkim." in text
        assert "salt-call" not in text


def test_settings_of_an_earlier_release_name_salt_call(host, folder):
    host.call("dkim_sls.manage_job", "report")
    data = json.loads((folder / "report.json").read_text())
    assert data.pop("call") == "salt-call"
    (folder / "report.json").write_text(json.dumps(data))
    assert saved.load("report").call == "salt-call"
    assert host.call("dkim_sls.manage_job", "report")["changes"] == {}


def test_folder_is_removed_with_the_last_job(host, folder):
    for job in ("metrics", "rotation"):
        host.call("dkim_sls.manage_job", job)
    assert host.state("dkim_job.absent", "metrics")["changes"].keys() == {
        str(folder / "metrics.json")
    }
    planned = host.state("dkim_job.absent", "rotation", test=True)["changes"]
    assert host.state("dkim_job.absent", "rotation")["changes"] == planned
    assert not folder.exists()
    assert host.state("dkim_job.absent", "rotation")["changes"] == {}


def test_pillar_that_json_would_change_is_refused():
    with pytest.raises(FormulaError, match="JSON"):
        saved.of({"domains": {("example", "com"): {}}}, "/health", "mail")
