"""libpq's password file for a reader that logs in by password."""

import os
import pwd
import stat

from ..errors import MISSING, InvalidValue
from ..files import replace_file
from ..settings.arguments import absolute_path
from ..settings.arguments import text as plain_text
from ..settings.model import Database

PATH = "/etc/opendkim-pgpass"
MODE = 0o400


def text(database: Database) -> str:
    """
    Return the only line of the file.

    The line matches any host: OpenDKIM connects to one server, and libpq calls the local socket
    ``localhost``. Source: PostgreSQL, «The Password File».
    """
    if database.reader.password is None:
        raise InvalidValue(
            "dkim:database:reader:password", MISSING, "is not set", "give the reader a password"
        )
    fields = (database.name, database.reader.name, database.reader.password.reveal())
    return ":".join(["*", "*", *(_escaped(field) for field in fields)]) + "\n"


def changes(database: Database, path: str, user: str) -> dict[str, object]:
    """
    Return ``{"changes": {name: {"old", "new"}}, "notes": []}``, without the content of the file.

    Raises InvalidValue for an invalid path or user, and for a missing password.
    """
    plain_text(user, "user")
    desired = text(database).encode()
    found: dict[str, object] = {}
    try:
        status = os.stat(absolute_path(path, "path"))
        with open(path, "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        return {"changes": {path: {"old": None, "new": "the reader's password"}}, "notes": []}
    except OSError as error:
        raise InvalidValue("path", path, f"can't be read: {error.strerror}") from None
    if content != desired:
        found[path] = {"old": "another content", "new": "the reader's password"}
    if stat.S_IMODE(status.st_mode) != MODE:
        found["mode"] = {"old": f"{stat.S_IMODE(status.st_mode):04o}", "new": f"{MODE:04o}"}
    if _name(status.st_uid) != user:
        found["user"] = {"old": _name(status.st_uid), "new": user}
    return {"changes": found, "notes": []}


def write(database: Database, path: str, user: str) -> None:
    """
    Write the file in one step. No other user can ever read the file.

    Raises InvalidValue for a missing password, user or directory.
    """
    content = text(database)
    try:
        owner = pwd.getpwnam(user)
    except KeyError:
        raise InvalidValue(
            "user", user, "is no account of this machine", "give the one that OpenDKIM runs as"
        ) from None
    try:
        replace_file(path, content, MODE, (owner.pw_uid, owner.pw_gid))
    except OSError as error:
        raise InvalidValue("path", path, f"can't be written: {error.strerror}") from None


def _escaped(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
