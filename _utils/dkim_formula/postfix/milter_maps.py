"""The tables of ``smtpd_milter_maps``, which give clients other milters or none."""

from collections.abc import Iterator

from . import expansion, milter_entry
from .milter_addresses import ManagedMilters
from .service_milters import MAPS, Configuration

# Tables with a text file: cidr_table(5), regexp_table(5), pcre_table(5), postmap(1).
_TEXT_TABLES = ("cidr", "regexp", "pcre", "texthash", "hash", "btree", "lmdb", "cdb", "dbm")
_LARGEST_TABLE = 1_000_000  # octets


def effects(found: Configuration, managed: ManagedMilters) -> Iterator[str]:
    """Yield a clause about the effect of each setting of ``smtpd_milter_maps``."""
    names = [name for name in found.own if name.rpartition("/")[2] == MAPS]
    for where, value in [(MAPS, found.main.get(MAPS, ""))] + [(n, found.own[n]) for n in names]:
        tables = milter_entry.entries(expansion.expand(value, found.main))
        if not tables:
            continue
        lines = [line for table in tables for line in _bypassing_lines(table, managed)]
        text = f"{where} = {value}: a client that it matches has only the milters of the table"
        if lines:
            text += f"; without OpenDKIM: {', '.join(lines[:5])}"
            text += f" and {len(lines) - 5} more" if len(lines) > 5 else ""
        yield text


def _bypassing_lines(table: str, managed: ManagedMilters) -> Iterator[str]:
    """Yield the lines of a text table that omit a managed milter."""
    kind, colon, path = table.partition(":")
    if not colon or kind not in _TEXT_TABLES or not path.startswith("/"):
        return
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = stream.read(_LARGEST_TABLE).splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split(None, 1)
        if len(words) < 2 or words[0].startswith("#"):
            continue
        if set(managed.among(milter_entry.entries(words[1]))) != set(managed.milters):
            yield " ".join(line.split())[:80]
