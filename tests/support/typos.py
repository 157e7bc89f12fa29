"""Typing errors in a pillar; each is invalid, whatever its key means."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.pillars import PILLARS

# The keys below these are names that the user chooses, so a changed name is no error.
FREE = ("domains", "zones", "addresses", "providers")


@dataclass(frozen=True)
class Typo:
    """A typing error in a complete pillar ``dkim``."""

    place: str
    pillar: dict[str, Any]


def typos() -> list[Typo]:
    """Return one error in the name and one in the value of each key of pillar.example."""
    found: dict[str, Typo] = {}
    for pillar in PILLARS:
        for path in _paths(pillar):
            for typo in (_of_key(pillar, path), _of_value(pillar, path)):
                if typo is not None:
                    found.setdefault(typo.place, typo)
    return list(found.values())


def _of_key(pillar: Mapping, path: tuple) -> Typo | None:
    if len(path) > 1 and path[-2] in FREE and _is_mapping_of_names(path):
        return None
    changed = copy.deepcopy(pillar)
    holder = _at(changed, path[:-1])
    key = str(path[-1])
    # Swaps two letters. If both are the same, doubles the last letter.
    wrong = (
        key[0] + key[2] + key[1] + key[3:] if len(key) > 2 and key[1] != key[2] else key + key[-1]
    )
    if wrong in holder:
        return None
    changed_holder = {wrong if name == path[-1] else name: value for name, value in holder.items()}
    holder.clear()
    holder.update(changed_holder)
    return Typo(f"key {_name(path)}", changed)


def _of_value(pillar: Mapping, path: tuple) -> Typo | None:
    value = _at(pillar, path)
    if value is None or (isinstance(value, (dict, list)) and not value):
        return None
    changed = copy.deepcopy(pillar)
    holder = _at(changed, path[:-1])
    if isinstance(value, bool):
        holder[path[-1]] = "ture" if value else "flase"
    elif isinstance(value, int):
        holder[path[-1]] = f"{value}o"
    elif isinstance(value, str):
        # A superfluous colon turns a word into a mapping.
        holder[path[-1]] = {value: None}
    elif isinstance(value, list):
        holder[path[-1]] = [[{"-": value}]]
    else:
        # A missing colon turns a section into a word.
        holder[path[-1]] = " ".join(map(str, value))
    return Typo(f"value {_name(path)}", changed)


def _is_mapping_of_names(path: tuple) -> bool:
    # The keys of dkim:database:domains are the formula's own.
    return path[0] != "database"


def _name(path: tuple) -> str:
    """Return the path as text, with * for names that the user chooses."""
    steps = list(path)
    for at in range(1, len(steps)):
        if steps[at - 1] in FREE and path[0] != "database":
            steps[at] = "*"
    return ":".join(map(str, steps))


def _paths(value: Any, above: tuple = ()) -> Iterator[tuple]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield (*above, key)
            # Below "only" are columns of the table of domains, which PostgreSQL's catalogue checks.
            # Below a provider are arguments of octoDNS's class, which checks them (dkim.check).
            is_checked_here = key != "only" and above[-1:] != ("providers",)
            if is_checked_here:
                yield from _paths(below, (*above, key))


def _at(value: Any, path: tuple) -> Any:
    for step in path:
        value = value[step]
    return value
