"""The unit's sandbox allows writing only to the paths of the daemon's options."""

import pytest
from dkim_formula.settings import model, read
from dkim_formula.signer import daemons, unit_needs

LOOKUP = {
    "opendkim_service": "opendkim",
    "opendkim_config": "/etc/opendkim.conf",
    "postfix_chroot": "/var/spool/postfix",
    "socket_directory": "opendkim",
}
SOCKETS = "/var/spool/postfix/opendkim"


def writable(options, algorithm="rsa"):
    settings = model.Settings(opendkim=model.OpenDKIM(settings=options))
    return unit_needs.writable(settings, daemons.daemon(algorithm, LOOKUP))


def problems(opendkim):
    return read({"domains": ["example.com"], "opendkim": opendkim}).problems


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_directory_of_the_socket_is_writable(algorithm):
    assert writable({}, algorithm) == [SOCKETS]


def test_only_paths_that_an_option_writes_to_are_writable():
    options = {
        "DiagnosticDirectory": "/var/lib/dkim/diagnostics",
        "TemporaryDirectory": "/var/lib/dkim",
        "Statistics": "/var/lib/dkim/statistics.dat",
        "ExternalIgnoreList": "/etc/mail/hosts",
        "Canonicalization": "relaxed/simple",
    }
    assert sorted(writable(options)) == [
        "/var/lib/dkim",
        "/var/lib/dkim/diagnostics",
        SOCKETS,
    ]


def test_socket_is_first_and_paths_have_no_duplicates():
    found = writable({"TemporaryDirectory": "/srv/a", "DiagnosticDirectory": "/srv/a"})
    assert found == [SOCKETS, "/srv/a"]


def test_reports_by_sendmail_are_refused_with_the_sandbox():
    (problem,) = problems({"settings": {"SendReports": True}})
    assert problem.startswith("dkim:opendkim:settings:SendReports: ")
    assert "dkim:opendkim:sandbox: false" in problem


@pytest.mark.parametrize(
    "opendkim",
    [
        {"settings": {"SendReports": True}, "sandbox": False},
        {"settings": {"SendReports": True, "MTACommand": "/usr/bin/msmtp"}},
        {"settings": {"SendReports": False}},
    ],
)
def test_reports_by_another_program_are_accepted(opendkim):
    assert problems(opendkim) == ()


def test_sandbox_is_on_unless_it_is_switched_off():
    assert read({"domains": ["example.com"]}).settings.opendkim.sandbox is True
    assert problems({"sandbox": "perhaps"}) != ()
