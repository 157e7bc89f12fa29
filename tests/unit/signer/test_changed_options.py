"""The options of a custom opendkim.conf that change are reported."""

from pathlib import Path

import pytest
from dkim_formula.settings import read
from dkim_formula.signer import config_copy, config_options
from dkim_formula.signer.changed_options import changed_options
from support.templates import opendkim_conf

SETTINGS = read({"domains": ["example.com"]}).settings


def dropped(daemon, text, settings=SETTINGS):
    Path(daemon.config_file).write_text(text)
    return "\n".join(changed_options(settings, daemon))


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
    assert dropped(daemon, opendkim_conf(config_options.options(SETTINGS, daemon))) == ""


def test_machine_without_a_file_has_no_message(daemon):
    assert changed_options(SETTINGS, daemon) == []
    assert config_copy.copy_path(daemon) == ""
