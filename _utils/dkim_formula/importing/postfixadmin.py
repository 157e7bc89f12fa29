"""The keys of PostfixAdmin 4: its tables ``dkim`` and ``dkim_signing``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..key_file import is_path
from .held import Held

KEYS = ("id", "domain_name", "selector", "private_key")
SIGNING = ("id", "author", "dkim_id")

# Rows of a table, by its name and its columns.
Rows = Callable[[str, Sequence[str]], Sequence[Sequence[str | None]]]


def read(rows: Rows) -> Held:
    """
    Return what its two tables hold.

    A row of ``dkim_signing`` names a domain or a mailbox and the key that signs for it. Its guide
    has OpenDKIM read the tables by ``dsn:``: the author's address is looked up first, then the
    domain, and a key that no row names signs nothing.
    """
    held = Held(rows_name_files=True)
    found: list[str] = []
    for number, domain, selector, text in rows("dkim", KEYS):
        place = f"table dkim, id {number}"
        found.append(str(number))
        material = (text or "").strip()
        if not material:
            held.refuse(
                f"{number} ({place})",
                f"{selector} of {domain} has no private key; make one with dkim.generate",
            )
        elif is_path(material):
            held.refuse(
                f"{number} ({place})",
                f"{selector} of {domain} is the path of a file; take it with dkim.import_key",
            )
        else:
            held.add(str(number), domain, selector, material, place)
    lines = [
        ((author or "").strip().lower(), str(key), f"table dkim_signing, id {number}")
        for number, author, key in rows("dkim_signing", SIGNING)
        # What is wrong with a key that is there was told above.
        if str(key) in held.entries or str(key) not in found
    ]
    held.sign(*lines)
    return held
