"""The library's rooms: who imports whom, how long a file is, where names and tests are."""

import ast
import re
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
LIBRARY = TREE / "_utils" / "dkim_formula"
ARCHITECTURE = (TREE / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = sorted(LIBRARY.rglob("*.py"))

MOST_LINES = 400


def floors() -> list[list[str]]:
    """Return the floors of docs/architecture.md, the lowest first: rooms and modules."""
    block = re.search(r"```floors\n(.*?)```", ARCHITECTURE, re.DOTALL)[1]
    return [line.split(None, 1)[1].split() for line in block.splitlines()]


FLOOR = {room: number for number, rooms in enumerate(floors()) for room in rooms}


def name_of(path: Path) -> str:
    return str(path.relative_to(LIBRARY))


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    """Return the rooms and the modules beside them that a module imports, its own left out."""
    depth = len(path.relative_to(LIBRARY).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name.partition(".")[0] for name in names}
    return found - {room_of(path)}


def test_every_room_and_module_has_a_floor():
    rooms = {room_of(path) for path in MODULES if path != LIBRARY / "__init__.py"}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_imports_only_from_lower_floors(path):
    own = FLOOR.get(room_of(path), -1)  # The library itself imports no room.
    upward = [
        room
        for room in rooms_imported(path)
        # Modules beside the rooms may import others of their own floor.
        if FLOOR[room] > own or (FLOOR[room] == own and (LIBRARY / room).is_dir())
    ]
    assert upward == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_is_short_enough_to_be_read(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES


TESTS = sorted(
    path for kind in ("unit", "functional") for path in (TREE / "tests" / kind).rglob("test_*.py")
)
ROOMS_OF_MODULE: dict[str, set[str]] = {}
for module in MODULES:
    above = module.relative_to(LIBRARY).parts[:-1]
    ROOMS_OF_MODULE.setdefault(module.stem, set()).add(above[0] if above else "")
# Their subject has the name of a module in another room: this file, and the complete doctor.
OTHER_SUBJECTS = {"unit/test_layout.py", "functional/health/test_doctor.py"}


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(TREE / "tests")))
def test_test_of_a_module_is_in_the_folder_of_its_room(path):
    _, *above, _ = path.relative_to(TREE / "tests").parts
    room = above[0] if above else ""
    subject = path.stem.removeprefix("test_")
    is_of_module = subject in ROOMS_OF_MODULE and not (LIBRARY / subject).is_dir()
    if is_of_module and str(path.relative_to(TREE / "tests")) not in OTHER_SUBJECTS:
        assert room in ROOMS_OF_MODULE[subject]


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a module imports by absolute names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_library_does_not_import_salt(path):
    assert "salt" not in imported(path)


# A label that RFC 6376, 8460, 8461 or 9989 puts before a mail domain.
RECORD_LABEL = re.compile(r"(^|[.\s'])_(domainkey|dmarc|report|smtp|mta-sts)(\.|$)")


def texts(path: Path) -> list[str]:
    """Return the texts of a module's code, without comments and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_record_names_are_made_in_only_one_module(path):
    made = any(RECORD_LABEL.search(text) for text in texts(path))
    assert made == (name_of(path) == "record_names.py")


# Other names for concepts that have one (desired, report, observe, valid, time, writer), and words
# that hide who does what. docs/architecture.md, «Words», has the names.
AVOIDED = re.compile(
    r"(?<![^\W_])"  # In an identifier too.
    r"(wanted|looking|looked(?!.up)|situation|course|keeper|overtaken|meanwhile|remember(ed)?|sound"
    r"|moments?|walk|patience|ours|theirs|as_plain|told|foretell|foreign(?!.key)|material)"
    r"(?![^\W_])",
    re.IGNORECASE,
)
PROSE = [
    path
    for pattern in (
        *("_*/**/*.py", "dkim/**/*.sls", "dkim/**/*.jinja", "docs/*.md", "docs/monitoring/*"),
        *("*.md", "pillar.example"),
    )
    for path in sorted(TREE.glob(pattern))
]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(TREE)))
def test_each_concept_has_one_name(path):
    text = path.read_text(encoding="utf-8")
    assert [found[0] for found in AVOIDED.finditer(text)] == []
