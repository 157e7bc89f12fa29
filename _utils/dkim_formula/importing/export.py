"""The export of one private key to a new file."""

import logging
import os

from ..errors import InvalidValue, StepRefused
from ..files import reason_of
from ..key_text import read_stored
from ..keys import table as keys_table
from ..keys.model import Key
from ..names import row_spellings, stored_selector
from ..postgres.connection import session
from ..postgres.objects import names
from ..postgres.sql import compose
from ..private_key import PrivateKey
from ..record_names import key_name
from ..settings.model import Settings

log = logging.getLogger(__name__)

# A row of the history in the form that the table's own trigger writes.
_EXPORTED = """
INSERT INTO {history}
       (dkim_id, domain, selector, algorithm, address, who, from_state, to_state, why)
VALUES (%s, %s, %s, %s, %s,
        concat_ws(' by ', session_user, nullif(current_setting('application_name'), '')),
        %s, %s, %s)
"""


def export_key(
    settings: Settings, domain: object, selector: object, path: object
) -> dict[str, object]:
    """
    Write one private key as PEM to a new file that only root can read (mode 0600).

    The export is noted in the history and in the log.

    path
        The absolute path of a new file in an existing directory. An existing file is left as it is.

    Returns ``{"path", "domain", "selector", "algorithm", "public_key"}``.

    Raises KeyNotFound; StepRefused for a revoked key (its private half is erased), and for a row
    without a readable key; InvalidValue for a path that can't be written.
    """
    spellings, chosen = row_spellings(domain), stored_selector(selector)
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidValue("path", path, "is not an absolute path", "give the complete path")
    written = False
    try:
        with session(settings.database) as connection:
            name = keys_table.row_domain(connection, settings.database, spellings)
            key = keys_table.find(connection, settings.database, name, chosen)
            if key.path:
                raise StepRefused(
                    f"{key_name(key.selector, key.domain)}: the row has the path of a file, which"
                    " OpenDKIM reads the key from; copy that file"
                )
            pem, private = _private_key(connection, settings, key)
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
        "algorithm": private.algorithm,
        "public_key": private.public_base64(),
    }


def _private_key(connection, settings: Settings, key: Key) -> tuple[str, PrivateKey]:
    """
    Return a row's key as PEM and as a key.

    A row of another program may hold another form of a key, and no public half yet.
    """
    name = key_name(key.selector, key.domain)
    if key.state == "revoked":
        raise StepRefused(f"{name} is revoked: its private key is erased")
    with connection.cursor() as cursor:
        cursor.execute(
            compose("SELECT key FROM {dkim} WHERE id = %s", **names(settings.database)), (key.id,)
        )
        text = cursor.fetchone()[0]
    found = read_stored(text)
    if found.private is None:
        raise StepRefused(f"{name}: the key {found.problem}; {found.remedy}")
    return text if found.is_plain else found.private.pem(), found.private


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
        reason = reason_of(error)
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
