"""Our milters join main.cf and master.cf, or leave them: what changes, and what is left to say."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import PostfixError, keeping_what_was_done
from ..files import replace_file
from . import main_cf, milter_addresses, milter_list, milters, service_milters
from .milters import CLASSES, Ours
from .service_milters import Configuration

# What main.cf had before: it goes with main.cf into a backup.
MEMORY = "/etc/postfix/dkim-formula.json"


@dataclass(frozen=True)
class Joining:
    """
    A plan.

    found
        The configuration that it was made from.
    main, unset
        Parameters of main.cf to set, and to remove.
    own
        Parameters of services of master.cf to set, by ``service/type/parameter``.
    notes
        What goes round our milters all the same, a line each.
    remember
        What main.cf has now and has to get back when our milters leave; None: nothing new; empty:
        nothing any more.
    kept
        The text of the file that this is kept in; None where there is none.
    """

    found: Configuration
    main: Mapping[str, str] = field(default_factory=dict)
    unset: Sequence[str] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    remember: Mapping[str, str | None] | None = None
    kept: str | None = None

    def changes(self) -> dict[str, dict[str, str | None]]:
        """
        Return ``{parameter: {"old", "new"}}``; those of services have their service's name. The
        file that keeps what main.cf had has its path, old and new text.
        """
        new = {**self.main, **dict.fromkeys(self.unset), **self.own}
        old = {**self.found.main, **self.found.own, MEMORY: self.kept}
        if self.remember is not None and self._text() != self.kept:
            new[MEMORY] = self._text()
        return {name: {"old": old.get(name), "new": new[name]} for name in new}

    def _text(self) -> str | None:
        return json.dumps(dict(self.remember)) if self.remember else None

    def after(self) -> Configuration:
        """Return the configuration that the plan leads to."""
        main = {**self.found.main, **self.main}
        main = {name: value for name, value in main.items() if name not in self.unset}
        return replace(self.found, main=main, own={**self.found.own, **self.own})

    def apply(self) -> None:
        """
        Write it. Raises PostfixError, with what was written (:func:`errors.done_before`).

        Each call of postconf(1) writes a file whole. What main.cf had before is remembered before
        it changes, and forgotten when our milters are gone: a run that fails between leaves the
        next one all that it needs.
        """
        due, done = self.changes(), []
        with keeping_what_was_done(lambda: {name: due[name] for name in done}):
            if self.remember and MEMORY in due:
                _remember(self._text())
                done.append(MEMORY)
            main_cf.write(self.main)
            done += self.main
            main_cf.write({}, self.unset)
            done += self.unset
            main_cf.write_own(self.own)
            done += self.own
            if not self.remember and MEMORY in due:
                os.unlink(MEMORY)


def present(
    found: Configuration,
    ours: Sequence[str],
    default_action: str | None = None,
    gone: Sequence[str] = (),
    older: Mapping[str, Sequence[str]] | None = None,
    meant: Iterable[str] = (),
) -> Joining:
    """
    Plan for mail of every way in to go through our milters.

    found
        :func:`service_milters.read`.
    default_action
        At our own entries; None where the pillar does not say (:func:`milters.action`).
    gone
        Milters of ours that are to be there no more.
    older
        Addresses that our daemons had before. Those that an earlier set-up has left behind are
        found here, and count as the first daemon's.
    meant
        Services that are to go round our milters: ``dkim:postfix:unsigned_services``.
    """
    known = _with_left_behind(found, Ours(ours, older, found.queue), older)
    chosen = default_action or milters.action(found.main, known)
    main = milters.plan_present(
        found.main,
        ours,
        default_action,
        gone,
        older=known.older,
        queue=found.queue,
        quoting=found.quoting(),
    )
    own = service_milters.plan(
        found, known, Ours(gone, queue=found.queue), chosen, default_action is not None
    )
    remember = {CLASSES: found.main.get(CLASSES)} if CLASSES in main else None
    plan = Joining(found, main, (), own, (), remember, _kept())
    return replace(plan, notes=told(plan.after(), Ours(ours, queue=found.queue), meant))


def absent(
    found: Configuration,
    ours: Sequence[str],
    older: Mapping[str, Sequence[str]] | None = None,
    before: Mapping[str, str | None] | None = None,
) -> Joining:
    """
    Plan for our milters, at every address that they ever had, to be gone.

    before
        What main.cf had before they joined (:func:`remembered`).
    """
    known = _with_left_behind(found, Ours(ours, older, found.queue), older)
    main, unset = milters.plan_absent(
        found.main,
        ours,
        older=known.older,
        queue=found.queue,
        before=before,
        quoting=found.quoting(),
    )
    own = service_milters.plan_absent(found, known)
    return Joining(found, main, unset, own, remember={}, kept=_kept())


def told(found: Configuration, ours: Ours, meant: Iterable[str] = ()) -> list[str]:
    """Return what a person should know: mail that goes round us, and milters that don't answer."""
    lines = [f"mail by {way} leaves unsigned; {REMEDY}" for way in _unsigned(found, ours, meant)]
    lines += [
        f"{text}; write OpenDKIM's milter, {', '.join(ours.milters)}, into its lines as well"
        for text in service_milters.maps(found, ours)
    ]
    return lines + [silence(entry) for entry in milter_addresses.silent(found, ours)]


REMEDY = (
    "remove what keeps the milters from it, or name the service in dkim:postfix:unsigned_services "
    "where this is meant"
)
_FATE = {
    "accept": "mail goes on without it",
    "quarantine": "mail goes on hold",
    "tempfail": "all its mail is refused with 451",
    "reject": "all its mail is refused for good",
}


def _unsigned(found: Configuration, ours: Ours, meant: Iterable[str]) -> list[service_milters.Way]:
    return service_milters.unsigned(found, ours, meant) if found.services else []


def silence(entry: milter_addresses.Entry) -> str:
    """Say what becomes of mail while nothing answers at an entry's address."""
    fate = _FATE.get(entry.action, f"Postfix does not know the action {entry.action}")
    return (
        f"{entry.where}: nothing answers at {milter_list.address(entry.text)}, so {fate}; start "
        "that milter, or remove the entry"
    )


def _with_left_behind(
    found: Configuration, known: Ours, older: Mapping[str, Sequence[str]] | None
) -> Ours:
    left = milter_addresses.left_behind(found, known) if known.milters else []
    if not left:
        return known
    first = known.milters[0]
    every = {**(older or {}), first: [*(older or {}).get(first, ()), *left]}
    return Ours(known.milters, every, known.queue)


def remembered() -> dict[str, str | None]:
    """Return what main.cf had before our milters joined; empty where that is not known."""
    with contextlib.suppress(ValueError):
        given = json.loads(_kept() or "{}")
        if isinstance(given, dict):
            kept = {name: value for name, value in given.items() if name == CLASSES}
            return {name: value for name, value in kept.items() if isinstance(value, str | None)}
    return {}


def _kept() -> str | None:
    try:
        with open(MEMORY, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def _remember(text: str) -> None:
    """Keep values for the day on which our milters leave."""
    try:
        replace_file(MEMORY, text, 0o644)
    except OSError as error:
        raise PostfixError(
            f"{MEMORY}: what main.cf has now can't be kept for later: {error.strerror}; make room "
            "there, and run again"
        ) from None
