"""An administrator's own settings in Postfix, systemd and opendkim.conf, on a real machine."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support import mail, salt
from support.machine import Machine
from support.share import short_form

pytestmark = pytest.mark.one_release("trixie")

EQUIPPED = True

CASES = Path(__file__).resolve().parents[1] / "cases"
MILTER = "{ unix:opendkim/opendkim.sock, default_action=tempfail }"
PILLAR = {"dkim": {"domains": ["example.com"], "postfix": {"milter_default_action": "tempfail"}}}
SERVICES = {"chrooted": 2525, "unchrooted": 2526, "elsewhere": 2527}
DROP_IN = "/etc/systemd/system/opendkim.service.d/override.conf"
# Copies main.cf and master.cf after the first run, so that each test can restore them.
SAVE = "mkdir -p /root/saved && cp -a /etc/postfix/. /root/saved/"
RESTORE = "rm -rf /etc/postfix/* && cp -a /root/saved/. /etc/postfix/ && systemctl restart postfix"
DAEMON = "systemctl show --property=MainPID,ActiveState --value opendkim"


def case(name: str) -> str:
    return (CASES / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(machine: Machine) -> mail.Mailbox:
    """A server that had its own OpenDKIM and another milter before the formula's run."""
    machine.write("/etc/opendkim.conf", case("opendkim/49-opendkim.conf"))
    machine.run(
        "mkdir -p /etc/dkimkeys && opendkim-genkey -D /etc/dkimkeys -d example.com -s mail"
        " && chown opendkim /etc/dkimkeys/mail.private"
    )
    lines = [
        f"{SERVICES['chrooted']} inet n - y - - smtpd",
        f"{SERVICES['unchrooted']} inet n - n - - smtpd",
        f"{SERVICES['elsewhere']} inet n - y - - smtpd -o smtpd_milters=inet:localhost:8891",
    ]
    machine.run("cat >> /etc/postfix/master.cf", input="".join(f"{line}\n" for line in lines))
    machine.run(["postconf", "-e", *case("main.cf/43-own-action.cf").replace(" = ", "=").split()])
    machine.run("postconf -e milter_default_action=accept 'smtpd_milters=inet:localhost:11332'")
    salt.install_formula(machine, PILLAR)
    preview = salt.apply(machine, test=True)
    assert preview.would_change
    first = salt.apply(machine)
    assert first.succeeded, str(first)
    machine.preview, machine.first = preview, first
    machine.run(SAVE)
    return mail.Mailbox(machine)


@pytest.fixture
def restored(site: mail.Mailbox) -> Iterator[Machine]:
    """The machine. Postfix's configuration and OpenDKIM's unit are restored after the test."""
    yield site.machine
    site.machine.run(f"rm -f {DROP_IN}; systemctl daemon-reload; {RESTORE}")


@pytest.fixture
def records(site: mail.Mailbox) -> Mapping[str, str]:
    return mail.zone_records(site.machine, salt.call(site.machine, "dkim.records", format="bind"))


def signed(site: mail.Mailbox, records: Mapping[str, str], port: int) -> list[bool]:
    text = mail.compose("someone@example.com", site.address)
    mail.send_smtp(site.machine, text, "someone@example.com", site.address, port=port)
    message = site.wait_for(mail.message_id(text))
    return [one.valid for one in mail.signatures(site.machine, message, records)]


def postconf(machine: Machine, *names: str) -> list[str]:
    return machine.run(["postconf", "-h", *names]).stdout.splitlines()


@pytest.mark.parametrize("service", SERVICES)
def test_case_42_mail_is_signed_by_chrooted_and_unchrooted_services(
    site: mail.Mailbox, records: Mapping[str, str], service: str
) -> None:
    assert signed(site, records, SERVICES[service]) == [True]


def test_case_42_unchrooted_cleanup_signs_mail_of_local_programs(
    restored: Machine, site: mail.Mailbox, records: Mapping[str, str]
) -> None:
    restored.run("postconf -F cleanup/unix/chroot=n && systemctl restart postfix")
    message = mail.sent_by_sendmail(site, "someone@example.com")
    assert [one.valid for one in mail.signatures(restored, message, records)] == [True]


def test_case_43_default_action_is_set_for_the_formulas_milter_only(site: mail.Mailbox) -> None:
    found = postconf(site.machine, "smtpd_milters", "milter_default_action")
    assert found == [f"inet:localhost:11332, {MILTER}", "accept"]


def test_second_run_changes_nothing(site: mail.Mailbox) -> None:
    run = salt.apply(site.machine)
    assert (run.succeeded, run.changed) == (True, [])


def test_run_check_and_doctor_name_another_milter_that_does_not_answer(site: mail.Mailbox) -> None:
    message = "nothing answers at inet:localhost:11332"
    assert message in str(site.machine.first["Postfix has OpenDKIM sign"])
    assert message in "\n".join(salt.call(site.machine, "dkim.check")["advice"])
    _, found = salt.ask(site.machine, "dkim.doctor")
    (other,) = [one for one in found if one["check"] == "other milters"]
    assert (other["ok"], message in other["message"]) == (None, True)


