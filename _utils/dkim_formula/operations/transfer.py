"""Keys from elsewhere into the database, and one out of it: moving here, and away again."""

import logging
import os
from collections.abc import Mapping

from ..database import keystore
from ..database.connection import compose, session
from ..database.keystore import Key, Wanted
from ..database.objects import names
from ..errors import DatabaseUnavailable, InvalidValue, StepRefused
from ..importing import data_set, material
from ..importing.key_table import read_key_table
from ..importing.signing_table import SigningTable
from ..names import mail_domain, served_selector, stored_domain, stored_selector
from ..settings.model import Settings
from . import keys
from .setup import NOT_THERE_YET, nothing_there_yet
from .table_import import TableImport, selector_taken

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
    algorithm; else it is ``pending``. A row that no key could be read from gets the key: such a
    row of the selector may have the file's path. No run reads a file that a row names: whoever
    may write rows could have root copy any key of the machine to where he reads it.

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
    keys.key_holder(settings, name)
    where = f"path {path}"
    private = material.private_key(material.read_file(path, "path"), where)
    material.check_strength(private, allow_weak, where)
    with session(settings.database) as connection:
        keys.refuse_unknown(connection, settings, name)
        keystore.complete(connection, settings.database)
        there = keystore.list_keys(connection, settings.database, name)
        same = next((key for key in there if key.selector == chosen), None)
        is_unread = same is not None and same.public is None and same.state == "pending"
        if is_unread:
            keystore.put_into(connection, settings.database, same, private, IMPORTED)
        elif same is not None and same.public != private.public_base64():
            raise StepRefused(selector_taken(same))
        elif same is None:
            wanted = Wanted(name, chosen, private.algorithm, private.bits)
            # The table's own trigger settles the state: no other run can come in between.
            stored = keystore.store(
                connection, settings.database, [(wanted, private)], IMPORTED, state=None
            )
            if not stored:
                raise StepRefused(
                    f"a key has come in under selector {chosen!r} of {name} meanwhile; try again"
                )
    found = (key for key in keys.list_keys(settings, name) if key["selector"] == chosen)
    return {**next(found), "existed": same is not None and not is_unread}


def import_tables(
    settings: Settings,
    key_table: object,
    signing_table: object = None,
    allow_weak: bool = False,
    test: bool = False,
) -> dict[str, object]:
    """
    Takes the keys of a file-based OpenDKIM, in one transaction.

    A key that OpenDKIM signs with today signs from then on; one that the SigningTable does not
    lead to, or that comes after another of the same domain and algorithm, is kept as ``retired``:
    its record stays, and no rotation takes it for a new one. Where the database has an active key
    already, an imported one is ``pending``.

    key_table, signing_table
        As in opendkim.conf(5): ``refile:/etc/opendkim/SigningTable``, ``csl:…``, ``/path``.
        Without a SigningTable each key signs for its own domain.
    allow_weak
        Take RSA of 1024 to 2047 bits too.
    test
        Only tell: the return is that of a run, and nothing is changed.

    Returns ``{"imported": [{domain, selector, algorithm, bits, state, address}], "present":
    [text], "refused": [{"entry", "reason"}], "patterns": {pattern: domain that signs}, "pillar":
    {domain: settings}, "changes": …, "notes": [text]}``. ``present`` are keys that the database has
    already; ``pillar`` is what ``dkim:domains`` lacks for the same mail to be signed: patterns come
    from the pillar alone.

    Raises InvalidValue where a table can't be read at all.
    """
    entries, refused = read_key_table(data_set.read(key_table, "key_table"))
    signing = None
    if signing_table is not None:
        signing = SigningTable(data_set.read(signing_table, "signing_table"))
    course = TableImport(settings, allow_weak, refused)
    try:
        with session(settings.database) as connection:
            if not test:
                keystore.complete(connection, settings.database)
            course.look(connection)
            course.decide(entries, signing)
            if not test:
                course.store(connection)
    except DatabaseUnavailable as error:
        if not (test and nothing_there_yet(error, settings.database)):
            raise
        course.notes.append(NOT_THERE_YET)
        course.decide(entries, signing)
    return course.report()


def summary(found: Mapping[str, object]) -> dict[str, object]:
    """What a state tells of :func:`import_tables`' return: ``{"changes": …, "notes": [text]}``."""
    refused = [f"Refused: {entry['entry']}: {entry['reason']}" for entry in found["refused"]]
    if len(refused) > keys.LISTED:
        more = f"Refused: {len(refused) - keys.LISTED} more; dkim.import_tables lists them"
        refused = [*refused[: keys.LISTED], more]
    notes = [*refused, *found["notes"][: keys.LISTED]]
    if found["pillar"]:
        domains = list(found["pillar"])
        shown = ", ".join(domains[: keys.LISTED]) + (", …" if len(domains) > keys.LISTED else "")
        notes.append(
            f"dkim:domains lacks settings of these tables for {shown}; dkim.import_tables with "
            "test=True gives them as pillar"
        )
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
            key = keystore.find(connection, settings.database, name, chosen)
            pem = _private_text(connection, settings, key)
            _note_export(connection, settings, key, path)
            _write_new(path, pem)
            written = True
    except BaseException:
        if written:
            os.unlink(path)
        raise
    log.warning("the private key %s._domainkey.%s was exported to %s", chosen, name, path)
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
            f"{key.selector}._domainkey.{key.domain} is revoked: its private key is erased"
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
