"""No part of the formula reads a log, because senders of mail write into the mail logs."""

import ast
import re

import pytest
from support.sought_texts import CODE, ROOT, TEMPLATES, of_lines, of_python, sought_texts

LOG = re.compile(r"journalctl|systemctl status|/var/log|/dev/log|/run/log|mail\.log|syslog")
PYTHON = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
UNITS_AND_STATES = [
    path for folder in TEMPLATES for path in sorted((ROOT / folder).rglob("*")) if path.is_file()
]


def commands(source):
    """Return the programs and files in a Python source: each string without a blank."""
    constants = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    texts = (node.value for node in constants if isinstance(node.value, str))
    return [text for text in texts if not re.search(r"\s", text.strip())]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.stem)
def test_no_module_runs_journalctl_or_opens_a_log(path):
    assert [text for text in commands(path.read_text()) if LOG.search(text)] == []


@pytest.mark.parametrize("path", UNITS_AND_STATES, ids=lambda path: path.name)
def test_no_unit_state_or_command_reads_a_log(path):
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if LOG.search(line)] == []


def test_texts_are_collected_from_comparisons_searches_and_shell():
    source = (
        "LOOKED_FOR = 'by name'\n"
        "if 'in a line' in line or line == 'whole line' or line.startswith('beginning'):\n"
        "    re.search('expression', line)\n"
        "LOOKED_FOR in line\n"
        "print('only shown')\n"
    )
    expected = {"in a line", "whole line", "beginning", "expression", "by name"}
    assert set(of_python(source)) == expected
    unit = 'ExecStart=/bin/sh -c \'journalctl | grep "by a unit"\'\nDescription="shown"\n'
    assert any("by a unit" in text for text in of_lines(unit))
    assert not any("shown" in text for text in of_lines(unit))


def test_texts_of_the_formula_itself_are_collected():
    # A text of systemctl, one of Postfix's process, and one of a milter's answer.
    assert {"active", "master", "deferred"} <= set(sought_texts())
