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


def test_guide_shows_a_screen_exactly():
    guide = (FOLDER.parents[1] / "docs" / "rotate.md").read_text(encoding="utf-8")
    shown = re.findall(r"```text\n(.*?)```", guide, re.DOTALL)
    assert drawn("status-guide", 140) in shown
