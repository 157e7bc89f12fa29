"""The cases of Postfix's configuration (tests/cases/README.md), tested in the library only."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dkim_formula.postfix import milter_entry, milter_plan, service_milters, stale_milters
from dkim_formula.postfix.milter_addresses import ManagedMilters
from dkim_formula.postfix.service_milters import Configuration
from dkim_formula.settings import read
from dkim_formula.settings.lookup import DEFAULTS
from dkim_formula.signer import (
    changed_options,
    config_copy,
    config_options,
    daemons,
    existing_config,
    former_sockets,
    unit,
)

CASES = Path(__file__).resolve().parents[2] / "cases"
DKIM = "unix:opendkim/opendkim.sock"
LISTS = ("smtpd_milters", "non_smtpd_milters")
MASTER = [
    ["smtp", "inet", "n", "-", "y", "-", "-", "smtpd"],
    ["cleanup", "unix", "n", "-", "y", "-", "0", "cleanup"],
    ["pickup", "unix", "n", "-", "y", "60", "1", "pickup"],
]


def text(name):
    return (CASES / name).read_text(encoding="utf-8")


def main_cf(name):
    lines = (line.partition("=") for line in text(f"main.cf/{name}").splitlines())
    return {parameter.strip(): value.strip() for parameter, _, value in lines}


def pillar_action(name):
    return read(yaml.safe_load(text(name))["dkim"]).settings.postfix.milter_default_action


def joined(main, action=None, older=None, listed=MASTER, own=None):
    plan = milter_plan.present(Configuration(main, listed, own or {}), [DKIM], action, older=older)
    after = plan.after()
    assert milter_plan.present(after, [DKIM], action, older=older).changes() == {}
    return plan, after


def addresses(after, name):
    return [milter_entry.address(one) for one in milter_entry.entries(after.main[name])]


@pytest.fixture
def no_milter_answers(monkeypatch):
    monkeypatch.setattr(stale_milters, "answers", lambda *_: False)


@pytest.mark.usefixtures("no_milter_answers")
def test_case_38_entry_of_an_earlier_managed_daemon_is_removed():
    action = pillar_action("main.cf/38-dead-entry.yaml")
    plan, after = joined(main_cf("38-dead-entry.cf"), action)
    assert after.main["smtpd_milters"] == f"{{ {DKIM}, default_action=tempfail }}"
    assert after.main["non_smtpd_milters"] == "$smtpd_milters"
    assert plan.notes == []


@pytest.mark.usefixtures("no_milter_answers")
def test_case_38_other_entry_that_does_not_answer_is_named():
    main = main_cf("38-dead-entry.cf")
    main = {name: value.replace("8891", "11332") for name, value in main.items()}
    plan, after = joined(main, "tempfail")
    assert addresses(after, "smtpd_milters") == ["inet:localhost:11332", DKIM]
    assert any("nothing answers at inet:localhost:11332" in note for note in plan.notes)
    assert "milter_default_action" not in after.main


def test_case_38_entry_of_a_milter_that_answers_stays(monkeypatch):
    monkeypatch.setattr(stale_milters, "answers", lambda *_: True)
    plan, after = joined(main_cf("38-dead-entry.cf"), "tempfail")
    assert addresses(after, "smtpd_milters") == ["inet:localhost:8891", DKIM]
    assert plan.notes == []


def test_case_39_var_run_is_run():
    daemon = daemons.daemon("rsa", DEFAULTS)
    old = former_sockets.previous_addresses(
        text("main.cf/39-var-run.opendkim.conf"), "/var/spool/postfix", daemon.socket
    )
    _, after = joined(main_cf("39-var-run.cf"), "tempfail", {DKIM: old})
    assert after.main["smtpd_milters"] == f"{{ {DKIM}, default_action=tempfail }}"


def test_case_40_service_without_milters_is_named():
    fields = text("main.cf/40-master.cf").split()
    own = {"smtp/inet/smtpd_milters": fields[-1].partition("=")[2]}
    plan, _ = joined({}, None, listed=[fields[:8], *MASTER[1:]], own=own)
    assert [note for note in plan.notes if "mail by smtp/inet" in note]


def test_case_41_table_of_milters_is_named(tmp_path):
    table = tmp_path / "milter_map"
    table.write_text(text("main.cf/41-milter_map"))
    main = main_cf("41-milter-maps.cf")
    main = {
        name: value.replace("/etc/postfix/milter_map", str(table)) for name, value in main.items()
    }
    plan, _ = joined(main)
    (note,) = plan.notes
    assert "smtpd_milter_maps" in note
    assert "192.0.2.0/24 DISABLE" in note


def test_case_42_service_outside_of_the_chroot_finds_the_socket():
    listed = [line.split()[:8] for line in text("main.cf/42-unchrooted.master.cf").splitlines()]
    plan, after = joined({}, None, listed=listed)
    assert service_milters.unsigned(after, ManagedMilters([DKIM])) == []
    assert plan.notes == []


def test_case_43_action_of_main_cf_stays():
    pillar = read(yaml.safe_load(text("main.cf/43-own-action.yaml"))["dkim"])
    main = main_cf("43-own-action.cf")
    _, after = joined(main, pillar.settings.postfix.milter_default_action)
    assert after.main["milter_default_action"] == "tempfail"
    managed = f"{{ {DKIM}, default_action=tempfail }}"
    for name in LISTS:
        assert after.main[name] == f"inet:localhost:11332, {managed}"
    left = milter_plan.absent(after, [DKIM]).after()
    assert {name: left.main[name] for name in main} == main


def test_case_43_action_of_the_pillar_is_in_the_managed_entry():
    _, after = joined(main_cf("43-own-action.cf"), "accept")
    assert after.main["milter_default_action"] == "tempfail"
    assert after.main["smtpd_milters"].endswith(f"{{ {DKIM}, default_action=accept }}")


def test_case_67_absolute_path_becomes_a_path_that_every_service_finds():
    _, after = joined(main_cf("67-absolute.cf"), "tempfail")
    assert after.main["smtpd_milters"] == f"{{ {DKIM}, default_action=tempfail }}"
    assert after.main["non_smtpd_milters"] == "$smtpd_milters"


def test_case_44_overriding_drop_in_is_named_with_its_lines(tmp_path):
    folder = tmp_path / "etc/systemd/system/opendkim.service.d"
    folder.mkdir(parents=True)
    (folder / "override.conf").write_text(text("opendkim/44-override.conf"))
    command = "/usr/sbin/opendkim -f -x /etc/opendkim.conf"
    found = unit.conflicts("opendkim", unit.Needs("opendkim", {}), command, True, str(tmp_path))
    messages = "\n".join(unit.messages(found, "opendkim"))
    assert all(conflict.fatal for conflict in found)
    assert "override.conf" in messages
    assert set(re.findall(r"line (\d)", messages)) == {"2", "3", "4", "5"}
    assert "mail would leave unsigned or wait" in messages


def test_case_49_every_changed_option_is_named(tmp_path):
    daemon = replace(daemons.daemon("rsa", DEFAULTS), config_file=str(tmp_path / "opendkim.conf"))
    (tmp_path / "opendkim.conf").write_text(text("opendkim/49-opendkim.conf"))
    settings = read({"domains": ["example.com"]}).settings
    messages = "\n".join(changed_options.changed_options(settings, daemon))
    written = config_options.options(settings, daemon)
    for option in existing_config.parse(text("opendkim/49-opendkim.conf"), ""):
        if written.get(option.name) != option.value:
            assert f"{option.name} " in messages, option.name
    assert "dkim:opendkim:settings:SenderHeaders to ['Sender', 'From']" in messages
    assert "dkim:opendkim:settings:ExemptDomains to ['partner.example']" in messages
    assert config_copy.copy_path(daemon) in messages
