"""The formula's files for OpenDKIM are found on the machine, whatever the pillar says."""

import pytest
from dkim_formula.settings.lookup import DEFAULTS
from dkim_formula.signer.daemons import HEADER
from dkim_formula.signer.installed import installed

CHROOT = "/var/spool/postfix"


@pytest.fixture
def machine(tmp_path):
    """A folder for units, and a function that writes a file below the test's folder."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)

    return write


def found(tmp_path, **lookup):
    elsewhere = {"opendkim_config": str(tmp_path / "none.conf"), **lookup}
    return installed({**DEFAULTS, **elsewhere}, str(tmp_path / "units"))


def configuration(socket):
    return f"{HEADER}\n\nMode sv\nSocket                  local:{socket}\n"


def unit(config):
    return f"{HEADER}\n[Service]\nExecStart=/usr/sbin/opendkim -f -x {config}\n"


def test_daemons_of_both_kinds_of_unit_are_found(machine, tmp_path):
    main = machine("etc/signer.conf", configuration(f"{CHROOT}/milter/signer.sock"))
    second = machine("etc/signer-ed25519.conf", configuration(f"{CHROOT}/milter/second.sock"))
    drop_in = machine("units/signer.service.d/dkim-formula.conf", unit(main))
    own = machine("units/signer-ed25519.service", unit(second))
    first, other = found(tmp_path)
    assert (first.service, first.files) == ("signer", (drop_in, main))
    assert (other.service, other.files) == ("signer-ed25519", (own, second))
    assert first.directories == (f"{CHROOT}/milter",)
    assert "unix:/milter/signer.sock" in first.milters


def test_configuration_without_a_unit_is_found_at_its_path(machine, tmp_path):
    config = machine("opendkim.conf", configuration(f"{CHROOT}/opendkim/opendkim.sock"))
    (daemon,) = found(tmp_path, opendkim_config=config)
    assert (daemon.service, daemon.files) == ("opendkim", (config,))


def test_configuration_of_an_earlier_lookup_is_also_found(machine, tmp_path):
    old = machine("opendkim.conf", configuration(f"{CHROOT}/opendkim/opendkim.sock"))
    new = machine("signer.conf", configuration(f"{CHROOT}/milter/opendkim.sock"))
    drop_in = machine("units/opendkim.service.d/dkim-formula.conf", unit(new))
    (daemon,) = found(tmp_path, opendkim_config=old)
    assert daemon.files == (drop_in, new, old)
    assert set(daemon.directories) == {f"{CHROOT}/opendkim", f"{CHROOT}/milter"}


def test_files_without_the_header_are_not_found(machine, tmp_path):
    config = machine("opendkim.conf", "Mode sv\nSocket local:/run/opendkim/opendkim.sock\n")
    machine("units/opendkim.service", f"[Service]\nExecStart=/usr/sbin/opendkim -f -x {config}\n")
    assert found(tmp_path, opendkim_config=config) == []


def test_replaced_configuration_is_not_found(machine, tmp_path):
    config = machine("opendkim.conf", "Mode sv\nSocket local:/run/opendkim/opendkim.sock\n")
    drop_in = machine("units/opendkim.service.d/dkim-formula.conf", unit(config))
    (daemon,) = found(tmp_path)
    assert daemon.files == (drop_in,)
    assert daemon.directories == daemon.milters == ()


def test_postfixs_chroot_is_not_a_directory_of_the_formula(machine, tmp_path):
    config = machine("opendkim.conf", configuration(f"{CHROOT}/opendkim.sock"))
    (daemon,) = found(tmp_path, opendkim_config=config)
    assert daemon.directories == ()
