"""Values of opendkim.conf(5): the formula accepts and refuses them as the daemon does."""

import itertools
import shutil
import subprocess

import pytest
import yaml
from dkim_formula import settings
from dkim_formula.settings.lookup import DEFAULTS as LOOKUP
from dkim_formula.settings.opendkim_options import OPTIONS, OWNED
from dkim_formula.settings.opendkim_values import ACTIONS, DATA_SET_TYPES, FACILITIES
from dkim_formula.signer import config_check, config_options, daemons
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import ROOT, examples, odd_value

CASES = ROOT / "tests" / "cases" / "opendkim"
needs_daemon = pytest.mark.skipif(
    shutil.which("opendkim") is None, reason="opendkim is not installed"
)
WHERE = "dkim:opendkim:settings"


def read(options, **opendkim):
    return settings.read({"domains": [], "opendkim": {"settings": options, **opendkim}})


def case(name):
    return settings.read(yaml.safe_load((CASES / name).read_text())["dkim"])


def written(reading, name):
    """Return the option's value in the first daemon's opendkim.conf(5)."""
    (daemon, *_) = daemons.daemons(reading.settings, LOOKUP)
    return config_options.options(reading.settings, daemon)[name]


def daemon_takes(*lines):
    asked = subprocess.run(
        ["opendkim", "-n", "-x", "-"],
        input="\n".join(["Syslog yes", *lines, ""]),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return asked.returncode == 0


def test_case_45_number_that_the_daemon_refuses_is_refused():
    (problem,) = case("45-ttl.yaml").problems
    assert problem.startswith(f"{WHERE}:SignatureTTL: '0900'")
    assert "octal" in problem


def test_case_46_list_that_begins_with_an_ipv6_address_is_written_as_a_list():
    reading = case("46-internal-hosts.yaml")
    assert reading.problems == ()
    assert written(reading, "InternalHosts") == "csl:::1,127.0.0.1"


def test_case_68_canonicalization_that_the_daemon_refuses_is_refused():
    (problem,) = case("68-canonicalization.yaml").problems
    assert problem.startswith(f"{WHERE}:Canonicalization: 'relaxed/foo'")
    assert "simple or relaxed" in problem


@needs_daemon
@pytest.mark.parametrize("name", ["45-ttl.yaml", "68-canonicalization.yaml"])
def test_daemon_itself_refuses_these_cases(name):
    given_ = yaml.safe_load((CASES / name).read_text())["dkim"]["opendkim"]["settings"]
    ((option, value),) = given_.items()
    assert not daemon_takes(f"{option} {value}")


# Options with values that the daemon accepts and then ignores, or with which it does harm.
STRICTER = {name for name in OPTIONS if name.startswith("On-")} | {
    "Mode",
    "UMask",
    "SyslogFacility",
}

VALUES = {
    "boolean": [True, False, "yes", "no", "maybe", "", 5, "0x", [True], {}],
    "integer": [0, 7, "0", "007", "0900", "0x1F", "08", -1, "12k", "1 2", "", 1.5, True, [1]],
    "string": ["text", "", "a b", "a # b", "a\nb", [], {}, None, True],
    "dataset": [
        *("a.example", "a.example,b.example", ["a", "b"], "::1", "::1,127.0.0.1"),
        *("2001:db8::/32", ["2001:db8::1", "a"], "csl:a", "csl:::1", "nosuch:a", "mailto:x"),
        *("a,b:c", ["a:b", "c"], "", [], {}, True, "x # y", ["/etc/hosts", "a"], ["a", "b.db"]),
        *("file:/etc/hosts", "/etc/hosts", "refile:/etc/hosts", "file:/nonexistent"),
    ],
}
PARTICULAR = {
    "Canonicalization": [
        "simple",
        "RELAXED",
        "relaxed/simple",
        "relaxed/",
        "/simple",
        "foo",
        "a/b/c",
    ],
    "Mode": ["s", "sv", "vs", "v", "x", "S"],
    "Minimum": ["0", "90%", "101%", "20+", "x", "5x", "4294967296", 10],
    "SyslogFacility": [*FACILITIES, "MAIL", "nope", "local8", "authpriv"],
    "UMask": ["007", "002", 7, "022", "0777", "01000", "0x7", "08"],
    "BogusKey": ["fail", "None", "neutral", "no"],
    "UnprotectedKey": ["fail", "NONE", "neutral", "no"],
    "ATPSHashAlgorithm": ["sha1", "SHA256", "none", "md5"],
    "TrustAnchorFile": ["/etc/hosts", "/nonexistent", "relative"],
    "ReplaceRules": ["/dev/null", "/nonexistent", "relative"],
    "BaseDirectory": ["/etc", "/nonexistent", "relative"],
    **{name: [*ACTIONS, "Reject", "no", "r j"] for name in OPTIONS if name.startswith("On-")},
    **{name: ["/dev/null", "/no", "x"] for name in OPTIONS if name.endswith("PolicyScript")},
    "MacroList": ["a=b", ["a=b|c", "d"], "a=b:c", "refile:/etc/hosts"],
}
# The state of the machine decides about these: whether a file exists, or a server answers.
BY_MACHINE = ("/nonexistent", "/no", "refile:/etc/hosts", "file:/nonexistent")
SETTABLE = sorted(OPTIONS.keys() - OWNED.keys())


def values(name):
    return PARTICULAR.get(name) or VALUES[OPTIONS[name]]


@needs_daemon
@pytest.mark.parametrize("name", SETTABLE)
def test_daemon_accepts_every_accepted_value(name):
    for value in values(name):
        reading = read({name: value})
        if value is None or (isinstance(value, str) and value in BY_MACHINE):
            continue
        if not reading.problems:
            line = f"{name} {written(reading, name)}"
            assert daemon_takes(line), line


@needs_daemon
@pytest.mark.parametrize("name", sorted(set(SETTABLE) - STRICTER))
def test_daemon_refuses_every_refused_plain_value(name):
    plain = {"boolean": ["maybe", "5x"], "integer": ["0900", "08", "12k"], "dataset": ["nosuch:a"]}
    for value in [*plain.get(OPTIONS[name], []), *PARTICULAR.get(name, [])]:
        if value in BY_MACHINE or value == "relative" or not read({name: value}).problems:
            continue
        # LDAPTimeout and similar options are text to the daemon, which converts what it can.
        if name.startswith("LDAP") or name in ("FinalPolicyScript", "SetupPolicyScript"):
            continue
        assert not daemon_takes(f"{name} {value}"), value


@needs_daemon
@examples(60)
@given(text=st.from_regex(r"(0[xX]?)?[0-9a-fA-F]{1,9}", fullmatch=True))
def test_number_is_read_as_the_daemon_reads_it(text):
    taken = not read({"ClockDrift": text}).problems
    assert not taken or daemon_takes(f"ClockDrift {text}")
    in_range = len(text) < 9
    assert taken or not in_range or not daemon_takes(f"ClockDrift {text}")


@needs_daemon
@examples(80)
@given(value=odd_value(), at=st.integers(0, 10**6))
def test_no_accepted_value_stops_the_daemon(value, at):
    data_sets = [name for name in SETTABLE if OPTIONS[name] in ("dataset", "integer", "boolean")]
    name = data_sets[at % len(data_sets)]
    reading = read({name: value})
    if reading.problems or value is None or "/" in str(value) or ".db" in str(value):
        return
    line = f"{name} {written(reading, name)}"
    assert daemon_takes(line), line


@needs_daemon
@pytest.mark.parametrize("kind", DATA_SET_TYPES)
def test_data_set_types_are_the_daemon_s(kind):
    asked = subprocess.run(
        ["opendkim", "-n", "-x", "-"],
        input=f"ExemptDomains {kind}:nothing\n",
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    assert "Unknown database type" not in asked.stderr


@pytest.mark.parametrize(
    ("given_", "line"),
    [
        (["127.0.0.1", "::1"], "127.0.0.1,::1"),
        ("::1", "csl:::1"),
        ("2001:DB8:0::/32, 10.0.0.1", "csl:2001:db8::/32,10.0.0.1"),
        (["!::1", "::/0"], "csl:!::1,::/0"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("[2001:db8::1]", "csl:2001:db8::1"),
        ("csl:::1,mail.example.com", "csl:::1,mail.example.com"),
        (".example.com", ".example.com"),
        ("refile:/etc/opendkim/hosts", "refile:/etc/opendkim/hosts"),
        ("/etc/opendkim/hosts", "/etc/opendkim/hosts"),
    ],
)
def test_hosts_are_written_in_the_form_that_the_daemon_looks_up(given_, line):
    reading = read({"InternalHosts": given_})
    assert reading.problems == ()
    assert written(reading, "InternalHosts") == line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"InternalHosts": "10.0.0.0/33"}, "is not an address or a network"),
        ({"InternalHosts": ["10.0.0.300"]}, "is not an address or a network"),
        ({"InternalHosts": ["refile:/etc/x", "::1"]}, "a data set of its own"),
        ({"ExemptDomains": "nosuch:x"}, "which is no type of a data set"),
        ({"Canonicalization": ["relaxed", "simple"]}, "is not a string"),
        ({"SyslogFacility": "mial"}, "did you mean 'mail'?"),
        ({"On-BadSignature": "rejct"}, "did you mean 'reject'?"),
        ({"Mode": "v"}, "has no s"),
        ({"UMask": "022"}, "denies the socket's group to connect"),
        ({"UMask": "0900"}, "is not a number"),
        ({"TemporaryDirectory": "tmp"}, "is not an absolute path"),
        ({"SignatureTTL": 2**31}, "is out of range"),
    ],
)
def test_value_that_would_do_harm_is_refused(options, message):
    (problem,) = read(options).problems
    assert problem.startswith(f"{WHERE}:{next(iter(options))}: ")
    assert message in problem


