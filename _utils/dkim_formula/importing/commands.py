"""Keys from elsewhere into the database, and one out of it: moving here, and away again."""

import logging
import os
from collections.abc import Mapping

from .. import key_file
from ..errors import DatabaseUnavailable, InvalidValue, StepRefused
from ..keys import changes as key_changes
from ..keys import commands as keys_commands
from ..keys import table as keys_table
from ..keys.completion import complete, complete_rows, put_into
from ..keys.known_domains import key_holder, refuse_unknown
from ..keys.model import DesiredKey, Key
from ..keys.odd_rows import LISTED
from ..names import mail_domain, served_selector, stored_domain, stored_selector
from ..postgres import stand_in
from ..postgres.commands import NOT_THERE_YET, nothing_there_yet
from ..postgres.connection import session
from ..postgres.objects import names
from ..postgres.sql import compose
from ..postgres.stored_row import WITH_FILE
from ..private_key import PrivateKey
from ..progress import Progress
from ..record_names import key_name
from ..settings.model import Settings
from . import other_signers, sources
from .plan import TableImport, selector_taken
from .sources import Request

log = logging.getLogger(__name__)

IMPORTED = "imported by dkim.import_key"

# One line a key in the history, as the table's own trigger writes them.
_EXPORTED = """
INSERT INTO {history}
       (dkim_id, domain, selector, algorithm, address, who, from_state, to_state, why)
VALUES (%s, %s, %s, %s, %s,
        concat_ws(' by ', session_user, nullif(current_setting('application_name'), '')),
        %s, %s, %s)
"""


def import_key(
    settings: Settings, domain: object, selector: object, path: object, allow_weak: bool = False
) -> dict[str, object]:
    """
    Takes one private key from a file. It signs where the domain has no active key of its
    algorithm; else it is ``pending``. A row that has no key itself gets the key: the selector's row
    may have the file's path. No run copies a key from a file that a row names: whoever may write
    rows could have root copy any key of the machine to where he reads it.

    path
        Absolute; PEM, or DER with or without base64, unencrypted.
    allow_weak
        Take RSA of 1024 to 2047 bits too.

    Returns the key as :func:`keys.list_keys` does, with ``existed``: True where the database has
    this very key under this selector already.

    Raises InvalidValue for what is wrong with an argument or the key, StepRefused where the
    selector has another key, DatabaseError where the domain is neither hosted nor in the pillar.
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
        is_unread = same is not None and _lacks_its_key(same, private)
        if is_unread:
            put_into(connection, settings.database, same, private, IMPORTED)
        elif same is not None and same.public != private.public_base64():
            raise StepRefused(selector_taken(same))
        elif same is None:
            wanted = DesiredKey(name, chosen, private.algorithm, private.bits)
            # The table's own trigger settles the state: no other run can come in between.
            stored = key_changes.store(
                connection, settings.database, [(wanted, private)], IMPORTED, state=None
            )
            if not stored:
                raise StepRefused(
                    f"a key has come in under selector {chosen!r} of {name} meanwhile; try again"
                )
    found = (key for key in keys_commands.list_keys(settings, name) if key["selector"] == chosen)
    return {**next(found), "existed": same is not None and not is_unread}


def _lacks_its_key(key: Key, private: PrivateKey) -> bool:
    """
    Tell whether a row is one that a key may be put into: no key can be read from it, or it names
    the file of this very key.
    """
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
    Takes the keys that a program holds, in one transaction.

    A key that signs today signs from then on; one that nothing signs with, or that comes after
    another of the same domain and algorithm, is kept as ``retired``: its record stays, and no
    rotation takes it for a new one. Where the database has an active key already, an imported one
    is ``pending``.

    request
        Which program, and where it has its keys.
    allow_weak
        Take RSA of 1024 to 2047 bits too.
    test
        Only tell: the return is that of a run, and nothing is changed.
    progress
        Called with (done, total) after each key that was read.

    Returns ``{"imported": [{domain, selector, algorithm, bits, state, address}], "present":
    [text], "refused": [{"entry", "reason"}], "patterns": {pattern: domain that signs}, "pillar":
    {domain: settings}, "changes": …, "notes": [text], "files": [path], "also_signs": [text]}``.
    ``present`` are keys that the database has already; ``pillar`` is what ``dkim:domains`` lacks
    for the same mail to be signed: patterns come from the pillar alone. ``files`` are key files
    that the database needs no more, and ``also_signs`` says what else signs mail of this machine.

    Raises InvalidValue where an argument is wrong or a table can't be read at all.
    """
    read = sources.reader(settings, request)
    course = TableImport(settings, allow_weak, progress)
    try:
        with session(settings.database) as connection:
            course.rows = complete(connection, settings.database)
            course.look(connection)
            course.decide(read(course.domains()))
            if test:
                connection.rollback()
            else:
                course.store(connection)
    except DatabaseUnavailable as error:
        if not (test and nothing_there_yet(error, settings.database)):
            raise
        course.notes.append(NOT_THERE_YET)
        course.decide(read(course.domains()))
    return {**course.report(), "also_signs": other_signers.found(settings)}


