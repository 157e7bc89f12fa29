"""A pillar without domains, of which a part may be missing: its run stops no daemon that signs."""

import pytest
from dkim_formula.health import preflight
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.settings import read
from functional.server import execute

pytestmark = pytest.mark.one_release

DOMAINS = {"example.com": {"algorithm": "ed25519"}}


@pytest.fixture
def problems(ready, tmp_path):
    """A function that returns what dkim.check says of a daemon that a run would stop."""
    (tmp_path / "opendkim-ed25519.conf").write_text("")
    lookup = {"opendkim_config": str(tmp_path / "opendkim.conf")}

    def of(given, **database):
        where = {"name": ready.name, "port": ready.port, "manage": False, **database}
        found = preflight.check(read({"database": where, "lookup": lookup, **given}))
        return [text for text in found["problems"] if "would stop" in text]

    settings = read({"database": {"name": ready.name, "port": ready.port}, "domains": DOMAINS})
    keys_commands.generate(settings.settings, "example.com")
    return of


def set_state(database, state):
    with db.session(database) as connection:
        execute(connection, "UPDATE public.dkim SET state = %s", (state,))


@pytest.mark.parametrize("given", [{}, {"domains": {}}, {"domains": {"old.example": False}}])
def test_pillar_without_domains_is_refused_while_keys_sign(problems, given):
    (problem,) = problems(given)
    assert problem.startswith("dkim:domains: names no domain, so a run would stop opendkim-ed25519")
    assert "(active, standby or pending: 1)" in problem


def test_pillar_without_domains_is_refused_if_the_keys_can_not_be_read(problems):
    (problem,) = problems({}, port=1)
    assert "can't be read here" in problem


@pytest.mark.parametrize("state", ["active", "pending", "retired", "revoked"])
def test_keys_that_sign_or_will_sign_keep_their_daemon(problems, ready, state):
    set_state(ready, state)
    assert len(problems({})) == (state in ("active", "pending"))


@pytest.mark.parametrize("domains", [DOMAINS, {"example.com": {}}, {"*": {}}])
def test_named_domains_decide_alone(problems, domains):
    assert problems({"domains": domains}) == []


def test_machine_without_the_daemon_has_no_problem(problems, tmp_path):
    (tmp_path / "opendkim-ed25519.conf").unlink()
    assert problems({}) == []
