"""Every function documents its purpose, its arguments, its return and its call."""

import ast
import re
import textwrap
from pathlib import Path

import pytest
import yaml

TREE = Path(__file__).resolve().parents[2]
# Arguments of every state in addition to its own (Salt, «Requisites»).
REQUISITES = {"require", "watch", "require_in", "watch_in", "onchanges", "onchanges_in"}


def public(folder: str) -> dict[str, ast.FunctionDef]:
    """Return the functions of a folder of Salt modules, by their names in Salt."""
    found = {}
    for path in sorted((TREE / folder).glob("*.py")):
        tree = ast.parse(path.read_text())
        virtual = path.stem.removesuffix("mod")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found[f"{virtual}.{node.name}"] = node
    return found


FUNCTIONS = public("_modules")
STATES = public("_states")
LIBRARY = sorted((TREE / "_utils").rglob("*.py"))


def documentation(node: ast.AST) -> str:
    text = ast.get_docstring(node)
    assert text, f"{getattr(node, 'name', 'the module')} has no docstring"
    return text


def arguments(node: ast.FunctionDef) -> list[str]:
    own = node.args
    return [argument.arg for argument in (*own.posonlyargs, *own.args, *own.kwonlyargs)]


def examples(text: str, language: str) -> list[str]:
    """Return the code blocks of a docstring."""
    blocks = re.findall(rf"\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", f"{text}\n")
    return [textwrap.dedent(block).strip("\n") for block in blocks]


def prose(text: str) -> str:
    return text.partition("CLI Example:")[0].partition(".. code-block::")[0]


def names_argument(text: str, argument: str) -> bool:
    """Return whether a text names an argument, on its own line or within a sentence."""
    return re.search(rf"\b{re.escape(argument)}\b", prose(text)) is not None


def summary(text: str) -> str:
    return text.strip().partition("\n\n")[0]


def test_virtual_names_follow_the_file_names():
    for folder in ("_modules", "_states"):
        for path in (TREE / folder).glob("*mod.py"):
            assert f'__virtualname__ = "{path.stem.removesuffix("mod")}"' in path.read_text()


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_docstring_of_a_function_begins_with_a_sentence(name):
    first = summary(documentation(FUNCTIONS[name]))
    assert first[0].isupper()
    assert first[-1] in ".:`"


# The first word of a docstring: what the function does for its caller.
VERBS = {
    *("Activate", "Check", "Delete", "Erase", "Generate", "Import", "List", "Move", "Publish"),
    *("Remove", "Report", "Retire", "Return", "Rotate", "Write"),
}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.startswith("dkim.")])
def test_docstring_of_a_function_for_people_begins_with_a_verb(name):
    assert summary(documentation(FUNCTIONS[name])).split()[0] in VERBS


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_function_documents_its_arguments(name):
    node = FUNCTIONS[name]
    text = documentation(node)
    other = re.search(r"[Aa]rguments(?: and returns?)? (?:are )?(?:those of|as) ``(\S+)``", text)
    for argument in arguments(node):
        known = names_argument(text, argument)
        if not known and other is not None:
            known = names_argument(documentation(FUNCTIONS[other.group(1)]), argument)
        assert known, argument


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_function_documents_its_return(name):
    assert re.search(r"\b[Rr]eturns?\b", prose(documentation(FUNCTIONS[name])))


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_function_has_a_cli_example(name):
    text = documentation(FUNCTIONS[name])
    assert "CLI Example:" in text
    calls = "\n".join(examples(text, "bash"))
    assert re.search(rf"^salt-call (--\S+ )*{re.escape(name)}( |$)", calls, re.MULTILINE)


# Outputters of Salt 3006 to 3008 and of the formula. ``txt`` writes "local: " before each line of a
# text, and newline_values_only is missing in 3008.
OUTPUTTERS = {"dkim_screen", "highstate", "json", "table", "yaml"}


@pytest.mark.parametrize(
    "path",
    [
        path
        for pattern in ("_*/**/*.py", "docs/*.md", "*.md", "pillar.example")
        for path in sorted(TREE.glob(pattern))
    ],
    ids=lambda path: str(path.relative_to(TREE)),
)
def test_commands_name_only_outputters_for_pasting(path):
    assert set(re.findall(r"--out[= ](\w+) dkim", path.read_text(encoding="utf-8"))) <= OUTPUTTERS


@pytest.mark.parametrize("name", [*STATES])
def test_state_documents_its_arguments(name):
    node = STATES[name]
    text = documentation(node)
    assert summary(text)[-1] in ".:`"
    if name.endswith(".mod_watch"):
        return
    for argument in arguments(node):
        assert argument == "name" or names_argument(text, argument), argument


@pytest.mark.parametrize("name", [name for name in STATES if not name.endswith(".mod_watch")])
def test_state_has_a_valid_example(name):
    node = STATES[name]
    shown = examples(documentation(node), "yaml")
    assert shown
    taken = {*arguments(node), *REQUISITES}
    required = arguments(node)[1 : len(node.args.args) - len(node.args.defaults)]
    for example in shown:
        for body in yaml.safe_load(example).values():
            assert body.keys() == {name}
            given = [key for argument in body[name] for key in argument]
            assert set(given) <= taken
            assert set(required) <= set(given)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(TREE / "_utils")))
def test_library_is_documented(path):
    tree = ast.parse(path.read_text())
    documentation(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            documentation(node)


def test_complete_examples_are_found():
    text = "A.\n\n.. code-block:: yaml\n\n    a:\n      b.c:\n        - d: 1\n\nAfter."
    assert examples(text, "yaml") == ["a:\n  b.c:\n    - d: 1"]
