"""Our milters among other people's: what main.cf should say, from what it says now."""

import re
from collections.abc import Iterable, Mapping, Sequence

from ..errors import PostfixError
from ..records.meaning import cut

CLASSES = "internal_mail_filter_classes"
DEFAULT_ACTION = "milter_default_action"
NON_SMTPD = "non_smtpd_milters"
SMTPD = "smtpd_milters"

# postconf(5), milter_default_action. Not "shutdown": Postfix 3.7 takes it for a mistake and answers
# 451 to everybody (measured, Debian 12).
DEFAULT_ACTIONS = ("accept", "reject", "tempfail", "quarantine")

# A conditional, ${name?text}, is left as it is: it counts as somebody else's entry.
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|\(([A-Za-z0-9_]+)\)|([A-Za-z0-9_]+))")
_ACCEPTS = re.compile(r"\bdefault_action\s*=\s*(accept|quarantine)\b")

# Mail goes on unsigned at once, or when somebody releases it from the hold queue: postconf(5).
_LETS_GO = ("accept", "quarantine")


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

    Raises PostfixError where a list can't be added to: a brace in it is not closed.
    """
    for name in (SMTPD, NON_SMTPD):
        _check_braces(name, expand(current.get(name, ""), current))
    wanted = _taken_out(current, gone)
    foreign = [entry for entry in _expanded(wanted, SMTPD) if not _among(entry, ours)]
    if NON_SMTPD in _quoted(wanted, SMTPD):
        # The list that the other one quotes goes first, or a milter would come twice.
        _join(wanted, NON_SMTPD, ours)
        _join(wanted, SMTPD, ours)
    else:
        _join(wanted, SMTPD, ours)
        if not wanted.get(NON_SMTPD) and not foreign:
            wanted[NON_SMTPD] = f"${SMTPD}"
        _join(wanted, NON_SMTPD, ours)
    if "bounce" not in _expanded(wanted, CLASSES):
        wanted[CLASSES] = _append(wanted.get(CLASSES, ""), ["bounce"])
    wanted[DEFAULT_ACTION] = default_action
    return {name: value for name, value in wanted.items() if current.get(name) != value}


def plan_absent(
    current: Mapping[str, str], ours: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """
    The parameters to set, and the ones to take out, so that main.cf knows our milters no more.

    Where no milter remains, what only milters need goes too: the default action and the class
    ``bounce``. Where other people's remain, those two stay: they are in force for them.
    """
    wanted = _taken_out(current, ours)
    if wanted == current:
        return {}, []
    lists = [name for name in (SMTPD, NON_SMTPD) if name in current]
    unset = [name for name in lists if not _expanded(wanted, name)]
    if unset == lists:
        unset += [name for name in (DEFAULT_ACTION,) if name in current]
        wanted[CLASSES] = without(current.get(CLASSES, ""), ["bounce"], current)
        if CLASSES in current and not wanted[CLASSES]:
            unset.append(CLASSES)
    changed = {
        name: value
        for name, value in wanted.items()
        if current.get(name, "") != value and name not in unset
    }
    return changed, unset


def swap(current: Mapping[str, str], old: Sequence[str], new: str) -> dict[str, str]:
    """
    The milter parameters with each spelling in ``old`` put right to ``new``: the same daemon at
    another address. An entry in braces keeps its settings. Only parameters that change are in the
    result.
    """
    changed = {}
    for name in (SMTPD, NON_SMTPD, *_quoted(current, SMTPD), *_quoted(current, NON_SMTPD)):
        there = entries(current.get(name, ""))
        swapped = {}
        for entry in there:
            put = entry.replace(address(entry), new, 1) if _among(entry, old) else entry
            swapped.setdefault(address(put), put)
        if any(_among(entry, old) for entry in there):
            changed[name] = ", ".join(swapped.values())
    return changed


def let_mail_go(current: Mapping[str, str], default_action: str) -> bool:
    """
    Whether mail goes on where a milter is away: by ``milter_default_action``, or by the setting of
    one milter, which counts more. Source: MILTER_README, «Per-Milter settings».
    """
    milters = [*_expanded(current, SMTPD), *_expanded(current, NON_SMTPD)]
    if not milters:
        return False
    return default_action in _LETS_GO or any(_ACCEPTS.search(entry) for entry in milters)


def entries(value: str) -> list[str]:
    """
    A list's entries: commas and white space part them, but not within braces, which may stand in
    braces: ``{ inet:host:port, { command_timeout = 30s } }``. Source: MILTER_README.
    """
    found, depth = [""], 0
    for character in value:
        if depth == 0 and character in ", \t\r\n":
            found.append("")
            continue
        depth = max(0, depth + (character == "{") - (character == "}"))
        found[-1] += character
    return [entry for entry in found if entry]


def address(entry: str) -> str:
    """A milter's address: the entry itself, or the first word of ``{ address, name=value }``."""
    if not entry.startswith("{"):
        return entry
    inner = entries(entry[1:].removesuffix("}"))
    return inner[0] if inner else ""


