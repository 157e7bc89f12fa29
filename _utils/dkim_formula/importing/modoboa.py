"""The keys of Modoboa: files that the rows of its table ``admin_domain`` name."""

from __future__ import annotations

from .held import Held
from .postfixadmin import Rows

TABLE = "admin_domain"
COLUMNS = ("name", "enable_dkim", "dkim_key_selector", "dkim_private_key_path")
# Where its installer has the keys (modoboa_installer, opendkim.py).
FOLDER = "/var/lib/dkim"


def read(rows: Rows, folder: str = FOLDER) -> Held:
    """
    Return what its domains hold, whether OpenDKIM or rspamd signs with the files today.

    folder
        Modoboa writes the paths, so that a file elsewhere is not read.
    """
    held = Held(rows_name_files=True, folder=folder)
    lines = []
    for name, enabled, selector, given in rows(TABLE, COLUMNS):
        place = f"table {TABLE}, {name}"
        path = (given or "").strip()
        if enabled != "true":
            if path:
                held.add(str(name), name, selector, path, place)
        elif not path:
            held.refuse(
                f"{name} ({place})",
                "Modoboa has made no key for the domain yet; nothing is to be taken",
            )
        elif held.add(str(name), name, selector, path, place):
            lines.append((str(name), str(name), place))
    held.sign(*lines)
    return held
