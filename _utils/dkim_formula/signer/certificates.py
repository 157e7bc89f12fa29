"""The files by which a server elsewhere and its reader verify each other."""

import os
import stat

from ..settings.model import Database


def problems(database: Database) -> list[str]:
    """What is wrong with them on this machine, a sentence each. Their content is not looked at."""
    if not database.host:
        return []
    found = []
    if database.authorities is not None and not os.path.isfile(database.authorities):
        found.append(
            f"dkim:database:sslrootcert: {database.authorities!r} is not on this machine, and "
            f"sslmode is {database.sslmode!r}; give the file of the authority that signed the "
            "server's certificate"
        )
    reader = database.reader
    if reader.auth == "cert":
        for key, path in (("sslcert", reader.sslcert), ("sslkey", reader.sslkey)):
            if path is not None and not os.path.isfile(path):
                found.append(f"dkim:database:reader:{key}: {path!r} is not on this machine")
        if reader.sslkey is not None and os.path.isfile(reader.sslkey):
            found += _key_problems(reader.sslkey, reader.system_user)
    return found


def _key_problems(path: str, user: str) -> list[str]:
    # libpq takes a key of the user's own at 0600 or less, or root's at 0640 or less (PostgreSQL,
    # «Client Certificates»).
    status = os.stat(path)
    loose = stat.S_IMODE(status.st_mode) & (0o027 if status.st_uid == 0 else 0o077)
    if not loose:
        return []
    return [
        f"dkim:database:reader:sslkey: {path!r} has mode {stat.S_IMODE(status.st_mode):04o}, which "
        f"libpq refuses; make it {user}'s own with mode 0400"
    ]
