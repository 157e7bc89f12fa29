"""Remedies on the doctor's screen: each command has a line of its own, for pasting."""

import ast
import re
from pathlib import Path

import pytest
from dkim_formula import health
from dkim_formula.importing import other_signers
from dkim_formula.screens import commands
from dkim_formula.screens.commands import Asked, Terminal, draw
from dkim_formula.screens.doctor import remedy_lines
from support import returns


@pytest.mark.parametrize(
    ("remedy", "lines"),
    [
        ("salt-call state.apply dkim", ["salt-call state.apply dkim"]),
        (
            "systemctl unmask opendkim && salt-call state.apply dkim.opendkim",
            ["systemctl unmask opendkim && salt-call state.apply dkim.opendkim"],
        ),
        (
            "systemctl start postgresql; why it does not run: journalctl -u 'postgresql*' -n 50",
            [
                "systemctl start postgresql",
                "journalctl -u 'postgresql*' -n 50  # why it does not run",
            ],
        ),
        (
            "salt-call state.apply dkim.opendkim; see journalctl -u opendkim -n 50",
            ["salt-call state.apply dkim.opendkim", "journalctl -u opendkim -n 50"],
        ),
        (
            "apt-get install systemd-timesyncd, or chrony; then: timedatectl",
            ["apt-get install systemd-timesyncd  # or chrony", "timedatectl  # then"],
        ),
        (
            "restore the table of domains; or, if intended: salt-call dkim.advance force=True",
            [
                "restore the table of domains",
                "salt-call dkim.advance force=True  # or, if intended",
            ],
        ),
        (
            "salt-call dkim.check_dns, where DNS can be asked",
            ["salt-call dkim.check_dns  # where DNS can be asked"],
        ),
        (
            "correct the pillar; salt-call dkim.check shows all that is wrong",
            ["correct the pillar", "salt-call dkim.check  # shows all that is wrong"],
        ),
        (
            "see what hangs: ps -eo pid,stat,wchan,args; a process in state T or D is stopped",
            [
                "ps -eo pid,stat,wchan,args  # see what hangs",
                "a process in state T or D is stopped",
            ],
        ),
        ("start these milters, or remove their entries", None),
    ],
)
def test_command_has_a_line_of_its_own(remedy, lines):
    shown = [line.removeprefix("    ") for line in remedy_lines(remedy, Terminal(width=None))]
    assert shown == ([remedy] if lines is None else lines)


HEALTH = Path(health.__file__).parent
SOURCES = [*sorted(HEALTH.glob("*.py")), Path(other_signers.__file__)]


# Words that explain a command, and that a shell would take for its arguments.
EXPLAINING = re.compile(r"[,:] |\b(and|which|then|says|where)\b")


def texts_of(path):
    """Yield the texts of a module, each value within a text as ``x``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        texts = [getattr(part, "value", None) for part in parts]
        if any(isinstance(text, str) for text in texts):
            yield "".join(text if isinstance(text, str) else "x" for text in texts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_command_of_a_remedy_has_no_words_of_its_explanation(path):
    bold = Terminal(None, colour=True)
    lines = [line for text in texts_of(path) for line in remedy_lines(text, bold)]
    shown = [line.partition("  # ")[0] for line in lines if line.startswith("    \033[1m")]
    assert [line for line in shown if EXPLAINING.search(line)] == []


def test_command_is_never_broken():
    long = f"salt-call dkim.activate {'a' * 60}.example.com selector-of-2026"
    assert [*remedy_lines(long, Terminal(width=40))] == [f"    {long}"]


def test_format_text_is_the_screen_without_colours_and_line_breaks():
    found = [returns.finding("dns", False, "word " * 60, "salt-call dkim.check_dns")]
    text = commands.as_text("doctor", found, verbose=False)
    assert text == draw("doctor", found, Asked(), Terminal(width=None), returns.NOW)
    assert max(map(len, text.splitlines())) > 200
    assert "\033" not in text


def test_verbose_format_text_lists_passed_checks():
    found = [returns.finding("names", True, "every name can be looked up")]
    assert "every name" in commands.as_text("doctor", found, verbose=True)
    assert "every name" not in commands.as_text("doctor", found, verbose=False)
