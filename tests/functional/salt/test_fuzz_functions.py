"""
Generated arguments for every execution function.

A function accepts its arguments, or refuses them with a message and changes nothing.
"""

import hashlib
import inspect
import itertools
import re

import pytest
import yaml
from dkim_formula.postfix import control, main_cf, main_cf_milters, saved_values
from dkim_formula.postgres import connection as db
from dkim_formula.unattended import saved
from functional.doubles import OpenDKIM, Postfix, Services
from functional.salt.test_module_every import EXAMPLES
from functional.salt_loaders import functions_of, stand_in
from functional.server import execute, query, traditional_pem
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError
from support.fuzz import ROOT, examples, odd_text, odd_value
from support.share import short_form

pytestmark = pytest.mark.one_release

# Every table of the database. One is the sentinel, which an injection would change.
TABLES = """
SELECT format('%I.%I', nspname, relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY 1
"""
CATALOG = """
SELECT string_agg(what, ',' ORDER BY what) FROM (
    SELECT 'relation ' || oid::regclass::text AS what FROM pg_class WHERE relnamespace::regnamespace
        NOT IN ('pg_catalog', 'pg_toast', 'information_schema') AND relpersistence <> 't'
    UNION ALL SELECT 'function ' || oid::regprocedure::text FROM pg_proc WHERE oid > 16000
    UNION ALL SELECT 'role ' || rolname FROM pg_roles
    UNION ALL SELECT 'database ' || datname FROM pg_database) AS found
"""

MAIN_CF = {
    main_cf_milters.SMTPD,
    main_cf_milters.NON_SMTPD,
    main_cf_milters.DEFAULT_ACTION,
    main_cf_milters.CLASSES,
}
DOMAINS = ["example.com", "example.org", "Example.COM.", "nowhere.example", "*", ""]
SELECTORS = ["default", "s2026", "S2026", "new", "default-ed25519", ""]
FUNCTIONS = {
    name: inspect.signature(function).parameters
    for name, function in functions_of("module").items()
    if inspect.signature(function).parameters
}
# These functions write to any path that they get, so every path here is in the test's own folder.
WRITERS = {
    "dkim.export_key",
    "dkim_opendkim.write_password_file",
    "dkim.report",
    "dkim.write_metrics",
}


class Site:
    """A minion with keys, and everything that its functions could change."""

    def __init__(self, minion, server, folder, postfix):
        self.minion = minion
        self.server = server
        self.folder = folder
        self.postfix = postfix

    def digest(self):
        with db.session(self.minion.database, setup=True) as connection:
            tables = [name for (name,) in query(connection, TABLES)]
            rows = (
                "SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {} AS t"
            )
            found = {name: query(connection, rows.format(name)) for name in tables}
            found["catalog"] = query(connection, CATALOG)
        for path in sorted([*self.folder.rglob("*"), *self.server.data.glob("pg_*.conf")]):
            if path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


@pytest.fixture
def site(loaded, mailhost, server, tmp_path, monkeypatch):
    access_files = {path: path.read_text() for path in server.data.glob("pg_*.conf")}
    daemon = OpenDKIM(tmp_path / "opendkim.sock")
    daemon.start()
    doubles = Services(daemon).functions() | {"event.fire": lambda _data, _tag: True}
    stand_in(monkeypatch, loaded.functions, doubles)
    monkeypatch.setattr(saved, "FOLDER", str(tmp_path / "jobs"))
    postfix = Postfix(tmp_path)
    monkeypatch.setattr(main_cf, "POSTCONF", str(postfix.postconf))
    monkeypatch.setattr(saved_values, "PATH", str(tmp_path / "memory.json"))
    monkeypatch.setattr(control, "running", lambda: True)
    (tmp_path / "mail.private").write_text(traditional_pem())
    (tmp_path / "KeyTable").write_text(f"a example.org:mail:{tmp_path}/mail.private\n")
    mailhost.set_pillar(
        database={"reader": {"password": "Correct-Horse"}},
        domains={name: {"algorithm": "ed25519"} for name in DOMAINS[:2]},
        dns={"timeout": 1, "deadline": 1},
    )
    mailhost.call("dkim.generate_missing")
    mailhost.call("dkim.generate", "example.com", "s2026")
    with db.session(mailhost.database, setup=True) as connection:
        execute(connection, "CREATE TABLE public.sentinel AS SELECT 'untouched' AS told")
    yield Site(mailhost, server, tmp_path, postfix)
    daemon.stop()
    for path, text in access_files.items():
        path.write_text(text)
    with db.session(server.settings) as connection:
        execute(connection, "SELECT pg_reload_conf()")


@st.composite
def calls(draw):
    """Draw a function and its arguments. ``{folder}`` stands for the test's folder."""
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    given_ = {}
    for parameter in FUNCTIONS[name].values():
        if parameter.default is inspect.Parameter.empty or draw(st.booleans()):
            given_[parameter.name] = draw(argument(name, parameter.name))
    return name, given_


def argument(function, name):
    inside = odd_text().map(lambda text: f"{{folder}}/{text.replace('..', '').strip('/')}")
    if name == "domain":
        return st.sampled_from(DOMAINS) | odd_text() | odd_value()
    if name == "selector":
        return st.sampled_from(SELECTORS) | odd_text() | odd_value()
    if name in ("path", "key_table", "signing_table"):
        files = st.sampled_from(["{folder}/mail.private", "{folder}/KeyTable", "refile:{folder}/K"])
        elsewhere = odd_text().map(lambda text: text.lstrip("/ \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"))
        readable = elsewhere if function in WRITERS else elsewhere | odd_text()
        return (
            inside
            | readable
            | odd_value().filter(lambda value: not isinstance(value, str))
            | (st.just("{folder}/out") if function in WRITERS else files)
        )
    if name == "socket":
        return st.just("{folder}/opendkim.sock")
    return odd_value() | st.lists(odd_text(), max_size=2)


