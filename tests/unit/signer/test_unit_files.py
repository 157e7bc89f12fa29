"""Unit files of systemd: which other settings override the formula's, and which do harm."""

import pytest
from dkim_formula.errors import OpenDKIMError
from dkim_formula.health import check_opendkim, overrides
from dkim_formula.health.model import Host
from dkim_formula.settings import read
from dkim_formula.signer import unit

COMMAND = "/usr/sbin/opendkim -f -x /etc/opendkim.conf"
ETC = "etc/systemd/system"
DROP_INS = f"{ETC}/opendkim.service.d"


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "usr/lib/systemd/system/opendkim.service", "[Service]\nType=forking\n")
    write(tmp_path, f"{DROP_INS}/dkim-formula.conf", f"{unit.FIRST_LINE}\n")
    return tmp_path


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


SOCKETS = "/var/spool/postfix/opendkim"


def found(root, service="opendkim", environment=None, by_network=False):
    needs = unit.Needs(
        "opendkim",
        environment or {},
        writes=(SOCKETS,),
        reads=("/etc/opendkim.conf", "/run/postgresql"),
        by_network=by_network,
    )
    return unit.conflicts(service, needs, COMMAND, service == "opendkim", str(root))


def fatal(root, **options):
    return [one for one in found(root, **options) if one.fatal]


def test_unit_of_the_package_is_no_conflict(root):
    assert found(root) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[Service]\nExecStart=\nExecStart=/usr/sbin/opendkim -p inet:8891@localhost\n", True),
        ("[Service]\nUser=root\n", True),
        ("[Service]\nGroup=root\n", True),
        ("[Service]\nType=forking\n", True),
        ("[Service]\nDynamicUser=yes\n", True),
        ("[Service]\nRootDirectory=/srv/jail\n", True),
        ("[Service]\nExecCondition=/bin/false\n", True),
        ("[Service]\nEnvironment=PGPASSFILE=/etc/other\n", True),
        ('[Service]\nEnvironment="A=b" "PGHOSTADDR=192.0.2.1"\n', True),
        ("[Unit]\nRefuseManualStart=yes\n", True),
        ("[Service]\nUser = \\\n  root\n", True),
        ("[Service]\nRestart=no\n", False),
        ("[Unit]\nConditionPathExists=/etc/nowhere\n", False),
        ("[Unit]\nStartLimitIntervalSec=60\n", False),
    ],
)
def test_overriding_setting_is_reported(root, text, kind):
    write(root, f"{DROP_INS}/override.conf", text)
    (conflict,) = found(root)
    assert conflict.fatal is kind
    (message,) = unit.messages([conflict], "opendkim")
    assert f"{DROP_INS}/override.conf, line " in message


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nEnvironment=LANG=C\nLimitNOFILE=8192\nNice=5\n",
        "[Service]\nProtectHome=read-only\n",
        "[Service]\nRestart=on-failure\nRestartSec=5\n",
        "[Service]\nUser=opendkim\nGroup=opendkim\nType=simple\n",
        f"[Service]\nExecStart=\nExecStart={COMMAND}\n",
        "[Unit]\nAfter=network.target\nStartLimitIntervalSec=0\n",
        "[Service]\n# User=root\n; ExecStart=/bin/false\n",
        "User=root\n",
        "",
        "[Service]\nRuntimeDirectory=opendkim\nExecStartPre=/bin/true\n",
    ],
)
def test_harmless_drop_in_passes(root, text):
    write(root, f"{DROP_INS}/override.conf", text)
    assert found(root) == []


