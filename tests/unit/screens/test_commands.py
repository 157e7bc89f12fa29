"""Which functions have a screen, and what a screen is told of the call."""

import ast
from datetime import timedelta
from pathlib import Path

import pytest
from dkim_formula.screens import commands
from dkim_formula.screens.commands import Asked, Terminal
from support import returns
from support.screens import CASES

MODULE = ast.parse(
    (Path(__file__).resolve().parents[3] / "_modules" / "dkimmod.py").read_text(encoding="utf-8")
)
ARGUMENTS = {
    node.name: [argument.arg for argument in node.args.args]
    for node in MODULE.body
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
}
# Drawn as rotate is.
ROTATIONS = {"advance", "retire", "revoke", "rotate_due"}
# Their return tells a preview from a run.
TOLD_BY_RETURN = {"generate", "delete"}


def test_every_function_for_people_has_a_screen():
    missing = ARGUMENTS.keys() - commands.SCREENS.keys()
    assert not missing, "give it a screen in dkim_formula/screens, and a case in support/screens.py"
    assert commands.SCREENS.keys() == ARGUMENTS.keys()


def test_every_screen_is_reviewed():
    drawn = {function for function, *_ in CASES.values()}
    # A text is shown as it is.
    assert drawn | {"metrics", "public_key"} | ROTATIONS == commands.SCREENS.keys()


def test_place_of_test_is_that_of_each_function():
    drawn = {name for name in commands.SCREENS if "test" in ARGUMENTS[name]} - TOLD_BY_RETURN
    assert {name: ARGUMENTS[name].index("test") for name in drawn} == commands.TEST_AT


@pytest.mark.parametrize(
    ("given", "named", "expected"),
    [
        ([], {}, Asked()),
        (["a"], {"test": True}, Asked(test=True)),
        (["a", None, None, False, True], {}, Asked(test=True)),
        (["a", None, None, False, True], {"test": False}, Asked()),
        ([], {"all": True, "verbose": True}, Asked(every=True, verbose=True)),
        ([], {"all": "yes"}, Asked()),
    ],
)
def test_call_says_what_was_asked_for(given, named, expected):
    assert commands.asked("rotate", given, named) == expected


@pytest.mark.parametrize("function", [*commands.SCREENS])
def test_text_stays_as_it_is(function):
    text = "example.com.\t3600\n"
    drawn = commands.draw(function, text, Asked(), Terminal(), returns.NOW)
    assert drawn == text.rstrip("\n")


# A row that another tool wrote holds what it likes; a terminal obeys escape sequences (CWE-150).
STEERING = "\033]0;pwned\007\u202e\x9b2J"


@pytest.mark.parametrize("function", ["status", "list_keys"])
@pytest.mark.parametrize("field", ["domain", "selector", "address", "problem"])
def test_foreign_text_steers_no_terminal(function, field):
    line = {**returns.listed()[0], **returns.key(**{field: STEERING})}
    text = commands.draw(function, [line], Asked(), Terminal(), returns.NOW)
    assert text.replace("\n", "").isprintable()


def test_answer_of_a_name_server_steers_no_terminal():
    wrong = returns.server(1, "different", STEERING, f"v=DKIM1; {STEERING}")
    found = {
        "counts": {"different": 1},
        "records": [returns.checked("s1._domainkey.example.com", "different", "", wrong)],
    }
    text = commands.draw("check_dns", found, Asked(), Terminal(), returns.NOW)
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("width", [20, 40, 80, 140, None])
@pytest.mark.parametrize("utf8", [True, False])
def test_every_screen_can_be_drawn_at_any_width(width, utf8):
    terminal = Terminal(width=width, utf8=utf8)
    for function, data in (
        ("status", returns.few_keys()),
        ("doctor", returns.few_findings()),
        ("check_dns", returns.dns_found()),
        ("rotate", returns.rotated()),
        ("selftest", returns.signed()),
    ):
        text = commands.draw(function, data, Asked(), terminal, returns.NOW)
        assert text
        assert utf8 or text.isascii()


def test_commands_of_the_doctor_stay_whole_at_any_width():
    text = commands.draw("doctor", returns.few_findings(), Asked(), Terminal(20), returns.NOW)
    assert "    systemctl start opendkim" in text.splitlines()


def test_key_that_needs_a_person_comes_before_what_is_in_progress():
    text = commands.draw("status", returns.few_keys(), Asked(), Terminal(140), returns.NOW)
    places = [text.index(name) for name in ("example.org", "xn--mnchen-3ya", "example.com")]
    assert places == sorted(places)


def test_rotation_that_is_due_is_in_progress():
    late = returns.key(when=(returns.NOW - timedelta(days=3)).isoformat())
    text = commands.draw("status", [late], Asked(), Terminal(), returns.NOW)
    assert "rotation due 3 days ago" in text
    assert "1 in progress" in text
