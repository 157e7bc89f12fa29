"""The addresses of a former milter socket, in every spelling of Postfix."""

from pathlib import Path

import pytest
from dkim_formula.postfix import main_cf_milters, milter_plan, own_host, service_milters
from dkim_formula.settings import read
from dkim_formula.settings.lookup import DEFAULTS
from dkim_formula.signer import config_options
from dkim_formula.signer.config_copy import copy_path, save_copy
from dkim_formula.signer.former_sockets import moved_from, previous_addresses
from support.templates import opendkim_conf

MILTER = "unix:opendkim/opendkim.sock"
CHROOT = "/var/spool/postfix"
SOCKET = f"{CHROOT}/opendkim/opendkim.sock"
SETTINGS = read({"domains": ["example.com"]}).settings


@pytest.mark.parametrize(
    ("line", "spellings"),
    [
        ("Socket inet:8891@localhost", {"inet:localhost:8891", "inet:127.0.0.1:8891"}),
        ("Socket inet:8891@127.0.0.1", {"inet:localhost:8891", "inet:127.0.0.1:8891"}),
        ("Socket inet:8891", {"inet:localhost:8891", "inet:127.0.0.1:8891"}),
        ("Socket inet6:8891@[::1]", {"inet:[::1]:8891", "inet:localhost:8891"}),
        ("Socket inet:8891@192.0.2.1", {"inet:192.0.2.1:8891"}),
        ("Socket local:/run/opendkim/opendkim.sock", {"unix:/run/opendkim/opendkim.sock"}),
        ("Socket /run/opendkim/opendkim.sock", {"unix:/run/opendkim/opendkim.sock"}),
        (
            f"Socket local:{CHROOT}/dkim/dkim.sock",
            {"unix:/dkim/dkim.sock", "unix:dkim/dkim.sock", "local:dkim/dkim.sock"},
        ),
        ("socket  inet:8891@localhost # ours", {"inet:localhost:8891"}),
        ("Socket inet:1@localhost\nSocket inet:2@localhost", {"inet:localhost:2"}),
    ],
)
def test_address_of_a_custom_configuration_has_all_spellings_of_postfix(line, spellings):
    assert spellings <= set(previous_addresses(line, CHROOT, SOCKET))


@pytest.mark.parametrize(
    "text",
    ["", "Mode sv", "# Socket inet:8891@localhost", f"Socket local:{SOCKET}", f"Socket {SOCKET}"],
)
def test_daemon_without_another_address_did_not_move(text):
    assert previous_addresses(text, CHROOT, SOCKET) == ()


def test_milter_of_another_machine_is_not_the_moved_daemon():
    found = previous_addresses("Socket inet:8891@192.0.2.1", CHROOT, SOCKET)
    assert "inet:localhost:8891" not in found


@pytest.mark.parametrize("chroot", [CHROOT, f"{CHROOT}/"])
def test_chroot_is_the_same_with_and_without_a_last_slash(chroot):
    found = previous_addresses(f"Socket local:{CHROOT}/x/y", chroot, SOCKET)
    assert main_cf_milters.swap({"smtpd_milters": "unix:/x/y"}, found, MILTER) == {
        "smtpd_milters": MILTER
    }


def test_address_of_a_replaced_file_is_read_from_its_copy(daemon):
    Path(daemon.config_file).write_text("Socket inet:10028@localhost\n")
    save_copy(daemon.config_file, copy_path(daemon))
    Path(daemon.config_file).write_text(opendkim_conf(config_options.options(SETTINGS, daemon)))
    found = moved_from([daemon], DEFAULTS)
    assert "inet:localhost:10028" in found[daemon.milter]


@pytest.fixture
def own_host_is(tmp_path, monkeypatch):
    """Make this host mail.example.com with the addresses 192.0.2.10 and 2001:db8::10."""
    (tmp_path / "hosts").write_text(
        "127.0.0.1 localhost\n127.0.1.1 mail.example.com mail # Debian\n192.0.2.77 other.example\n"
        "2001:DB8::10 mail6.example.com\n"
    )
    (tmp_path / "fib_trie").write_text(
        "     |-- 192.0.2.0\n        /24 link UNICAST\n"
        "     |-- 192.0.2.10\n        /32 host LOCAL\n"
    )
    (tmp_path / "if_inet6").write_text(
        "20010db8000000000000000000000010 02 40 00 80 eth0\n"
        "00000000000000000000000000000001 01 80 10 80 lo\n"
    )
    monkeypatch.setattr(own_host, "HOSTS", str(tmp_path / "hosts"))
    monkeypatch.setattr(own_host, "IPV4", str(tmp_path / "fib_trie"))
    monkeypatch.setattr(own_host, "IPV6", str(tmp_path / "if_inet6"))
    monkeypatch.setattr(own_host.socket, "gethostname", lambda: "vm")


EVERYWHERE = [
    *("127.0.0.1", "localhost", "LOCALHOST", "[::1]", "ip6-localhost", "localhost.localdomain"),
    *("192.0.2.10", "[192.0.2.10]", "[2001:db8::10]", "2001:DB8:0::10", "127.0.1.1", "0.0.0.0"),
    *("mail.example.com", "mail", "vm", "mail6.example.com", "::ffff:127.0.0.1"),
]


@pytest.mark.usefixtures("own_host_is")
@pytest.mark.parametrize("named", EVERYWHERE)
@pytest.mark.parametrize(
    "socket",
    ["inet:8899@0.0.0.0", "inet6:8899@::", "inet6:8899@[::]", "inet:8899", "inet:8899@*"],
)
def test_entry_of_a_daemon_that_listened_everywhere_is_replaced(socket, named):
    older = previous_addresses(f"Socket {socket}", CHROOT, SOCKET)
    found = service_milters.Configuration(main={"smtpd_milters": f"inet:{named}:8899"})
    plan = milter_plan.present(found, [MILTER], older={MILTER: older})
    assert plan.main["smtpd_milters"] == f"{{ {MILTER}, default_action=accept }}"


@pytest.mark.usefixtures("own_host_is")
@pytest.mark.parametrize(
    ("socket", "named", "same"),
    [
        ("inet:8899@192.0.2.10", "mail.example.com", True),
        ("inet:8899@192.0.2.10", "vm", True),
        ("inet:8899@mail.example.com", "192.0.2.10", True),
        ("inet:8899@localhost", "ip6-loopback", True),
        ("inet:8899@localhost", "mail", True),
        ("inet:8899@192.0.2.10", "localhost", False),
        ("inet:8899@192.0.2.10", "127.0.0.1", False),
        ("inet:8899@0.0.0.0", "192.0.2.77", False),
        ("inet:8899@0.0.0.0", "other.example", False),
        ("inet:8899@0.0.0.0", "192.0.2.0", False),
        ("inet:8899@192.0.2.77", "mail", False),
    ],
)
def test_entry_is_the_daemons_only_if_the_address_may_be(socket, named, same):
    older = previous_addresses(f"Socket {socket}", CHROOT, SOCKET)
    swapped = main_cf_milters.swap({"smtpd_milters": f"inet:{named}:8899"}, older, MILTER)
    assert swapped == ({"smtpd_milters": MILTER} if same else {})
    other = main_cf_milters.swap({"smtpd_milters": f"inet:{named}:8898"}, older, MILTER)
    assert other == {}


def test_host_without_proc_and_hosts_file_has_its_loopback_names(monkeypatch):
    for path in ("HOSTS", "IPV4", "IPV6"):
        monkeypatch.setattr(own_host, path, "/nonexistent")
    assert own_host.hosts_meant("0.0.0.0") == {"localhost"}
