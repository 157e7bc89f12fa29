"""What a site has set for itself in Postfix, systemd and opendkim.conf, met on a whole machine."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support import mail, salt
from support.machine import Machine

pytestmark = pytest.mark.one_release("trixie")

EQUIPPED = True

CASES = Path(__file__).resolve().parents[1] / "cases"
OURS = "{ unix:opendkim/opendkim.sock, default_action=tempfail }"
PILLAR = {"dkim": {"domains": ["example.com"], "postfix": {"milter_default_action": "tempfail"}}}
SERVICES = {"chrooted": 2525, "unchrooted": 2526, "elsewhere": 2527}
DROP_IN = "/etc/systemd/system/opendkim.service.d/override.conf"
# A copy of main.cf and master.cf as this file's machine has them after its first run.
SAVE = "mkdir -p /root/saved && cp -a /etc/postfix/. /root/saved/"
RESTORE = "rm -rf /etc/postfix/* && cp -a /root/saved/. /etc/postfix/ && systemctl restart postfix"
DAEMON = "systemctl show --property=MainPID,ActiveState --value opendkim"


def case(name: str) -> str:
    return (CASES / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site(machine: Machine) -> mail.Mailbox:
    """A server with an OpenDKIM of its own, a milter of another, and the formula over both."""
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
    told = salt.apply(machine, test=True)
    assert told.would_change
    first = salt.apply(machine)
    assert first.succeeded, str(first)
    machine.told, machine.first = told, first
    machine.run(SAVE)
    return mail.Mailbox(machine)


@pytest.fixture
def as_before(site: mail.Mailbox) -> Iterator[Machine]:
    """The machine; Postfix's configuration and the unit are as before afterwards."""
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
def test_case_42_mail_is_signed_whatever_the_chroot_column_says(
    site: mail.Mailbox, records: Mapping[str, str], service: str
) -> None:
    assert signed(site, records, SERVICES[service]) == [True]


def test_case_42_mail_of_local_programs_is_signed_by_an_unchrooted_cleanup(
    as_before: Machine, site: mail.Mailbox, records: Mapping[str, str]
) -> None:
    as_before.run("postconf -F cleanup/unix/chroot=n && systemctl restart postfix")
    message = mail.sent_by_sendmail(site, "someone@example.com")
    assert [one.valid for one in mail.signatures(as_before, message, records)] == [True]


def test_case_43_action_of_the_site_stays_and_ours_is_at_our_entry(site: mail.Mailbox) -> None:
    found = postconf(site.machine, "smtpd_milters", "milter_default_action")
    assert found == [f"inet:localhost:11332, {OURS}", "accept"]


def test_second_run_changes_nothing(site: mail.Mailbox) -> None:
    run = salt.apply(site.machine)
    assert (run.succeeded, run.changed) == (True, [])


def test_milter_that_does_not_answer_is_named_by_run_check_and_doctor(site: mail.Mailbox) -> None:
    told = "nothing answers at inet:localhost:11332"
    assert told in str(site.machine.first["Postfix has OpenDKIM sign"])
    assert told in "\n".join(salt.call(site.machine, "dkim.check")["advice"])
    _, found = salt.ask(site.machine, "dkim.doctor")
    (other,) = [one for one in found if one["check"] == "other milters"]
    assert (other["ok"], told in other["message"]) == (None, True)


@pytest.mark.parametrize("name", ["38-dead-entry.cf", "67-absolute.cf", "39-var-run.cf"])
def test_case_38_39_67_main_cf_has_one_entry_for_our_daemon(
    as_before: Machine, site: mail.Mailbox, records: Mapping[str, str], name: str
) -> None:
    lines = [line.replace(" = ", "=", 1) for line in case(f"main.cf/{name}").splitlines()]
    as_before.run(["postconf", "-e", *lines])
    told = salt.apply(as_before, "dkim.postfix", test=True)["Postfix has OpenDKIM sign"]
    run = salt.apply(as_before, "dkim.postfix")
    assert run.succeeded, str(run)
    assert told.changes == run["Postfix has OpenDKIM sign"].changes
    assert postconf(as_before, "smtpd_milters", "non_smtpd_milters") == [OURS, "$smtpd_milters"]
    assert signed(site, records, SERVICES["unchrooted"]) == [True]


