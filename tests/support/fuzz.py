"""Hypothesis strategies for hostile input: texts, values, pillars and damaged octets."""

import copy
import datetime
from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from support.pillars import PILLARS, ROOT  # noqa: F401

# With --hypothesis-profile=search a test takes thousands of examples, otherwise its own number.
SEARCHING = settings.get_current_profile_name() == "search"


def examples(short: int, **options: object) -> settings:
    """Return Hypothesis settings with ``short`` examples, or many more in a search."""
    return settings(**options) if SEARCHING else settings(max_examples=short, **options)


# Texts with a meaning in SQL, psycopg2, a shell, Jinja, YAML, systemd, opendkim.conf, main.cf,
# pg_hba.conf, libpq's password file, zone files, HTML, logs, terminals or Unicode.
FRAGMENTS = (
    *"'\"\\`$;|&<>(){}[]*?!~^%#@,:=+-_/. \t\n\r\0\x0b\x1b\x7f\x85",
    "''",
    "\\n",
    "$(id)",
    "${x}",
    "$$",
    "$dkim$",
    "{{ 7*7 }}",
    "{% raw %}",
    "{tag}",
    "%s",
    "%(id)s",
    "--",
    "/*",
    "; --",
    "'; DROP TABLE public.domains; --",
    '"; DROP TABLE public.domains; --',
    "\nLogWhy yes",
    "\n[Service]",
    '" "LD_PRELOAD=/tmp/x',
    "\nlocal all all trust\n",
    "\n$INCLUDE /etc/passwd\n",
    '" )\nwww.example.com. 1 IN A 192.0.2.66 ; (',
    "\nsend\nquit\n",
    "../..",
    "//",
    "-----BEGIN PRIVATE KEY-----",
    "example.com",
    "selector",
    "xn--",
    "xn--a",
    "\u00fc",
    "\u1e9e",
    "\u2028",
    "\u202e",
    "\u2603",
    "\uff0e",
    "\U0001f4a9",
    "\ud800",
    "\ufeff",
    "A",
    "0",
    "255",
    "a" * 64,
    "b." * 130,
)


def odd_text() -> st.SearchStrategy[str]:
    """Return a strategy of strings that have a special meaning in some syntax."""
    piece = st.sampled_from(FRAGMENTS) | st.text(max_size=4)
    return st.lists(piece, max_size=5).map("".join)


def scalar() -> st.SearchStrategy[object]:
    """Return a strategy of scalars that YAML can produce."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 70000),
        st.sampled_from([2**31 - 1, 2**31, 2**63, 10**400, -1.5, 1e400, float("nan")]),
        st.sampled_from([datetime.date(2026, 11, 22), datetime.datetime(2026, 11, 22, 1, 2), b"x"]),
        odd_text(),
    )


def odd_value() -> st.SearchStrategy[object]:
    """Return a strategy of all values that a pillar or an argument can hold."""
    key = odd_text() | st.sampled_from([None, True, 0, 1.5])
    return st.recursive(
        scalar(),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(key, below, max_size=3),
        max_leaves=6,
    )


@st.composite
def changed_pillar(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid pillar in which one to three values or keys are changed or added."""
    pillar = copy.deepcopy(draw(st.sampled_from(PILLARS)))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_positions(pillar))))
        _change(draw, holder, key)
    return pillar


def _change(draw: st.DrawFn, holder: Any, key: Any) -> None:
    current = holder[key]
    ways = ["replace", "spoil"] if isinstance(current, str) else ["replace"]
    ways += ["rename", "add"] if isinstance(holder, dict) else ["append"]
    way = draw(st.sampled_from(ways))
    if way == "replace":
        holder[key] = draw(odd_value())
    elif way == "spoil":
        at = draw(st.integers(0, len(current)))
        holder[key] = current[:at] + draw(odd_text()) + current[at:]
    elif way == "rename":
        holder[draw(odd_text()) or key] = holder.pop(key)
    elif way == "add":
        holder[draw(odd_text())] = draw(odd_value())
    else:
        holder.append(draw(odd_value()))


def _positions(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each position in a tree: its container, and its key in the container."""
    pairs = enumerate(value) if isinstance(value, list) else value.items()
    for key, below in list(pairs):
        yield value, key
        if isinstance(below, (dict, list)):
            yield from _positions(below)


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw octets of which some are cut out, inserted, changed or doubled."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted(draw(st.integers(0, len(data))) for _ in "ab")
        way = draw(st.sampled_from(["cut", "put", "double", "flip", "end"]))
        if way == "cut":
            del data[at : min(end, at + 40)]
        elif way == "put":
            data[at:at] = draw(st.binary(max_size=12) | odd_text().map(_octets))
        elif way == "double":
            data[at:at] = data[at : min(end, at + 200)]
        elif way == "flip" and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif way == "end":
            del data[at:]
    return bytes(data)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
