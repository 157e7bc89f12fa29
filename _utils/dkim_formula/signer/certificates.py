"""The TLS files for sessions with a database server on another machine."""

import os
import stat

from ..settings.model import Database, Reader


def problems(database: Database) -> list[str]:
    """Return the problems of these files on this machine. Their content is not checked."""
    if not database.host:
        return []
    found = []
    if database.ca_file is not None and not os.path.isfile(database.ca_file):
        found.append(
            f"dkim:database:sslrootcert: {database.ca_file!r} is missing on this machine, and "
            f"sslmode is {database.sslmode!r}; give the file of the authority that signed the "
            "server's certificate"
        )
    reader = database.reader
    if reader.auth == "cert":
        found += _pair_problems("dkim:database:reader", reader, reader.system_user)
    # Salt's own sessions run as root.
    found += _pair_problems("dkim:database", database, "root")
    return found


def _pair_problems(where: str, given: Database | Reader, user: str) -> list[str]:
    found = [
        f"{where}:{key}: {path!r} is missing on this machine; install it"
        for key, path in (("sslcert", given.sslcert), ("sslkey", given.sslkey))
        if path is not None and not os.path.isfile(path)
    ]
    if given.sslkey is not None and os.path.isfile(given.sslkey):
        found += _key_problems(f"{where}:sslkey", given.sslkey, user)
    return found


def _key_problems(where: str, path: str, user: str) -> list[str]:
    # libpq accepts a key of root's with mode 0640 or less, and any other key with 0600 or less. It
    # checks no owner (fe-secure-openssl.c, initialize_SSL).
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    if user == "root" and status.st_uid != 0:
        wrong = f"belongs to the user {status.st_uid}, who could log in as the formula does"
    elif mode & (0o027 if status.st_uid == 0 else 0o077):
        wrong = f"has mode {mode:04o}, which libpq refuses"
    else:
        return []
    return [f"{where}: {path!r} {wrong}; make it {user}'s own with mode 0400"]
