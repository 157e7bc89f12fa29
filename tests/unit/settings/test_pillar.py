"""Reading of the whole pillar: checks of every value, all defaults, and all problems at once."""

import logging
import re
import subprocess
import sys
import time
from collections import OrderedDict

import pytest
from dkim_formula.secret import Secret
from dkim_formula.settings import read, validation
from dkim_formula.settings.model import Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fuzz import ROOT

CASES = ROOT / "tests" / "cases"


def accepted(pillar):
    reading = read(pillar)
    assert reading.problems == ()
    return reading.settings


def nested(path, value):
    """Return ``{"a": {"b": value}}`` for the path ``a:b`` and a value."""
    for key in reversed(path.split(":")):
        value = {key: value}
    return value


def only_problem(pillar):
    problems = read(pillar).problems
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("pillar", [None, {}, OrderedDict(), {"database": None, "domains": None}])
def test_empty_pillar_is_a_problem_and_gives_the_defaults(pillar):
    reading = read(pillar)
    assert len(reading.problems) == 1
    assert reading.settings == Settings()


@pytest.mark.parametrize("pillar", [{"database": {}}, {"domains": []}])
def test_pillar_with_an_empty_section_gives_the_defaults(pillar):
    assert accepted(pillar) == Settings()


def test_whole_contract_is_read():
    settings_ = accepted(
        {
            "database": {
                "name": "mail",
                "manage": False,
                "owner": "mailadm",
                "domains": {"table": "virtual_domains", "id": "no", "name": "name"},
                "reader": {"name": "signer", "system_user": "odkim", "map": "m"},
            },
            "opendkim": {"settings": {"canonicalization": "simple/simple", "Syslog": "yes"}},
            "postfix": {"milter_default_action": "tempfail"},
            "dns": {
                "publish": "rfc2136",
                "server": "192.0.2.53",
                "key": {"name": "DKIM.", "algorithm": "hmac-sha512.", "secret": "YWJj"},
                "ttl": 60,
            },
            "rotation": {"every": 90, "retire_for": 7, "revoke_for": 1},
            "lookup": {"opendkim_package": "opendkim", "python_packages": ["a", "b"]},
        }
    )
    assert (settings_.database.name, settings_.database.manage) == ("mail", False)
    assert settings_.database.domains.table == "virtual_domains"
    assert settings_.database.reader.system_user == "odkim"
    assert settings_.opendkim.settings == {"Canonicalization": "simple/simple", "Syslog": True}
    assert settings_.postfix.milter_default_action == "tempfail"
    assert settings_.dns.server == "192.0.2.53"
    assert (settings_.dns.key.name, settings_.dns.key.algorithm) == ("dkim", "hmac-sha512")
    assert settings_.dns.key.secret == Secret("YWJj")
    assert settings_.rotation.every == 90 * 86400
    assert settings_.lookup["python_packages"] == ["a", "b"]


@pytest.mark.parametrize(
    ("pillar", "problem"),
    [
        ({"databse": {}}, "dkim:databse: unknown key; did you mean 'database'?"),
        (
            nested("database:domains:tabel", "x"),
            "dkim:database:domains:tabel: unknown key; did you mean 'table'?",
        ),
        (
            nested("domains:example.com:selektor", "x"),
            "dkim:domains:example.com:selektor: unknown key; did you mean 'selector'?",
        ),
        (
            nested("opendkim:settings:Canonicalisation", "x"),
            "dkim:opendkim:settings:Canonicalisation: opendkim.conf(5) has no such option; "
            "did you mean 'Canonicalization'?",
        ),
        (
            nested("lookup:opendkim_pakage", "x"),
            "dkim:lookup:opendkim_pakage: unknown key; did you mean 'opendkim_package'?",
        ),
    ],
)
def test_unknown_key_is_reported_with_the_nearest_known_key(pillar, problem):
    assert only_problem(pillar) == problem


