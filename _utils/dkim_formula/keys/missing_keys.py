"""Missing keys and patterns: found in one pass over all domains, then created."""

from collections.abc import Callable, Mapping, Sequence

from ..postgres import hosted as hosted_domains
from ..postgres import schema
from ..record_names import key_name
from ..settings.model import Domain, Settings
from . import bulk_generation, odd_rows, patterns, refusals, removed_domains, removed_domains_table
from .comparison import compare
from .desired import (
    chosen_domains,
    desired_keys,
    desired_patterns,
    every_hosted,
    first_key_waits,
)
from .model import DesiredKey, Key
from .odd_rows import LISTED

Progress = Callable[[int, int], None]


class GenerationRun:
    """The creation, in one pass, of all desired keys and patterns that the database lacks."""

    def __init__(self, connection, settings: Settings):
        self.connection = connection
        self.database = settings.database
        comparison = compare(
            connection, self.database, desired_keys(settings.domains), every_hosted(settings)
        )
        returned = self._with_former_keys(comparison.missing)
        self.missing = [one for one in comparison.missing if one not in returned]
        domains = {one.domain for one in self.missing}
        self.pending_domains = {domain for domain in domains if first_key_waits(settings, domain)}
        self.notes = _shortened(comparison.reports) + odd_rows.problems(connection, settings)
        self.notes += [
            f"{one.domain} is hosted or in the pillar again: dkim.advance activates its former "
            f"{one.algorithm} key, or generates a new one"
            for one in returned[:LISTED]
        ]
        self.notes += self._pending_notes()
        self.present_patterns = patterns.read(connection, self.database)
        self.patterns = desired_patterns(self._domains_with_patterns(settings))
        self.stored: list[Key] = []
        self._has_begun = False

    def _pending_notes(self) -> list[str]:
        """Return sentences about domains whose first key is stored as pending."""
        domains = {one.domain for one in self.missing}
        if not domains or not schema.has_tables(self.connection, self.database):
            return []
        found = refusals.waiting(self.connection, self.database, domains)
        return [refusals.pending_note(domain, found[domain]) for domain in sorted(found)[:LISTED]]

    def _with_former_keys(self, missing: Sequence[DesiredKey]) -> list[DesiredKey]:
        """Return the missing keys of domains that returned and whose former keys are retired."""
        if not missing or not schema.has_tables(self.connection, self.database):
            return []
        retired = removed_domains_table.orphaned(
            self.connection, self.database, removed_domains.WHY
        )
        slots = {slot for _, slot in retired}
        return [one for one in missing if (one.domain, one.address, one.algorithm) in slots]

    def _domains_with_patterns(self, settings: Settings) -> Mapping[str, Domain]:
        """Return the domains to make patterns for. Read hosted domains only if ``'*'`` needs it."""
        if settings.every_hosted is None or not settings.every_hosted.subdomains:
            return settings.domains
        return chosen_domains(settings, hosted_domains.hosted(self.connection, self.database))

    def changes(self) -> dict[str, object]:
        """Return the changes that this run will make."""
        planned = patterns.plan(self.present_patterns, self.patterns)
        return changes_of(self.missing, planned.changes)

    def done(self) -> dict[str, object]:
        """Return the changes that are committed so far."""
        if not self._has_begun:
            return {}
        planned = patterns.plan(self.present_patterns, self.patterns)
        return changes_of(self.stored, planned.changes)

    def generate(self, progress: Progress | None) -> None:
        """Apply the patterns, then generate and store the keys."""
        patterns.apply(self.connection, self.database, self.patterns)
        self.connection.commit()
        self._has_begun = True
        bulk_generation.generate(
            self.connection,
            self.database,
            self.missing,
            why="missing by the pillar",
            progress=progress,
            pending_domains=self.pending_domains,
            stored=self.stored,
        )


def new_patterns(chosen: Mapping[str, Domain]) -> dict[str, dict[str, object]]:
    """Return the changes that fill an empty table with its patterns."""
    return patterns.plan({}, desired_patterns(chosen)).changes


def changes_of(keys: Sequence[DesiredKey | Key], added: Mapping[str, object]) -> dict[str, object]:
    """
    Return new keys, and changes of patterns, as changes. More than 50 of a kind are counted.
    """
    changes: dict[str, object] = {}
    if len(keys) > LISTED:
        changes["keys"] = {"old": None, "new": f"{len(keys)} new"}
        keys = ()
    if len(added) > LISTED:
        added = {"patterns": {"old": None, "new": f"{len(added)} new, changed or removed"}}
    for key in keys:
        size = f" {key.bits}" if key.algorithm == "rsa" else ""
        of_address = f" for {key.address}" if key.address else ""
        changes[f"key {key_name(key.selector, key.domain)}"] = {
            "old": None,
            "new": f"{key.algorithm}{size}{of_address}",
        }
    return {**changes, **added}


def _shortened(notes: Sequence[str]) -> list[str]:
    if len(notes) <= LISTED:
        return list(notes)
    return [*notes[:LISTED], f"… and {len(notes) - LISTED} more such keys; see dkim.list_keys"]
