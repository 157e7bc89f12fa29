"""The known word that was probably meant by a mistyped one («did you mean …?»)."""

import difflib
from functools import lru_cache


def nearest(given: object, known: tuple[str, ...]) -> str | None:
    """Return the known word that was probably meant; None if none is near or none was given."""
    return _nearest(given.strip().lower()[:80], known) if isinstance(given, str) else None


# A long pillar often repeats the same mistake in every domain.
@lru_cache(maxsize=4096)
def _nearest(given: str, known: tuple[str, ...]) -> str | None:
    return next(iter(difflib.get_close_matches(given, known, 1)), None)
