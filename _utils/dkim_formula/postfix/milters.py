"""Our milters among other people's: what main.cf should say, from what it says now."""

import re
from collections.abc import Mapping, Sequence

CLASSES = "internal_mail_filter_classes"
DEFAULT_ACTION = "milter_default_action"
NON_SMTPD = "non_smtpd_milters"
SMTPD = "smtpd_milters"

# postconf(5), "milter_default_action".
DEFAULT_ACTIONS = ("accept", "reject", "tempfail", "quarantine", "shutdown")

_ENTRY = re.compile(r"\{[^}]*\}|[^\s,{}]+")
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|\(([A-Za-z0-9_]+)\)|([A-Za-z0-9_]+))")


def plan_present(
    current: Mapping[str, str],
    ours: Sequence[str],
    default_action: str,
    gone: Sequence[str] = (),
) -> dict[str, str]:
    """
    The parameters to set so that mail goes through our milters, and their new values.

    current
        What main.cf sets now, unexpanded.
    ours
        Our milters in the order in which they are to sign, ``unix:/opendkim/opendkim.sock``.
        They come after the ones that are there: a signature covers what leaves, so everything
        that changes a message has to come before it.
    default_action
        ``milter_default_action``.
    gone
        Milters of ours that are to be there no more.

    Other people's milters stay, each as it is written. Mail that does not come by SMTP gets our
    milters alone where somebody keeps theirs from it. Source: MILTER_README, postconf(5).
    """
    wanted = dict(current)
    for name in (SMTPD, NON_SMTPD):
        if name in wanted:
            wanted[name] = without(wanted[name], gone)
    foreign = [entry for entry in _entries(wanted, SMTPD) if address(entry) not in ours]
    if SMTPD in wanted and _refers(wanted[SMTPD], NON_SMTPD):
        # The list that the other one quotes goes first, or a milter would come twice.
        _join(wanted, NON_SMTPD, ours)
        _join(wanted, SMTPD, ours)
    else:
        _join(wanted, SMTPD, ours)
        if not wanted.get(NON_SMTPD) and not foreign:
            wanted[NON_SMTPD] = f"${SMTPD}"
        _join(wanted, NON_SMTPD, ours)
    if "bounce" not in _ENTRY.findall(wanted.get(CLASSES, "")):
        wanted[CLASSES] = _append(wanted.get(CLASSES, ""), ["bounce"])
    wanted[DEFAULT_ACTION] = default_action
    return {name: value for name, value in wanted.items() if current.get(name) != value}


def plan_absent(
    current: Mapping[str, str], ours: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """
    The parameters to set, and the ones to take out, so that main.cf knows our milters no more.

    Where no milter remains, what only milters need goes too: ``non_smtpd_milters`` that quotes the
    empty list, the default action and the class ``bounce``. Where other people's remain, those
    three stay: they are in force for them.
    """
    wanted = dict(current)
    for name in (SMTPD, NON_SMTPD):
        if name in wanted:
            wanted[name] = without(wanted[name], ours)
    others = [*_entries(wanted, SMTPD), *_entries(wanted, NON_SMTPD)]
    had = [*_entries(current, SMTPD), *_entries(current, NON_SMTPD)]
    unset = []
    if had and not others:
        unset = [name for name in (SMTPD, NON_SMTPD, DEFAULT_ACTION) if name in current]
        classes = without(wanted.get(CLASSES, ""), ["bounce"])
        if classes:
            wanted[CLASSES] = classes
        elif CLASSES in current:
            unset.append(CLASSES)
    changed = {
        name: value
        for name, value in wanted.items()
        if current.get(name) != value and name not in unset
    }
    return changed, unset


def swap(current: Mapping[str, str], old: Sequence[str], new: str) -> dict[str, str]:
    """
    The milter parameters with each spelling in ``old`` put right to ``new``: the same daemon at
    another address. Only parameters that change are in the result.
    """
    changed = {}
    for name in (SMTPD, NON_SMTPD):
        entries = _ENTRY.findall(current.get(name, ""))
        if any(address(entry) in old for entry in entries):
            swapped = [new if address(entry) in old else entry for entry in entries]
            changed[name] = ", ".join(dict.fromkeys(swapped))
    return changed


def address(entry: str) -> str:
    """A milter's address: the entry itself, or the first word of ``{ address, name=value }``."""
    inner = entry.strip("{} \t").replace(",", " ").split()
    return inner[0] if inner else ""


def without(value: str, addresses: Sequence[str]) -> str:
    """A list's text with the entries for ``addresses`` taken out; untouched where none is in it."""
    entries = _ENTRY.findall(value)
    kept = [entry for entry in entries if address(entry) not in addresses]
    return value if len(kept) == len(entries) else ", ".join(kept)


def expand(value: str, parameters: Mapping[str, str], depth: int = 10) -> str:
    """``value`` with ``$name`` put in from ``parameters``; a name that is not there is empty."""
    if depth == 0:
        return value
    return _REFERENCE.sub(
        lambda found: expand(parameters.get(_name(found), ""), parameters, depth - 1), value
    )


def _name(found: re.Match) -> str:
    return next(group for group in found.groups() if group)


def _entries(parameters: Mapping[str, str], name: str) -> list[str]:
    return _ENTRY.findall(expand(parameters.get(name, ""), parameters))


def _refers(value: str, name: str) -> bool:
    return any(_name(found) == name for found in _REFERENCE.finditer(value))


def _join(parameters: dict[str, str], name: str, ours: Sequence[str]) -> None:
    there = [address(entry) for entry in _entries(parameters, name)]
    missing = [milter for milter in ours if milter not in there]
    if missing:
        parameters[name] = _append(parameters.get(name, ""), missing)


def _append(value: str, entries: Sequence[str]) -> str:
    return ", ".join([value.rstrip(", "), *entries] if value.strip(", ") else entries)
