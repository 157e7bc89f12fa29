"""Generated pillars: none raises, and an accepted one writes only what its values say."""

import datetime
import json
import re
import shlex
import sys

import dns.rdatatype
import dns.zonefile
import pytest
import yaml
from dkim_formula import errors, settings
from dkim_formula.dns.desired import records_of
from dkim_formula.keys.desired import desired_keys, desired_patterns
from dkim_formula.keys.model import Key
from dkim_formula.postgres import hba
from dkim_formula.private_key import PrivateKey
from dkim_formula.records import FORMATS, render
from dkim_formula.settings import validation
from dkim_formula.settings.opendkim_options import OPTIONS
from dkim_formula.signer import config_options, daemons, passfile, unit_needs
from hypothesis import given
from support.fuzz import PILLARS, ROOT, changed_pillar, examples
from support.templates import opendkim_conf, rendered

pytestmark = pytest.mark.one_release

LOOKUP = yaml.safe_load((ROOT / "dkim" / "defaults.yaml").read_text())
PUBLIC = PrivateKey.generate("ed25519").public_base64()


@examples(150)
@given(changed_pillar())
def test_pillar_is_refused_or_writes_only_what_its_values_say(pillar):
    reading = settings.read(pillar)
    assert all(text.startswith("dkim") and "\n" not in text for text in reading.problems)
    assert all(text.startswith("dkim") and "\n" not in text for text in reading.advice)
    assert str(reading.problems).isprintable()
    # A refused value is replaced by its default, so the states still render.
    check_outputs(reading.settings)


# Values that no key accepts. Errors describe each in words of YAML, not of Python.
WRONG_KINDS = (
    {"a": 1},
    [{"a": 1}],
    [],
    -1.5,
    b"x",
    datetime.date(2026, 11, 24),
)
# Values that some keys accept.
ODD_KINDS = (True, 5, "false", "12", "", " ", "null", {}, ["x", None], 10**5000, float("inf"))
INTERNAL = re.compile(r"\bNone\b|\bTrue\b|\bFalse\b|Kind|Ordered|object at|<class|datetime|b'")
# For these keys an empty list is the default.
MAY_BE_EMPTY = {"domains", "clients", "common_names", "unsigned_services"}
# Mappings whose keys are columns of the table of domains, with any name.
COLUMNS = {"only"}


def known_keys():
    """Return every section of the pillar with each of its keys, as the readers ask for them."""
    found, read_section = {}, validation.read_section

    def listening(value, where, checks, notes, hints=None):
        found.setdefault(where, tuple(checks))
        return read_section(value, where, checks, notes, hints)

    readers = [
        module
        for name, module in sys.modules.items()
        if name.startswith("dkim_formula.settings")
        and getattr(module, "read_section", None) is read_section
    ]
    for module in readers:
        module.read_section = listening
    for pillar in PILLARS:
        settings.read(pillar)
    for module in readers:
        module.read_section = read_section
    return [(where, key) for where, keys in found.items() for key in keys]


KEYS = known_keys()


def holding(where, key, value):
    pillar = at = {}
    for part in where.split(":")[1:]:
        at = at.setdefault(part, {})
    at[key] = value
    return pillar


def put(pillar, where, key, value):
    for part in where.split(":")[1:]:
        pillar = pillar.setdefault(part, {})
    pillar[key] = value


def in_words(texts):
    return all(text.isprintable() and not INTERNAL.search(text) for text in texts)


def test_pillar_has_more_than_a_hundred_keys():
    assert len(set(KEYS)) > 100


@pytest.mark.parametrize("value", WRONG_KINDS, ids=validation.kind_of)
def test_value_of_a_wrong_kind_is_refused_at_its_key_in_words(value):
    for where, key in KEYS:
        if (value == [] and key in MAY_BE_EMPTY) or (value == {"a": 1} and key in COLUMNS):
            continue
        problems = settings.read(holding(where, key, value)).problems
        assert problems, (where, key)
        assert problems[0].startswith(f"{where}:{key}"), problems
        assert in_words(problems), problems


@pytest.mark.parametrize("value", ODD_KINDS, ids=lambda value: errors.as_yaml(value)[:12])
def test_odd_value_is_accepted_or_refused_in_words(value):
    for where, key in KEYS:
        found = settings.read(holding(where, key, value))
        assert in_words(found.problems + found.advice), found
        check_outputs(found.settings)


def test_wrong_values_of_all_keys_are_reported_at_once(monkeypatch):
    monkeypatch.setattr("dkim_formula.settings.pillar.MAX_REPORTED", 1000)
    scalars = [
        (where, key)
        for where, key in KEYS
        if not any(place.startswith(f"{where}:{key}") for place, _ in KEYS)
    ]
    pillar = {}
    for where, key in scalars:
        put(pillar, where, key, -1.5)
    problems = settings.read(pillar).problems
    for where, key in scalars:
        assert any(text.startswith(f"{where}:{key}: ") for text in problems), (where, key)
    assert len(problems) == len(set(problems))


def test_unknown_keys_are_reported_with_the_nearest_known_key():
    for where, key in KEYS:
        for typo in (f"{key}s" if key[-1] != "s" else key[:-1], f" {key.upper()}", f"{key}x"):
            if (where, typo) in KEYS:
                continue
            said = settings.read(holding(where, typo, 1)).problems
            assert any("did you mean" in text for text in said), (where, typo, said)


