"""
Insertion of many keys by one INSERT statement, over the same statement without triggers.

Method: rounds with and without triggers alternate, each into an emptied table. The triggers check
the keys and write the table of look-ups and the history. One figure has statistics of an empty
table, the other the statistics after a rolled back INSERT. PostgreSQL then takes the table for a
small one, and a trigger with a plan for small tables reads the complete table for each row.
"""

import time
from collections.abc import Iterator
from functools import partial

from dkim_formula.private_key import PrivateKey

from . import site
from .table import Figure, rounds

TABLES = ("dkim", "dkim_signing", "dkim_pattern", "dkim_history")
STATISTICS = {
    "analysed while empty": "SELECT 1;",
    "analysed after a rolled back INSERT": "BEGIN; {insert} ROLLBACK;",
}


def run(short: bool) -> Iterator[Figure]:
    """Yield the figures as they are measured."""
    many, count = (1_000, 1) if short else (100_000, 3)
    site.fill(many)
    for statistics, before in STATISTICS.items():
        with_triggers, without = (partial(_seconds, many, before, on) for on in (True, False))
        yield rounds(
            f"INSERT of {many:,} keys, {statistics}, over no triggers",
            with_triggers,
            without,
            ("<=", 3.0),
            count,
            " s",
        )


def _seconds(many: int, before: str, triggers: bool) -> float:
    key = PrivateKey.generate("rsa", 2048)
    insert = f"""
        INSERT INTO dkim (domain, selector, key, algorithm, bits, public_key, state)
        SELECT 'd' || n || '.example', 'default', $pem${key.pem()}$pem$, 'rsa', 2048,
               '{key.public_base64()}', 'active'
          FROM generate_series(1, {many}) n;
    """
    switch = "ENABLE" if triggers else "DISABLE"
    site.sql(
        f"TRUNCATE {', '.join(TABLES)} CASCADE; ALTER TABLE dkim {switch} TRIGGER USER;"
        f"{before.format(insert=insert)} ANALYZE {', '.join(TABLES)};"
    )
    try:
        begin = time.monotonic()
        site.sql(insert)
        took = time.monotonic() - begin
        signing = int(site.sql("SELECT count(*) FROM dkim_signing;"))
        if signing != (many if triggers else 0):
            raise RuntimeError(f"{signing} of {many} keys sign")
        return took
    finally:
        site.sql("ALTER TABLE dkim ENABLE TRIGGER USER;")