def test_case_40_service_that_goes_round_us_is_named_by_everybody(as_before: Machine) -> None:
    as_before.run("sed -i '/^smtp  *inet/d' /etc/postfix/master.cf")
    as_before.run("cat >> /etc/postfix/master.cf", input=case("main.cf/40-master.cf"))
    told = "mail by smtp/inet (-o smtpd_milters= in master.cf) leaves unsigned"
    assert told in "\n".join(salt.call(as_before, "dkim.check")["advice"])
    assert told in salt.apply(as_before, "dkim.postfix")["Postfix has OpenDKIM sign"].comment
    _, found = salt.ask(as_before, "dkim.doctor")
    (master,) = [one for one in found if one["check"] == "master.cf"]
    assert (master["ok"], told in master["message"]) == (False, True)
    code, results = salt.ask(as_before, "dkim.selftest")
    assert code != 0
    assert [one["signed"] for one in results] == [False]
    assert results[0]["ways"]["smtp/inet"] is False
    assert results[0]["ways"]["2526/inet"] is True


def test_case_41_table_that_takes_clients_away_is_named(as_before: Machine) -> None:
    as_before.write("/etc/postfix/milter_map", case("main.cf/41-milter_map"))
    as_before.run(["postconf", "-e", case("main.cf/41-milter-maps.cf").strip()])
    assert "192.0.2.0/24 DISABLE" in "\n".join(salt.call(as_before, "dkim.check")["advice"])
    comment = salt.apply(as_before, "dkim.postfix")["Postfix has OpenDKIM sign"].comment
    assert "smtpd_milter_maps = cidr:/etc/postfix/milter_map" in comment
    _, found = salt.ask(as_before, "dkim.doctor")
    (master,) = [one for one in found if one["check"] == "master.cf"]
    assert "192.0.2.0/24 DISABLE" in master["message"]


def test_case_44_drop_in_that_wins_is_named_before_anything_is_restarted(
    as_before: Machine, site: mail.Mailbox, records: Mapping[str, str]
) -> None:
    as_before.write(DROP_IN, case("opendkim/44-override.conf"))
    before = as_before.run(DAEMON).stdout
    other = json.loads(json.dumps(PILLAR))
    other["dkim"]["opendkim"] = {"settings": {"LogWhy": True}}
    for test in (True, False):
        run = salt.apply(as_before, "dkim.opendkim", test=test, pillar=other)
        assert not run.succeeded
        (told,) = [one for one in run.failed if one.function == "dkim.checked"][:1]
        assert f"{DROP_IN}, line 2 (ExecStart=…)" in told.comment
        assert "line 4 (User=root)" in told.comment
    salt.set_pillar(as_before, PILLAR)
    assert as_before.run(DAEMON).stdout == before
    assert signed(site, records, SERVICES["chrooted"]) == [True]


def test_harmless_drop_in_passes(as_before: Machine) -> None:
    as_before.write(DROP_IN, "[Service]\nEnvironment=LANG=C\nLimitNOFILE=8192\nNice=5\n")
    as_before.run("systemctl daemon-reload")
    assert salt.call(as_before, "dkim.check")["problems"] == []


def test_case_49_options_that_went_were_named_and_the_file_is_kept(site: mail.Mailbox) -> None:
    machine = site.machine
    for run in (machine.told, machine.first):
        told = run["The DKIM settings are sound"].comment
        for name in ("Domain", "Selector", "KeyFile", "SubDomains", "SenderHeaders"):
            assert f": {name} " in told
        assert "dkim:opendkim:settings:ExemptDomains to ['partner.example']" in told
    copy = "/etc/opendkim.conf.before-dkim-formula"
    assert machine.read(copy) == case("opendkim/49-opendkim.conf")
    assert machine.run(f"stat -c '%U:%G %a' {copy}").stdout.strip() == "root:root 400"


def test_leaving_gives_back_what_the_site_had(as_before: Machine) -> None:
    run = salt.apply(as_before, "dkim.postfix.clean")
    assert run.succeeded, str(run)
    names = ("smtpd_milters", "non_smtpd_milters", "milter_default_action")
    assert postconf(as_before, *names) == ["inet:localhost:11332"] * 2 + ["accept"]
    assert "opendkim" not in as_before.run("postconf -n; postconf -P").stdout
    assert "internal_mail_filter_classes" not in as_before.run("postconf -n").stdout
    assert salt.apply(as_before, "dkim.postfix.clean").changed == []
