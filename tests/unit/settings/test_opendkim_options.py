"""The table of options has the options of opendkim.conf(5) that Debian's daemon accepts."""

import shutil
import subprocess

import pytest
from dkim_formula.settings.opendkim_options import OPTIONS, OWNED, spelling

# The daemon also knows an option that needs a particular value or another option.
UNKNOWN = "unrecognized parameter"


def test_options_are_spelled_as_the_manual_does():
    assert spelling("canonicalization") == "Canonicalization"
    assert spelling("OverSignHeaders") == "OversignHeaders"
    assert spelling("on-dnserror") == "On-DNSError"
    assert spelling("NoSuchOption") is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Syslog", "boolean"),
        ("AllowSHA1Only", "boolean"),
        ("UMask", "integer"),
        ("Mode", "string"),
        ("InternalHosts", "dataset"),
        ("VBR-PurgeFields", "boolean"),
    ],
)
def test_options_have_the_kind_of_the_manual(name, kind):
    assert OPTIONS[name] == kind


def test_every_owned_option_is_an_option():
    assert OWNED.keys() <= OPTIONS.keys()


@pytest.mark.parametrize("name", ["IdentityHeader", "POPDBFile", "ResignAll", "SMTPURI"])
def test_options_that_debian_left_out_are_missing(name):
    assert spelling(name) is None


@pytest.mark.skipif(shutil.which("opendkim") is None, reason="opendkim is not installed")
@pytest.mark.parametrize("name", OPTIONS)
def test_daemon_knows_the_option(name, tmp_path):
    configuration = tmp_path / "opendkim.conf"
    configuration.write_text(f"{name} 1\n", encoding="ascii")
    tried = subprocess.run(
        ["opendkim", "-n", "-x", configuration], capture_output=True, text=True, check=False
    )
    assert UNKNOWN not in tried.stderr
