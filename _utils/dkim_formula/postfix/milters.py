"""Our milters among other milters: what main.cf should say, from what main.cf says now."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..errors import PostfixError

CLASSES = "internal_mail_filter_classes"
DEFAULT_ACTION = "milter_default_action"
NON_SMTPD = "non_smtpd_milters"
SMTPD = "smtpd_milters"
LISTS = (SMTPD, NON_SMTPD)

QUEUE = "/var/spool/postfix"

# postconf(5), milter_default_action. Not "shutdown": Postfix 3.7 takes it for a mistake and answers
# 451 to everybody (measured, Debian 12).
DEFAULT_ACTIONS = ("accept", "reject", "tempfail", "quarantine")

# A daemon that listens at one of these, or at all addresses, may be any of them to Postfix.
LOOPBACK = ("localhost", "127.0.0.1", "::1")

_NAME = r"[A-Za-z0-9_]+"
_BARE = re.compile(rf"\$(?:\{{({_NAME})\}}|\(({_NAME})\)|({_NAME}))")
_CONDITIONAL = re.compile(rf"({_NAME})([?:])(.*)", re.DOTALL)
_ACTION = re.compile(r"\{?\s*default_action\s*=\s*(\w+)\s*\}?")
_CLOSING = {"{": "}", "(": ")"}


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
        _check_braces(name, expand(current.get(name, ""), current))
    known = Ours(ours, older, queue)
    chosen = default_action or action(current, known)
    wanted = _taken_out(current, Ours(gone, queue=queue), quoting)

    def put(entry: str, milter: str) -> str:
        return own_entry(entry, milter, chosen, force=default_action is not None)

    wanted = _rewritten(wanted, known, put, quoting)
    fresh = {milter: own_entry(milter, milter, chosen) for milter in ours}
    others = [entry for entry in _expanded(wanted, SMTPD) if known.which(entry) is None]
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
        wanted[CLASSES] = _append(wanted.get(CLASSES, ""), ["bounce"])
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
        if name in current and _expanded(current, name) and not _expanded(wanted, name)
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
    return _edited(value, lambda entry: _put(entry, known, {}, put))


def removed(value: str, known: Ours) -> str:
    """Return one list's text without its literal entries of ours."""
    return _edited(value, lambda entry: None if _only(entry, known, {}) else entry)


def moved(entry: str, milter: str) -> str:
    """Return an entry with another address, and the settings that it has."""
    settings = _settings(entry)
    return f"{{ {', '.join([milter, *settings])} }}" if settings else milter


def action(current: Mapping[str, str], known: Ours) -> str:
    """
    Return what Postfix is to do without one of our milters where the pillar does not say: what an
    entry of ours says, else main.cf's ``milter_default_action`` where it is set, else ``accept``.
    """
    for name in LISTS:
        for entry in _expanded(current, name):
            if known.which(entry) and (own := own_action(entry)):
                return own
    given = expand(current.get(DEFAULT_ACTION, ""), current).strip()
    return given if given in DEFAULT_ACTIONS else "accept"


def own_action(entry: str) -> str | None:
    """Return the ``default_action`` of an entry in braces, or None."""
    found = [_ACTION.fullmatch(setting) for setting in _settings(entry)]
    return next((match[1] for match in found if match), None)


def own_entry(entry: str, milter: str, chosen: str, force: bool = False) -> str:
    """
    Return an entry of ours as it is to be: our address, and what to do while it does not answer.

    entry
        As it is written now; its other settings stay.
    force
        Whether ``chosen`` replaces an action that the entry has.
    """
    settings = _settings(entry)
    has = own_action(entry)
    if has is None:
        settings.append(f"default_action={chosen}")
    elif force and has != chosen:
        settings = [
            f"default_action={chosen}" if _ACTION.fullmatch(one) else one for one in settings
        ]
    elif address(entry) == milter:
        return entry
    return f"{{ {', '.join([milter, *settings])} }}"


def entries(value: str) -> list[str]:
    """
    Return a list's entries: commas and white space part them, but not within braces, which may
    stand in braces: ``{ inet:host:port, { command_timeout = 30s } }``. Source: MILTER_README.
    """
    return [value[start:end] for start, end in _spans(value)]


def address(entry: str) -> str:
    """Return a milter's address: the entry, or the first word of ``{ address, name=value }``."""
    if not entry.startswith("{"):
        return entry
    inner = entries(entry[1:].removesuffix("}"))
    return inner[0] if inner else ""


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
    return _edited(value, lambda entry: None if _only(entry, known, parameters) else entry)


def expand(value: str, parameters: Mapping[str, str], depth: int = 10) -> str:
    """
    Return ``value`` with ``$name``, ``${name?text}`` and ``${name:text}`` put in from
    ``parameters``; a name that is not there is empty. A comparison, ``${{a}=={b}?…}``, is left as
    it is: it counts as an entry of others. Source: postconf(5), «DESCRIPTION».
    """
    if depth == 0 or "$" not in value:
        return value
    text, at = "", 0
    while (found := value.find("$", at)) >= 0:
        text += value[at:found]
        put, at = _macro(value, found, parameters, depth)
        text += put
    return text + value[at:]


