"""A typo in any key of the pillar is found when the pillar is read."""

import pytest
from dkim_formula.settings import read
from support.typos import typos

TYPOS = typos()


def test_every_section_has_typos():
    sections = {typo.place.split()[1].split(":")[0] for typo in TYPOS}
    assert sections >= {"database", "defaults", "domains", "opendkim", "postfix", "dns", "rotation"}
    assert sections >= {"monitoring", "lookup"}
    assert len(TYPOS) > 150


@pytest.mark.parametrize("typo", TYPOS, ids=[typo.place for typo in TYPOS])
def test_typo_is_a_problem_that_names_its_key(typo):
    problems = read(typo.pillar).problems
    assert problems
    assert all(problem.startswith("dkim") for problem in problems)