@pytest.mark.parametrize(
    "name", short_form(["38-dead-entry.cf", "67-absolute.cf", "39-var-run.cf"])
)
def test_case_38_39_67_main_cf_has_one_entry_for_the_formulas_daemon(
    restored: Machine, site: mail.Mailbox, records: Mapping[str, str], name: str
) -> None:
    lines = [line.replace(" = ", "=", 1) for line in case(f"main.cf/{name}").splitlines()]
    restored.run(["postconf", "-e", *lines])
    preview = salt.apply(restored, "dkim.postfix", test=True)["Postfix has OpenDKIM sign"]
    run = salt.apply(restored, "dkim.postfix")
    assert run.succeeded, str(run)
    assert preview.changes == run["Postfix has OpenDKIM sign"].changes
    assert postconf(restored, "smtpd_milters", "non_smtpd_milters") == [MILTER, "$smtpd_milters"]
    assert signed(site, records, SERVICES["unchrooted"]) == [True]


def test_case_40_run_check_doctor_and_selftest_name_a_service_that_bypasses_opendkim(
    restored: Machine,
) -> None:
    restored.run("sed -i '/^smtp  *inet/d' /etc/postfix/master.cf")
    restored.run("cat >> /etc/postfix/master.cf", input=case("main.cf/40-master.cf"))
    message = "mail by smtp/inet (-o smtpd_milters= in master.cf) leaves unsigned"
    assert message in "\n".join(salt.call(restored, "dkim.check")["advice"])
    assert message in salt.apply(restored, "dkim.postfix")["Postfix has OpenDKIM sign"].comment
    _, found = salt.ask(restored, "dkim.doctor")
    (master,) = [one for one in found if one["check"] == "master.cf"]
    assert (master["ok"], message in master["message"]) == (False, True)
    code, results = salt.ask(restored, "dkim.selftest")
    assert code != 0
    assert [one["signed"] for one in results] == [False]
    assert results[0]["ways"]["smtp/inet"] is False
    assert results[0]["ways"]["2526/inet"] is True


@pytest.mark.soak
def test_case_41_run_check_and_doctor_name_a_map_that_disables_milters_for_clients(
    restored: Machine,
) -> None:
    restored.write("/etc/postfix/milter_map", case("main.cf/41-milter_map"))
    restored.run(["postconf", "-e", case("main.cf/41-milter-maps.cf").strip()])
    assert "192.0.2.0/24 DISABLE" in "\n".join(salt.call(restored, "dkim.check")["advice"])
    comment = salt.apply(restored, "dkim.postfix")["Postfix has OpenDKIM sign"].comment
    assert "smtpd_milter_maps = cidr:/etc/postfix/milter_map" in comment
    _, found = salt.ask(restored, "dkim.doctor")
    (master,) = [one for one in found if one["check"] == "master.cf"]
    assert "192.0.2.0/24 DISABLE" in master["message"]


@pytest.mark.soak
def test_case_44_overriding_drop_in_is_named_before_a_restart(
    restored: Machine, site: mail.Mailbox, records: Mapping[str, str]
) -> None:
    restored.write(DROP_IN, case("opendkim/44-override.conf"))
    before = restored.run(DAEMON).stdout
    other = json.loads(json.dumps(PILLAR))
    other["dkim"]["opendkim"] = {"settings": {"LogWhy": True}}
    for test in (True, False):
        run = salt.apply(restored, "dkim.opendkim", test=test, pillar=other)
        assert not run.succeeded
        (failed,) = [one for one in run.failed if one.function == "dkim.checked"][:1]
        assert f"{DROP_IN}, line 2 (ExecStart=…)" in failed.comment
        assert "line 4 (User=root)" in failed.comment
    salt.set_pillar(restored, PILLAR)
    assert restored.run(DAEMON).stdout == before
    assert signed(site, records, SERVICES["chrooted"]) == [True]


@pytest.mark.soak
def test_harmless_drop_in_is_accepted(restored: Machine) -> None:
    restored.write(DROP_IN, "[Service]\nEnvironment=LANG=C\nLimitNOFILE=8192\nNice=5\n")
    restored.run("systemctl daemon-reload")
    assert salt.call(restored, "dkim.check")["problems"] == []


def test_case_49_removed_options_are_named_and_the_old_file_is_kept(site: mail.Mailbox) -> None:
    machine = site.machine
    for run in (machine.preview, machine.first):
        comment = run["The DKIM settings are valid"].comment
        for name in ("Domain", "Selector", "KeyFile", "SubDomains", "SenderHeaders"):
            assert f": {name} " in comment
        assert "dkim:opendkim:settings:ExemptDomains to ['partner.example']" in comment
    copy = "/etc/opendkim.conf.before-dkim-formula"
    assert machine.read(copy) == case("opendkim/49-opendkim.conf")
    assert machine.run(f"stat -c '%U:%G %a' {copy}").stdout.strip() == "root:root 400"


def test_clean_restores_the_previous_settings_of_postfix(restored: Machine) -> None:
    run = salt.apply(restored, "dkim.postfix.clean")
    assert run.succeeded, str(run)
    names = ("smtpd_milters", "non_smtpd_milters", "milter_default_action")
    assert postconf(restored, *names) == ["inet:localhost:11332"] * 2 + ["accept"]
    assert "opendkim" not in restored.run("postconf -n; postconf -P").stdout
    assert "internal_mail_filter_classes" not in restored.run("postconf -n").stdout
    assert salt.apply(restored, "dkim.postfix.clean").changed == []