def references(value: str) -> list[str]:
    """Return the names of parameters that a value quotes, each once."""
    return list(dict.fromkeys(_name(found) for found in _BARE.finditer(value)))


def _macro(value: str, at: int, parameters: Mapping[str, str], depth: int) -> tuple[str, int]:
    """Return what stands for the macro at a dollar sign, and where the text goes on."""
    bare = _BARE.match(value, at)
    if bare:
        return _value(_name(bare), parameters, depth), bare.end()
    opening = value[at + 1 : at + 2]
    if opening == "$":
        return "$", at + 2
    end = _closed(value, at + 1)
    condition = _CONDITIONAL.fullmatch(value[at + 2 : end]) if opening in _CLOSING else None
    if condition is None or end < 0:
        return "$", at + 1
    name, operator, text = condition.groups()
    is_set = bool(_value(name, parameters, depth))
    then, otherwise = _branches(text)
    chosen = then if is_set == (operator == "?") else otherwise
    return expand(chosen, parameters, depth - 1), end + 1


def _branches(text: str) -> tuple[str, str]:
    """Return both texts of a conditional: ``text``, ``{text}`` or ``{text}:{text}``."""
    inner = text.strip()
    end = _closed(inner, 0) if inner.startswith("{") else -1
    if end < 0:
        return text, ""
    rest = inner[end + 1 :].strip().removeprefix(":").strip()
    if rest.startswith("{") and rest.endswith("}"):
        rest = rest[1:-1]
    return inner[1:end], rest


def _closed(value: str, at: int) -> int:
    """Return where the brace or parenthesis at ``at`` is closed, or -1."""
    opening = value[at : at + 1]
    depth = 0
    for place in range(at, len(value)):
        depth += (value[place] == opening) - (value[place] == _CLOSING.get(opening))
        if depth == 0:
            return place
    return -1


def _value(name: str, parameters: Mapping[str, str], depth: int) -> str:
    given = parameters.get(name, QUEUE if name == "queue_directory" else "")
    return expand(given, parameters, depth - 1)


def _name(found: re.Match) -> str:
    return next(group for group in found.groups() if group)


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # no path can have this text
        return path


def _spans(value: str) -> Iterator[tuple[int, int]]:
    depth, start = 0, None
    for at, character in enumerate(value):
        if depth == 0 and character in ", \t\r\n":
            if start is not None:
                yield start, at
            start = None
            continue
        start = at if start is None else start
        depth = max(0, depth + (character == "{") - (character == "}"))
    if start is not None:
        yield start, len(value)


def _edited(value: str, edit: Callable[[str], str | None]) -> str:
    """Return a list's text with each entry edited; None drops it with the separator before it."""
    text, end, changed = "", 0, False
    for start, stop in _spans(value):
        entry = value[start:stop]
        new = edit(entry)
        changed = changed or new != entry
        if new is not None:
            text += (value[end:start] if text else "") + new
        end = stop
    return text if changed else value


def _settings(entry: str) -> list[str]:
    return entries(entry[1:].removesuffix("}"))[1:] if entry.startswith("{") else []


def _check_braces(name: str, value: str) -> None:
    depth = 0
    for character in value:
        depth = max(0, depth + (character == "{") - (character == "}"))
    if depth:
        raise PostfixError(
            f"main.cf: {name} has a brace that is not closed, so that whatever is put after it is "
            f"a part of that entry: {value[:200]}; close it"
        )


def _only(entry: str, known: Ours, parameters: Mapping[str, str]) -> bool:
    """Return whether an entry stands for milters of ours and for nothing else."""
    found = entries(expand(entry, parameters))
    return bool(found) and all(known.which(one) for one in found)


def _expanded(parameters: Mapping[str, str], name: str) -> list[str]:
    return entries(expand(parameters.get(name, ""), parameters))


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
        wanted[name] = _edited(
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
        wanted[name] = _edited(current[name], lambda entry: _put(entry, known, current, put))
    for name in _holders(wanted, quoting):
        wanted[name] = _once(wanted[name], known, wanted)
    return wanted


def _put(
    entry: str, known: Ours, parameters: Mapping[str, str], put: Callable[[str, str], str]
) -> str:
    # What a bare reference names is edited where it stands.
    if _BARE.fullmatch(entry):
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

    return _edited(value, edit)


def _join(parameters: dict[str, str], name: str, known: Ours, fresh: Mapping[str, str]) -> None:
    there = known.among(_expanded(parameters, name))
    missing = [entry for milter, entry in fresh.items() if milter not in there]
    if missing:
        parameters[name] = _append(parameters.get(name, ""), missing)


def _append(value: str, added: Sequence[str]) -> str:
    return ", ".join([value.rstrip(", "), *added] if value.strip(", ") else added)
