"""The screens of functions that import keys from files or write files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import as_yaml
from ..record_names import key_name
from ..text import counted
from . import words
from .terminal import Terminal, rows

Data = Mapping[str, object]

# The number of drawn keys, and of drawn files, at most.
_MOST = 100


def import_tables(found: Data, terminal: Terminal, test: bool = False) -> str:
    """
    Draw ``dkim.import_tables``: refused keys first, a summary last.

    test
        Whether the return is a preview, so that the screen says what a run would import.
    """
    lines = []
    for one in found["refused"]:
        lines += terminal.marked(terminal.bad, f"Refused: {one['entry']}: {one['reason']}")
    for text in [*found["also_signs"], *found["notes"]]:
        lines += terminal.marked(terminal.unknown, text)
    lines += [""] if lines else []
    title = "Would be imported" if test else "Imported"
    lines += _titled(title, list(_keys(found["imported"], terminal)), terminal)
    lines += _titled("To add to the pillar", list(_pillar(found["pillar"], terminal)), terminal)
    files = [terminal.printable(path) for path in found["files"]]
    lines += _titled("Files to delete when nothing else signs with them", files, terminal)
    lines.append(_summary(found, terminal, test))
    return "\n".join(lines)


def written(done: Data, terminal: Terminal) -> str:
    """Draw the return of a function that wrote a file for all users."""
    return f"{terminal.ok} Written: {terminal.printable(done['path'])}"


def report(done: Data, terminal: Terminal, test: bool = False) -> str:
    """Draw ``dkim.report``."""
    path, group = terminal.printable(done["path"]), terminal.printable(done["group"])
    readers = f"for root and the group {group}: {path}"
    return f"Would be written, {readers}" if test else f"{terminal.ok} Written, {readers}"


def export_key(done: Data, terminal: Terminal) -> str:
    """Draw ``dkim.export_key``."""
    name = terminal.printable(key_name(done["selector"], done["domain"]))
    path = terminal.printable(done["path"])
    return f"{terminal.ok} Written for root alone: {path} ({name}, {done['algorithm']})"


def _titled(title: str, lines: Sequence[str], terminal: Terminal) -> list[str]:
    if not lines:
        return []
    more = [f"  {len(lines) - _MOST:,} more"] if len(lines) > _MOST else []
    shown = [f"  {line}" for line in lines[:_MOST]]
    return [terminal.paint(title, "bold"), *shown, *more, ""]


def _keys(imported: Sequence[Data], terminal: Terminal) -> Iterable[str]:
    cells = [
        [
            terminal.printable(key_name(one["selector"], one["domain"])),
            words.algorithm(one),
            str(one["state"]),
            terminal.printable(one["address"] or one["domain"]),
        ]
        for one in imported
    ]
    # _titled() indents the table by two columns.
    return rows(cells, terminal.columns - 2, 4)


def _pillar(missing: Mapping[str, object], terminal: Terminal) -> Iterable[str]:
    if missing:
        yield from ("dkim:", "  domains:")
    for domain, settings in missing.items():
        yield f"    {terminal.printable(as_yaml(domain))}: {terminal.printable(as_yaml(settings))}"


def _summary(found: Data, terminal: Terminal, test: bool) -> str:
    number, refused = len(found["imported"]), len(found["refused"])
    to_import = " to import" if test else " imported"
    parts = [f"{counted(number, 'key')}{to_import}", f"{len(found['present']):,} already there"]
    parts += [f"{refused:,} refused"] if refused else []
    return f"{terminal.bad if refused else terminal.ok} {', '.join(parts)}"
