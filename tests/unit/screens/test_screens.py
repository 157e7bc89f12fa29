"""Complete screens, compared exactly with the files ``tests/screens/NAME.WIDTH.txt``."""

import re

import pytest
from dkim_formula.screens.terminal import cell_width
from support.screens import CASES, FOLDER, WIDTHS, drawn


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [*CASES])
def test_screen_is_as_reviewed(name, width):
    path = FOLDER / f"{name}.{width}.txt"
    assert drawn(name, width) == path.read_text(encoding="utf-8")


# Lines for pasting: records, and commands, which are never broken.
FOR_PASTING = re.compile(r"^(    )?(salt-call|salt |\t?\"|\S+\s.*v=DKIM1|.* IN TXT)")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [*CASES])
def test_screen_is_not_wider_than_the_terminal(name, width):
    lines = re.sub("\033[^m]*m", "", drawn(name, width)).splitlines()
    wide = [line for line in lines if cell_width(line) > width]
    assert [line for line in wide if not FOR_PASTING.match(line)] == []


def test_no_reviewed_screen_is_left_over():
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {f"{name}.{width}.txt" for name in CASES for width in WIDTHS}


# The screens in each guide, in order. A guide shows a whole screen, or its first lines.
GUIDES = {
    "dns-cases.md": ["delegations.80"],
    "many-machines.md": ["rotate.80"],
    "moving.md": ["import_tables-test.80"],
    "rotate.md": ["status-guide.140"],
    "trouble.md": ["doctor.80", "check_dns.80"],
}
# On a master the name of the minion is above its screen.
HEAD = re.compile(r"; [a-z0-9.]+\n")


@pytest.mark.parametrize("guide", GUIDES)
def test_guide_shows_the_reviewed_screens_exactly(guide):
    text = (FOLDER.parents[1] / "docs" / guide).read_text(encoding="utf-8")
    shown = re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(shown) == len(GUIDES[guide])
    for screen, name in zip(shown, GUIDES[guide], strict=True):
        reviewed = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
        lines = HEAD.sub("", screen, count=1)
        assert lines.strip()
        assert reviewed.startswith(lines), name
