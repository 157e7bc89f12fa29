"""A figure of a benchmark, and the printed table of figures."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """
    A measured ratio.

    what
        The description: what was measured, over what.
    ratio
        The median of the rounds.
    goal
        ``at least 0.75`` as (">=", 0.75); None for a comparison without a goal.
    spread
        The lowest and the highest round.
    detail
        The absolute figures behind it.
    """

    what: str
    ratio: float
    goal: tuple[str, float] | None = None
    spread: tuple[float, float] | None = None
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Return whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        word, bound = self.goal
        return self.ratio >= bound if word == ">=" else self.ratio <= bound

    def __str__(self) -> str:
        spread = f"{self.spread[0]:.2f}-{self.spread[1]:.2f}" if self.spread else ""
        goal = f"{self.goal[0]} {self.goal[1]:g}" if self.goal else ""
        mark = {True: "met", False: "MISSED", None: ""}[self.met]
        return f"{self.what:<77} {self.ratio:>8.3f} {spread:>11} {goal:>8} {mark:<7} {self.detail}"


def rounds(
    what: str,
    measured: Callable[[], float],
    reference: Callable[[], float],
    goal: tuple[str, float] | None = None,
    count: int = 5,
    unit: str = "/s",
) -> Figure:
    """
    Return a figure from alternate measurements, so that other load on the machine affects both.

    measured, reference
        Functions that return one measurement each.
    count
        The number of measurements of each.
    """
    pairs = [(measured(), reference()) for _ in range(count)]
    ratios = [one / other for one, other in pairs]
    one_median = statistics.median(one for one, _ in pairs)
    other_median = statistics.median(other for _, other in pairs)
    return Figure(
        what,
        statistics.median(ratios),
        goal,
        (min(ratios), max(ratios)),
        f"{one_median:.4g}{unit} over {other_median:.4g}{unit}",
    )


def show(figures: Sequence[Figure]) -> str:
    """Return the table of figures as text."""
    head = f"{'what':<77} {'ratio':>8} {'spread':>11} {'goal':>8}"
    return "\n".join([head, *(str(figure) for figure in figures)])