def summary(found: Mapping[str, object]) -> dict[str, object]:
    """What a state tells of :func:`import_tables`' return: ``{"changes": …, "notes": [text]}``."""
    refused = [f"Refused: {entry['entry']}: {entry['reason']}" for entry in found["refused"]]
    if len(refused) > LISTED:
        more = f"Refused: {len(refused) - LISTED} more; dkim.import_tables lists them"
        refused = [*refused[:LISTED], more]
    notes = [*refused, *found["notes"][:LISTED]]
    if found["pillar"]:
        domains = list(found["pillar"])
        shown = ", ".join(domains[:LISTED]) + (", …" if len(domains) > LISTED else "")
        notes.append(
            f"dkim:domains lacks settings of these keys for {shown}; dkim.import_tables with "
            "test=True gives them as pillar"
        )
    notes += found["also_signs"]
    return {"changes": found["changes"], "notes": notes}


def export_key(
    settings: Settings, domain: object, selector: object, path: object
) -> dict[str, object]:
    """
    Writes one private key as PEM to a new file for root alone (mode 0600), and a line about it to
    the history and the log.

    path
        Absolute, in a directory that is there; an existing file is never touched.

    Returns ``{"path", "domain", "selector", "algorithm", "public_key"}``.

    Raises KeyNotFound, StepRefused for a revoked key, whose private half is erased, InvalidValue
    for a path that can't be written.
    """
    name, chosen = stored_domain(domain), stored_selector(selector)
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidValue("path", path, "is not an absolute path", "give the whole path")
    written = False
    try:
        with session(settings.database) as connection:
            key = keys_table.find(connection, settings.database, name, chosen)
            if key.path:
                raise StepRefused(
                    f"{key_name(key.selector, key.domain)}: the row has the path of a file, which"
                    " OpenDKIM reads the key from; copy that file"
                )
            pem = _private_text(connection, settings, key)
            _note_export(connection, settings, key, path)
            _write_new(path, pem)
            written = True
    except BaseException:
        if written:
            os.unlink(path)
        raise
    log.warning("the private key %s was exported to %s", key_name(chosen, name), path)
    return {
        "path": path,
        "domain": name,
        "selector": chosen,
        "algorithm": key.algorithm,
        "public_key": key.public,
    }


def _private_text(connection, settings: Settings, key: Key) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            compose("SELECT key FROM {dkim} WHERE id = %s", **names(settings.database)), (key.id,)
        )
        text = cursor.fetchone()[0]
    if text is None:
        raise StepRefused(
            f"{key_name(key.selector, key.domain)} is revoked: its private key is erased"
        )
    return text


def _note_export(connection, settings: Settings, key: Key, path: str) -> None:
    values = (key.id, key.domain, key.selector, key.algorithm, key.address, key.state, key.state)
    with connection.cursor() as cursor:
        cursor.execute(
            compose(_EXPORTED, **names(settings.database)),
            (*values, f"exported to {path} by dkim.export_key"),
        )


def _write_new(path: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a path"
        raise InvalidValue(
            "path",
            path,
            f"can't be written: {reason}",
            "give a new file in a directory that exists",
        ) from None
    try:
        with open(descriptor, "w", encoding="ascii") as stream:
            os.fchmod(descriptor, 0o600)
            stream.write(text if text.endswith("\n") else f"{text}\n")
            stream.flush()
            os.fsync(descriptor)
    except BaseException as error:
        os.unlink(path)
        if isinstance(error, OSError):
            raise InvalidValue("path", path, f"can't be written: {error.strerror}") from None
        raise
