"""Commands in texts for people, as a person types them on a machine of ``bin/highstate``."""

import ast
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dkim_formula import calls
from dkim_formula.dns import notice
from dkim_formula.dns.due_notice import Notice
from dkim_formula.records import key_record
from dkim_formula.screens.terminal import Terminal
from dkim_formula.settings.model import Dns

TREE = Path(__file__).resolve().parents[2]
COMMAND = "/root/dkim-formula/bin/highstate --call"
SOURCES = [
    path for folder in ("_utils", "_states") for path in sorted((TREE / folder).rglob("*.py"))
]
# Texts that hold the program's name and are not for people.
NOT_SHOWN = {"dkim_formula/calls.py": 2}


def shown(node: ast.AST) -> str | None:
    """Return a text of the code, with a word in place of each of its values."""
    if isinstance(node, ast.JoinedStr):
        return "".join(shown(part) or "example" for part in node.values)
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else None


def texts(path: Path) -> list[str]:
    """Return the texts of a module that name ``salt-call``, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Expr, ast.JoinedStr))
        for part in ([node.value] if isinstance(node, ast.Expr) else node.values)
    }
    found = [shown(node) for node in ast.walk(tree) if id(node) not in parts]
    return [text for text in found if text and calls.SALT_CALL in text]


TEXTS = [
    text for path in SOURCES if not str(path).endswith(tuple(NOT_SHOWN)) for text in texts(path)
]
TEMPLATES = [
    line
    for path in sorted((TREE / "dkim").rglob("*.jinja"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if "raise(" in line and calls.SALT_CALL in line
]


def typed(text: str, command: str = COMMAND) -> str:
    with calls.made_by(command):
        return calls.typed(text)


def test_library_has_texts_with_calls():
    assert len(TEXTS) > 30


@pytest.mark.parametrize("path", NOT_SHOWN)
def test_texts_that_are_not_for_people_are_known(path):
    (module,) = (one for one in SOURCES if str(one).endswith(path))
    assert len(texts(module)) == NOT_SHOWN[path]


@pytest.mark.parametrize("text", [*TEXTS, *TEMPLATES, "salt-call --out=json dkim.status"])
def test_every_call_in_the_library_is_typed_as_the_machine_needs(text):
    assert typed(text) == text.replace("salt-call", COMMAND)
    assert typed(text, None) == text


@pytest.mark.parametrize(
    "text",
    [
        "salt-call is missing",
        "the file /usr/local/bin/salt-call dkim.check",
        "use salt-call --local",
        "salt-callers dkim.check",
    ],
)
def test_other_texts_stay(text):
    assert typed(text) == text


@pytest.mark.parametrize("command", [None, "", "salt-call"])
def test_minion_without_the_option_has_salt_call(command):
    assert typed("salt-call dkim.check", command) == "salt-call dkim.check"


def test_call_in_colours_or_at_the_end_of_a_line_is_typed_too():
    assert typed("\033[1msalt-call dkim.check\033[0m") == f"\033[1m{COMMAND} dkim.check\033[0m"
    assert typed("run salt-call\n  dkim.check") == f"run {COMMAND}\n  dkim.check"


def test_mail_to_the_person_who_publishes_names_the_command_of_this_machine():
    record = key_record("example.com", "s1", "ed25519", "MCowBQYDK2VwAyEA")
    with calls.made_by(COMMAND):
        text = notice.text(Notice((record,), 1), Dns())
    assert f"    {COMMAND} dkim.check_dns\n" in text
    assert "salt-call" not in text


def test_lines_with_commands_fit_the_terminal():
    with calls.made_by(COMMAND):
        lines = Terminal(width=60).wrapped("word " * 9 + "salt-call dkim.check " + "word " * 9)
    assert max(map(len, lines)) <= 60
    assert COMMAND in " ".join(lines)


def test_inner_command_ends_with_its_context():
    with calls.made_by(COMMAND), calls.made_by("salt-call"):
        assert calls.typed("salt-call dkim.check") == "salt-call dkim.check"
    assert calls.typed("salt-call dkim.check") == "salt-call dkim.check"


@pytest.fixture
def highstate(tmp_path, monkeypatch):
    """Return a function that runs bin/highstate, and returns the words that salt-call gets."""
    if os.geteuid() != 0:
        pytest.skip("bin/highstate needs root")
    program = tmp_path / "programs" / "salt-call"
    program.parent.mkdir()
    program.write_text(
        "#!/usr/bin/python3\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n", "utf-8"
    )
    program.chmod(0o755)
    (tmp_path / "dkim.sls").write_text("dkim: {}\n", "utf-8")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DKIM_FORMULA_MINION", str(tmp_path / "minion"))

    def run(*words, tree=TREE, at_first_line=None):
        command = [tree / "bin" / "highstate", "--pillar", tmp_path / "dkim.sls", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as process:
            if at_first_line:
                at_first_line(process.stderr.readline())
            output, errors = process.communicate()
        if process.returncode:
            return errors
        given = json.loads(output)
        assert given[:3] == ["--local", "--config-dir", str(tmp_path / "minion")]
        return given[given.index("warning") + 1 :]

    return run


# A call with its options and arguments: names, ``example`` for values, ``NAME=VALUE``.
PRINTED = re.compile(
    r"salt-call((?: --?[a-z]\S*)* [a-z_]+\.[a-z_]+(?: (?:[a-z]+=\w+|example|dkim\.[a-z]+))*)"
)
GUIDES = [path.read_text(encoding="utf-8") for path in (TREE / "docs").glob("*.md")]
COMMANDS = {found for text in TEXTS for found in PRINTED.findall(text)}
# The guides also have other options of salt-call.
COMMANDS |= {found for text in GUIDES for found in PRINTED.findall(text) if found[1] == "-"}


def test_commands_have_options_before_their_function():
    assert any(one.startswith(" --out=") for one in COMMANDS)
    assert any(one.startswith(" state.apply ") for one in COMMANDS)
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_highstate_passes_each_printed_command_to_salt_call(highstate, command):
    words = shlex.split(command)
    shows_states = any(word.startswith("state.") for word in words)
    assert highstate("--call", *words) == ["--out", "dkim_screen"] * shows_states + words


@pytest.mark.parametrize(
    "words", [["--out=json", "--call", "dkim.status"], ["--out", "json", "--call", "dkim.status"]]
)
def test_highstate_takes_a_value_in_both_forms(highstate, words):
    assert highstate(*words) == ["--out", "json", "dkim.status"]


def test_highstate_takes_a_call_with_a_format_of_its_own(highstate):
    words = ["--retcode-passthrough", "--out=json", "state.apply", "dkim.opendkim", "test=True"]
    assert highstate("--call", *words) == ["--out", "dkim_screen", *words]


@pytest.mark.parametrize("option", ["--test", "--clean", "--state=dkim.postfix"])
def test_highstate_refuses_options_that_a_call_would_ignore(highstate, option):
    assert "don't go with --call" in highstate(option, "--call", "dkim.rotate", "example.com")


def test_highstate_waits_for_a_run_before_a_call_of_states(highstate, tmp_path):
    (tmp_path / "minion").mkdir()
    with (tmp_path / "minion" / "applying").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert highstate("--call", "dkim.check") == ["dkim.check"]

        def end_the_run(line):
            assert "another run is under way" in line
            fcntl.flock(lock, fcntl.LOCK_UN)

        words = ["state.apply", "dkim"]
        assert highstate("--call", *words, at_first_line=end_the_run)[-2:] == words


@pytest.mark.parametrize("name", ["formula", "a copy & more"])
def test_highstate_tells_the_minion_its_own_command(highstate, tmp_path, name):
    tree = tmp_path / name
    shutil.copytree(TREE / "bin", tree / "bin")
    for folder in ("_beacons", "_modules", "_output", "_states", "_utils"):
        (tree / folder).mkdir()
    highstate("--call", "dkim.check", tree=tree)
    written = (tmp_path / "minion" / "minion").read_text(encoding="utf-8")
    command = yaml.safe_load(written)[calls.OPTION]
    assert shlex.split(command) == [f"{tree}/bin/highstate", "--call"]
    text = "salt-call dkim.activate example.com s1"
    assert shlex.split(typed(text, command))[1:] == ["--call", "dkim.activate", "example.com", "s1"]
