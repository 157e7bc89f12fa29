"""The file with the values that main.cf had before the formula's milters were added."""

import contextlib
import json
from collections.abc import Mapping

from ..errors import PostfixError
from ..files import replace_file
from .main_cf_milters import CLASSES

# Next to main.cf, so a backup has both.
PATH = "/etc/postfix/dkim-formula.json"


def read() -> dict[str, str | None]:
    """Return the values of main.cf before the milters were added; empty if they are unknown."""
    with contextlib.suppress(ValueError):
        given = json.loads(read_text() or "{}")
        if isinstance(given, dict):
            saved = {name: value for name, value in given.items() if name == CLASSES}
            return {name: value for name, value in saved.items() if isinstance(value, str | None)}
    return {}


def text(values: Mapping[str, str | None]) -> str:
    """Return the file's text with these values."""
    return json.dumps(dict(values))


def read_text() -> str | None:
    """Return the present text of the file, or None if the file is missing."""
    try:
        with open(PATH, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def save(text: str) -> None:
    """Save values of main.cf until the formula's milters are removed."""
    try:
        replace_file(PATH, text, 0o644)
    except OSError as error:
        raise PostfixError(
            f"{PATH}: the present values of main.cf can't be saved: {error.strerror}; make "
            "room there, and run again"
        ) from None
