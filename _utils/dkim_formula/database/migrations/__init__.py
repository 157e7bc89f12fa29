"""
The schema's steps, in order. A step that has been released is never changed: a new one follows.

Each module has ``NUMBER``, ``TITLE`` and ``run(cursor, database, snapshot)``, which is called
once in a database's life, inside the migration's transaction.
"""

from . import (
    m0001_domains,
    m0002_keys,
    m0003_patterns,
    m0004_history,
    m0005_published,
    m0006_signing,
    m0007_rotation,
)

MIGRATIONS = (
    m0001_domains,
    m0002_keys,
    m0003_patterns,
    m0004_history,
    m0005_published,
    m0006_signing,
    m0007_rotation,
)
