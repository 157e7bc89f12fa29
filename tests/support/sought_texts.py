"""All texts that the formula's code uses in comparisons and searches."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("_beacons", "_modules", "_output", "_states", "_utils")
TEMPLATES = ("dkim", "bin")

# Methods of str and functions of re whose first argument is the text to search for.
SEEKING = {
    *("count", "endswith", "find", "index", "partition", "removeprefix", "removesuffix"),
    *("rfind", "rindex", "rpartition", "rsplit", "split", "startswith"),
    *("compile", "findall", "finditer", "fullmatch", "match", "search", "sub"),
}
# A line of shell or Jinja that searches or compares, and a quoted word in such a line.
SEEKING_LINE = re.compile(r"grep|sed |awk|case |test |\[\[|==|!=| in |match|search")
QUOTED = re.compile(r"'([^'\n]{2,200})'|\"([^\"\n]{2,200})\"")


def sought_texts() -> list[str]:
    """Return all texts of two or more characters, each once."""
    found = set()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found |= set(of_python(path.read_text(encoding="utf-8")))
    for folder in TEMPLATES:
        for path in sorted(path for path in (ROOT / folder).rglob("*") if path.is_file()):
            found |= set(of_lines(path.read_text(encoding="utf-8")))
    return sorted(text for text in found if len(text.strip()) > 1)


def of_python(source: str) -> Iterator[str]:
    """Yield the texts of comparisons and searches in Python source, also of named constants."""
    tree = ast.parse(source)
    constants = {
        target.id: list(_strings(node.value))
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        sought = _operands(node)
        for operand in sought:
            yield from _strings(operand)
            if isinstance(operand, ast.Name):
                yield from constants.get(operand.id, ())


def _operands(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.args[:1] if node.func.attr in SEEKING else []
    return []


def _strings(node: ast.AST) -> Iterator[str]:
    for below in ast.walk(node):
        if isinstance(below, ast.Constant) and isinstance(below.value, str):
            yield below.value


def of_lines(text: str) -> Iterator[str]:
    """Yield the quoted words of lines that search or compare."""
    for line in text.splitlines():
        if SEEKING_LINE.search(line):
            yield from (single or double for single, double in QUOTED.findall(line))
