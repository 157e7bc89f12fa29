"""Other programs that sign mail on the machine."""

import os
import subprocess
import sys

import pytest
from dkim_formula.errors import PostfixError
from dkim_formula.health import check_postfix, preflight
from dkim_formula.health.model import Host
from dkim_formula.importing import amavisd_config, other_signers, rspamd_config
from dkim_formula.importing.other_signers import Process
from dkim_formula.postfix.service_milters import Configuration
from dkim_formula.screens.doctor import remedy_lines
from dkim_formula.screens.terminal import Terminal
from dkim_formula.settings import Reading
from dkim_formula.settings.model import Settings


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without another signing program and without Postfix."""

    def no_postfix():
        raise PostfixError("no postconf")

    world = World(tmp_path, monkeypatch)
    monkeypatch.setattr(other_signers, "processes", lambda: iter(world.running))
    monkeypatch.setattr(other_signers.service_milters, "read", no_postfix)
    monkeypatch.setattr(rspamd_config, "CONFIGURATION", str(tmp_path / "rspamd"))
    monkeypatch.setattr(rspamd_config, "_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(amavisd_config, "CONFIGURATIONS", (str(tmp_path / "conf.d"),))
    return world


class World:
    def __init__(self, path, monkeypatch):
        self.path = path
        self.running = []
        self._monkeypatch = monkeypatch

    def run(self, *words, number=1):
        self.running.append(Process(number, words))

    def write(self, name, text):
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return str(target)

    def postfix(self, **main):
        found = Configuration(main)
        self._monkeypatch.setattr(other_signers.service_milters, "read", lambda: found)

    def found(self):
        return other_signers.messages(Settings())


def test_machine_without_another_signer_has_no_message(machine):
    machine.run("/usr/sbin/opendkim", "-f", "-x", "/etc/opendkim.conf")
    machine.run("/usr/sbin/smtpd")
    assert machine.found() == []
    assert [one.ok for one in check_postfix.other_signers_found(Host(Settings()))] == [True]


def test_check_and_doctor_report_the_message_of_the_import(machine):
    machine.run("rspamd: main process")
    machine.write("rspamd/local.d/dkim_signing.conf", "use_redis = true;")
    (finding,) = check_postfix.other_signers_found(Host(Settings()))
    assert (finding.name, finding.ok) == ("other signers rspamd", None)
    assert finding.remedy.startswith("write 'enabled = false;' into ")
    assert machine.found()[0] in preflight.check(Reading(Settings(), (), ()))["advice"]


def test_rspamd_that_has_keys_signs_until_it_is_switched_off(machine):
    machine.run("rspamd: main process")
    machine.write("rspamd/local.d/dkim_signing.conf", "use_esld = false;")
    assert machine.found() == []
    machine.write("data/dkim/example.com.dkim.key", "")
    machine.write("data/dkim/example.org.dkim.key", "")
    machine.write("data/dkim/example.org.old.key", "")
    (text,) = machine.found()
    assert text == (
        "rspamd signs with 2 keys (dkim_signing): mail would be signed twice; switch it off: write "
        f"'enabled = false;' into {machine.path}/rspamd/override.d/dkim_signing.conf; then: "
        "systemctl restart rspamd"
    )
    machine.write("rspamd/override.d/dkim_signing.conf", "enabled = false;\n")
    assert machine.found() == []


def test_rspamd_with_keys_in_redis_signs(machine):
    machine.run("/usr/bin/rspamd", "-c", "/etc/rspamd/rspamd.conf", "-f")
    machine.write("rspamd/local.d/dkim_signing.conf", "use_redis = true;")
    assert "rspamd signs with its keys" in machine.found()[0]


def test_rspamd_with_one_key_file_for_all_domains_signs(machine):
    machine.postfix(smtpd_milters="inet:localhost:11332", queue_directory="/q")
    path = machine.write("own/2017.key", "")
    settings = f'path = "{machine.path}/own/$selector.key";\n'
    machine.write("rspamd/local.d/dkim_signing.conf", settings)
    assert machine.found() == []
    machine.write("rspamd/local.d/dkim_signing.conf", f'{settings}selector = "2017";\n')
    (text,) = machine.found()
    assert text.startswith("rspamd signs with 1 key (dkim_signing), and Postfix asks it")
    os.unlink(path)
    assert machine.found() == []


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("local.d/dkim_signing.conf", "a = [", "can't be parsed"),
        ("rspamd.conf.local", "dkim_signing { selector = x; }", "its section dkim_signing"),
        ("local.d/dkim_signing.conf", "key_table = /t; signing_table = /s;", "OpenDKIM's form"),
    ],
)
def test_rspamd_whose_settings_are_not_read_may_sign(machine, name, text, reason):
    machine.run("rspamd: main process")
    machine.write(f"rspamd/{name}", text)
    (message,) = machine.found()
    assert message.startswith("rspamd may sign (dkim_signing; ")
    assert reason in message
    machine.write("rspamd/override.d/dkim_signing.conf", "enabled = false;\n")
    assert machine.found() == []


def test_stopped_rspamd_is_not_reported(machine):
    machine.write("rspamd/local.d/dkim_signing.conf", "")
    machine.write("data/dkim/example.com.dkim.key", "")
    assert machine.found() == []


@pytest.mark.parametrize(
    "milter", ["inet:localhost:11332", "unix:/run/rspamd/milter.sock", "inet:[192.0.2.1]:11332"]
)
def test_milter_of_rspamd_in_main_cf_is_named(machine, milter):
    machine.postfix(smtpd_milters=f"unix:opendkim/opendkim.sock {milter}", queue_directory="/q")
    (text,) = machine.found()
    assert f"Postfix asks a milter of rspamd (smtpd_milters: {milter})" in text


def test_amavisd_that_signs_is_named_with_its_file(machine):
    machine.write("conf.d/20-defaults", "$enable_dkim_signing = 1;\n")
    path = machine.write("conf.d/50-user", "dkim_key('a.example', 's', '/k');\n1;\n")
    assert machine.found() == []
    machine.run("/usr/sbin/amavisd-new (master)")
    (text,) = machine.found()
    assert text.startswith("amavisd signs with 1 key (dkim_key): mail would be signed twice")
    assert f"write '$enable_dkim_signing = 0;' into {path}, before its last line;" in text
    machine.write("conf.d/50-user", "dkim_key('a.example','s','/k');\n$enable_dkim_signing = 0;\n")
    assert machine.found() == []


def test_amavisd_without_a_known_configuration_may_sign(machine):
    machine.run("/usr/sbin/amavisd-new (master)")
    (text,) = machine.found()
    assert text.startswith("amavisd may sign (config: ")


@pytest.mark.parametrize("words", [("-x", "{path}"), ("-f", "-x{path}", "-vvv")])
def test_opendkim_with_another_configuration_is_named(machine, words):
    path = machine.write("other.conf", "Mode sv\nKeyFile /k\n")
    machine.run("/usr/sbin/opendkim", *(word.format(path=path) for word in words), number=999999999)
    (text,) = machine.found()
    assert f"another OpenDKIM signs with the configuration {path}" in text
    assert text.endswith(": end the process 999999999; then remove its milter from main.cf")
    machine.write("other.conf", "Mode v\n")
    assert machine.found() == []


def test_remedy_for_a_milter_is_two_steps(machine, monkeypatch):
    machine.run("/usr/sbin/opendkim", "-x", machine.write("other.conf", "KeyFile /k\n"))
    monkeypatch.setattr(other_signers, "_unit", lambda number: "other.service")
    (finding,) = check_postfix.other_signers_found(Host(Settings()))
    assert [*remedy_lines(finding.remedy, Terminal())] == [
        "    systemctl disable --now other.service",
        "    then remove its milter from main.cf",
    ]


def test_remedy_shows_the_line_of_a_configuration_whole(machine):
    machine.run("/usr/sbin/amavisd-new (master)")
    text = "$enable_dkim_signing = 1;\ndkim_key('a.example', 's', '/k');\n1;\n"
    machine.write("conf.d/50-user", text)
    (finding,) = check_postfix.other_signers_found(Host(Settings()))
    first, second = remedy_lines(finding.remedy, Terminal(width=None))
    assert "write '$enable_dkim_signing = 0;' into " in first
    assert second == "    systemctl restart amavis  # then"


@pytest.mark.parametrize("key", ["KeyFile", "KeyTable", "KeyFileEd25519", "KeyTableEd25519"])
def test_dkimpy_milter_that_signs_is_named(machine, key):
    path = machine.write("dkimpy.conf", f"Mode sv\n{key} /k\n")
    command = ("/usr/bin/python3", "/usr/bin/dkimpy-milter", path, "-P", "/run/x.pid")
    machine.run(*command, number=999999999)
    (text,) = machine.found()
    assert text.startswith(f"dkimpy-milter signs with the configuration {path}")
    for other in ("Mode sv\n", f"Mode v\n{key} /k\n"):
        machine.write("dkimpy.conf", other)
        assert machine.found() == []


def test_processes_of_this_machine_are_found_with_their_command_lines():
    # The program prints a line once it runs: before that the kernel has no command line of it.
    command = [sys.executable, "-c", "print(flush=True); input()", "word of this test"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        found = {one.number: one for one in other_signers.processes()}
        assert found[process.pid].words == tuple(command)
        assert found[process.pid].name == os.path.basename(sys.executable)
        process.communicate(b"\n")
