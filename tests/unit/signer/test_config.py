"""A custom opendkim.conf: its changed options are reported, and the file is copied."""

import hashlib
import os
import stat
from dataclasses import replace

import pytest
from dkim_formula.errors import OpenDKIMError
from dkim_formula.settings import read
from dkim_formula.settings.lookup import DEFAULTS
from dkim_formula.signer import config, daemons
from support.templates import opendkim_conf

SETTINGS = read({"domains": ["example.com"]}).settings


@pytest.fixture
def daemon(tmp_path):
    present = daemons.daemon("rsa", DEFAULTS)
    return replace(present, config_file=str(tmp_path / "opendkim.conf"))


def write(daemon, text):
    with open(daemon.config_file, "w", encoding="utf-8") as stream:
        stream.write(text)


def dropped(daemon, text, settings=SETTINGS):
    write(daemon, text)
    return "\n".join(config.changed_options(settings, daemon))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("AuthservID mx.example", "dkim:opendkim:settings:AuthservID to 'mx.example'"),
        ("senderheaders Sender,From", "SenderHeaders to ['Sender', 'From']"),
        ("InternalHosts refile:/etc/hosts.dkim", "InternalHosts to 'refile:/etc/hosts.dkim'"),
        ("PeerList /etc/peers", "dkim:opendkim:settings:PeerList to '/etc/peers'"),
        ("Canonicalization simple", "Canonicalization simple: becomes relaxed/relaxed"),
        ("Domain example.com", "dkim:domains"),
        ("Selector mail", "dkim:domains:DOMAIN:selector to mail"),
        ("KeyFile /etc/dkimkeys/mail.private", "dkim.import_key DOMAIN SELECTOR /etc/dkimkeys"),
        ("KeyTable refile:/etc/KeyTable", "dkim.import_tables source=opendkim"),
        ("SubDomains yes", "dkim:domains:DOMAIN:subdomains"),
        ("Socket inet:8891@localhost", "main.cf follows"),
        ("ResignAll yes", "Debian's opendkim does not know it"),
        ("UserID opendkim", "the unit decides this"),
    ],
)
def test_removed_option_is_reported_with_its_replacement(daemon, line, message):
    assert message in dropped(daemon, f"Syslog yes\n{line} # a comment\n")


def test_import_of_a_key_file_names_the_domain_and_selector_of_the_same_file(daemon):
    text = "Domain example.com\nSelector mail\nKeyFile /etc/dkimkeys/mail.private\n"
    messages = dropped(daemon, text)
    assert "salt-call dkim.import_key example.com mail /etc/dkimkeys/mail.private" in messages
    assert "set dkim:domains:example.com:selector to mail" in messages


def test_file_of_domains_is_not_used_as_a_domain(daemon):
    text = "Domain /etc/domains\nKeyFile /etc/dkimkeys/mail.private\n"
    assert "dkim.import_key DOMAIN SELECTOR /etc/dkimkeys" in dropped(daemon, text)


def test_unchanged_option_is_not_reported(daemon):
    assert dropped(daemon, "Syslog\tyes\nUMask 007\nMode sv\n") == ""


def test_option_that_the_pillar_overrides_is_reported(daemon):
    settings = read({"opendkim": {"settings": {"LogWhy": False}}}).settings
    assert "of the pillar takes its place" in dropped(daemon, "LogWhy yes\n", settings)
    assert dropped(daemon, "LogWhy no\n", settings) == ""


def test_options_of_an_included_file_are_reported(daemon, tmp_path):
    (tmp_path / "more.conf").write_text("LogWhy yes\n")
    messages = dropped(daemon, f"Include {tmp_path}/more.conf\n")
    assert f"{tmp_path}/more.conf, line 1: LogWhy yes" in messages


def test_reading_of_a_file_that_includes_itself_ends(daemon):
    assert dropped(daemon, f"Include {daemon.config_file}\nLogWhy yes\n")


