"""Our milters among other milters: what main.cf should say, from what main.cf says now."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..settings.model import MILTER_DEFAULT_ACTIONS
from .expansion import QUEUE, REFERENCE, expand, references
from .milter_list import (
    address,
    appended,
    edited,
    entries,
    expanded,
    moved,
    own_action,
    own_entry,
    refuse_open_brace,
)

CLASSES = "internal_mail_filter_classes"
DEFAULT_ACTION = "milter_default_action"
NON_SMTPD = "non_smtpd_milters"
SMTPD = "smtpd_milters"
LISTS = (SMTPD, NON_SMTPD)

# A daemon that listens at one of these, or at all addresses, may be any of them to Postfix.
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Ours:
    """
    Our milters, recognised at every address that means one of them.

    milters
        As main.cf is to have them: ``unix:opendkim/opendkim.sock``.
    older
        For each, addresses that the same daemon had before.
    queue
        Postfix's queue directory.
    """

    def __init__(
        self,
        milters: Sequence[str],
        older: Mapping[str, Sequence[str]] | None = None,
        queue: str = QUEUE,
    ):
        self.milters = tuple(milters)
        self.older = dict(older or {})
        self.queue = queue
        known = [(milter, milter) for milter in milters]
        known += [(old, milter) for milter in milters for old in self.older.get(milter, ())]
        self._known = [(places(address, queue), milter) for address, milter in known]

    def which(self, entry: str) -> str | None:
        """Return our milter that an entry stands for, or None."""
        meant = places(address(entry), self.queue)
        return next((milter for known, milter in self._known if known & meant), None)

    def among(self, found: Iterable[str]) -> list[str]:
        """Return our milters that some of these entries stand for, each once."""
        return list(dict.fromkeys(filter(None, map(self.which, found))))


def places(milter: str, queue: str = QUEUE) -> frozenset[str]:
    """
    Return every place that a milter's address may mean.

    smtpd(8) and cleanup(8) work in the queue directory, so that a relative path is found there. A
    chrooted service finds an absolute path below the queue directory, another one below the root
    (measured, Debian 12 and 13). Links are followed: ``/var/run`` is ``/run``.
    """
    transport, colon, endpoint = milter.partition(":")
    if colon and transport in ("unix", "local"):
        paths = [os.path.join(queue, endpoint.lstrip("/"))]
        paths += [endpoint] if endpoint.startswith("/") else []
        return frozenset(f"unix:{_real(path)}" for path in paths)
    if colon and transport == "inet":
        host, _, port = endpoint.rpartition(":")
        host = host.strip("[]").lower()
        return frozenset([f"inet:{'localhost' if host in LOOPBACK else host}:{port}"])
    return frozenset([milter])


def plan_present(
    current: Mapping[str, str],
    ours: Sequence[str],
    default_action: str | None = None,
    gone: Sequence[str] = (),
    *,
    older: Mapping[str, Sequence[str]] | None = None,
    queue: str = QUEUE,
    quoting: Iterable[str] = (),
) -> dict[str, str]:
    """
    Return the parameters to set so that mail goes through our milters, with their new values.

    current
        What main.cf sets now, unexpanded.
    ours
        Our milters in the order in which they are to sign, ``unix:opendkim/opendkim.sock``. They
        come after the milters that are there: a signature covers what leaves, so everything that
        changes a message has to come before it. An entry of ours that is there keeps its place.
    default_action
        What Postfix does while one of ours does not answer. It is set at our own entries:
        ``milter_default_action`` is for every milter, and stays. None: see :func:`action`.
    gone
        Milters of ours that are to be removed.
    older, queue
        As :class:`Ours`.
    quoting
        Values of master.cf, which may quote parameters of main.cf.

    Entries of other milters stay, each as it is written. Mail that does not come by SMTP gets our
    milters alone where main.cf keeps other milters from it. Source: MILTER_README, postconf(5).

    Raises PostfixError where a list can't be added to: a brace in it is not closed.
    """
    for name in LISTS:
        refuse_open_brace(name, expand(current.get(name, ""), current))
    known = Ours(ours, older, queue)
    chosen = default_action or action(current, known)
    wanted = _taken_out(current, Ours(gone, queue=queue), quoting)

    def put(entry: str, milter: str) -> str:
        return own_entry(entry, milter, chosen, force=default_action is not None)

    wanted = _rewritten(wanted, known, put, quoting)
    fresh = {milter: own_entry(milter, milter, chosen) for milter in ours}
    others = [entry for entry in expanded(wanted, SMTPD) if known.which(entry) is None]
    if NON_SMTPD in _quoted(wanted, SMTPD):
        # The list that the other one quotes goes first, or a milter would come twice.
        _join(wanted, NON_SMTPD, known, fresh)
        _join(wanted, SMTPD, known, fresh)
    else:
        _join(wanted, SMTPD, known, fresh)
        if not wanted.get(NON_SMTPD) and not others:
            wanted[NON_SMTPD] = f"${SMTPD}"
        _join(wanted, NON_SMTPD, known, fresh)
    # A plain list: braces mean nothing in it.
    if "bounce" not in re.split(r"[,\s]+", expand(wanted.get(CLASSES, ""), wanted)):
        wanted[CLASSES] = appended(wanted.get(CLASSES, ""), ["bounce"])
    return {name: value for name, value in wanted.items() if current.get(name) != value}


def plan_absent(
    current: Mapping[str, str],
    ours: Sequence[str],
    *,
    older: Mapping[str, Sequence[str]] | None = None,
    queue: str = QUEUE,
    before: Mapping[str, str | None] | None = None,
    quoting: Iterable[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """
    Return the parameters to set, and the ones to remove, so that main.cf has none of our milters.

    before
        What parameters had before our milters joined, None where main.cf did not set them. Without
        it ``internal_mail_filter_classes`` stays: the class may be the site's.
    """
    wanted = _taken_out(current, Ours(ours, older, queue), quoting)
    unset = [
        name
        for name in LISTS
        if name in current and expanded(current, name) and not expanded(wanted, name)
    ]
    if before and CLASSES in before and CLASSES in current:
        wanted[CLASSES] = without(current[CLASSES], ["bounce"], current)
        if _same(wanted[CLASSES], before[CLASSES] or ""):
            wanted[CLASSES] = before[CLASSES] or ""
            unset += [CLASSES] if before[CLASSES] is None else []
    changed = {
        name: value
        for name, value in wanted.items()
        if current.get(name, "") != value and name not in unset
    }
    return changed, unset


def swap(
    current: Mapping[str, str],
    old: Sequence[str],
    new: str,
    queue: str = QUEUE,
    quoting: Iterable[str] = (),
) -> dict[str, str]:
    """
    Return the parameters in which a daemon that moved gets its new address, with their new values.

    old, new
        The addresses that the daemon had, and the one that it has. An entry in braces keeps its
        settings.
    """
    known = Ours([new], {new: old}, queue)
    swapped = _rewritten(current, known, moved, quoting)
    return {name: value for name, value in swapped.items() if current[name] != value}


def swap_in_list(value: str, known: Ours, put: Callable[[str, str], str]) -> str:
    """Return one list's text in which each literal entry of ours is written by ``put``."""
    return edited(value, lambda entry: _put(entry, known, {}, put))


