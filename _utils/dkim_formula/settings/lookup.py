"""``dkim:lookup``: names of packages, services and paths in place of the system's own."""

from collections.abc import Mapping

from ..errors import InvalidValue
from .check import Notes, read_section, shown, text

WHERE = "dkim:lookup"

# What dkim/defaults.yaml has, for functions that are called outside of a run of states: the minion
# may have no way to the master's files then.
DEFAULTS: dict[str, str | list[str]] = {
    "postgresql_package": "postgresql",
    "postgresql_service": "postgresql",
    "opendkim_package": "opendkim",
    "opendkim_backend_package": "libopendbx1-pgsql",
    "opendkim_service": "opendkim",
    "opendkim_user": "opendkim",
    "opendkim_config": "/etc/opendkim.conf",
    "postfix_package": "postfix",
    "postfix_service": "postfix",
    "postfix_user": "postfix",
    "postfix_chroot": "/var/spool/postfix",
    "socket_directory": "opendkim",
    "python_packages": ["dnspython", "psycopg2-binary"],
}
LOOKUP_KEYS = tuple(DEFAULTS)


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


def sound_names(value: object) -> dict[str, object]:
    """Every name of this machine by what an SLS file gives; Debian's where that is wrong."""
    return names(read_lookup(value, Notes()))


def names(site: Mapping[str, object]) -> dict[str, object]:
    """Every name of this machine: Debian's, with the site's own (``Settings.lookup``) over them."""
    return {**DEFAULTS, **site}
