"""``dkim:lookup``: names of packages, services and paths in place of the system's own."""

from ..errors import InvalidValue
from .check import Notes, read_section, shown, text

WHERE = "dkim:lookup"

LOOKUP_KEYS = (
    "postgresql_package",
    "postgresql_service",
    "opendkim_package",
    "opendkim_backend_package",
    "opendkim_service",
    "opendkim_user",
    "opendkim_config",
    "postfix_package",
    "postfix_service",
    "postfix_user",
    "postfix_chroot",
    "socket_directory",
    "python_packages",
)


def name_or_names(value: object, where: str) -> str | list[str]:
    """A string without control characters, or a list of them."""
    if isinstance(value, (list, tuple)):
        return [text(name, where) for name in value]
    if not isinstance(value, str):
        raise InvalidValue(where, shown(value), "is not a name", "give a string or a list of them")
    return text(value, where)


def read_lookup(value: object, notes: Notes) -> dict[str, str | list[str]]:
    """The names that are given; whatever is wrong is noted and left out."""
    return read_section(value, WHERE, dict.fromkeys(LOOKUP_KEYS, name_or_names), notes)