def removed(value: str, known: Ours) -> str:
    """Return one list's text without its literal entries of ours."""
    return edited(value, lambda entry: None if _only(entry, known, {}) else entry)


def action(current: Mapping[str, str], known: Ours) -> str:
    """
    Return what Postfix is to do without one of our milters where the pillar does not say: what an
    entry of ours says, else main.cf's ``milter_default_action`` where it is set, else ``accept``.
    """
    for name in LISTS:
        for entry in expanded(current, name):
            if known.which(entry) and (own := own_action(entry)):
                return own
    given = expand(current.get(DEFAULT_ACTION, ""), current).strip()
    return given if given in MILTER_DEFAULT_ACTIONS else "accept"


def without(
    value: str,
    addresses: Sequence[str],
    parameters: Mapping[str, str],
    queue: str = QUEUE,
) -> str:
    """
    Return a list's text without the entries that stand for nothing but ``addresses``, be it by
    quoting ``parameters``; unchanged where there is none.
    """
    known = Ours(addresses, queue=queue)
    return edited(value, lambda entry: None if _only(entry, known, parameters) else entry)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # no path can have this text
        return path


def _only(entry: str, known: Ours, parameters: Mapping[str, str]) -> bool:
    """Return whether an entry stands for milters of ours and for nothing else."""
    found = entries(expand(entry, parameters))
    return bool(found) and all(known.which(one) for one in found)