@examples(30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls())
def test_function_accepts_its_arguments_or_refuses_them_and_changes_nothing(site, call):
    name, given_ = call
    before = site.digest()
    refusal = refused(site, name, {key: filled(value, site) for key, value in given_.items()})
    after = site.digest()
    if refusal is not None:
        assert after == before
        assert refusal.replace("\n", "").isprintable()
    assert after["public.sentinel"] == before["public.sentinel"]
    assert set(site.postfix.values()) <= MAIN_CF


# Values that most arguments refuse, each with the texts by which an error shows the value.
WRONG_KINDS = (
    (1.5, ("1.5",)),
    (True, ("true",)),
    (["a"], ("a list", "['a']")),
    ({"a": 1}, ("a mapping", "{'a': 1}")),
)
# Arguments that accept lists or mappings.
TAKES_MORE = {
    "absent",
    "lookup",
    "moved_from",
    "present",
    "reads",
    "relations",
    "roles",
    "sockets",
    "unsigned_services",
}
# Words of Python, which a mail administrator must not see.
INTERNAL = re.compile(r"\bNone\b|\bTrue\b|\bFalse\b|Kind|Ordered|object at|<class|Traceback")
ODD_TEXTS = (
    "",
    " ",
    "exa mple",
    "a..b",
    "*",
    "EXAMPLE.COM. ",
    "b\u00fc.example",
    "a\nb",
    "\0",
    "-",
)


def answers(site, function, values, names=None):
    """Call a function with each value for each argument. Yield argument, value and refusal."""
    example = dict(zip(FUNCTIONS[function], EXAMPLES[function][0], strict=False))
    for name in FUNCTIONS[function] if names is None else names:
        for value in values:
            call = {**example, name: value}
            arguments = {key: filled(one, site) for key, one in call.items()}
            yield name, value, refused(site, function, arguments)


def test_refusal_names_an_argument_of_a_wrong_kind_with_its_value(site):
    before = site.digest()
    faults = []
    for function in sorted(FUNCTIONS):
        for name in FUNCTIONS[function].keys() - TAKES_MORE:
            is_switch = isinstance(FUNCTIONS[function][name].default, bool)
            kinds = [kind for kind in WRONG_KINDS if not (is_switch and kind[0] is True)]
            answered = answers(site, function, [value for value, _ in kinds], [name])
            for (_, _, refusal), (_, shown) in zip(answered, kinds, strict=True):
                shown_ = ("'…'",) if name == "password" else shown
                begins = tuple(f"{name}: {one} " for one in shown_)
                if not refusal or not refusal.startswith(begins) or INTERNAL.search(refusal):
                    faults.append((function, name, shown, refusal))
    assert faults == []
    assert site.digest() == before


@pytest.mark.parametrize("every", short_form([False, True]))
def test_odd_text_is_accepted_or_refused_with_a_message(site, every):
    """In soak each argument gets every value, otherwise a third of the values in turn."""
    values = (*ODD_TEXTS, 7, -1, None, [], {})
    thirds = itertools.cycle([values] if every else [values[at::3] for at in range(3)])
    for function in sorted(FUNCTIONS):
        names = [one for one in FUNCTIONS[function] if function not in WRITERS or one != "path"]
        for name in names:
            for _, value, refusal in answers(site, function, next(thirds), [name]):
                is_plain = refusal is None or not INTERNAL.search(refusal)
                assert is_plain, (function, name, value, refusal)


WITH_DOMAIN = sorted(name for name, parameters in FUNCTIONS.items() if "domain" in parameters)


ODD_DOMAINS = ("alias.example", "nowhere.example")


def test_domain_without_its_own_key_is_named_in_each_refusal(site):
    domains = {"example.com": {}, "alias.example": {"alias_of": "example.com"}}
    site.minion.set_pillar(domains=domains, dns={"timeout": 1, "deadline": 1})
    for function in WITH_DOMAIN:
        for _, value, refusal in answers(site, function, ODD_DOMAINS, ["domain"]):
            assert refusal is None or not INTERNAL.search(refusal), (function, refusal)
            # dkim.selftest first checks the daemon's login to the database, which fails here.
            is_named = refusal is None or value in refusal
            assert is_named or function == "dkim.selftest", (function, refusal)


def test_case_53_refusal_of_a_key_for_an_alias_names_the_domain_that_signs(site):
    text = (ROOT / "tests" / "cases" / "pillar" / "53-calls.txt").read_text()
    pillar, call = text.split("salt-call ")
    site.minion.set_pillar(**yaml.safe_load(pillar)["dkim"])
    assert refused(site, call.split()[0], {"domain": call.split()[1]}) == (
        "domain: 'alias.example' is an alias: the keys of good.example sign for it; use "
        "good.example, or remove dkim:domains:alias.example:alias_of"
    )


def refused(site, name, arguments):
    """Return why a function refuses its arguments, or None. Any other exception is a fault."""
    try:
        site.minion.call(name, **arguments)
    except (SaltInvocationError, CommandExecutionError) as error:
        return str(error)
    return None


def filled(value, site):
    return value.replace("{folder}", str(site.folder)) if isinstance(value, str) else value