def test_unknown_key_far_from_any_is_reported_with_all_known_keys():
    assert only_problem({"postfix": {"x": 1}}) == (
        "dkim:postfix:x: unknown key; known keys: milter_default_action, unsigned_services"
    )


def test_unknown_keys_that_are_no_strings_are_problems():
    assert len(read({1: 2, None: 3, ("a",): 5}).problems) == 3


@pytest.mark.parametrize("place", ["database", "defaults", "domains", "opendkim:settings", "dns"])
@pytest.mark.parametrize("value", ["text", 3])
def test_value_that_is_no_section_is_a_problem_and_not_shown(place, value):
    problem = only_problem(nested(place, value))
    assert problem.startswith(f"dkim:{place}: a ")
    assert str(value) not in problem.removeprefix(f"dkim:{place}")


def test_all_problems_are_found_in_one_pass():
    problems = read(
        {
            "databse": 1,
            "database": {"port": 0, "reader": {"auth": "md5"}},
            "defaults": {"bits": 512},
            "domains": {"a b": {}, "example.com": {"selector": "a_b", "algorithm": "dsa"}},
            "postfix": {"milter_default_action": "ignore"},
            "rotation": {"every": "never"},
        }
    ).problems
    places = [problem.split(": ")[0] for problem in problems]
    assert places == [
        "dkim:databse",
        "dkim:database:port",
        "dkim:database:reader:auth",
        "dkim:defaults:bits",
        "dkim:domains:a b",
        "dkim:domains:example.com:selector",
        "dkim:domains:example.com:algorithm",
        "dkim:postfix:milter_default_action",
        "dkim:rotation:every",
    ]


def test_bad_value_is_replaced_by_its_default():
    settings_ = read({"database": {"port": "many", "name": "mail"}}).settings
    assert (settings_.database.port, settings_.database.name) == (5432, "mail")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("postfix:milter_default_action", "acept"),
        ("postfix:milter_default_action", ["accept"]),
        ("dns:publish", "bind"),
        ("dns:server", "a b"),
        ("dns:ttl", -1),
        ("dns:ttl", 2**31),
        ("dns:ttl", True),
        ("rotation:every", 0),
        ("rotation:every", 1.5),
        ("rotation:retire_for", "two"),
        ("lookup:opendkim_package", 3),
        ("lookup:opendkim_package", {"a": 1}),
        ("lookup:python_packages", ["a", 3]),
        ("lookup:opendkim_config", "/etc/a\nb"),
        ("opendkim:settings:Syslog", "maybe"),
        ("opendkim:settings:Syslog", 1),
        ("opendkim:settings:UMask", "seven"),
        ("opendkim:settings:UMask", -1),
        ("opendkim:settings:Mode", True),
        ("opendkim:settings:Mode", "s\nSocket x"),
        ("opendkim:settings:AuthservID", "a#b"),
        ("opendkim:settings:AuthservID", "a\0b"),
        ("opendkim:settings:AuthservID", " "),
        ("opendkim:settings:InternalHosts", []),
        ("opendkim:settings:InternalHosts", ["127.0.0.1", "x\ny"]),
        ("opendkim:settings:InternalHosts", {"127.0.0.1": None}),
    ],
)
def test_bad_value_is_a_problem_of_its_pillar_key(path, value):
    assert only_problem(nested(path, value)).startswith(f"dkim:{path}: ")


@pytest.mark.parametrize("name", ["KeyTable", "socket", "SignatureAlgorithm", "UserID", "Include"])
def test_option_that_the_formula_owns_is_refused_with_the_reason(name):
    problem = only_problem({"opendkim": {"settings": {name: "x"}}})
    assert f":{name}: is the formula's own option: " in problem


def test_option_in_two_spellings_is_a_problem():
    assert "given twice" in only_problem({"opendkim": {"settings": {"Mode": "s", "mode": "v"}}})


def test_option_values_keep_their_kind():
    options = {"UMask": "007", "SignatureTTL": 86400, "InternalHosts": ["127.0.0.1", "::1"]}
    assert accepted({"opendkim": {"settings": options}}).opendkim.settings == options