@pytest.mark.parametrize(
    "text",
    [
        "InaccessiblePaths=/run/postgresql",
        "InaccessiblePaths=-/var/spool /srv",
        "InaccessiblePaths=+/",
        "InaccessiblePaths=%t/postgresql",
        "InaccessiblePaths=/etc/opendkim.conf",
        "TemporaryFileSystem=/var:ro",
        f"ReadOnlyPaths={SOCKETS}/",
        "ReadWritePaths=",
        "RestrictAddressFamilies=~AF_UNIX",
        "RestrictAddressFamilies=none",
        "RestrictAddressFamilies=\nRestrictAddressFamilies=AF_INET AF_INET6",
        "RestrictAddressFamilies=\nRestrictAddressFamilies=~AF_UNIX",
        "SystemCallFilter=~@network-io",
        "SystemCallFilter=~bind listen:EPERM",
    ],
)
def test_sandbox_that_closes_the_sockets_is_reported(root, text):
    write(root, f"{DROP_INS}/override.conf", f"[Service]\n{text}\n")
    (conflict,) = fatal(root)
    (message,) = unit.messages([conflict], "opendkim")
    assert text.splitlines()[-1] in message


@pytest.mark.parametrize(
    "text",
    [
        "ProtectSystem=strict\nProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes",
        "InaccessiblePaths=/srv /var/lib/postgresql /etc/opendkim.d",
        "InaccessiblePaths=",
        "ReadOnlyPaths=/ /var/spool/postfix",
        "ReadWritePaths=/var/lib/opendkim",
        "TemporaryFileSystem=/tmp:ro",
        "RestrictAddressFamilies=",
        "RestrictAddressFamilies=AF_NETLINK",
        "RestrictAddressFamilies=~AF_PACKET",
        "RestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX",
        "RestrictAddressFamilies=\nRestrictAddressFamilies=~AF_INET",
        "SystemCallFilter=@system-service\nSystemCallFilter=~@mount @reboot",
        "PrivateNetwork=yes\nIPAddressDeny=any",
    ],
)
def test_sandbox_that_leaves_the_sockets_open_passes(root, text):
    write(root, f"{DROP_INS}/override.conf", f"[Service]\n{text}\n")
    assert found(root) == []


@pytest.mark.parametrize(
    ("text", "is_fatal"),
    [
        ("PrivateNetwork=yes", True),
        ("NetworkNamespacePath=/run/x", True),
        ("IPAddressDeny=any", False),
    ],
)
def test_sandbox_without_access_to_a_remote_database_is_reported(root, text, is_fatal):
    write(root, f"{DROP_INS}/override.conf", f"[Service]\n{text}\n")
    assert [one.fatal for one in found(root, by_network=True)] == [is_fatal]


def test_sandbox_of_an_earlier_file_accumulates_with_the_formulas(root):
    write(root, f"{DROP_INS}/10-site.conf", "[Service]\nRestrictAddressFamilies=AF_INET\n")
    assert found(root) == []
    write(root, f"{DROP_INS}/10-site.conf", "[Service]\nInaccessiblePaths=/run\n")
    assert len(fatal(root)) == 1


def test_earlier_drop_in_is_overridden(root):
    write(root, f"{DROP_INS}/10-site.conf", "[Service]\nUser=root\nExecStart=/bin/false\n")
    assert found(root) == []
    write(root, f"{DROP_INS}/10-site.conf", "[Service]\nRootDirectory=/srv\n")
    assert len(fatal(root)) == 1


@pytest.mark.parametrize("folder", ["run/systemd/system", "usr/lib/systemd/system"])
@pytest.mark.parametrize("name", ["opendkim.service.d", "service.d"])
def test_drop_in_is_found_in_every_folder(root, folder, name):
    write(root, f"{folder}/{name}/zz.conf", "[Service]\nUser=root\n")
    assert len(fatal(root)) == 1


def test_drop_in_of_the_same_name_counts_once_by_its_folder(root):
    write(root, "usr/lib/systemd/system/opendkim.service.d/x.conf", "[Service]\nUser=root\n")
    write(root, f"{DROP_INS}/x.conf", "[Service]\nNice=5\n")
    assert found(root) == []


def test_masked_drop_in_has_no_effect(root):
    write(root, "usr/lib/systemd/system/opendkim.service.d/x.conf", "[Service]\nUser=root\n")
    (root / DROP_INS / "x.conf").symlink_to("/dev/null")
    assert found(root) == []


