"""Differences of Python 3.10, the oldest Python in Salt's packages, that vermin does not notice."""

import ast
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
FOLDERS = ("_beacons", "_modules", "_output", "_runners", "_states", "_utils")
FILES = sorted(path for folder in FOLDERS for path in (TREE / folder).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TREE)))
def test_call_of_from_bytes_or_to_bytes_names_the_byte_order(path: Path) -> None:
    """The argument has a default since Python 3.11."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if is_conversion(node)]
    for call in calls:
        has_name = "byteorder" in [keyword.arg for keyword in call.keywords]
        assert has_name or len(call.args) == 2, f"{path}, line {call.lineno}"


def is_conversion(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return node.func.attr in ("from_bytes", "to_bytes")
