"""The options of a custom opendkim.conf that change are reported."""

import re
from pathlib import Path

import pytest
import yaml
from dkim_formula.settings import read, signed_headers
from dkim_formula.settings.opendkim_options import OPTIONS
from dkim_formula.signer import config_copy, config_options, kept_options
from dkim_formula.signer.changed_options import changed_options
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.fuzz import examples
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("UMask 022", "denies the socket's group to connect"),
        ("On-Default bounce", "is not a choice"),
        ("MinimumKeyBits 4096", "more than the 2048 bits of keys for example.com"),
        ("ExemptDomains example.com", "would not sign mail from example.com"),
        ("SignHeaders From To", "is no header's name"),
        ("SignHeaders *,+X-(", "is no header's name"),
        ("OversignHeaders From,X-Own", "leave X-Own unsigned"),
        ("SendReports yes", "give an MTACommand that speaks SMTP"),
    ],
)
def test_value_that_the_pillar_refuses_is_not_suggested(daemon, line, message):
    found = dropped(daemon, f"{line}\n")
    assert message in found
    assert "to keep it, set" not in found


@pytest.mark.parametrize(
    "line",
    [
        *("Syslog 1", "Syslog True", "FixCRLF 0", "FixCRLF nonsense", "RequireSafeKeys yes"),
        *("SubDomains no", "UMask 0007", "UMask 7", "UMask 0x7", "Mode vs"),
        *("InternalHosts csl:127.0.0.1,::1", "InternalHosts 127.0.0.1, ::1"),
        "Canonicalization Relaxed/RELAXED",
    ],
)
def test_option_with_the_same_meaning_is_not_reported(daemon, line):
    assert dropped(daemon, f"{line}\n") == ""


def test_headers_are_kept_together(daemon):
    found = dropped(daemon, "SignHeaders From,To,Subject,List-Unsubscribe\n")
    assert (
        "set dkim:opendkim:settings:SignHeaders to ['From', 'To', 'Subject', 'List-Unsubscribe'] "
        "and dkim:opendkim:settings:OversignHeaders to ['From', 'Subject', 'To']"
    ) in found
    both = dropped(daemon, "OversignHeaders From\nSignHeaders From,X-Own\nOmitHeaders Cc\n")
    for name, value in (
        ("SignHeaders", "['From', 'X-Own']"),
        ("OmitHeaders", "['Cc']"),
        ("OversignHeaders", "['From']"),
    ):
        assert both.count(f"dkim:opendkim:settings:{name} to {value}") == 3


@pytest.mark.parametrize("selector", ["mail_2020", "Mail", "a_b"])
def test_selector_that_the_pillar_refuses_or_changes_is_not_suggested(daemon, selector):
    found = dropped(daemon, f"Domain example.com\nSelector {selector}\nKeyFile /etc/key\n")
    assert "dkim:domains:example.com:selector to" not in found
    assert "dkim.import_key keeps it" in found
    assert f"salt-call dkim.import_key example.com {selector} /etc/key" in found


def test_selector_of_digits_is_quoted_for_yaml_and_the_shell(daemon):
    found = dropped(daemon, "Domain example.com\nSelector 0123\nKeyFile /etc/key\n")
    assert "set dkim:domains:example.com:selector to '0123'" in found
    assert "salt-call dkim.import_key example.com \"'0123'\" /etc/key" in found


def test_path_that_is_none_is_not_suggested(daemon):
    assert "import_key DOMAIN SELECTOR PATH" in dropped(daemon, "KeyFile mail.private\n")


HINT = re.compile(r"(dkim:opendkim:settings:([\w-]+)) to (.*?)(?= and dkim:opendkim|$)")
HEADERS = st.sampled_from(["From", "To", "Subject", "Cc", "X-Own", "Content-*", "Received", "*"])
ENTRIES = st.tuples(st.sampled_from(["", "", "+", "-"]), HEADERS).map("".join)
HOSTS = st.sampled_from(["::1", "127.0.0.1", "10.0.0.1/8", "example.com", "a=b", "it's"])
WORDS = "s v sv accept Reject bounce local0 MAIL relaxed simple/simple 50% /etc/x x' a:b"
ODD = ["it's", '"x"', "a\\b", "no", "0123", "{a}", "- a", "x y", "@x", "%d", "\u00e9"]
TEXTS = {
    "boolean": st.sampled_from([*"TtYy1FfNn0", "yes", "no", "true", "off", "on", "maybe"]),
    "integer": st.integers(0, 5000).map(str)
    | st.sampled_from(["0", "007", "022", "0x10", "09", "12k", "65536", "2147483648"]),
    "string": st.sampled_from([*WORDS.split(), *ODD]),
    "dataset": st.lists(ENTRIES | HOSTS, min_size=1, max_size=4).map(",".join)
    | st.sampled_from(["csl:::1", "/etc/x", "refile:/etc/x", "nosuch:x", "a, b", "From To"]),
}
LINES = st.sampled_from(sorted(OPTIONS.keys() - {"Include"})).flatmap(
    lambda name: TEXTS[OPTIONS[name]].map(lambda text: (name, text))
)
HEADER_LINES = st.sampled_from(signed_headers.TOGETHER).flatmap(
    lambda name: TEXTS["dataset"].map(lambda text: (name, text))
)


@examples(300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(found=st.lists(LINES | HEADER_LINES, min_size=1, max_size=5, unique_by=lambda line: line[0]))
def test_every_hint_is_accepted_and_keeps_the_meaning(daemon, found):
    texts = dict(found)
    messages = dropped(daemon, "".join(f"{name} {text}\n" for name, text in found))
    for message in messages.splitlines():
        hints = HINT.findall(message.partition("to keep it, set ")[2])
        if not hints:
            continue
        option = re.search(r"line \d+: (\S+)", message)[1]
        settings = {name: yaml.safe_load(value) for _, name, value in hints}
        reading = read({"domains": ["example.com"], "opendkim": {"settings": settings}})
        assert reading.problems == ()
        written = config_options.options(reading.settings, daemon)[option]
        assert kept_options.meaning(option, written) == kept_options.meaning(option, texts[option])
