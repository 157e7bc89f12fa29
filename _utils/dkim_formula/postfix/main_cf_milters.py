"""The parameters of main.cf that add the formula's milters, or remove them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..settings.model import MILTER_DEFAULT_ACTIONS
from .expansion import QUEUE, REFERENCE, expand, references
from .milter_addresses import ManagedMilters
from .milter_entry import (
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


def plan_present(
    current: Mapping[str, str],
    managed: Sequence[str],
    default_action: str | None = None,
    gone: Sequence[str] = (),
    *,
    older: Mapping[str, Sequence[str]] | None = None,
    queue: str = QUEUE,
    quoting: Iterable[str] = (),
) -> dict[str, str]:
    """
    Return the parameters to set so that mail passes the formula's milters, with new values.

    current
        The parameters that main.cf sets now, unexpanded.
    managed
        The formula's milters in the order of signing, ``unix:opendkim/opendkim.sock``. They follow
        the other milters: a signature covers the message as it leaves, so milters that change the
        message have to come first. A present entry of the formula keeps its position.
    default_action
        Postfix's action while a milter of the formula does not answer. It is set in the formula's
        own entries. ``milter_default_action`` applies to every milter and stays. None: see
        :func:`action`.
    gone
        Milters of the formula that are removed.
    older, queue
        See :class:`ManagedMilters`.
    quoting
        Values of master.cf, which may refer to parameters of main.cf.

    Entries of other milters stay as they are written. If main.cf has other milters only for SMTP,
    mail from other services passes only the formula's milters. Source: MILTER_README, postconf(5).

    Raises PostfixError if a list has an unclosed brace, since nothing can be added to it.
    """
    for name in LISTS:
        refuse_open_brace(name, expand(current.get(name, ""), current))
    known = ManagedMilters(managed, older, queue)
    chosen = default_action or action(current, known)
    desired = _without_managed(current, ManagedMilters(gone, queue=queue), quoting)

    def put(entry: str, milter: str) -> str:
        return own_entry(entry, milter, chosen, force=default_action is not None)

    desired = _rewritten(desired, known, put, quoting)
    fresh = {milter: own_entry(milter, milter, chosen) for milter in managed}
    others = [entry for entry in expanded(desired, SMTPD) if known.which(entry) is None]
    if NON_SMTPD in _references(desired, SMTPD):
        # smtpd_milters refers to this list. Adding to it first avoids a duplicate entry.
        _add_missing(desired, NON_SMTPD, known, fresh)
        _add_missing(desired, SMTPD, known, fresh)
    else:
        _add_missing(desired, SMTPD, known, fresh)
        if not desired.get(NON_SMTPD) and not others:
            desired[NON_SMTPD] = f"${SMTPD}"
        _add_missing(desired, NON_SMTPD, known, fresh)
    # This list is plain: braces have no meaning in it.
    if "bounce" not in re.split(r"[,\s]+", expand(desired.get(CLASSES, ""), desired)):
        desired[CLASSES] = appended(desired.get(CLASSES, ""), ["bounce"])
    return {name: value for name, value in desired.items() if current.get(name) != value}


def plan_absent(
    current: Mapping[str, str],
    managed: Sequence[str],
    *,
    older: Mapping[str, Sequence[str]] | None = None,
    queue: str = QUEUE,
    before: Mapping[str, str | None] | None = None,
    quoting: Iterable[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """
    Return the parameters to set and to remove so that main.cf has no milter of the formula.

    before
        The values before the milters were added, with None for unset parameters. Without ``before``
        ``internal_mail_filter_classes`` stays, because an administrator may have set the class.
    """
    desired = _without_managed(current, ManagedMilters(managed, older, queue), quoting)
    unset = [
        name
        for name in LISTS
        if name in current and expanded(current, name) and not expanded(desired, name)
    ]
    if before and CLASSES in before and CLASSES in current:
        desired[CLASSES] = without(current[CLASSES], ["bounce"], current)
        if _same(desired[CLASSES], before[CLASSES] or ""):
            desired[CLASSES] = before[CLASSES] or ""
            unset += [CLASSES] if before[CLASSES] is None else []
    changed = {
        name: value
        for name, value in desired.items()
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
    Return the parameters that name the old addresses of a moved daemon, with new values.

    old, new
        The former addresses of the daemon, and the new address. An entry in braces keeps its
        settings.
    """
    known = ManagedMilters([new], {new: old}, queue)
    swapped = _rewritten(current, known, moved, quoting)
    return {name: value for name, value in swapped.items() if current[name] != value}


