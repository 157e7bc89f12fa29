"""The keys of PostfixAdmin 4: its tables ``dkim`` and ``dkim_signing``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..key_file import is_path
from .held import Held

KEYS = ("id", "domain_name", "selector", "private_key")
SIGNING = ("id", "author", "dkim_id")

# A function that returns the rows of a table, given its name and columns.
Rows = Callable[[str, Sequence[str]], Sequence[Sequence[str | None]]]


def read(rows: Rows) -> Held:
    """
    Return the keys and signing lines of PostfixAdmin's two tables.

    A row of ``dkim_signing`` names a domain or a mailbox, and the key that signs its mail. In
    PostfixAdmin's guide OpenDKIM reads the tables by ``dsn:``. OpenDKIM looks up the author's
    address first, then the domain. A key that no row names signs nothing.
    """
    held = Held(rows_name_files=True)
    found: list[str] = []
    for number, domain, selector, text in rows("dkim", KEYS):
        location = f"table dkim, id {number}"
        found.append(str(number))
        key_or_path = (text or "").strip()
        if not key_or_path:
            held.refuse(
                f"{number} ({location})",
                f"{selector} of {domain} has no private key; make one with dkim.generate",
            )
        elif is_path(key_or_path):
            held.refuse(
                f"{number} ({location})",
                f"{selector} of {domain} is the path of a file; use dkim.import_key",
                domain,
            )
        else:
            held.add(str(number), domain, selector, key_or_path, location)
    lines = [
        ((author or "").strip().lower(), str(key), f"table dkim_signing, id {number}")
        for number, author, key in rows("dkim_signing", SIGNING)
        # A key that exists but can't be imported is refused above.
        if str(key) in held.entries or str(key) not in found
    ]
    held.sign(*lines)
    return held
