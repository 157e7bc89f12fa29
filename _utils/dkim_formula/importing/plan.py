"""The keys of a file-based OpenDKIM's tables, against what the database has."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .. import key_file
from ..errors import DatabaseError, InvalidValue, StepRefused
from ..keys import changes as key_changes
from ..keys import patterns, refusals
from ..keys import table as keys_table
from ..keys.known_domains import unknown_domain
from ..keys.model import DesiredKey, Key
from ..keys.odd_rows import LISTED
from ..names import is_served
from ..postgres import hosted as hosted_domains
from ..private_key import PrivateKey
from ..progress import Progress
from ..record_names import key_name
from ..settings.model import Settings
from .held import Held
from .key_table import Refusal
from .pillar import key_settings, lacking
from .selection import Choice, Selection, select

WHY = "imported by dkim.import_tables"
FILES_CAN_GO = (
    "{count} key files are yours to delete once no other program signs with them and mail has been "
    "signed from the database for a while; dkim.import_tables lists them as `files`"
)


@dataclass(frozen=True)
class Taken:
    """A key that is to be stored, and the state that it gets."""

    wanted: DesiredKey
    private: PrivateKey
    state: str

    def to_dict(self) -> dict[str, object]:
        wanted = self.wanted
        return {
            "domain": wanted.domain,
            "selector": wanted.selector,
            "algorithm": wanted.algorithm,
            "bits": wanted.bits,
            "state": self.state,
            "address": wanted.address,
        }


@dataclass
class TableImport:
    """
    What is there, what the tables hold, and what follows from both.

    progress
        Called with (done, total) before each key that is read.
    rows
        What was filled in of the rows of other tools before, as changes.
    """

    settings: Settings
    allow_weak: bool
    progress: Progress | None = None
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    taken: dict[tuple[str, str], Taken] = field(default_factory=dict)
    rows: Mapping[str, object] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self):
        settings = self.settings
        # Until a look at the database: a new one, with the pillar's domains and no key.
        self._hosted: set[str] = set()
        self._there: dict[tuple[str, str], Key] = {}
        self._signing: dict[tuple[str, str, str], Key | Taken] = {}
        self._aliases = {
            name: domain.alias_of for name, domain in settings.domains.items() if domain.alias_of
        }
        self._loaded: dict[str, PrivateKey | InvalidValue] = {}
        self._held = Held()
        self._noted: frozenset[str] = frozenset()
        # Key files whose keys are in the database, or will be.
        self._files: set[str] = set()

    def look(self, connection) -> None:
        """Reads domains, keys and patterns."""
        database = self.settings.database
        self._hosted = set(hosted_domains.hosted(connection, database))
        for pattern, (signer, _address) in patterns.look(connection, database).items():
            self._aliases.setdefault(pattern, signer)
        for key in keys_table.list_keys(connection, database):
            self._there[key.domain, key.selector] = key
            if key.state == "active":
                self._signing[key.domain, key.address, key.algorithm] = key
        self._noted = refusals.waiting(connection, database)

    def domains(self) -> list[str]:
        """The domains whose mail may come: hosted, or the pillar's."""
        candidates = {*self._hosted, *self.settings.domains} - self.settings.excluded
        return sorted(_domain_names(candidates))

    def decide(self, held: Held) -> None:
        """Settles which keys are taken, and in which state."""
        self._held = held
        self.selection = select(held.entries, held.signing, self.domains())
        self.refused += [*held.refused, *self.selection.refused]
        self.notes += [*held.notes, *self.selection.notes]
        # Those that sign come first, so that none of the others stands in their way.
        ordered = sorted(self.selection.choices, key=lambda choice: not choice.signs)
        for done, choice in enumerate(ordered):
            if self.progress is not None:
                self.progress(done, len(ordered))
            try:
                self._take(choice)
            except (InvalidValue, StepRefused, DatabaseError) as error:
                domain = choice.domain if choice.signs else ""
                self.refused.append(Refusal(choice.label(), str(error), domain))
        self.notes += [
            f"{domain}: its old key is refused, so the first key that is made for it is pending "
            "until DNS shows its record"
            for domain in self._without()
        ]

    def _without(self) -> dict[str, str]:
        """
        The domains that have no key here and whose old one is refused, each with the reason; not
        those of which an earlier import has said so.
        """
        with_keys = {domain for domain, _ in (*self._there, *self.taken)}
        left_out = {*with_keys, *self._noted, *self._aliases, *self.settings.excluded, ""}
        return {
            one.domain: f"{one.entry}: {one.reason}"
            for one in reversed(self.refused)
            if one.domain not in left_out
        }

    def _take(self, choice: Choice) -> None:
        domain, selector = choice.domain, choice.entry.selector
        self._check_domain(choice)
        private = self._private_key(choice)
        same = self._there.get((domain, selector))
        if same is not None:
            if same.public != private.public_base64():
                raise StepRefused(selector_taken(same))
            self.present.append(f"{choice.label()}: the database has this key, {same.state}")
            self._note_file(choice)
            return
        twin = self.taken.get((domain, selector))
        if twin is not None:
            if twin.private.public_base64() != private.public_base64():
                raise StepRefused(
                    f"another key under selector {selector!r} of {domain} comes first"
                )
            self.present.append(f"{choice.label()}: the same key a second time")
            self._note_file(choice)
            return
        wanted = DesiredKey(domain, selector, private.algorithm, private.bits, choice.address)
        taken = Taken(wanted, private, self._state(choice, private.algorithm))
        if taken.state == "active":
            self._signing[domain, choice.address, private.algorithm] = taken
        if domain not in self._hosted and domain not in self.settings.domains:
            # Not before: the pillar that is printed has the domain, for the next try.
            unknown = unknown_domain(self.settings, domain)
            raise DatabaseError(f"{unknown}; what to add is in `pillar`")
        self.taken[domain, selector] = taken
        self._note_file(choice)

    def _note_file(self, choice: Choice) -> None:
        text = _material(choice)
        if key_file.is_path(text):
            self._files.add(text)

    def _check_domain(self, choice: Choice) -> None:
        domain = choice.domain
        if domain in self.settings.excluded:
            raise DatabaseError(f"dkim:domains:{domain}: the pillar leaves the domain out (false)")
        if not choice.address and domain in self._aliases:
            raise DatabaseError(
                f"dkim:domains:{domain}:alias_of: the domain signs as {self._aliases[domain]}; "
                "a key of its own would never be used"
            )

    def _private_key(self, choice: Choice) -> PrivateKey:
        """The key of an entry; one that many domains share is read once."""
        text = _material(choice)
        if text not in self._loaded:
            try:
                self._loaded[text] = self._load(text)
            except InvalidValue as error:
                self._loaded[text] = error
        found = self._loaded[text]
        if isinstance(found, InvalidValue):
            raise found
        return found

    def _load(self, text: str) -> PrivateKey:
        where, data = "the key in the table", b""
        if key_file.is_path(text):
            where = f"key file {text}"
            data = self._read_file(text)
        else:
            data = text.encode("utf-8", "replace")
        private = key_file.private_key(data, where)
        key_file.check_strength(private, self.allow_weak, where)
        return private

    def _read_file(self, path: str) -> bytes:
        held = self._held
        if held.rows_name_files and not held.folder:
            raise InvalidValue(
                "key file", path, "is named by a row", "give the keys' folder as folder="
            )
        data = key_file.read_file(path, "key file", held.folder)
        exposure = key_file.exposure(path)
        if exposure:
            self.notes.append(f"{path} {exposure}; take the right away, and rotate the key soon")
        return data

    def _state(self, choice: Choice, algorithm: str) -> str:
        if not choice.signs:
            self.notes.append(
                f"{choice.label()}: no mail is signed with it today; it is kept as retired"
            )
            return "retired"
        first = self._signing.get((choice.domain, choice.address, algorithm))
        if first is None:
            return "active"
        if isinstance(first, Taken):
            self.notes.append(
                f"{choice.label()}: {choice.domain} signs with selector {first.wanted.selector!r} "
                f"by {algorithm} already; this one is kept as retired"
            )
            return "retired"
        self.notes.append(
            f"{choice.label()}: the database has the active {algorithm} key {first.selector!r}; "
            "this one is pending until dkim.activate"
        )
        return "pending"

    def store(self, connection) -> None:
        """
        Inserts the keys. Does not commit.

        Raises DatabaseError where the database has changed since the look at it.
        """
        database = self.settings.database
        stored = []
        for state in ("active", "pending", "retired"):
            pairs = [(t.wanted, t.private) for t in self.taken.values() if t.state == state]
            if pairs:
                stored += key_changes.store(connection, database, pairs, WHY, state=state)
        refusals.note(connection, database, self._without())
        left = self.taken.keys() - {(key.domain, key.selector) for key in stored}
        if left:
            shown = ", ".join(key_name(selector, name) for name, selector in sorted(left))
            raise DatabaseError(
                f"nothing is imported: the database would not take {shown[:500]}, since another "
                "key has come in for the same selector or pattern meanwhile; try again"
            )

    def report(self) -> dict[str, object]:
        """The return of :func:`import_tables`."""
        files = sorted(self._files)
        if files:
            self.notes.append(FILES_CAN_GO.format(count=len(files)))
        return {
            "imported": [taken.to_dict() for taken in self.taken.values()],
            "present": self.present,
            "refused": [refusal.to_dict() for refusal in self.refused],
            "patterns": self._patterns(),
            "pillar": self._lacking(),
            "changes": self._changes(),
            "notes": self.notes,
            "files": files,
        }

    def _changes(self) -> dict[str, dict[str, object]]:
        without = self._without()
        if len(self.taken) + len(without) > LISTED:
            counts = {"keys": len(self.taken), "first keys that wait": len(without)}
            counted = {
                what: {"old": None, "new": f"{count} new"}
                for what, count in counts.items()
                if count
            }
            return {**self.rows, **counted}
        changes = dict(self.rows)
        for domain in without:
            changes[f"first key of {domain}"] = {
                "old": None,
                "new": "waits for its record in DNS",
            }
        for taken in self.taken.values():
            size = f" {taken.wanted.bits}" if taken.wanted.algorithm == "rsa" else ""
            whose = f" for {taken.wanted.address}" if taken.wanted.address else ""
            changes[f"key {key_name(taken.wanted.selector, taken.wanted.domain)}"] = {
                "old": None,
                "new": f"{taken.wanted.algorithm}{size}{whose}, {taken.state}",
            }
        return changes

    def _patterns(self) -> dict[str, str]:
        found = dict(self.selection.aliases)
        for parent in self.selection.subdomains:
            found[f".{parent}"] = self.selection.aliases.get(parent, parent)
        for choice in self.selection.choices:
            if choice.address:
                found[choice.address] = choice.domain
        return found

    def _lacking(self) -> dict[str, dict[str, object]]:
        """The settings under ``dkim:domains`` that the tables have and the pillar has not."""
        wanted: dict[str, dict[str, object]] = {}
        signing: dict[tuple[str, str], dict[str, str]] = {}
        for (domain, address, algorithm), key in self._signing.items():
            selector = key.selector if isinstance(key, Key) else key.wanted.selector
            signing.setdefault((domain, address), {})[algorithm] = selector
        for choice in self.selection.choices:
            selectors = signing.get((choice.domain, choice.address))
            if not choice.signs or selectors is None:
                continue
            own = wanted.setdefault(choice.domain, {})
            if choice.address:
                own.setdefault("addresses", {})[choice.address] = key_settings(selectors)
            else:
                own.update(key_settings(selectors))
        for domain, signer in self.selection.aliases.items():
            wanted[domain] = {"alias_of": signer}
        for domain in self.selection.subdomains:
            wanted.setdefault(domain, {})["subdomains"] = True
        return lacking(self.settings, wanted, self._hosted)


def _material(choice: Choice) -> str:
    """The text of a key, or the path of its file: ``%`` in a path is the sender's domain."""
    text = choice.entry.material.reveal()
    return text.replace("%", choice.domain) if key_file.is_path(text) else text


def _domain_names(texts: Iterable[str]) -> set[str]:
    """Those that can have a key; the site's table may hold anything."""
    return {text for text in texts if is_served(text)}


def selector_taken(key: Key) -> str:
    """The text on a selector that has another key already."""
    what = "another key" if key.public else "a row that no key could be read from"
    if key.path:
        is_known = "of another key" if key.public else "that can't be read here"
        what = f"the path of a file {is_known}"
    return (
        f"the database has {what} under selector {key.selector!r} of {key.domain} ({key.state}); a "
        "selector is never used for two keys (RFC 6376, section 3.1)"
    )
