"""The keys of Modoboa: the key files that the rows of its table ``admin_domain`` name."""

from __future__ import annotations

from .held import Held
from .postfixadmin import Rows

TABLE = "admin_domain"
COLUMNS = ("name", "enable_dkim", "dkim_key_selector", "dkim_private_key_path")
# The folder of the keys in Modoboa's installer (modoboa_installer, opendkim.py).
FOLDER = "/var/lib/dkim"


def read(rows: Rows, folder: str = FOLDER) -> Held:
    """
    Return the keys of Modoboa's domains, whether OpenDKIM or rspamd signs with the files today.

    rows
        The function that reads a table of Modoboa.
    folder
        The folder of the key files. Modoboa writes the paths, so files elsewhere are refused.
    """
    held = Held(rows_name_files=True, folder=folder)
    lines = []
    for name, enabled, selector, given in rows(TABLE, COLUMNS):
        location = f"table {TABLE}, {name}"
        path = (given or "").strip()
        if enabled != "true":
            if path:
                held.add(str(name), name, selector, path, location)
        elif not path:
            held.refuse(f"{name} ({location})", "Modoboa has made no key for the domain yet")
        elif held.add(str(name), name, selector, path, location):
            lines.append((str(name), str(name), location))
    held.sign(*lines)
    return held