def test_settings_of_a_custom_unit_are_overridden_by_the_drop_in(root):
    text = "[Service]\nUser=root\nExecStart=/usr/sbin/opendkim -p inet:8891@localhost\n"
    write(root, f"{ETC}/opendkim.service", text)
    assert found(root) == []
    write(root, f"{ETC}/opendkim.service", text + "RootDirectory=/srv\n")
    assert len(fatal(root)) == 1


def test_custom_unit_with_the_name_of_the_second_daemon_is_reported(root):
    write(root, f"{ETC}/opendkim-ed25519.service", "[Service]\nExecStart=/bin/true\n")
    (conflict,) = fatal(root, service="opendkim-ed25519")
    assert "is not the formula's" in conflict.consequence


def test_drop_ins_of_the_second_daemon_come_after_its_unit(root):
    write(root, f"{ETC}/opendkim-ed25519.service", f"{unit.FIRST_LINE}\n[Service]\n")
    write(root, f"{ETC}/opendkim-.service.d/a.conf", "[Service]\nUser=root\n")
    assert len(fatal(root, service="opendkim-ed25519")) == 1
    assert found(root) == []


def test_value_that_may_contain_a_password_is_not_shown(root):
    text = "[Service]\nExecStart=/usr/sbin/opendkim -o x://a:hush@b\nEnvironment=PGPASSWORD=hush\n"
    write(root, f"{DROP_INS}/override.conf", text)
    messages = "\n".join(unit.messages(found(root), "opendkim"))
    assert "ExecStart=" in messages
    assert "hush" not in messages


def test_variable_of_the_formula_may_be_repeated(root):
    write(root, f"{DROP_INS}/x.conf", "[Service]\nEnvironment=PGPASSFILE=/etc/p\n")
    assert found(root, environment={"PGPASSFILE": "/etc/p"}) == []
    assert len(fatal(root, environment={"PGPASSFILE": "/etc/q"})) == 1


def test_socket_of_a_command_line_is_found(root):
    text = (
        "[Service]\nExecStart=\nExecStart=/usr/sbin/opendkim -u opendkim -p inet:8891@localhost\n"
    )
    write(root, f"{DROP_INS}/override.conf", text)
    assert unit.sockets("opendkim", str(root)) == ["inet:8891@localhost"]


@pytest.fixture
def machine(root, monkeypatch):
    """A machine whose units are in a folder of the test."""
    monkeypatch.setattr(unit, "FOLDERS", tuple(f"{root}{folder}" for folder in unit.FOLDERS))
    monkeypatch.setattr(overrides, "SYSTEMD_RUNS", str(root))
    return root


def settings_of(**database):
    return read({"database": database, "domains": {"example.com": {}}}).settings


def test_daemon_is_not_started_with_a_sandbox_that_closes_its_sockets(machine):
    overrides.refuse_to_start(settings_of(), "opendkim")
    write(machine, f"{DROP_INS}/override.conf", "[Service]\nInaccessiblePaths=/run/postgresql\n")
    with pytest.raises(OpenDKIMError, match="InaccessiblePaths=/run/postgresql"):
        overrides.refuse_to_start(settings_of(), "opendkim")
    # Neither the same socket nor the same service.
    overrides.refuse_to_start(settings_of(host="db.example.com"), "opendkim")
    overrides.refuse_to_start(settings_of(), "postfix")


def test_doctor_names_a_sandbox_that_closes_the_sockets(machine, monkeypatch):
    shown = {
        "LoadState": "loaded",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "Restart": "always",
        "User": "opendkim",
        "NeedDaemonReload": "no",
        "FragmentPath": "",
    }
    host = Host(settings_of(), ())
    (daemon,) = host.daemons
    drop_in = {"DropInPaths": host.unit_file(daemon)}
    monkeypatch.setattr(check_opendkim, "show", lambda _service: shown | drop_in)
    assert check_opendkim.unit(host, daemon).ok
    write(machine, f"{DROP_INS}/override.conf", "[Service]\nReadWritePaths=\n")
    assert not check_opendkim.unit(host, daemon).ok