def test_password_is_never_reported(daemon):
    messages = dropped(
        daemon,
        "KeyTable dsn:pgsql://reader:hush@h/vmail/table=k\nInternalHosts dsn:mysql://u:hush@h/x\n"
        "LDAPBindPassword hush\n",
    )
    assert "KeyTable" in messages
    assert "InternalHosts" in messages
    assert "hush" not in messages


def test_file_of_the_formula_is_not_custom(daemon):
    assert dropped(daemon, opendkim_conf(daemons.options(SETTINGS, daemon))) == ""


def test_file_of_the_package_is_not_custom(daemon, monkeypatch):
    digest = hashlib.md5(b"LogWhy yes\n", usedforsecurity=False).hexdigest()
    monkeypatch.setattr(config, "_conffiles", lambda: iter([f"{daemon.config_file} {digest}"]))
    write(daemon, "LogWhy yes\n")
    assert config.is_custom(daemon.config_file) is False
    write(daemon, "LogWhy no\n")
    assert config.is_custom(daemon.config_file) is True


def test_only_root_can_read_the_copy_and_it_is_never_overwritten(daemon):
    write(daemon, "LogWhy yes\n")
    copy = config.copy_path(daemon)
    assert copy == f"{daemon.config_file}.before-dkim-formula"
    config.save_copy(daemon.config_file, copy)
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o400
    with pytest.raises(OpenDKIMError, match="can't be copied"):
        config.save_copy(daemon.config_file, copy)


def test_copy_has_no_password(daemon):
    text = (
        "KeyTable dsn:pgsql://reader:hu@sh@localhost/vmail/table=k?keycol=i\n"
        "SigningTable dsn:mysql://reader@localhost/vmail/table=s\n"
        "ldapbindpassword  hush and more\nInternalHosts 127.0.0.1, ::1\n"
    )
    write(daemon, text)
    copy = config.copy_path(daemon)
    config.save_copy(daemon.config_file, copy)
    with open(copy, encoding="utf-8") as stream:
        kept = stream.read()
    assert kept == (
        "KeyTable dsn:pgsql://reader:LEFT-OUT@localhost/vmail/table=k?keycol=i\n"
        "SigningTable dsn:mysql://reader@localhost/vmail/table=s\n"
        "ldapbindpassword  LEFT-OUT\nInternalHosts 127.0.0.1, ::1\n"
    )
    assert config.copy_path(daemon) == copy


def test_second_custom_file_has_its_own_copy(daemon):
    write(daemon, "LogWhy yes\n")
    config.save_copy(daemon.config_file, config.copy_path(daemon))
    assert config.copy_path(daemon).endswith(".before-dkim-formula")
    write(daemon, "LogWhy no\n")
    assert config.copy_path(daemon).endswith(".before-dkim-formula.2")


def test_address_of_a_replaced_file_is_read_from_its_copy(daemon):
    write(daemon, "Socket inet:10028@localhost\n")
    config.save_copy(daemon.config_file, config.copy_path(daemon))
    write(daemon, opendkim_conf(daemons.options(SETTINGS, daemon)))
    found = config.moved_from([daemon], DEFAULTS)
    assert "inet:localhost:10028" in found[daemon.milter]


def test_options_that_differ_from_the_settings_are_named_without_their_values(daemon):
    desired = daemons.options(SETTINGS, daemon)
    write(daemon, opendkim_conf(desired))
    assert config.differing(SETTINGS, daemon) == []
    write(daemon, opendkim_conf(desired) + "# a comment\n\n")
    assert config.differing(SETTINGS, daemon) == []
    write(daemon, opendkim_conf(desired) + "LDAPBindPassword hush\nUMask 007\n")
    assert config.differing(SETTINGS, daemon) == ["LDAPBindPassword", "UMask"]
    write(daemon, opendkim_conf({**desired, "Mode": "v"}))
    assert config.differing(SETTINGS, daemon) == ["Mode"]
    del desired["Socket"]
    write(daemon, opendkim_conf(desired))
    assert config.differing(SETTINGS, daemon) == ["Socket"]


def test_machine_without_a_file_has_no_message(daemon):
    assert config.changed_options(SETTINGS, daemon) == []
    assert config.copy_path(daemon) == ""
