"""Command that runs the benchmarks inside a machine with the formula applied; see bin/bench."""

import sys

from . import filling, generation, messages, noop, peers, restarts, screens, sizing
from .table import show

BENCHMARKS = {
    "messages": messages.run,
    "restarts": restarts.run,
    "filling": filling.run,
    "generation": generation.run,
    "noop": noop.run,
    "screens": screens.run,
    "sizing": sizing.run,
    "peers": peers.run,
}


def main(arguments: list[str]) -> int:
    """Run ``[--short] [NAME …]``; return 1 if a full run misses a goal."""
    short = "--short" in arguments
    names = [name for name in arguments if name != "--short"] or list(BENCHMARKS)
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; use {', '.join(BENCHMARKS)}")
        return 2
    figures = []
    for name in names:
        for figure in BENCHMARKS[name](short):
            figures.append(figure)
            print(f"{name}: {figure}", flush=True)
    print("", show(figures), "", sep="\n")
    missed = [figure for figure in figures if figure.met is False]
    if short:
        print(f"BENCHMARKS RAN: {len(figures)} figures of a short run, which has no goals")
        return 0
    verdict = f"GOALS MISSED: {len(missed)} of {len(figures)}" if missed else "ALL GOALS MET"
    print(verdict)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
