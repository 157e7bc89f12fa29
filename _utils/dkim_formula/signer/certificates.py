"""The files by which a server elsewhere and who logs in to it verify each other."""

import os
import stat

from ..settings.model import Database, Reader


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
        found += _pair_problems("dkim:database:reader", reader, reader.system_user)
    # Salt's own sessions are root's.
    found += _pair_problems("dkim:database", database, "root")
    return found


def _pair_problems(where: str, given: Database | Reader, user: str) -> list[str]:
    found = [
        f"{where}:{key}: {path!r} is not on this machine"
        for key, path in (("sslcert", given.sslcert), ("sslkey", given.sslkey))
        if path is not None and not os.path.isfile(path)
    ]
    if given.sslkey is not None and os.path.isfile(given.sslkey):
        found += _key_problems(f"{where}:sslkey", given.sslkey, user)
    return found


def _key_problems(where: str, path: str, user: str) -> list[str]:
    # libpq takes a key of the user's own at 0600 or less, or root's at 0640 or less (PostgreSQL,
    # «Client Certificates»).
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    if user == "root" and status.st_uid != 0:
        wrong = f"is not root's (its owner is the user {status.st_uid})"
    elif mode & (0o027 if status.st_uid == 0 else 0o077):
        wrong = f"has mode {mode:04o}"
    else:
        return []
    return [f"{where}: {path!r} {wrong}, which libpq refuses; make it {user}'s own with mode 0400"]
