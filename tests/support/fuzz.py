"""Examples that come from outside and are made to break things, for Hypothesis."""

import copy
import datetime
from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from support.pillars import PILLARS, ROOT  # noqa: F401

# With --hypothesis-profile=search a test takes thousands of examples, else as many as it says.
SEARCHING = settings.get_current_profile_name() == "search"


def examples(short: int, **options: object) -> settings:
    """How many examples a test takes in a run that is not a search; further Hypothesis settings."""
    return settings(**options) if SEARCHING else settings(max_examples=short, **options)


# What has a meaning to SQL, psycopg2, a shell, Jinja, YAML, systemd, opendkim.conf, main.cf,
# pg_hba.conf, libpq's password file, zone files, HTML, logs, terminals and Unicode.
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
    """A string that some syntax takes for more than a string."""
    piece = st.sampled_from(FRAGMENTS) | st.text(max_size=4)
    return st.lists(piece, max_size=5).map("".join)


def scalar() -> st.SearchStrategy[object]:
    """What YAML makes of one value."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 70000),
        st.sampled_from([2**31 - 1, 2**31, 2**63, 10**400, -1.5, 1e400, float("nan")]),
        st.sampled_from([datetime.date(2026, 11, 22), datetime.datetime(2026, 11, 22, 1, 2), b"x"]),
        odd_text(),
    )


def odd_value() -> st.SearchStrategy[object]:
    """Anything that a pillar or an argument can hold."""
    key = odd_text() | st.sampled_from([None, True, 0, 1.5])
    return st.recursive(
        scalar(),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(key, below, max_size=3),
        max_leaves=6,
    )


@st.composite
def changed_pillar(draw: st.DrawFn) -> dict[str, Any]:
    """A sound pillar in which something is put in another's place, or added to it."""
    pillar = copy.deepcopy(draw(st.sampled_from(PILLARS)))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(pillar))))
        _change(draw, holder, key)
    return pillar


def _change(draw: st.DrawFn, holder: Any, key: Any) -> None:
    there = holder[key]
    ways = ["replace", "spoil"] if isinstance(there, str) else ["replace"]
    ways += ["rename", "add"] if isinstance(holder, dict) else ["append"]
    way = draw(st.sampled_from(ways))
    if way == "replace":
        holder[key] = draw(odd_value())
    elif way == "spoil":
        at = draw(st.integers(0, len(there)))
        holder[key] = there[:at] + draw(odd_text()) + there[at:]
    elif way == "rename":
        holder[draw(odd_text()) or key] = holder.pop(key)
    elif way == "add":
        holder[draw(odd_text())] = draw(odd_value())
    else:
        holder.append(draw(odd_value()))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a tree: what holds it, and its key there."""
    pairs = enumerate(value) if isinstance(value, list) else value.items()
    for key, below in list(pairs):
        yield value, key
        if isinstance(below, (dict, list)):
            yield from _places(below)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Octets with some cut out, put in, changed or doubled."""
    data = bytearray(whole)
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
