"""The tables and the goals of the benchmark of peers."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from ..table import Figure
from .formula import Formula
from .measured import Measured
from .opendkim_files import FileTables, KeyFile, RefileTables
from .rspamd import Rspamd

LIMIT, FORMULA = KeyFile.title, Formula.title
# With a hundredth of this size, tables in files are as fast as one key.
LARGE_SIZE = 100_000
CHANGES = ("start", "new domain", "rotated key", "every key rotated")


def tables(size: int, measured: Mapping[str, Measured]) -> str:
    """Return two Markdown tables: the rates, and the other measurements."""
    columns = list(measured[FORMULA].rates)
    rates = [["messages/s", *columns]]
    rates += [
        [title, *(f"{one.rate(what):.0f}" if what in one.rates else "" for what in columns)]
        for title, one in measured.items()
    ]
    head = ["", "median ms", "99th percentile", "CPU s per 1,000", "of the database", "MiB"]
    rest = [[*head, "of the database", *(f"s: {change}" for change in CHANGES)]]
    rest += [_rest(title, one) for title, one in measured.items() if one.latencies]
    return f"\n{size:,} domains\n\n{_markdown(rates)}\n\n{_markdown(rest)}\n"


def _rest(title: str, one: Measured) -> list[str]:
    # The latencies include the first message of each connection, as for every client.
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
    """Yield the figures of the formula over other peers, with their goals."""
    formula = measured[FORMULA]
    for what in formula.rates:
        if what.startswith("Postfix"):
            for other in (LIMIT, Rspamd.title):
                yield _ratio(size, what, formula, measured, other, 0.95)
        elif size >= LARGE_SIZE:
            for other in (FileTables.title, RefileTables.title):
                yield _ratio(size, what, formula, measured, other, 1.0)
    for change in CHANGES:
        others = {
            title: one.seconds[change]
            for title, one in measured.items()
            # The limit is no competitor: with one key and no table it serves one domain.
            if change in one.seconds and title != LIMIT and not title.startswith(FORMULA)
        }
        best = min(others, key=others.__getitem__)
        yield Figure(
            f"{change}, {size:,} domains: seconds over {best}'s",
            formula.seconds[change] / others[best],
            ("<=", 1.0),
            detail=f"{formula.seconds[change]:.2f} s over {others[best]:.2f} s",
        )


def _ratio(
    size: int,
    what: str,
    formula: Measured,
    measured: Mapping[str, Measured],
    other: str,
    least: float,
) -> Figure:
    peer = measured[other]
    ratios = [
        one / another for one, another in zip(formula.rates[what], peer.rates[what], strict=True)
    ]
    return Figure(
        f"{what}, {size:,} domains, over {other}",
        statistics.median(ratios),
        (">=", least),
        (min(ratios), max(ratios)),
        f"{formula.rate(what):.0f}/s over {peer.rate(what):.0f}/s",
    )
