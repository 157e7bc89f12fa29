"""An existing opendkim.conf: who wrote it, and how it differs from the settings."""

import hashlib
from pathlib import Path

from dkim_formula.settings import read
from dkim_formula.signer import config_options, existing_config
from support.templates import opendkim_conf

SETTINGS = read({"domains": ["example.com"]}).settings


def test_file_of_the_package_is_not_custom(daemon, monkeypatch):
    digest = hashlib.md5(b"LogWhy yes\n", usedforsecurity=False).hexdigest()
    monkeypatch.setattr(
        existing_config, "_conffiles", lambda: iter([f"{daemon.config_file} {digest}"])
    )
    Path(daemon.config_file).write_text("LogWhy yes\n")
    assert existing_config.is_custom(daemon.config_file) is False
    Path(daemon.config_file).write_text("LogWhy no\n")
    assert existing_config.is_custom(daemon.config_file) is True


def test_options_that_differ_from_the_settings_are_named_without_their_values(daemon):
    desired = config_options.options(SETTINGS, daemon)
    Path(daemon.config_file).write_text(opendkim_conf(desired))
    assert existing_config.differing(SETTINGS, daemon) == []
    Path(daemon.config_file).write_text(opendkim_conf(desired) + "# a comment\n\n")
    assert existing_config.differing(SETTINGS, daemon) == []
    Path(daemon.config_file).write_text(
        opendkim_conf(desired) + "LDAPBindPassword hush\nUMask 007\n"
    )
    assert existing_config.differing(SETTINGS, daemon) == ["LDAPBindPassword", "UMask"]
    Path(daemon.config_file).write_text(opendkim_conf({**desired, "Mode": "v"}))
    assert existing_config.differing(SETTINGS, daemon) == ["Mode"]
    del desired["Socket"]
    Path(daemon.config_file).write_text(opendkim_conf(desired))
    assert existing_config.differing(SETTINGS, daemon) == ["Socket"]