@pytest.mark.parametrize("action", ["accept", "reject", "tempfail", "quarantine"])
def test_actions_of_postconf_are_accepted(action):
    read_ = accepted({"postfix": {"milter_default_action": action}})
    assert read_.postfix.milter_default_action == action


TSIG = {"name": "dkim.", "algorithm": "hmac-sha256", "secret": "YWJj"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", None),
        ("name", "a b"),
        ("secret", None),
        ("secret", "not base64!"),
        ("secret", "YWJj\n"),
        ("secret", 3),
        ("algorithm", "hmac-md5"),
        ("algorithm", "hmac-sha1"),
        ("algorithm", ["hmac-sha256"]),
    ],
)
def test_bad_tsig_key_is_a_problem(key, value):
    problem = only_problem({"dns": {"key": TSIG | {key: value}}})
    assert problem.startswith(f"dkim:dns:key:{key}: ")


def test_publishing_without_a_key_is_unwise_and_legal():
    reading = read({"dns": {"publish": "rfc2136"}})
    assert reading.problems == ()
    assert [advice.split(": ")[0] for advice in reading.advice] == ["dkim:dns:key"]


def test_short_retirement_is_unwise_and_legal():
    reading = read({"rotation": {"retire_for": 2}})
    assert reading.problems == ()
    assert "queue" in reading.advice[0]


CANARY = "c4n4ry+p4ss/word"

SECRET_PLACES = [
    "database:password",
    "database:reader:password",
    "dns:key:secret",
    "dns:providers:p:token",
    "dns:providers:p",
    "dns:providers",
    # A secret instead of a section is an easy mistake.
    "dns:key",
    "database:reader",
    "database",
]
SHAPES = {
    "plain": CANARY,
    "with a line's end": f"{CANARY}\n",
    "with spaces": f" {CANARY} x",
    "as a list": [CANARY],
    "as a mapping": {"name": {"value": CANARY}},
    "as bytes": CANARY.encode(),
}


@pytest.mark.parametrize("path", SECRET_PLACES)
@pytest.mark.parametrize("shape", SHAPES)
def test_secret_is_never_shown(path, shape, caplog):
    pillar = nested(path, SHAPES[shape])
    pillar.setdefault("dns", {"publish": "rfc2136"})
    with caplog.at_level(logging.DEBUG):
        reading = read(pillar)
    shown = [repr(reading), str(reading), *reading.problems, *reading.advice, caplog.text]
    assert not any(CANARY in text for text in shown)


def test_password_of_an_option_is_never_shown():
    reading = read(
        {
            "opendkim": {
                "settings": {
                    "LDAPBindPassword": CANARY,
                    "PeerList": f"dsn:pgsql://x:{CANARY}@h/d#",
                    "UMask": f"dsn:pgsql://x:{CANARY}@h/d",
                }
            }
        }
    )
    assert len(reading.problems) == 3
    assert CANARY not in repr(reading)


WORDS = (
    "database defaults domains opendkim postfix dns rotation lookup name manage owner host port "
    "reader table auth password selector algorithm bits strict dmarc rua policy fo subdomains ttl "
    "alias_of addresses settings KeyTable Mode InternalHosts publish server key secret every "
    "example.com Example.com news@example.com * skip.example milter_default_action psd "
)
KEYS = st.sampled_from(WORDS.split())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**10),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.binary(max_size=5),
    st.sampled_from(["rsa", "ed25519", "default", "example.com", "a@example.com", "none", "1:d"]),
)
JUNK = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(st.one_of(KEYS, st.text(max_size=8), st.integers()), below, max_size=6),
    ),
    max_leaves=25,
)


@pytest.mark.one_release
@settings(deadline=None, max_examples=300)
@given(JUNK)
def test_no_pillar_makes_the_reading_raise(pillar):
    reading = read(pillar)
    assert isinstance(reading.settings, Settings)
    assert all(isinstance(text, str) and "\n" not in text for text in reading.problems)