def swap_in_list(value: str, known: ManagedMilters, put: Callable[[str, str], str]) -> str:
    """Return a list's text with each literal entry of a managed milter rewritten by ``put``."""
    return edited(value, lambda entry: _rewrite(entry, known, {}, put))


def removed(value: str, known: ManagedMilters) -> str:
    """Return a list's text without the literal entries of managed milters."""
    return edited(value, lambda entry: None if _is_managed(entry, known, {}) else entry)


def action(current: Mapping[str, str], known: ManagedMilters) -> str:
    """
    Return Postfix's action for a dead milter of the formula if the pillar does not set one.

    The action of a present entry of the formula comes first, then main.cf's
    ``milter_default_action`` if set, then ``accept``.
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
    Return a list's text without the entries that refer only to ``addresses``.

    An entry may refer to them through ``parameters``. Without such an entry the text is unchanged.
    """
    known = ManagedMilters(addresses, queue=queue)
    return edited(value, lambda entry: None if _is_managed(entry, known, parameters) else entry)


def _is_managed(entry: str, known: ManagedMilters, parameters: Mapping[str, str]) -> bool:
    """Return whether an entry refers to managed milters only."""
    found = entries(expand(entry, parameters))
    return bool(found) and all(known.which(one) for one in found)


def _same(one: str, other: str) -> bool:
    return entries(one) == entries(other)


def _references(
    parameters: Mapping[str, str], name: str, values: Iterable[str] = ()
) -> Iterable[str]:
    """Return the parameters that a parameter or values refer to, also indirectly."""
    found: dict[str, None] = {}
    due = [parameters.get(name, ""), *values]
    while due:
        fresh = [one for one in references(due.pop()) if one not in found]
        found.update(dict.fromkeys(fresh))
        due += [parameters.get(one, "") for one in fresh]
    return found


def _parameters_with_entries(parameters: Mapping[str, str], quoting: Iterable[str]) -> list[str]:
    """Return the parameters with entries: the two lists, and those that lists refer to."""
    names = [*LISTS, *_references(parameters, SMTPD, quoting), *_references(parameters, NON_SMTPD)]
    return [name for name in dict.fromkeys(names) if name in parameters]


def _without_managed(
    current: Mapping[str, str], known: ManagedMilters, quoting: Iterable[str] = ()
) -> dict[str, str]:
    desired = dict(current)
    for name in _parameters_with_entries(current, quoting):
        desired[name] = edited(
            current[name], lambda entry: None if _is_managed(entry, known, current) else entry
        )
    return desired


def _rewritten(
    current: Mapping[str, str],
    known: ManagedMilters,
    put: Callable[[str, str], str],
    quoting: Iterable[str] = (),
) -> dict[str, str]:
    """Return all parameters with managed entries rewritten by ``put`` and without duplicates."""
    desired = dict(current)
    for name in _parameters_with_entries(current, quoting):
        desired[name] = edited(current[name], lambda entry: _rewrite(entry, known, current, put))
    for name in _parameters_with_entries(desired, quoting):
        desired[name] = _without_duplicates(desired[name], known, desired)
    return desired


def _rewrite(
    entry: str, known: ManagedMilters, parameters: Mapping[str, str], put: Callable[[str, str], str]
) -> str:
    # A bare reference stays: the parameter that it names is edited itself.
    if REFERENCE.fullmatch(entry):
        return entry
    found = entries(expand(entry, parameters))
    managed = known.among(found)
    if len(managed) != 1 or not all(map(known.which, found)):
        return entry
    # An entry with a reference inside is expanded only if it has to change.
    written = put(found[0], managed[0])
    return entry if written == found[0] else written


def _without_duplicates(value: str, known: ManagedMilters, parameters: Mapping[str, str]) -> str:
    # An entry that also refers to other milters has to stay. So the duplicate that refers only to
    # the managed milter is removed.
    mixed = [one for one in entries(value) if not _is_managed(one, known, parameters)]
    seen = {managed for one in mixed for managed in known.among(entries(expand(one, parameters)))}

    def edit(entry: str) -> str | None:
        if not _is_managed(entry, known, parameters):
            return entry
        managed = set(known.among(entries(expand(entry, parameters))))
        if managed <= seen:
            return None
        seen.update(managed)
        return entry

    return edited(value, edit)


def _add_missing(
    parameters: dict[str, str], name: str, known: ManagedMilters, fresh: Mapping[str, str]
) -> None:
    present = known.among(expanded(parameters, name))
    missing = [entry for milter, entry in fresh.items() if milter not in present]
    if missing:
        parameters[name] = appended(parameters.get(name, ""), missing)
