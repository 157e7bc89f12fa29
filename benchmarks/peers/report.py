"""The tables that the benchmark of peers prints, and its goals."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from ..table import Figure
from .files import FileTables, KeyFile, RefileTables, Rspamd
from .formula import Formula
from .measured import Measured

LIMIT, OURS = KeyFile.title, Formula.title
# At a hundredth of it the tables of files are as fast as one key.
LARGE_SIZE = 100_000
CHANGES = ("start", "new domain", "rotated key", "every key rotated")


def tables(size: int, measured: Mapping[str, Measured]) -> str:
    """Two Markdown tables: rates, and the rest."""
    whats = list(measured[OURS].rates)
    rates = [["messages/s", *whats]]
    rates += [
        [title, *(f"{one.rate(what):.0f}" if what in one.rates else "" for what in whats)]
        for title, one in measured.items()
    ]
    head = ["", "median ms", "99th percentile", "CPU s per 1,000", "of the database", "MiB"]
    rest = [[*head, "of the database", *(f"s: {change}" for change in CHANGES)]]
    rest += [_rest(title, one) for title, one in measured.items() if one.latencies]
    return f"\n{size:,} domains\n\n{_markdown(rates)}\n\n{_markdown(rest)}\n"


def _rest(title: str, one: Measured) -> list[str]:
    # The first of a daemon's latencies are those of a new connection, as every client's are.
    percentiles = statistics.quantiles(one.latencies, n=100)
    own, database = (1000 * seconds / one.messages for seconds in one.processor)
    seconds = [one.seconds.get(change) for change in CHANGES]
    return [
        title,
        f"{percentiles[49] * 1000:.1f}",
        f"{percentiles[98] * 1000:.1f}",
        f"{own:.2f}",
        f"{database:.2f}" if database else "",
        f"{one.memory[0] / 2**20:.0f}",
        f"{one.memory[1] / 2**20:.0f}" if one.memory[1] else "",
        *("" if value is None else f"{value:.2f}" for value in seconds),
    ]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


def figures(size: int, measured: Mapping[str, Measured]) -> Iterator[Figure]:
    """The goals that this formula has beside the others."""
    ours = measured[OURS]
    for what in ours.rates:
        if what.startswith("Postfix"):
            for other in (LIMIT, Rspamd.title):
                yield _ratio(size, what, ours, measured, other, 0.95)
        elif size >= LARGE_SIZE:
            for other in (FileTables.title, RefileTables.title):
                yield _ratio(size, what, ours, measured, other, 1.0)
    for change in CHANGES:
        others = {
            title: one.seconds[change]
            for title, one in measured.items()
            # One key and no table is a limit, not what serves many domains.
            if change in one.seconds and title not in (LIMIT, OURS) and not title.startswith(OURS)
        }
        best = min(others, key=others.__getitem__)
        yield Figure(
            f"{change}, {size:,} domains: seconds over {best}'s",
            ours.seconds[change] / others[best],
            ("<=", 1.0),
            detail=f"{ours.seconds[change]:.2f} s over {others[best]:.2f} s",
        )


def _ratio(
    size: int, what: str, ours: Measured, measured: Mapping[str, Measured], other: str, least: float
) -> Figure:
    theirs = measured[other]
    ratios = [
        one / another for one, another in zip(ours.rates[what], theirs.rates[what], strict=True)
    ]
    return Figure(
        f"{what}, {size:,} domains, over {other}",
        statistics.median(ratios),
        (">=", least),
        (min(ratios), max(ratios)),
        f"{ours.rate(what):.0f}/s over {theirs.rate(what):.0f}/s",
    )
