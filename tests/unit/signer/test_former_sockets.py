"""The addresses of a former milter socket, in every spelling of Postfix."""

from pathlib import Path

import pytest
from dkim_formula.postfix import main_cf_milters
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