def test_pillars_to_change_are_valid():
    assert len(PILLARS) > 15
    for pillar in PILLARS:
        reading = settings.read(pillar)
        assert reading.problems == ()
        check_outputs(reading.settings)


def check_outputs(found):
    check_configuration(found)
    check_unit(found)
    check_access(found)
    check_password_file(found)
    check_records(found)


def check_configuration(found):
    """Assert one line for each option, and only known options: opendkim.conf(5)."""
    for daemon in daemons.daemons(found, LOOKUP):
        text = opendkim_conf(config_options.options(found, daemon))
        lines = [line for line in text.split("\n") if line and not line.startswith("#")]
        options = [line.split(None, 1)[0] for line in lines]
        assert "#" not in "".join(lines)
        assert set(options) <= OPTIONS.keys()
        assert len(options) == len(set(options))
        assert all(len(line.split(None, 1)) == 2 for line in lines)
        (dsn,) = (line for line in lines if line.startswith("KeyTable"))
        assert len(dsn.split()) == 2


def check_unit(found):
    """Assert that systemd reads each variable as one, and that the pillar adds no line."""
    for daemon in daemons.daemons(found, LOOKUP):
        environment = daemons.environment(found.database)
        paths = unit_needs.writable(found, daemon)
        text = rendered(
            "opendkim/files/opendkim.service.jinja",
            main=daemon.algorithm == "rsa",
            algorithm=daemon.algorithm,
            config_file=daemon.config_file,
            user=LOOKUP["opendkim_user"],
            local_database=not found.database.host,
            postgresql_service=LOOKUP["postgresql_service"],
            environment=environment,
            sandbox=True,
            writes_to=paths,
        )
        lines = text.split("\n")
        variables = values(lines, "Environment")
        assert variables == [f"{name}={value}" for name, value in sorted(environment.items())]
        assert [path.removeprefix("-") for path in values(lines, "ReadWritePaths")] == paths
        assert all(not line or line[0] in "#[" or "=" in line for line in lines)


def values(lines, name):
    """Return the words of all lines of one setting, as systemd.syntax(7) unquotes them."""
    texts = [line.removeprefix(f"{name}=") for line in lines if line.startswith(f"{name}=")]
    return [word.replace("%%", "%") for text in texts for word in shlex.split(text)]


def check_access(found):
    """Assert that each line is one rule with the right names."""
    database = found.database
    reader = database.reader
    rule = hba.hba_line(database.name, reader.name, f"peer map={reader.map}")
    (line,) = hba.lines(rule)
    words = [[token.text for token in field] for field in line.fields]
    assert words == [
        ["local"],
        [database.name],
        [reader.name],
        ["peer"],
        [f"map={reader.map}"],
    ]
    (mapping,) = hba.lines(hba.ident_line(reader.map, reader.system_user, reader.name))
    words = [[token.text for token in field] for field in mapping.fields]
    assert words == [[reader.map], [reader.system_user], [reader.name]]


def check_password_file(found):
    """Assert one line with five fields: PostgreSQL, «The Password File»."""
    if found.database.reader.password is None:
        return
    text = passfile.text(found.database)
    fields, escaped = [""], False
    for character in text.removesuffix("\n"):
        if character == ":" and not escaped:
            fields.append("")
            continue
        escaped = character == "\\" and not escaped
        fields[-1] += "" if escaped else character
    reader = found.database.reader
    assert fields == ["*", "*", found.database.name, reader.name, reader.password.reveal()]
    assert text.count("\n") == 1


def check_records(found):
    """Assert that every format has exactly these records. dnspython reads the zone file."""
    domains = list(found.domains.values())
    keys = [row(desired) for desired in desired_keys(found.domains)]
    desired_patterns(found.domains)
    shown = records_of(found, domains, keys)
    zones = tuple(found.dns.zones)
    texts = {name: render(shown, name, zones=zones) for name in FORMATS}
    read = dns.zonefile.read_rrsets(texts["bind"], rdclass=None, relativize=False, origin=".")
    assert {one for rrset in read for one in of_rrset(rrset)} == {
        (f"{record.name}.", record.type, record.value) for record in shown
    }
    assert [tuple(line.split("\t")) for line in texts["oneline"].splitlines()] == [
        (record.name, record.type, record.value) for record in shown
    ]
    assert [one["value"] for one in json.loads(texts["json"])] == [one.value for one in shown]
    verbs = {line.split()[0] for line in texts["nsupdate"].splitlines()}
    assert verbs <= {";", "zone", "prereq", "update", "send"}
    assert texts["nsupdate"].count("\nsend\n") == len(shown)
    for document in yaml.safe_load_all(texts["octodns"]):
        assert document is None or isinstance(document, dict)


def row(desired):
    public = None if desired.algorithm == "rsa" else PUBLIC
    return Key(
        1,
        desired.domain,
        desired.selector,
        desired.algorithm,
        desired.bits,
        "active",
        desired.address,
        *[None] * 4,
        public or "MIIB",
    )


def of_rrset(rrset):
    kind = dns.rdatatype.to_text(rrset.rdtype)
    for rdata in rrset:
        value = (
            b"".join(rdata.strings).decode()
            if kind == "TXT"
            else rdata.target.to_text(omit_final_dot=True)
        )
        yield rrset.name.to_text(), kind, value
