"""The import of psycopg2, which the formula's first run installs on a minion."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import DatabaseUnavailable


def driver() -> ModuleType:
    """
    Return psycopg2 with its ``errors``, ``sql`` and ``extensions``.

    Imported when first needed, because a minion lacks psycopg2 before the formula's first run.
    Raises DatabaseUnavailable (``no_driver``).
    """
    try:
        importlib.import_module("psycopg2.errors")
        importlib.import_module("psycopg2.sql")
        importlib.import_module("psycopg2.extensions")
        return importlib.import_module("psycopg2")
    except ImportError:
        raise DatabaseUnavailable(
            "no_driver",
            "the Python package psycopg2 is not installed in the Python that runs Salt; "
            "the formula's state.apply dkim installs it, as does: salt-pip install psycopg2-binary",
        ) from None