@pytest.mark.one_release
@settings(deadline=None, max_examples=300)
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, JUNK, max_size=4), max_size=5))
def test_no_pillar_of_known_keys_makes_the_reading_raise(pillar):
    assert isinstance(read(pillar).settings, Settings)


def test_case_52_many_mistakes_are_read_in_seconds_and_a_hundred_reported():
    script = CASES / "pillar" / "52-many-mistakes.py"
    printed = subprocess.run([sys.executable, script], capture_output=True, check=True).stdout
    domains = re.findall(r"^    (\S+): \{bitz: 2048\}$", printed.decode(), re.MULTILINE)
    pillar = {"domains": {name: {"bitz": 2048} for name in domains}}
    started = time.process_time()
    found = read(pillar).problems
    # Measured: 0.4 s now, 23 s before, and four times as long for twice as many.
    assert time.process_time() - started < 8
    assert len(domains) == 20000
    assert found[:100] == tuple(
        f"dkim:domains:{name}:bitz: unknown key; did you mean 'bits'?" for name in domains[:100]
    )
    assert found[100:] == (
        "dkim: 19900 more problems are not shown; fix these first, then check again",
    )


def test_advice_is_counted_after_a_hundred_too():
    found = read({"domains": {f"d{number}.example": {"testing": True} for number in range(150)}})
    assert len(found.advice) == 101
    assert found.advice[-1].startswith("dkim: 50 more pieces of advice are not shown")


def test_a_hundred_problems_are_all_reported():
    assert len(read({"domains": {f"d{n}.example": {"x": 1} for n in range(100)}}).problems) == 100


@pytest.mark.parametrize(
    ("pillar", "said"),
    [
        (
            {"domains": {"a.example": "false"}},
            "dkim:domains:a.example: 'false' is a string and not settings; write false without the "
            "quotes",
        ),
        (
            {"domains": {"a.example": {"dmarc": "False"}}},
            "dkim:domains:a.example:dmarc: 'False' is a string and not a policy; write false "
            "without the quotes",
        ),
        (
            {"domains": {"a.example": {"delegation": "no"}}},
            "dkim:domains:a.example:delegation: 'no' is a word of YAML in quotes; write no without "
            "them, or a name",
        ),
        (
            {"domains": {"a.example": {"alias_of": "null"}}},
            "dkim:domains:a.example:alias_of: 'null' is a word of YAML in quotes; write null "
            "without them, or a name",
        ),
        ({"database": {"host": []}}, "dkim:database:host: a list is not a host; give a name or a "),
        (
            {"database": {"name": ["x"]}},
            "dkim:database:name: a list is not a string; give a",
        ),
        ({"database": {"name": 5}}, "dkim:database:name: 5 is not a string; quote it, or give "),
    ],
)
def test_problem_of_a_wrong_type_says_what_to_write(pillar, said):
    assert only_problem(pillar).startswith(said)


@pytest.mark.parametrize("where", [("opendkim", "settings"), ("domains", "example.com")])
def test_nearest_word_is_searched_for_reported_mistakes_alone(where, monkeypatch):
    """The search for each of a hundred thousand mistakes took a minute (measured)."""
    searched = []
    monkeypatch.setattr(
        validation.difflib,
        "get_close_matches",
        lambda word, known, n: searched.append(word) or known[:n],
    )
    validation._nearest.cache_clear()
    section, name = where
    numbers = range(3 * validation.MAX_REPORTED)
    many = {f"Cannonicalization{number}": "relaxed" for number in numbers}
    problems = read({"domains": {"example.com": {}}} | {section: {name: many}}).problems
    assert sum("did you mean" in problem for problem in problems) == validation.MAX_REPORTED
    assert problems[-1].startswith(f"dkim: {2 * validation.MAX_REPORTED} more problems")
    assert len(searched) == validation.MAX_REPORTED
    validation._nearest.cache_clear()
