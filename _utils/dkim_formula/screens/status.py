"""The screens of ``dkim.status`` and ``dkim.list_keys``: a line for each key, by domain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ..dns import verdict
from ..rotation.urgency import (
    AT_REST,
    BAD_VERDICTS,
    IN_PROGRESS,
    NEEDS_A_PERSON,
    is_held,
    urgency,
)
from ..text import counted
from . import words
from .doctor import remedy_lines
from .terminal import GAP, Terminal, cell_width, padded, row, total, widths

Key = Mapping[str, object]

# The number of drawn keys at most, unless the caller asks for all.
_MOST = 200
_TITLES = ("domain", "selector", "algorithm", "DNS", "state", "since", "next")
_STATES = ("standby", "pending", "active", "retired", "revoked")
_LIST_TITLES = ("domain", "selector", "algorithm", "state", "since")
_HELD = (
    "salt-call dkim.check says why; if the removal is intended: salt-call dkim.advance force=True"
)
_ROWS = "salt-call dkim.doctor"


def status(
    keys: Sequence[Key],
    terminal: Terminal,
    now: datetime,
    every: bool = False,
    problem: bool = False,
) -> str:
    """
    Draw ``dkim.status``: domains with keys that need a person first, a summary last.

    every
        Draw all keys. Otherwise keys at rest are only counted if the keys do not fit the terminal.
    problem
        Whether the return has only the keys that need a person.
    """
    if not keys:
        return f"{terminal.ok} No key needs a person" if problem else "No keys"
    rated = [(urgency(key, now), key) for key in keys]
    worst: dict[str, int] = {}
    for rank, key in rated:
        worst[key["domain"]] = max(rank, worst.get(key["domain"], 0))
    is_complete = every or 2 * len(worst) + len(keys) + 4 <= terminal.height
    chosen = rated if is_complete else [one for one in rated if one[0] != AT_REST]
    chosen = sorted(
        chosen, key=lambda one: (-worst[one[1]["domain"]], one[1]["domain"], one[1]["address"])
    )
    cut = chosen if every else chosen[:_MOST]
    lines = _table(
        [(_cells(key, terminal, now), _below(rank, key, terminal)) for rank, key in cut],
        _TITLES,
        terminal,
    )
    lines += ["", *_hidden(len(chosen) - len(cut), len(keys) - len(chosen), terminal)]
    lines += _summary(rated, len(worst), terminal)
    return "\n".join(lines).strip("\n")


def list_keys(keys: Sequence[Key], terminal: Terminal, now: datetime) -> str:
    """Draw ``dkim.list_keys``: the keys of the table, by domain; domains with a problem first."""
    if not keys:
        return "No keys"

    def cells(key: Key) -> list[str]:
        dates = {"standby": "created", "pending": "created", "active": "activated"}
        since = key[dates.get(key["state"], key["state"])]
        return [*_named(key, terminal), key["state"], words.when(since, now)]

    def below(key: Key) -> list[str]:
        lines = terminal.marked(terminal.bad, key["problem"], 4) if key["problem"] else []
        orphaned = key["orphaned"] and f"orphaned: {key['orphaned']}"
        return [*lines, *(terminal.wrapped(orphaned, 4) if orphaned else [])]

    wrong = Counter(key["domain"] for key in keys if key["problem"])
    ordered = sorted(
        keys, key=lambda key: (not wrong[key["domain"]], key["domain"], key["address"])
    )
    lines = _table([(cells(key), below(key)) for key in ordered], _LIST_TITLES, terminal)
    lines.append("")
    if wrong:
        lines += ["How to repair the rows:", *remedy_lines(_ROWS, terminal), ""]
    lines += _counted(keys, len({key["domain"] for key in keys}), terminal)
    if number := sum(wrong.values()):
        needs = "needs" if number == 1 else "need"
        lines.append(terminal.paint(f"{number:,} {needs} a person.", "red"))
    return "\n".join(lines)


def _cells(key: Key, terminal: Terminal, now: datetime) -> list[str]:
    next_ = _next(key, now)
    return [
        *_named(key, terminal),
        key["dns"],
        key["state"],
        f"{words.span(key['age'])} ago" if key["age"] else "",
        terminal.printable(next_),
    ]


def _named(key: Key, terminal: Terminal) -> list[str]:
    of = f" ({terminal.printable(key['address'])})" if key["address"] else ""
    return [
        words.domain(key["domain"], terminal),
        f"{terminal.printable(key['selector'])}{of}",
        words.algorithm(key),
    ]


def _next(key: Key, now: datetime) -> str:
    next_ = str(key["next"])
    if is_held(key):
        return "orphaned; a person decides"
    if " at the next " in next_:
        return next_
    step, when = next_.partition(": ")[0], words.when(key["when"], now)
    return f"{step} due {when}" if when.endswith(" ago") else f"{step} {when}".rstrip()


def _below(rank: int, key: Key, terminal: Terminal) -> list[str]:
    """Return the lines below a key: its problem, and what it waits for other than time."""
    lines = terminal.marked(terminal.bad, key["problem"], 4) if key["problem"] else []
    reason = str(key["next"]).partition(": ")[2]
    if reason and rank != AT_REST and (key["state"] in ("standby", "pending") or not key["when"]):
        lines += terminal.wrapped(f"waits for: {reason}", 4)
    return lines


def _table(
    keys: Sequence[tuple[list[str], list[str]]], titles: Sequence[str], terminal: Terminal
) -> list[str]:
    """Return a table with the domain in the first column, or above its keys if that is too wide."""
    if not keys:
        return []
    wide = widths([titles, *(cells for cells, _ in keys)])
    draw = _beside if total(wide) <= terminal.columns else _above
    return list(draw(keys, titles, wide, terminal))


def _beside(keys, titles, wide, terminal: Terminal) -> Iterable[str]:
    yield terminal.paint(row(titles, wide), "bold")
    last = None
    for cells, below in keys:
        name = "" if cells[0] == last else cells[0]
        last = cells[0]
        yield _painted([name, *cells[1:]], wide, terminal)
        yield from below


def _above(keys, titles, wide, terminal: Terminal) -> Iterable[str]:
    yield terminal.paint(f"  {row(titles[1:], wide[1:])}", "bold")
    last = None
    for cells, below in keys:
        if cells[0] != last:
            last = cells[0]
            yield last
        *others, next_ = cells[1:]
        has_room = 2 + total(wide[1:-1]) + len(GAP) + cell_width(next_) <= terminal.columns
        yield f"  {_painted([*others, next_ if has_room else ''], wide[1:], terminal)}"
        if not has_room:
            yield from terminal.wrapped(f"{titles[-1]}: {next_}", 4)
        yield from below


def _painted(cells: Sequence[str], wide: Sequence[int], terminal: Terminal) -> str:
    shown = [padded(text, width) for text, width in zip(cells, wide, strict=True)]
    shown[-1] = cells[-1]
    pairs = zip(cells, shown, strict=True)
    return GAP.join(_in_colour(text, cell, terminal) for text, cell in pairs).rstrip()


def _in_colour(text: str, cell: str, terminal: Terminal) -> str:
    if text in BAD_VERDICTS:
        return terminal.paint(cell, "red")
    return terminal.paint(cell, "yellow") if text == "pending" else cell


def _hidden(cut: int, at_rest: int, terminal: Terminal) -> list[str]:
    if not cut and not at_rest:
        return []
    kinds = [f"{cut:,} that are not at rest"] if cut else []
    kinds += [f"{at_rest:,} at rest"] if at_rest else []
    text = f"Not shown: {', '.join(kinds)}."
    return [*terminal.wrapped(text), "Show all: salt-call dkim.status all=True"]


def _summary(rated: Sequence[tuple[int, Key]], domains: int, terminal: Terminal) -> list[str]:
    ranks = Counter(rank for rank, _ in rated)
    lines = []
    every = [key for _, key in rated]
    if bad := [key["domain"] for key in every if key["dns"] in BAD_VERDICTS]:
        lines += ["What is wrong in DNS:", *words.commands("check_dns", bad, terminal)]
    if unasked := [key["domain"] for key in every if key["dns"] == verdict.UNCHECKED]:
        lines.append(f"{counted(len(unasked), 'record')} could not be asked for:")
        lines += words.commands("check_dns", unasked, terminal)
    if held := {key["domain"] for key in every if is_held(key)}:
        are = "1 domain is" if len(held) == 1 else f"{len(held):,} domains are"
        text = f"{are} neither hosted nor in the pillar any more, suddenly. Their keys sign on:"
        lines += [*terminal.wrapped(text), *remedy_lines(_HELD, terminal)]
    if any(key["problem"] for key in every):
        lines += ["How to repair the rows:", *remedy_lines(_ROWS, terminal)]
    lines += [""] if lines else []
    urgent = ranks[NEEDS_A_PERSON]
    needs = "needs" if urgent == 1 else "need"
    rest = f"{ranks[IN_PROGRESS]:,} in progress, {ranks[AT_REST]:,} at rest"
    text = f"{urgent:,} {needs} a person, {rest}."
    colour = "red" if urgent else "green"
    sums = [terminal.paint(line, colour) for line in terminal.wrapped(text)]
    return [*lines, *_counted(every, domains, terminal), *sums]


def _counted(keys: Sequence[Key], domains: int, terminal: Terminal) -> list[str]:
    states = Counter(key["state"] for key in keys)
    kinds = [f"{states[one]:,} {one}" for one in _STATES if states[one]]
    text = f"{counted(len(keys), 'key')} of {counted(domains, 'domain')}: "
    return terminal.wrapped(f"{text}{', '.join(kinds)}.")
