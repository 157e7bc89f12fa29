"""psycopg2, which a minion has from the formula's first run on."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import DatabaseUnavailable


def driver() -> ModuleType:
    """
    Return psycopg2 with its ``errors``, ``sql`` and ``extensions``, imported when first needed: a
    minion has none before the formula's first run. Raises DatabaseUnavailable (``no_driver``).
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
