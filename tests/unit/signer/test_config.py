"""An opendkim.conf of the site's: what becomes of each option is told, and the file is kept."""

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
    there = daemons.daemon("rsa", DEFAULTS)
    return replace(there, config_file=str(tmp_path / "opendkim.conf"))


def write(daemon, text):
    with open(daemon.config_file, "w", encoding="utf-8") as stream:
        stream.write(text)


def dropped(daemon, text, settings=SETTINGS):
    write(daemon, text)
    return "\n".join(config.dropped(settings, daemon))


@pytest.mark.parametrize(
    ("line", "told"),
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
def test_option_that_goes_is_told_with_what_keeps_it(daemon, line, told):
    assert told in dropped(daemon, f"Syslog yes\n{line} # a comment\n")


def test_import_of_a_key_file_names_the_domain_and_selector_of_the_same_file(daemon):
    text = "Domain example.com\nSelector mail\nKeyFile /etc/dkimkeys/mail.private\n"
    told = dropped(daemon, text)
    assert "salt-call dkim.import_key example.com mail /etc/dkimkeys/mail.private" in told
    assert "set dkim:domains:example.com:selector to mail" in told


def test_file_of_domains_is_no_domain_to_import_for(daemon):
    text = "Domain /etc/domains\nKeyFile /etc/dkimkeys/mail.private\n"
    assert "dkim.import_key DOMAIN SELECTOR /etc/dkimkeys" in dropped(daemon, text)


def test_option_that_the_formula_has_too_is_not_told(daemon):
    assert dropped(daemon, "Syslog\tyes\nUMask 007\nMode sv\n") == ""


def test_option_that_the_pillar_has_otherwise_is_told(daemon):
    settings = read({"opendkim": {"settings": {"LogWhy": False}}}).settings
    assert "of the pillar takes its place" in dropped(daemon, "LogWhy yes\n", settings)
    assert dropped(daemon, "LogWhy no\n", settings) == ""


def test_options_of_an_included_file_are_told(daemon, tmp_path):
    (tmp_path / "more.conf").write_text("LogWhy yes\n")
    told = dropped(daemon, f"Include {tmp_path}/more.conf\n")
    assert f"{tmp_path}/more.conf, line 1: LogWhy yes" in told


def test_file_that_includes_itself_ends(daemon):
    assert dropped(daemon, f"Include {daemon.config_file}\nLogWhy yes\n")


def test_password_is_never_told(daemon):
    told = dropped(
        daemon,
        "KeyTable dsn:pgsql://reader:hush@h/vmail/table=k\nInternalHosts dsn:mysql://u:hush@h/x\n"
        "LDAPBindPassword hush\n",
    )
    assert "KeyTable" in told
    assert "InternalHosts" in told
    assert "hush" not in told


def test_file_of_the_formula_is_not_the_site_s(daemon):
    assert dropped(daemon, opendkim_conf(daemons.options(SETTINGS, daemon))) == ""


def test_file_of_the_package_is_not_the_site_s(daemon, monkeypatch):
    digest = hashlib.md5(b"LogWhy yes\n", usedforsecurity=False).hexdigest()
    monkeypatch.setattr(config, "_conffiles", lambda: iter([f"{daemon.config_file} {digest}"]))
    write(daemon, "LogWhy yes\n")
    assert config.is_sites_own(daemon.config_file) is False
    write(daemon, "LogWhy no\n")
    assert config.is_sites_own(daemon.config_file) is True


def test_copy_is_for_root_alone_and_never_written_again(daemon):
    write(daemon, "LogWhy yes\n")
    copy = config.copy_wanted(daemon)
    assert copy == f"{daemon.config_file}.before-dkim-formula"
    config.keep(daemon.config_file, copy)
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o400
    with pytest.raises(OpenDKIMError, match="can't be copied"):
        config.keep(daemon.config_file, copy)


def test_copy_has_no_password(daemon):
    text = (
        "KeyTable dsn:pgsql://reader:hu@sh@localhost/vmail/table=k?keycol=i\n"
        "SigningTable dsn:mysql://reader@localhost/vmail/table=s\n"
        "ldapbindpassword  hush and more\nInternalHosts 127.0.0.1, ::1\n"
    )
    write(daemon, text)
    copy = config.copy_wanted(daemon)
    config.keep(daemon.config_file, copy)
    with open(copy, encoding="utf-8") as stream:
        kept = stream.read()
    assert kept == (
        "KeyTable dsn:pgsql://reader:LEFT-OUT@localhost/vmail/table=k?keycol=i\n"
        "SigningTable dsn:mysql://reader@localhost/vmail/table=s\n"
        "ldapbindpassword  LEFT-OUT\nInternalHosts 127.0.0.1, ::1\n"
    )
    assert config.copy_wanted(daemon) == copy


def test_second_file_of_the_site_s_has_a_copy_of_its_own(daemon):
    write(daemon, "LogWhy yes\n")
    config.keep(daemon.config_file, config.copy_wanted(daemon))
    assert config.copy_wanted(daemon).endswith(".before-dkim-formula")
    write(daemon, "LogWhy no\n")
    assert config.copy_wanted(daemon).endswith(".before-dkim-formula.2")


def test_address_of_a_file_that_was_replaced_is_known_by_its_copy(daemon):
    write(daemon, "Socket inet:10028@localhost\n")
    config.keep(daemon.config_file, config.copy_wanted(daemon))
    write(daemon, opendkim_conf(daemons.options(SETTINGS, daemon)))
    found = config.moved_from([daemon], DEFAULTS)
    assert "inet:localhost:10028" in found[daemon.milter]


def test_options_that_differ_from_the_settings_are_named_without_their_values(daemon):
    wanted = daemons.options(SETTINGS, daemon)
    write(daemon, opendkim_conf(wanted))
    assert config.differing(SETTINGS, daemon) == []
    write(daemon, opendkim_conf(wanted) + "# a comment\n\n")
    assert config.differing(SETTINGS, daemon) == []
    write(daemon, opendkim_conf(wanted) + "LDAPBindPassword hush\nUMask 007\n")
    assert config.differing(SETTINGS, daemon) == ["LDAPBindPassword", "UMask"]
    write(daemon, opendkim_conf({**wanted, "Mode": "v"}))
    assert config.differing(SETTINGS, daemon) == ["Mode"]
    del wanted["Socket"]
    write(daemon, opendkim_conf(wanted))
    assert config.differing(SETTINGS, daemon) == ["Socket"]


def test_machine_without_a_file_has_nothing_to_tell(daemon):
    assert config.dropped(SETTINGS, daemon) == []
    assert config.copy_wanted(daemon) == ""