def without(value: str, addresses: Sequence[str], parameters: Mapping[str, str]) -> str:
    """
    A list's text without the entries that stand for nothing but ``addresses``, be it by quoting
    ``parameters``; untouched where there is none.
    """
    there = entries(value)
    kept = [entry for entry in there if not _only(entries(expand(entry, parameters)), addresses)]
    return value if kept == there else ", ".join(kept)


def expand(value: str, parameters: Mapping[str, str], depth: int = 10) -> str:
    """``value`` with ``$name`` put in from ``parameters``; a name that is not there is empty."""
    if depth == 0:
        return value
    return _REFERENCE.sub(
        lambda found: expand(parameters.get(_name(found), ""), parameters, depth - 1), value
    )


def _name(found: re.Match) -> str:
    return next(group for group in found.groups() if group)


def _among(entry: str, addresses: Iterable[str]) -> bool:
    return _canonical(address(entry)) in map(_canonical, addresses)


def _canonical(milter: str) -> str:
    # smtpd(8) and cleanup(8) work in the queue directory, which is their root where they are
    # chrooted: with and without the first slash it is the same socket.
    transport, colon, path = milter.partition(":")
    return f"unix:{path.lstrip('/')}" if colon and transport in ("unix", "local") else milter


def _check_braces(name: str, value: str) -> None:
    depth = 0
    for character in value:
        depth = max(0, depth + (character == "{") - (character == "}"))
    if depth:
        raise PostfixError(
            f"main.cf: {name} has a brace that is not closed, so that whatever is put after it is "
            f"a part of that entry: {cut(value)}; close it"
        )


def _only(found: Sequence[str], addresses: Sequence[str]) -> bool:
    return bool(found) and all(_among(entry, addresses) for entry in found)


def _expanded(parameters: Mapping[str, str], name: str) -> list[str]:
    return entries(expand(parameters.get(name, ""), parameters))


def _quoted(parameters: Mapping[str, str], name: str) -> list[str]:
    """The parameters that one quotes, and those quote, each once."""
    found: list[str] = []
    due = [name]
    while due:
        value = parameters.get(due.pop(), "")
        fresh = [_name(reference) for reference in _REFERENCE.finditer(value)]
        fresh = [quoted for quoted in dict.fromkeys(fresh) if quoted not in found]
        found += fresh
        due += fresh
    return found


def _taken_out(current: Mapping[str, str], addresses: Sequence[str]) -> dict[str, str]:
    wanted = dict(current)
    due, seen = [SMTPD, NON_SMTPD], set()
    while due:
        name = due.pop()
        if name in wanted and name not in seen:
            seen.add(name)
            wanted[name] = without(current[name], addresses, current)
            due += [_name(reference) for reference in _REFERENCE.finditer(wanted[name])]
    return wanted


def _join(parameters: dict[str, str], name: str, ours: Sequence[str]) -> None:
    there = _expanded(parameters, name)
    missing = [milter for milter in ours if not any(_among(entry, [milter]) for entry in there)]
    if missing:
        parameters[name] = _append(parameters.get(name, ""), missing)


def _append(value: str, added: Sequence[str]) -> str:
    return ", ".join([value.rstrip(", "), *added] if value.strip(", ") else added)
