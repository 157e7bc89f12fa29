"""
The page that ``dkim.report`` writes: the complete state of one host as HTML, for any browser.

The page shows the data of ``dkim.health`` and ``dkim.status``. Names and messages in the data are
untrusted text, which the template escapes.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache

import jinja2

from ..calls import typed
from ..health.model import NAMED, STATES
from ..health.run import TITLES
from ..rotation.urgency import AT_REST, BAD_VERDICTS, IN_PROGRESS, NEEDS_A_PERSON, urgency
from ..settings.duration import in_words
from ..text import counted
from . import words
from .doctor import remedy_lines
from .page_template import TEMPLATE
from .terminal import Terminal

# The number of rows of each table, and of names of each problem, at most. A browser shows thousands
# of rows at once, and nobody reads more.
MOST_KEYS = 2000
MOST_STEPS = 50
MOST_RECORDS = 500
MOST_NAMES = 50

_RANKS = {NEEDS_A_PERSON: "needs a person", IN_PROGRESS: "in progress", AT_REST: "at rest"}
_TONES = {NEEDS_A_PERSON: "bad", IN_PROGRESS: "busy", AT_REST: ""}
_PLAIN = Terminal(width=None)

Rated = Sequence[tuple[int, Mapping[str, object]]]


def page(state: Mapping[str, object]) -> str:
    """
    Return the page.

    state
        The return of ``health.commands.report``.
    """
    now = datetime.fromisoformat(str(state["at"]))
    rated = [(urgency(key, now), key) for key in state["keys"]]
    problems, records = state["problems"], state["records"]
    number = len(problems)
    text = _template(TEMPLATE).render(
        host=state["host"],
        at=state["at"],
        refresh=state["every"],
        every=in_words(state["every"]) if state["every"] else "",
        verdict=counted(number, "problem") if number else "No problems",
        tone="bad" if number else "good",
        checked=[
            (name, words.when(state["checked"][cost], now) or "never")
            for cost, name in _CHECKED.items()
        ],
        figures=_figures(rated, records["count"]),
        problems=[_problem(one) for one in problems],
        unknown=state["unknown"],
        unknown_keys=state["unknown_keys"],
        steps=_steps(rated, now),
        steps_left=_left(len(rated), MOST_STEPS),
        keys=list(_rows(rated)),
        keys_left=_left(len(rated), MOST_KEYS),
        by_verdict=_by_verdict(records["by_verdict"]),
        records=records["wrong"][:MOST_RECORDS],
        records_left=_left(records["count"], MOST_RECORDS),
    )
    return typed(text, html.escape)


_CHECKED = {"database": "Database", "dns": "DNS"}


@lru_cache
def _template(text: str) -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["date_and_time"] = _date_and_time
    environment.filters["safely"] = _PLAIN.printable
    return environment.from_string(text)


def _date_and_time(time: str) -> str:
    utc = datetime.fromisoformat(time).astimezone(timezone.utc)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"


def _date(time: str) -> str:
    utc = datetime.fromisoformat(time).astimezone(timezone.utc)
    return f"{utc.day} {utc:%b %Y}"


def _figures(rated: Rated, wrong: int) -> list[tuple[str, str]]:
    states = Counter(str(key["state"]) for _, key in rated)
    domains = len({key["domain"] for _, key in rated})
    ranks = Counter(rank for rank, _ in rated)
    return [
        (f"{domains:,}", "domains with a key"),
        (f"{states['active']:,}", "keys that sign"),
        (f"{states['pending']:,}", "pending"),
        (f"{states['retired'] + states['revoked']:,}", "retired or revoked"),
        (f"{ranks[NEEDS_A_PERSON]:,}", "keys that need a person"),
        (f"{wrong:,}", "records not as desired"),
    ]


def _problem(one: Mapping[str, object]) -> dict[str, object]:
    items = one["items"]
    # The message already names up to NAMED items.
    shown = items[:MOST_NAMES] if len(items) > NAMED else []
    more = max(int(one["count"]) - MOST_NAMES, 0) if shown else 0
    return {
        "name": " ".join(filter(None, (TITLES.get(one["check"], one["check"]), one["subject"]))),
        "message": one["message"],
        "since": one["since"],
        "names": shown,
        "more": f"{more:,}" if more else "",
        "commands": _commands(str(one["remedy"])),
    }


def _commands(remedy: str) -> list[str]:
    return [line.strip() for line in remedy_lines(remedy, _PLAIN)] if remedy else []


def _steps(rated: Rated, now: datetime) -> list[dict[str, str]]:
    """Return the next step of each key: keys that need a person first, then by time."""
    ordered = sorted(rated, key=lambda one: (one[0] != NEEDS_A_PERSON, str(one[1]["when"]) or "~"))
    return [_step(rank, key, now) for rank, key in ordered[:MOST_STEPS]]


def _step(rank: int, key: Mapping[str, object], now: datetime) -> dict[str, str]:
    step, _, reason = str(key["next"]).partition(": ")
    time = str(key["when"])
    when = words.when(time, now)
    if rank == NEEDS_A_PERSON and (key["problem"] or key["dns"] in BAD_VERDICTS):
        step, reason, time, when = _for_a_person(key), "", "", "now"
    return {
        "when": when or "without a date",
        "date": _date(time) if time else "",
        "tone": _TONES[rank],
        "domain": words.domain(str(key["domain"]), _PLAIN),
        "selector": _selector(key),
        "step": f"becomes {step}" if step in STATES else step,
        "reason": f"waits for: {reason}" if reason else "",
    }


def _for_a_person(key: Mapping[str, object]) -> str:
    if key["problem"]:
        return str(key["problem"])
    return f"DNS: {key['dns']}. Run: salt-call dkim.check_dns {key['domain']}"


def _rows(rated: Rated) -> Iterable[dict[str, object]]:
    """Yield a row for each key. Domains with a key that needs a person come first."""
    worst: dict[object, int] = {}
    for rank, key in rated:
        worst[key["domain"]] = max(rank, worst.get(key["domain"], rank))
    ordered = sorted(
        rated, key=lambda one: (-worst[one[1]["domain"]], str(one[1]["domain"]), -one[0])
    )[:MOST_KEYS]
    last = None
    following = [key["domain"] for _, key in ordered[1:]] + [None]
    for (rank, key), after in zip(ordered, following, strict=False):
        yield {
            "domain": "" if key["domain"] == last else words.domain(str(key["domain"]), _PLAIN),
            "goes_on": after == key["domain"],
            "selector": _selector(key),
            "algorithm": words.algorithm(key),
            "state": key["state"],
            "age": words.span(str(key["age"])),
            "dns": "not asked" if key["dns"] == "-" else key["dns"],
            "dns_tone": "bad" if key["dns"] in BAD_VERDICTS else "",
            "problem": key["problem"],
            "is": _RANKS[rank],
            "tone": _TONES[rank],
        }
        last = key["domain"]


def _selector(key: Mapping[str, object]) -> str:
    return f"{key['selector']} ({key['address']})" if key["address"] else str(key["selector"])


def _by_verdict(numbers: Mapping[str, int]) -> str:
    if not numbers:
        return ""
    total = counted(sum(numbers.values()), "record")
    kinds = ", ".join(f"{number:,} {name}" for name, number in sorted(numbers.items()))
    return f"{total}: {kinds}."


def _left(number: int, most: int) -> str:
    return f"{number - most:,}" if number > most else ""
