"""The entries of milters in main.cf and master.cf, and Postfix's action for each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import expansion, main_cf_milters, milter_entry
from .main_cf_milters import DEFAULT_ACTION
from .milter_addresses import ManagedMilters
from .service_milters import MAPS, Configuration

# With these actions mail leaves unsigned, at once or on release from the hold queue: postconf(5).
_LEAVES_UNSIGNED = ("accept", "quarantine")


@dataclass(frozen=True)
class Entry:
    """
    An entry of a list of milters.

    where
        The list: ``smtpd_milters`` of main.cf, or ``submission/inet/smtpd_milters`` of master.cf.
    text
        The entry, expanded.
    action
        Postfix's action for mail while nothing answers at the entry's address.
    """

    where: str
    text: str
    action: str


def entries(found: Configuration) -> Iterator[Entry]:
    """Yield every entry of every list, first those of main.cf."""
    lists = [(name, found.main.get(name, ""), found.main) for name in main_cf_milters.LISTS]
    for name in found.lists():
        parameters = found.parameters(name.rpartition("/")[0])
        lists.append((name, found.own[name], parameters))
    for where, value, parameters in lists:
        default = _default(parameters)
        for text in milter_entry.entries(expansion.expand(value, parameters)):
            yield Entry(where, text, milter_entry.own_action(text) or default)


def lets_mail_leave_unsigned(found: Configuration, managed: ManagedMilters | None = None) -> bool:
    """
    Return whether mail leaves unsigned while one of the formula's milters is down.

    The setting of an entry or ``milter_default_action`` decides. Source: MILTER_README,
    «Per-Milter settings».

    managed
        The milters in question; None for all milters.
    """
    for entry in entries(found):
        if entry.action in _LEAVES_UNSIGNED and (managed is None or managed.which(entry.text)):
            return True
    has_maps = any(name.rpartition("/")[2] == MAPS for name in [*found.main, *found.own])
    return has_maps and _default(found.main) in _LEAVES_UNSIGNED


def _default(parameters: Mapping[str, str]) -> str:
    # postconf(5): tempfail is Postfix's own default.
    given = expansion.expand(parameters.get(DEFAULT_ACTION, ""), parameters).strip()
    return given or "tempfail"
