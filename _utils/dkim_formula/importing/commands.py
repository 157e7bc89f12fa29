"""The import of keys into the database: the functions that Salt's execution modules call."""

from collections.abc import Mapping, Sequence

from .. import key_file
from ..errors import DatabaseUnavailable, StepRefused
from ..keys import changes as key_changes
from ..keys import commands as keys_commands
from ..keys import table as keys_table
from ..keys.completion import complete, complete_rows, put_into
from ..keys.known_domains import key_holder, refuse_unknown
from ..keys.model import DesiredKey, Key
from ..keys.odd_rows import LISTED
from ..names import mail_domain, served_selector
from ..postgres import stand_in
from ..postgres.commands import NO_DATABASE_YET, awaits_setup
from ..postgres.connection import session
from ..postgres.stored_row import WITH_FILE
from ..private_key import PrivateKey
from ..progress import Progress
from ..settings.model import Settings
from . import other_signers, sources
from .plan import TableImport, selector_taken
from .sources import Request

IMPORTED = "imported by dkim.import_key"


def import_key(
    settings: Settings, domain: object, selector: object, path: object, allow_weak: bool = False
) -> dict[str, object]:
    """
    Import one private key from a file.

    The key becomes ``active`` if the domain has no active key of its algorithm, else ``pending``.
    If the selector's row has no key, or has the path of this file, the key is put into that row.
    Only this function reads a file for such a row. A role that can write rows could otherwise
    have root copy any key of the machine to a row that the role can read.

    path
        The absolute path of an unencrypted key: PEM, or DER with or without base64.
    allow_weak
        Accept RSA keys of 1024 to 2047 bits too.

    Returns the key as :func:`keys.list_keys` does, with ``existed``: True if the database already
    has this key under this selector.

    Raises InvalidValue for a wrong argument or an unusable key, StepRefused if the selector has
    another key, and DatabaseError if the domain is neither hosted nor in the pillar.
    """
    name, chosen = mail_domain(domain, "domain"), served_selector(selector, "selector")
    key_holder(settings, name)
    where = f"path {path}"
    private = key_file.private_key(key_file.read_file(path, "path"), where)
    key_file.check_strength(private, allow_weak, where)
    with session(settings.database) as connection:
        refuse_unknown(connection, settings, name)
        complete_rows(connection, settings.database)
        there = keys_table.list_keys(connection, settings.database, name)
        same = next((key for key in there if key.selector == chosen), None)
        is_filled = same is not None and _can_get_key(same, private)
        if is_filled:
            put_into(connection, settings.database, same, private, IMPORTED)
        elif same is not None and same.public != private.public_base64():
            raise StepRefused(selector_taken(same))
        elif same is None:
            desired = DesiredKey(name, chosen, private.algorithm, private.bits)
            # The table's own trigger sets the state, so that a concurrent run can't interfere.
            stored = key_changes.store(
                connection, settings.database, [(desired, private)], IMPORTED, state=None
            )
            if not stored:
                raise StepRefused(
                    f"another run stored a key under selector {chosen!r} of {name}; run again"
                )
    found = (key for key in keys_commands.list_keys(settings, name) if key["selector"] == chosen)
    return {**next(found), "existed": same is not None and not is_filled}


def _can_get_key(key: Key, private: PrivateKey) -> bool:
    """Return whether a key can be put into a row: the row has no key, or names this key's file."""
    if key.path and key.state in WITH_FILE:
        return key.public == private.public_base64()
    return key.public is None and key.state == "pending"


@stand_in.noted
def import_tables(
    settings: Settings,
    request: Request,
    allow_weak: bool = False,
    test: bool = False,
    progress: Progress | None = None,
) -> dict[str, object]:
    """
    Import the keys of a program in one transaction.

    A key that signs today becomes ``active``. A key that signs nothing becomes ``retired``, and so
    does a second key of a domain and an algorithm: its record stays, and no rotation uses its
    selector for a new key. If the database already has an active key of the domain and the
    algorithm, the imported key becomes ``pending``.

    request
        The program, and the paths of its keys.
    allow_weak
        Accept RSA keys of 1024 to 2047 bits too.
    test
        Change nothing, and return what a run would return.
    progress
        Called with (done, total) before each key that is read.

    Returns ``{"imported": [{domain, selector, algorithm, bits, state, address}], "present":
    [text], "refused": [{"entry", "reason"}], "patterns": {pattern: domain that signs}, "pillar":
    {domain: settings}, "changes": …, "notes": [text], "files": [path], "also_signs": [text]}``.
    ``present`` lists keys that the database already has. ``pillar`` has the settings that
    ``dkim:domains`` needs so that the same mail is signed, since patterns come only from the
    pillar. ``files`` lists key files that the database no longer needs. ``also_signs`` describes
    other programs that sign mail on this machine.

    Raises InvalidValue if an argument is wrong or a table can't be read.
    """
    read = sources.reader(settings, request)
    table_import = TableImport(settings, allow_weak, progress)
    try:
        with session(settings.database) as connection:
            table_import.rows = complete(connection, settings.database)
            table_import.read(connection)
            table_import.decide(read(table_import.domains()))
            if test:
                connection.rollback()
            else:
                table_import.store(connection)
    except DatabaseUnavailable as error:
        if not (test and awaits_setup(error, settings.database)):
            raise
        table_import.notes.append(NO_DATABASE_YET)
        table_import.decide(read(table_import.domains()))
    return {**table_import.report(), "also_signs": other_signers.messages(settings)}


def summary(found: Mapping[str, object]) -> dict[str, object]:
    """Return ``{"changes": …, "notes": [text]}`` for a state, from an import_tables return."""
    refused = [f"Refused: {entry['entry']}: {entry['reason']}" for entry in found["refused"]]
    notes = [*_shortened(refused, "Refused"), *_shortened(found["notes"], "Notes")]
    if found["pillar"]:
        domains = list(found["pillar"])
        shown = ", ".join(domains[:LISTED]) + (", …" if len(domains) > LISTED else "")
        notes.append(
            f"dkim:domains lacks settings of these keys for {shown}; dkim.import_tables with "
            "test=True gives them as pillar"
        )
    notes += found["also_signs"]
    return {"changes": found["changes"], "notes": notes}


def _shortened(texts: Sequence[str], what: str) -> list[str]:
    """Return the first texts, and the number of the others."""
    if len(texts) <= LISTED:
        return list(texts)
    more = len(texts) - LISTED
    return [*texts[:LISTED], f"{what}: {more} more; dkim.import_tables with test=True lists them"]
