"""The plan that adds the formula's milters to main.cf and master.cf, or removes them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import keeping_what_was_done
from . import (
    main_cf,
    main_cf_milters,
    milter_actions,
    milter_entry,
    milter_maps,
    saved_values,
    service_milters,
    stale_milters,
)
from .main_cf_milters import CLASSES
from .milter_addresses import ManagedMilters
from .service_milters import Configuration, Entrance


@dataclass(frozen=True)
class MilterPlan:
    """
    A plan for the milters of main.cf and master.cf.

    found
        The present configuration.
    main, unset
        Parameters of main.cf to set, and to remove.
    own
        Parameters of services of master.cf to set, by ``service/type/parameter``.
    notes
        Messages about mail that still bypasses the formula's milters, and about dead milters.
    to_save
        Values of main.cf to restore when the formula's milters are removed. None leaves the saved
        values as they are; an empty mapping removes them.
    saved_text
        The present text of the file of saved values; None if the file is missing.
    """

    found: Configuration
    main: Mapping[str, str] = field(default_factory=dict)
    unset: Sequence[str] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    to_save: Mapping[str, str | None] | None = None
    saved_text: str | None = None

    def changes(self) -> dict[str, dict[str, str | None]]:
        """
        Return ``{parameter: {"old", "new"}}``.

        Parameters of services have the name ``service/type/parameter``. The file of saved values
        has its path as name, with its old and new text.
        """
        new = {**self.main, **dict.fromkeys(self.unset), **self.own}
        old = {**self.found.main, **self.found.own, saved_values.PATH: self.saved_text}
        if self.to_save is not None and self._text() != self.saved_text:
            new[saved_values.PATH] = self._text()
        return {name: {"old": old.get(name), "new": new[name]} for name in new}

    def _text(self) -> str | None:
        return saved_values.text(self.to_save) if self.to_save else None

    def after(self) -> Configuration:
        """Return the configuration after the plan is applied."""
        main = {**self.found.main, **self.main}
        main = {name: value for name, value in main.items() if name not in self.unset}
        return replace(self.found, main=main, own={**self.found.own, **self.own})

    def apply(self) -> None:
        """
        Write the plan. Raises PostfixError, with what was written (:func:`errors.done_before`).

        Each call of postconf(1) rewrites a file completely. Former values are saved before main.cf
        changes, and removed after the formula's milters are removed. So a run that fails in between
        leaves everything that the next run needs.
        """
        due, done = self.changes(), []
        with keeping_what_was_done(lambda: {name: due[name] for name in done}):
            if self.to_save and saved_values.PATH in due:
                saved_values.save(self._text())
                done.append(saved_values.PATH)
            main_cf.write(self.main)
            done += self.main
            main_cf.write({}, self.unset)
            done += self.unset
            main_cf.write_own(self.own)
            done += self.own
            if not self.to_save and saved_values.PATH in due:
                os.unlink(saved_values.PATH)


def present(
    found: Configuration,
    managed: Sequence[str],
    default_action: str | None = None,
    gone: Sequence[str] = (),
    older: Mapping[str, Sequence[str]] | None = None,
    intended: Iterable[str] = (),
) -> MilterPlan:
    """
    Plan that all incoming mail passes the formula's milters.

    found
        The present configuration, see :func:`service_milters.read`.
    managed
        The addresses of the formula's milters.
    default_action
        The action of the formula's own entries; None if the pillar does not set it
        (:func:`main_cf_milters.action`).
    gone
        Milters of the formula that are removed.
    older
        Former addresses of the formula's daemons. This function adds addresses that an earlier
        set-up left behind to the first daemon.
    intended
        Services that may bypass the formula's milters: ``dkim:postfix:unsigned_services``.
    """
    known = _with_stale_addresses(found, ManagedMilters(managed, older, found.queue), older)
    chosen = default_action or main_cf_milters.action(found.main, known)
    main = main_cf_milters.plan_present(
        found.main,
        managed,
        default_action,
        gone,
        older=known.older,
        queue=found.queue,
        quoting=found.quoting(),
    )
    own = service_milters.plan(
        found, known, ManagedMilters(gone, queue=found.queue), chosen, default_action is not None
    )
    to_save = {CLASSES: found.main.get(CLASSES)} if CLASSES in main else None
    plan = MilterPlan(found, main, (), own, (), to_save, saved_values.read_text())
    now = ManagedMilters(managed, queue=found.queue)
    return replace(plan, notes=messages(plan.after(), now, intended))


def absent(
    found: Configuration,
    managed: Sequence[str],
    older: Mapping[str, Sequence[str]] | None = None,
    before: Mapping[str, str | None] | None = None,
) -> MilterPlan:
    """
    Plan to remove the formula's milters, at present and former addresses.

    before
        The values of main.cf before the milters were added (:func:`saved_values.read`).
    """
    known = _with_stale_addresses(found, ManagedMilters(managed, older, found.queue), older)
    main, unset = main_cf_milters.plan_absent(
        found.main,
        managed,
        older=known.older,
        queue=found.queue,
        before=before,
        quoting=found.quoting(),
    )
    own = service_milters.plan_absent(found, known)
    return MilterPlan(found, main, unset, own, to_save={}, saved_text=saved_values.read_text())


def messages(
    found: Configuration, managed: ManagedMilters, intended: Iterable[str] = ()
) -> list[str]:
    """Return messages about mail that bypasses the formula's milters, and about dead milters."""
    unsigned = _unsigned(found, managed, intended)
    lines = [f"mail by {entrance} leaves unsigned; {REMEDY}" for entrance in unsigned]
    lines += [
        f"{text}; write OpenDKIM's milter, {', '.join(managed.milters)}, into its lines as well"
        for text in milter_maps.effects(found, managed)
    ]
    return lines + [no_answer(entry) for entry in stale_milters.silent(found, managed)]


REMEDY = (
    "remove the setting that keeps the milters from it, or name the service in "
    "dkim:postfix:unsigned_services if its mail may leave unsigned"
)
_CONSEQUENCES = {
    "accept": "mail goes on without it",
    "quarantine": "mail goes on hold",
    "tempfail": "all its mail is refused with 451",
    "reject": "all its mail is refused for good",
}


def _unsigned(
    found: Configuration, managed: ManagedMilters, intended: Iterable[str]
) -> list[Entrance]:
    return service_milters.unsigned(found, managed, intended) if found.services else []


def no_answer(entry: milter_actions.Entry) -> str:
    """Return the message that nothing answers at an entry's address, with the consequence."""
    unknown = f"Postfix does not know the action {entry.action}"
    consequence = _CONSEQUENCES.get(entry.action, unknown)
    return (
        f"{entry.where}: nothing answers at {milter_entry.address(entry.text)}, so {consequence}; "
        "start that milter, or remove the entry"
    )


def _with_stale_addresses(
    found: Configuration, known: ManagedMilters, older: Mapping[str, Sequence[str]] | None
) -> ManagedMilters:
    stale = stale_milters.stale_addresses(found, known) if known.milters else []
    if not stale:
        return known
    first = known.milters[0]
    every = {**(older or {}), first: [*(older or {}).get(first, ()), *stale]}
    return ManagedMilters(known.milters, every, known.queue)
