"""The plan of an import: which keys of a program are stored, and in which state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .. import key_file
from ..errors import DatabaseError, InvalidValue, StepRefused
from ..keys import changes as key_changes
from ..keys import patterns, refusals
from ..keys import table as keys_table
from ..keys.desired import is_chosen
from ..keys.known_domains import unknown_domain
from ..keys.model import DesiredKey, Key
from ..keys.odd_rows import LISTED
from ..names import is_served
from ..postgres import hosted as hosted_domains
from ..private_key import PrivateKey
from ..progress import Progress
from ..record_names import key_name
from ..settings.model import Settings
from . import first_keys, key_folder
from .held import Held
from .key_table import Refusal
from .pillar import key_settings, missing_settings
from .selection import Choice, Selection, select

WHY = "imported by dkim.import_tables"
NO_KEY = (
    "no key was found; if the program signs mail, give its own files (config=, folder=), or use "
    "dkim.import_key for each key"
)
FILES_CAN_GO = (
    "{count} key files are no longer needed; delete them once no other program signs with them and "
    "mail has been signed from the database for a while; dkim.import_tables lists them as `files`"
)


@dataclass(frozen=True)
class ImportedKey:
    """A key that is stored by an import, and its new state."""

    desired: DesiredKey
    private: PrivateKey
    state: str

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return."""
        desired = self.desired
        return {
            "domain": desired.domain,
            "selector": desired.selector,
            "algorithm": desired.algorithm,
            "bits": desired.bits,
            "state": self.state,
            "address": desired.address,
        }


