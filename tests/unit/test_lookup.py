"""Names that functions use by themselves are those that the states use."""

from pathlib import Path

import yaml
from dkim_formula.settings.lookup import DEFAULTS, names

DKIM = Path(__file__).resolve().parents[2] / "dkim"


def test_defaults_are_those_of_the_states():
    states = yaml.safe_load((DKIM / "defaults.yaml").read_text())
    states.update(yaml.safe_load((DKIM / "osfamilymap.yaml").read_text())["Debian"])
    assert states == DEFAULTS


def test_the_site_s_names_come_first():
    found = names({"opendkim_user": "signer"})
    assert (found["opendkim_user"], found["postfix_user"]) == ("signer", "postfix")
