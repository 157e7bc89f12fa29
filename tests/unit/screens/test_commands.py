"""The functions that have a screen, and the arguments of a call that its screen gets."""

import ast
from datetime import timedelta
from pathlib import Path

import pytest
from dkim_formula.screens import commands
from dkim_formula.screens.commands import Asked, Terminal
from support import fleet_returns, returns, rotations
from support.screens import CASES

MODULE = ast.parse(
    (Path(__file__).resolve().parents[3] / "_modules" / "dkimmod.py").read_text(encoding="utf-8")
)
ARGUMENTS = {
    node.name: [argument.arg for argument in node.args.args]
    for node in MODULE.body
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
}
# Functions that are drawn as rotate.
ROTATIONS = {"advance", "retire", "revoke", "rotate_due"}
# Functions whose return differs between a preview and a run.
PREVIEW_IN_RETURN = {"generate", "delete"}


def test_every_function_for_people_has_a_screen():
    missing = ARGUMENTS.keys() - commands.SCREENS.keys()
    assert not missing, "give it a screen in dkim_formula/screens, and a case in support/screens.py"
    assert commands.SCREENS.keys() == ARGUMENTS.keys()


def test_every_screen_is_reviewed():
    drawn = {function for function, *_ in CASES.values()}
    # The screen of a text is the text.
    every = commands.SCREENS.keys() | commands.RUNNER_SCREENS.keys()
    assert drawn | {"metrics", "public_key"} | ROTATIONS == every


def test_position_of_test_is_that_of_each_function():
    drawn = {name for name in commands.SCREENS if "test" in ARGUMENTS[name]} - PREVIEW_IN_RETURN
    assert {name: ARGUMENTS[name].index("test") for name in drawn} == commands.TEST_AT


@pytest.mark.parametrize(
    ("given", "named", "expected"),
    [
        ([], {}, Asked()),
        (["a"], {"test": True}, Asked(test=True)),
        (["a", None, None, False, True], {}, Asked(test=True)),
        (["a", None, None, False, True], {"test": False}, Asked()),
        ([], {"all": True, "verbose": True}, Asked(every=True, verbose=True)),
        ([], {"problem": True}, Asked(problem=True)),
        ([], {"all": "yes"}, Asked()),
    ],
)
def test_arguments_are_read_by_position_and_by_name(given, named, expected):
    assert commands.asked("rotate", given, named) == expected


@pytest.mark.parametrize("function", [*commands.SCREENS])
def test_text_is_drawn_unchanged(function):
    text = "example.com.\t3600\n"
    drawn = commands.draw(function, text, Asked(), Terminal(), returns.NOW)
    assert drawn == text.rstrip("\n")


# A row of another tool may hold any text, and a terminal obeys escape sequences (CWE-150).
CONTROL_TEXT = "\033]0;pwned\007\u202e\x9b2J"


@pytest.mark.parametrize("function", ["status", "list_keys"])
@pytest.mark.parametrize("field", ["domain", "selector", "address", "problem"])
def test_untrusted_text_does_not_control_the_terminal(function, field):
    line = {**returns.listed()[0], **returns.key(**{field: CONTROL_TEXT})}
    text = commands.draw(function, [line], Asked(), Terminal(), returns.NOW)
    assert text.replace("\n", "").isprintable()


def test_answer_of_a_name_server_does_not_control_the_terminal():
    wrong = returns.server(1, "different", CONTROL_TEXT, f"v=DKIM1; {CONTROL_TEXT}")
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
        ("fleet", fleet_returns.unhealthy()),
    ):
        text = commands.draw(function, data, Asked(), terminal, returns.NOW)
        assert text
        assert utf8 or text.isascii()


def test_table_with_long_names_is_not_wider_than_the_terminal():
    name = f"{'long-name-' * 4}.example.com"
    signed = [{**one, "sender": f"dkim-selftest@{name}"} for one in returns.signed()]
    imported = returns.imported()
    keys = [{**one, "domain": name} for one in imported["imported"]]
    for function, data in (("selftest", signed), ("import_tables", {**imported, "imported": keys})):
        text = commands.draw(function, data, Asked(), Terminal(80), returns.NOW)
        assert name in text
        assert max(map(len, text.splitlines())) <= 80


def test_commands_of_the_doctor_are_not_broken_at_any_width():
    text = commands.draw("doctor", returns.few_findings(), Asked(), Terminal(20), returns.NOW)
    assert "    salt-call state.apply dkim.opendkim" in text.splitlines()


def test_key_that_needs_a_person_comes_before_keys_in_progress():
    text = commands.draw("status", returns.few_keys(), Asked(), Terminal(140), returns.NOW)
    positions = [text.index(name) for name in ("example.org", "xn--mnchen-3ya", "example.com")]
    assert positions == sorted(positions)


def test_rotation_that_is_due_is_in_progress():
    late = returns.key(when=(returns.NOW - timedelta(days=3)).isoformat())
    text = commands.draw("status", [late], Asked(), Terminal(), returns.NOW)
    assert "rotation due 3 days ago" in text
    assert "1 in progress" in text


def test_command_for_an_untrusted_domain_is_one_safe_line():
    line = returns.key("a; reboot\n.example", dns="missing")
    text = commands.draw("status", [line], Asked(), Terminal(), returns.NOW)
    assert r"    salt-call dkim.check_dns 'a; reboot\n.example'" in text.splitlines()


def test_commands_of_many_domains_are_one_command():
    keys = [returns.key(f"d{number}.example", dns="missing") for number in range(4)]
    text = commands.draw("status", keys, Asked(), Terminal(), returns.NOW)
    assert "    salt-call dkim.check_dns" in text.splitlines()
    assert "check_dns d1" not in text


def test_message_that_was_not_signed_is_counted_apart_from_a_missing_record():
    first, second, third = returns.signed()
    results = [{**first, "signed": False, "verified_by_database": None}, second, third]
    text = commands.draw("selftest", results, Asked(), Terminal(140), returns.NOW)
    *_, one, doctor, two, dns = text.splitlines()
    assert one == "✗ 1 of 3 messages not signed as desired"
    assert doctor.strip() == "salt-call dkim.doctor  # why"
    assert two.startswith("✗ 1 signature that receivers can't verify")
    assert dns.strip() == "salt-call dkim.check_dns example.org"


def test_waiting_key_with_a_long_name_has_its_state_on_the_next_line():
    done = rotations.advance()
    done["waiting"][1]["domain"] = f"{'a' * 50}.example.org"
    text = commands.draw("advance", done, Asked(), Terminal(80), returns.NOW)
    assert max(map(len, text.splitlines())) <= 80
    assert f"  s2._domainkey.{'a' * 50}.example.org" in text.splitlines()
    assert "    pending, next active, in 15 minutes at the earliest" in text.splitlines()


def test_preview_names_the_command_that_does_the_work():
    text = commands.draw(
        "rotate", rotations.rotation(test=True), Asked(test=True), Terminal(), returns.NOW
    )
    assert "run the same command without test=True" in text
    assert "below" not in text
    assert "dkim.advance" not in text
