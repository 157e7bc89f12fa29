"""Slips of a person who types a pillar: each is wrong whatever its key means."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.pillars import PILLARS

# Whose keys are names that a site chooses: another name is another domain, and no slip.
FREE = ("domains", "zones", "addresses", "providers")


@dataclass(frozen=True)
class Typo:
    """One slip in a whole pillar ``dkim``."""

    place: str
    pillar: dict[str, Any]


def typos() -> list[Typo]:
    """Return a slip in the name and one in the value of each key of pillar.example, each once."""
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
    # Two letters that change places; or one that is typed twice, where they are the same.
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
        # A colon and a line's end too many make a mapping of a word.
        holder[path[-1]] = {value: None}
    elif isinstance(value, list):
        holder[path[-1]] = [[{"-": value}]]
    else:
        # The whole section became a word: its colon is missing.
        holder[path[-1]] = " ".join(map(str, value))
    return Typo(f"value {_name(path)}", changed)


def _is_mapping_of_names(path: tuple) -> bool:
    # dkim:database:domains has keys of ours.
    return path[0] != "database"


def _name(path: tuple) -> str:
    """The path, with a name that the site chose as *."""
    steps = list(path)
    for at in range(1, len(steps)):
        if steps[at - 1] in FREE and path[0] != "database":
            steps[at] = "*"
    return ":".join(map(str, steps))


def _paths(value: Any, above: tuple = ()) -> Iterator[tuple]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield (*above, key)
            # Columns and values of a site's own table: what is wrong there its catalogue tells.
            # The arguments of a class of octoDNS: the class itself tells (dkim.check).
            is_ours = key != "only" and above[-1:] != ("providers",)
            if is_ours:
                yield from _paths(below, (*above, key))


def _at(value: Any, path: tuple) -> Any:
    for step in path:
        value = value[step]
    return value
