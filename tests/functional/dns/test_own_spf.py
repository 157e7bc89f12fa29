"""The SPF of every hosted domain, which names the one domain with the senders of all."""

from dataclasses import replace

import pytest
from dkim_formula import settings as pillar_settings
from dkim_formula.dns.desired import desired_records
from dkim_formula.health import preflight
from dkim_formula.keys import bulk_generation
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db

pytestmark = pytest.mark.one_release

SPF = {"spf": "v=spf1 include:example.com include:%{d2}.example.net -all"}
SENTENCE = "the spf of example.com names the record of example.com itself"


def advice(database, pillar):
    reading = pillar_settings.read(pillar)
    reading = replace(reading, settings=replace(reading.settings, database=database))
    assert reading.problems == ()
    return [text for text in preflight.check(reading)["advice"] if "names the record" in text]


@pytest.mark.parametrize(
    "pillar",
    [{"domains": {"*": SPF}}, {"defaults": SPF, "domains": {"*": None}}],
)
def test_hosted_domain_that_includes_itself_is_named_and_has_no_spf(ready, pillar):
    (text,) = advice(ready, pillar)
    assert text.startswith(SENTENCE)
    settings = replace(pillar_settings.read(pillar).settings, database=ready)
    found = [one.name for one in desired_records(settings) if one.purpose == "spf"]
    assert found == ["example.org"]


def test_domain_that_only_has_a_key_is_named(ready):
    pillar = {"defaults": SPF, "domains": {}}
    assert advice(ready, pillar) == []
    with db.session(ready) as connection:
        bulk_generation.generate(
            connection, ready, [DesiredKey("example.com", "s", "ed25519")], "test"
        )
    (text,) = advice(ready, pillar)
    assert text.startswith(SENTENCE)


@pytest.mark.parametrize(
    "domains",
    [
        {"*": SPF, "example.com": {"spf": "v=spf1 mx -all"}},
        {"*": SPF, "example.com": False},
        {"*": {"spf": "v=spf1 include:elsewhere.example -all"}},
    ],
)
def test_domain_with_its_own_settings_or_not_hosted_is_not_named(ready, domains):
    assert advice(ready, {"domains": domains}) == []
