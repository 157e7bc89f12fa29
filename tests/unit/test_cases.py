"""Every case of ``tests/cases`` has a test, and every file of that folder belongs to a case."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
CASES = TESTS / "cases"
ROWS = re.findall(
    r"^\| (\d+) \| (.*?) \| ", (CASES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
)
# Files of all cases: the database to which they add tables and keys, and the attributes for git.
SHARED = {"tables/howto.sql", ".gitattributes"}


@pytest.fixture(scope="module")
def tested() -> set[int]:
    """The numbers in the names of tests: ``test_case_02_03_…`` is for two cases."""
    text = "\n".join(
        file.read_text(encoding="utf-8")
        for file in TESTS.rglob("test_*.py")
        if file != Path(__file__)
    )
    names = re.findall(r"\bdef test_case((?:_\d\d)+)_", text)
    return {int(number) for name in names for number in name.split("_")[1:]}


@pytest.mark.parametrize("number", [int(number) for number, _ in ROWS])
def test_every_case_has_a_test(number, tested):
    assert number in tested


def test_every_file_belongs_to_a_case():
    named = {path for _, files in ROWS for path in re.findall(r"\]\((.*?)\)", files)}
    present = {
        str(path.relative_to(CASES))
        for path in CASES.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert present == named | SHARED