def test_password_of_a_data_set_is_not_shown():
    for value in ("nosuch:pgsql://me:word@x/y", ["a", "dsn:pgsql://me:word@x/y"]):
        (problem,) = read({"ExemptDomains": value}).problems
        assert "word" not in problem


HIDDEN = {"InternalHosts": "refile:/home/me/hosts", "ReplaceRules": "/tmp/rules"}


def hidden(tmp_path, monkeypatch, **opendkim):
    monkeypatch.setattr(config_check, "DROP_INS", str(tmp_path))
    reading = read(HIDDEN, **opendkim)
    assert reading.problems == ()
    problems = config_check.problems(reading.settings, LOOKUP)
    return [problem for problem in problems if "sandbox hides" in problem]


def test_file_that_the_sandbox_hides_is_named(tmp_path, monkeypatch):
    first, second = hidden(tmp_path, monkeypatch)
    assert first.startswith(f"{WHERE}:InternalHosts: the unit's sandbox hides /home/me/hosts ")
    assert second.startswith(f"{WHERE}:ReplaceRules: the unit's sandbox hides /tmp/rules ")
    assert hidden(tmp_path, monkeypatch, sandbox=False) == []


def test_drop_in_of_the_administrator_may_open_the_sandbox(tmp_path, monkeypatch):
    folder = tmp_path / "opendkim.service.d"
    folder.mkdir()
    (folder / "dkim-formula.conf").touch()
    assert len(hidden(tmp_path, monkeypatch)) == 2
    (folder / "site.conf").touch()
    assert hidden(tmp_path, monkeypatch) == []