def _same(one: str, other: str) -> bool:
    return entries(one) == entries(other)


def _quoted(parameters: Mapping[str, str], name: str, values: Iterable[str] = ()) -> Iterable[str]:
    """Return the parameters that one quotes, and those quote, each once."""
    found: dict[str, None] = {}
    due = [parameters.get(name, ""), *values]
    while due:
        fresh = [one for one in references(due.pop()) if one not in found]
        found.update(dict.fromkeys(fresh))
        due += [parameters.get(one, "") for one in fresh]
    return found


def _holders(parameters: Mapping[str, str], quoting: Iterable[str]) -> list[str]:
    """Return the parameters that hold entries: the two lists, and what they or others quote."""
    names = [*LISTS, *_quoted(parameters, SMTPD, quoting), *_quoted(parameters, NON_SMTPD)]
    return [name for name in dict.fromkeys(names) if name in parameters]


def _taken_out(
    current: Mapping[str, str], known: Ours, quoting: Iterable[str] = ()
) -> dict[str, str]:
    wanted = dict(current)
    for name in _holders(current, quoting):
        wanted[name] = edited(
            current[name], lambda entry: None if _only(entry, known, current) else entry
        )
    return wanted


def _rewritten(
    current: Mapping[str, str],
    known: Ours,
    put: Callable[[str, str], str],
    quoting: Iterable[str] = (),
) -> dict[str, str]:
    """Return all parameters with each entry of ours written by ``put``, and each of ours once."""
    wanted = dict(current)
    for name in _holders(current, quoting):
        wanted[name] = edited(current[name], lambda entry: _put(entry, known, current, put))
    for name in _holders(wanted, quoting):
        wanted[name] = _once(wanted[name], known, wanted)
    return wanted


def _put(
    entry: str, known: Ours, parameters: Mapping[str, str], put: Callable[[str, str], str]
) -> str:
    # What a bare reference names is edited where it stands.
    if REFERENCE.fullmatch(entry):
        return entry
    found = entries(expand(entry, parameters))
    ours = known.among(found)
    if len(ours) != 1 or not all(map(known.which, found)):
        return entry
    # An entry that quotes a part of itself is written out only where it has to be changed.
    written = put(found[0], ours[0])
    return entry if written == found[0] else written


def _once(value: str, known: Ours, parameters: Mapping[str, str]) -> str:
    # An entry that quotes others beside ours can't go, so that ours goes where it stands alone.
    mixed = [one for one in entries(value) if not _only(one, known, parameters)]
    seen = {ours for one in mixed for ours in known.among(entries(expand(one, parameters)))}

    def edit(entry: str) -> str | None:
        if not _only(entry, known, parameters):
            return entry
        ours = set(known.among(entries(expand(entry, parameters))))
        if ours <= seen:
            return None
        seen.update(ours)
        return entry

    return edited(value, edit)


def _join(parameters: dict[str, str], name: str, known: Ours, fresh: Mapping[str, str]) -> None:
    there = known.among(expanded(parameters, name))
    missing = [entry for milter, entry in fresh.items() if milter not in there]
    if missing:
        parameters[name] = appended(parameters.get(name, ""), missing)