@dataclass
class TableImport:
    """
    The plan of an import, from the database and the keys of a program.

    settings, allow_weak
        The settings; whether RSA keys of 1024 to 2047 bits are accepted.
    progress
        Called with (done, total) before each key that is read.
    refused, notes
        Keys and lines that are not imported; sentences for the person who runs the import.
    present
        Texts about keys that the database already has.
    imported
        The keys to store, by domain and selector.
    rows
        The values that an earlier step filled in in rows of other tools, as changes.
    selection
        The result of :func:`selection.select`.
    """

    settings: Settings
    allow_weak: bool
    progress: Progress | None = None
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    imported: dict[tuple[str, str], ImportedKey] = field(default_factory=dict)
    rows: Mapping[str, object] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self):
        settings = self.settings
        # These values fit a new database: only the pillar's domains, and no keys.
        self._hosted: set[str] = set()
        self._stored: dict[tuple[str, str], Key] = {}
        self._signing: dict[tuple[str, str, str], Key | ImportedKey] = {}
        self._aliases = {
            name: domain.alias_of for name, domain in settings.domains.items() if domain.alias_of
        }
        self._loaded: dict[str, PrivateKey | InvalidValue] = {}
        self._held = Held()
        # The domains that an earlier import has noted in the history.
        self._noted: Mapping[str, str] = {}
        # Key files whose keys are in the database after the import.
        self._files: set[str] = set()

    def read(self, connection) -> None:
        """Read the domains, keys and patterns of the database."""
        database = self.settings.database
        self._hosted = set(hosted_domains.hosted(connection, database))
        for pattern, (signer, _address) in patterns.read(connection, database).items():
            self._aliases.setdefault(pattern, signer)
        for key in keys_table.list_keys(connection, database):
            self._stored[key.domain, key.selector] = key
            if key.state == "active":
                self._signing[key.domain, key.address, key.algorithm] = key
        self._noted = refusals.waiting(connection, database)

    def domains(self) -> list[str]:
        """Return the domains that may send mail: the hosted domains and those of the pillar."""
        candidates = {*self._hosted, *self.settings.domains} - self.settings.excluded
        return sorted(_valid_domains(candidates))

    def decide(self, held: Held) -> None:
        """Decide which keys are imported, and in which state."""
        self._held = held
        self.selection = select(held.entries, held.signing, self.domains())
        self.refused += [*held.refused, *self.selection.refused]
        self.notes += [*held.notes, *self.selection.notes]
        if not (held.entries or self.refused or held.notes):
            self.notes.append(NO_KEY)
        # Keys that sign come first, so that an unused key can't take their selector.
        ordered = sorted(self.selection.choices, key=lambda choice: not choice.signs)
        for done, choice in enumerate(ordered):
            if self.progress is not None:
                self.progress(done, len(ordered))
            try:
                self._import(choice)
            except (InvalidValue, StepRefused, DatabaseError) as error:
                domain = choice.domain if choice.signs else ""
                self.refused.append(Refusal(choice.label(), str(error), domain))
        self.notes += first_keys.notes(self._first_keys_that_wait())

    def _first_keys_that_wait(self) -> dict[str, str]:
        """
        Return the domains whose first key has to wait for its record, with the reason.

        Domains with a key of their own that signs or is going to sign are left out, and so are
        those that an earlier import has noted.
        """
        with_keys = {key.domain for key in self._stored.values() if _counts(key.state, key.address)}
        for new in self.imported.values():
            if _counts(new.state, new.desired.address):
                with_keys.add(new.desired.domain)
        left_out = {*with_keys, *self._noted, *self._aliases, *self.settings.excluded}
        domains = set(self.domains())
        found = {**self._held.signed_as, **self.selection.aliases} if self._held.is_on else {}
        signed_as = {
            name: signer
            for name, signer in found.items()
            if name in domains and is_chosen(self.settings, name)
        }
        return first_keys.that_wait(self.refused, signed_as, left_out)

    def _import(self, choice: Choice) -> None:
        domain, selector = choice.domain, choice.entry.selector
        self._check_domain(choice)
        private = self._private_key(choice)
        same = self._stored.get((domain, selector))
        if same is not None:
            if same.public != private.public_base64():
                raise StepRefused(selector_taken(same))
            self.present.append(f"{choice.label()}: the database has this key, {same.state}")
            self._note_file(choice)
            return
        twin = self.imported.get((domain, selector))
        if twin is not None:
            if twin.private.public_base64() != private.public_base64():
                raise StepRefused(
                    f"another key under selector {selector!r} of {domain} is imported first"
                )
            self.present.append(f"{choice.label()}: a duplicate of an imported key")
            self._note_file(choice)
            return
        desired = DesiredKey(domain, selector, private.algorithm, private.bits, choice.address)
        key = ImportedKey(desired, private, self._state(choice, private.algorithm))
        if key.state == "active":
            self._signing[domain, choice.address, private.algorithm] = key
        if domain not in self._hosted and domain not in self.settings.domains:
            # Only after the key is in _signing: `pillar` then has the domain for the next run.
            unknown = unknown_domain(self.settings, domain)
            raise DatabaseError(f"{unknown}; `pillar` has the settings to add")
        self.imported[domain, selector] = key
        self._note_file(choice)

    def _note_file(self, choice: Choice) -> None:
        text = _key_or_path(choice)
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
        """Return the key of an entry; a key that many domains share is read once."""
        text = _key_or_path(choice)
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
        data = key_folder.read(path, self._held.folder, self._held.rows_name_files)
        exposure = key_file.exposure(path)
        if exposure:
            self.notes.append(f"{path} {exposure}; remove that right, and rotate the key soon")
        return data

    def _state(self, choice: Choice, algorithm: str) -> str:
        if choice.refused_line:
            self.notes.append(
                f"{choice.label()}: the line {choice.refused_line} is refused, so it is kept as "
                "retired; to sign with it, use dkim.activate"
            )
            return "retired"
        if not choice.signs:
            self.notes.append(
                f"{choice.label()}: no mail is signed with it today; it is kept as retired"
            )
            return "retired"
        first = self._signing.get((choice.domain, choice.address, algorithm))
        if first is None:
            return "active"
        if isinstance(first, ImportedKey):
            self.notes.append(
                f"{choice.label()}: {choice.domain} signs with selector {first.desired.selector!r} "
                f"by {algorithm} already; this key is kept as retired"
            )
            return "retired"
        self.notes.append(
            f"{choice.label()}: the database has the active {algorithm} key {first.selector!r}; "
            "this key is pending until dkim.activate"
        )
        return "pending"

    def store(self, connection) -> None:
        """
        Insert the keys. Does not commit.

        Raises DatabaseError if the database has changed since :meth:`read`.
        """
        database = self.settings.database
        stored = []
        for state in ("active", "pending", "retired"):
            pairs = [(t.desired, t.private) for t in self.imported.values() if t.state == state]
            if pairs:
                stored += key_changes.store(connection, database, pairs, WHY, state=state)
        refusals.note(connection, database, self._first_keys_that_wait())
        left = self.imported.keys() - {(key.domain, key.selector) for key in stored}
        if left:
            shown = ", ".join(key_name(selector, name) for name, selector in sorted(left))
            raise DatabaseError(
                f"nothing is imported: the database refused {shown[:500]}, because another run "
                "stored a key for the same selector or pattern; run again"
            )

    def report(self) -> dict[str, object]:
        """Return the data for the return of :func:`import_tables`."""
        files = sorted(self._files)
        if files:
            self.notes.append(FILES_CAN_GO.format(count=len(files)))
        return {
            "imported": [key.to_dict() for key in self.imported.values()],
            "present": self.present,
            "refused": [refusal.to_dict() for refusal in self.refused],
            "patterns": self._patterns(),
            "pillar": self._missing_settings(),
            "changes": self._changes(),
            "notes": self.notes,
            "files": files,
        }

    def _changes(self) -> dict[str, dict[str, object]]:
        waiting = self._first_keys_that_wait()
        if len(self.imported) + len(waiting) > LISTED:
            counts = {"keys": len(self.imported), "first keys that wait": len(waiting)}
            counted = {
                what: {"old": None, "new": f"{count} new"}
                for what, count in counts.items()
                if count
            }
            return {**self.rows, **counted}
        changes = dict(self.rows)
        for domain in waiting:
            changes[f"first key of {domain}"] = {
                "old": None,
                "new": "waits for its record in DNS",
            }
        for key in self.imported.values():
            size = f" {key.desired.bits}" if key.desired.algorithm == "rsa" else ""
            whose = f" for {key.desired.address}" if key.desired.address else ""
            changes[f"key {key_name(key.desired.selector, key.desired.domain)}"] = {
                "old": None,
                "new": f"{key.desired.algorithm}{size}{whose}, {key.state}",
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

    def _missing_settings(self) -> dict[str, dict[str, object]]:
        """Return the settings under ``dkim:domains`` that the tables imply and the pillar lacks."""
        desired: dict[str, dict[str, object]] = {}
        signing: dict[tuple[str, str], dict[str, str]] = {}
        for (domain, address, algorithm), key in self._signing.items():
            selector = key.selector if isinstance(key, Key) else key.desired.selector
            signing.setdefault((domain, address), {})[algorithm] = selector
        for choice in self.selection.choices:
            selectors = signing.get((choice.domain, choice.address))
            if not choice.signs or selectors is None:
                continue
            own = desired.setdefault(choice.domain, {})
            if choice.address:
                own.setdefault("addresses", {})[choice.address] = key_settings(selectors)
            else:
                own.update(key_settings(selectors))
        for domain, signer in self.selection.aliases.items():
            # An address of an alias may have a key of its own.
            own = desired.get(domain, {}).items()
            kept = {name: value for name, value in own if name == "addresses"}
            desired[domain] = {"alias_of": signer, **kept}
        for domain in self.selection.subdomains:
            desired.setdefault(domain, {})["subdomains"] = True
        return missing_settings(self.settings, desired, self._hosted)


def _key_or_path(choice: Choice) -> str:
    """Return the text of a key or the path of its file; ``%`` in a path is the sender's domain."""
    text = choice.entry.key_or_path.reveal()
    return text.replace("%", choice.domain) if key_file.is_path(text) else text


def _counts(state: str, address: str) -> bool:
    return state in ("active", "pending") and not address


def _valid_domains(texts: Iterable[str]) -> set[str]:
    """Return the valid domain names; the table of domains may contain any text."""
    return {text for text in texts if is_served(text)}


def selector_taken(key: Key) -> str:
    """Return the message about a selector that already has another key."""
    what = "another key" if key.public else "a row without a readable key"
    if key.path:
        detail = "of another key" if key.public else "that can't be read here"
        what = f"the path of a file {detail}"
    return (
        f"the database has {what} under selector {key.selector!r} of {key.domain} ({key.state}); a "
        "selector is never used for two keys (RFC 6376, section 3.1)"
    )
