"""``dkim:lookup``: functions and states use the same names."""

import re
from pathlib import Path

import pytest
import yaml
from dkim_formula.settings.lookup import DEFAULTS, names, read_lookup, valid_names
from dkim_formula.settings.validation import Notes
from hypothesis import given
from support.fuzz import examples, odd_value

DKIM = Path(__file__).resolve().parents[3] / "dkim"


def test_defaults_are_those_of_the_states():
    states = yaml.safe_load((DKIM / "defaults.yaml").read_text())
    states.update(yaml.safe_load((DKIM / "osfamilymap.yaml").read_text())["Debian"])
    assert states == DEFAULTS


def test_names_of_the_pillar_override_the_defaults():
    found = names({"opendkim_user": "signer"})
    assert (found["opendkim_user"], found["postfix_user"]) == ("signer", "postfix")


def problems(lookup):
    notes = Notes()
    read_lookup(lookup, notes)
    return list(notes.problems)


def test_defaults_pass_their_own_check():
    assert problems(DEFAULTS) == []
    assert valid_names(DEFAULTS) == DEFAULTS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("postgresql_package", "postgresql-17"),
        ("opendkim_package", "opendkim:amd64"),
        ("postgresql_service", "postgresql@17-main"),
        ("opendkim_config", "/etc/opendkim/main.conf"),
        ("postfix_chroot", "/srv/mail/spool"),
        ("socket_directory", "milter/dkim"),
        ("python_packages", ["psycopg2==2.9.10", "dnspython>=2"]),
        ("python_wheels", "/srv/wheels"),
    ],
)
def test_name_of_another_system_is_accepted(key, value):
    assert problems({key: value}) == []
    assert valid_names({key: value})[key] == value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("opendkim_package", "open dkim", "is not a package's name"),
        ("opendkim_package", ["opendkim"], "is not a string"),
        ("opendkim_package", 5, "is not a string"),
        ("opendkim_service", "opendkim.service", "ends with .service"),
        ("postfix_service", "/etc/init.d/postfix", "is not a unit's name"),
        ("postfix_user", "post fix", "is not a system user's name"),
        ("opendkim_config", "etc/opendkim.conf", "is not an absolute path"),
        ("opendkim_config", "/etc/opendkim/", "is a directory"),
        ("opendkim_config", "/etc/open dkim.conf", "gives a meaning to"),
        ("opendkim_config", "/etc/%n.conf", "gives a meaning to"),
        ("postfix_chroot", "/", "is the root"),
        ("postfix_chroot", "var/spool/postfix", "is not an absolute path"),
        ("postfix_chroot", ["/var/spool/postfix"], "is not a string"),
        ("postfix_chroot", "/" + "a" * 90, "107 octets"),
        ("socket_directory", "/opendkim", "is an absolute path"),
        ("socket_directory", "../opendkim", "has a step . or .."),
        ("python_packages", ["--index-url=x"], "is an option of pip"),
        ("python_packages", [], "is empty"),
        ("postfix_chrot", "/var/spool/postfix", "did you mean 'postfix_chroot'?"),
        ("nothing_like_it", "x", "unknown key; known keys: postgresql_package, "),
    ],
)
def test_invalid_name_is_refused(key, value, message):
    (problem,) = problems({key: value})
    assert problem.startswith("dkim:lookup:")
    assert message in problem


@examples(200)
@given(value=odd_value(), at=...)
def test_accepted_name_fits_every_file_that_has_it(value, at: int):
    key = [*DEFAULTS][at % len(DEFAULTS)]
    found = valid_names({key: value})
    assert found.keys() == DEFAULTS.keys()
    assert found["postfix_chroot"].startswith("/")
    for name in DEFAULTS.keys() - {"python_packages", "python_wheels"}:
        assert re.fullmatch(r"[\w/.+:@~-]+", found[name], re.ASCII), name
    assert all(isinstance(one, str) for one in found["python_packages"])
    assert re.fullmatch(r"/[\w/.+@~-]+", found["python_wheels"] or "/none", re.ASCII)
    assert bool(problems({key: value})) == (value is not None and found[key] == DEFAULTS[key])