needs_root_and_daemon = pytest.mark.skipif(
    not config_check.can_ask("opendkim"), reason="opendkim is not installed"
)


def asked(options):
    reading = read(options)
    assert reading.problems == ()
    return config_check.problems(reading.settings, LOOKUP)


@needs_root_and_daemon
def test_daemon_accepts_the_defaults_without_its_tables():
    reading = settings.read({"domains": {}, "defaults": {"algorithm": ["rsa", "ed25519"]}})
    assert config_check.problems(reading.settings, LOOKUP) == []


@needs_root_and_daemon
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"InternalHosts": "/etc/no-such-file"}, "/etc/no-such-file"),
        ({"TrustAnchorFile": "/etc/no-such-file"}, "No such file or directory"),
        # Only root can read this file, and the daemon has another account.
        ({"ExemptDomains": "file:/etc/shadow"}, "/etc/shadow"),
        ({"BaseDirectory": "/no/such/directory"}, "/no/such/directory"),
    ],
)
def test_daemon_finds_what_the_machine_lacks(options, message):
    (problem,) = asked(options)
    assert problem.startswith(f"{WHERE}")
    assert message in problem


@needs_root_and_daemon
def test_message_of_the_daemon_shows_no_password():
    (problem,) = asked({"ExemptDomains": "dsn:pgsql://me:word@127.0.0.1/x/table=t?keycol=k"})
    assert "word" not in problem


@needs_root_and_daemon
@pytest.mark.parametrize(
    ("name", "value"),
    [("SignatureTTL", "0900"), ("Canonicalization", "x"), ("SyslogFacility", "x")],
)
def test_refusal_says_why(name, value):
    options = {"Syslog": "yes", name: value}
    reason = config_check.refusal(options, "opendkim")
    assert reason.startswith(":")
    assert "opendkim" in reason
    assert config_check.refusal({"Syslog": "yes"}, "opendkim") is None
    assert config_check.refusal(options, "no-such-account") is None


def test_every_kind_of_option_has_values_here():
    assert set(VALUES) == set(OPTIONS.values())
    assert len(set(itertools.chain(PARTICULAR))) > 10
