"""``dkim:lookup``: names of packages, services and paths instead of the system's defaults."""

import re
from collections.abc import Mapping

from ..errors import InvalidValue
from .validation import Check, Notes, absolute_path, read_section, shown, text

WHERE = "dkim:lookup"

# The values of dkim/defaults.yaml, for functions that are called outside a state run. Without the
# run a minion may have no access to the master's files.
DEFAULTS: dict[str, str | list[str] | None] = {
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
    "python_wheels": None,
}

# Debian policy 5.6.1, and apt-get(8)'s architecture after a colon. Upper case and _ are for other
# families of systems.
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*(:[a-z0-9]+)?")
# systemd.unit(5), DESCRIPTION, without the backslash, which escapes other characters.
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,240}")
# useradd(8), CAVEATS: Debian allows more, but units and pg_ident.conf would have to quote it.
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
# Units, opendkim.conf and main.cf get a path verbatim: no character that has a meaning in them.
_PATH = re.compile(r"[A-Za-z0-9/._+@~-]+")
# unix(7): sun_path has 108 octets, and the last one is 0.
_LONGEST_SOCKET = 107
_SOCKET = "opendkim-ed25519.sock"
_PARTS_OF_SOCKET = ("postfix_chroot", "socket_directory")


def package(value: object, where: str) -> str:
    """Check the name of a package."""
    return _matches(_PACKAGE, value, where, "is not a package's name", "use one such as opendkim")


def service(value: object, where: str) -> str:
    """Check the name of a service, without ``.service``."""
    expected = "use the unit's name without .service, such as opendkim"
    name = _matches(_UNIT, value, where, "is not a unit's name", expected)
    if name.endswith(".service"):
        raise InvalidValue(where, name, "ends with .service", expected)
    return name


def user(value: object, where: str) -> str:
    """Check the name of a system user."""
    return _matches(_USER, value, where, "is not a system user's name", "use one such as opendkim")


def file(value: object, where: str) -> str:
    """Check an absolute path of a file."""
    path = _path(absolute_path(value, where), where)
    if path.endswith("/"):
        raise InvalidValue(where, path, "is a directory", "use a file's path")
    return path


def directory(value: object, where: str) -> str:
    """Check an absolute path of a directory below the root."""
    path = _path(absolute_path(value, where), where).rstrip("/")
    if not path:
        raise InvalidValue(where, "/", "is the root", "use a directory below it")
    return path


def inside(value: object, where: str) -> str:
    """Check a path below another directory."""
    path = text(value, where)
    if path.startswith("/"):
        raise InvalidValue(
            where,
            path,
            "is an absolute path",
            "use one relative to postfix_chroot, such as opendkim",
        )
    return _path(path, where).rstrip("/")


def requirements(value: object, where: str) -> list[str]:
    """Check one requirement of pip(1), or a list of them."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise InvalidValue(where, shown(value), "is empty", "give a list of packages")
    for one in given:
        if text(one, where).startswith("-"):
            raise InvalidValue(where, one, "is an option of pip", "give a package's name")
    return list(given)


def _matches(pattern: re.Pattern, value: object, where: str, wrong: str, expected: str) -> str:
    given = text(value, where)
    if not pattern.fullmatch(given):
        raise InvalidValue(where, given, wrong, expected)
    return given


def _path(path: str, where: str) -> str:
    if not _PATH.fullmatch(path):
        raise InvalidValue(
            where,
            path,
            "has a character that a unit or a configuration file gives a meaning to",
            "use letters, digits and . _ + @ ~ -",
        )
    if {"..", "."} & set(path.split("/")):
        raise InvalidValue(where, path, "has a step . or ..", "write the path without it")
    return path


_CHECKS: dict[str, Check] = {
    "postgresql_package": package,
    "postgresql_service": service,
    "opendkim_package": package,
    "opendkim_backend_package": package,
    "opendkim_service": service,
    "opendkim_user": user,
    "opendkim_config": file,
    "postfix_package": package,
    "postfix_service": service,
    "postfix_user": user,
    "postfix_chroot": directory,
    "socket_directory": inside,
    "python_packages": requirements,
    "python_wheels": directory,
}


def read_lookup(value: object, notes: Notes) -> dict[str, str | list[str]]:
    """Return the valid names of the pillar. A wrong one is noted and left out."""
    read = read_section(value, WHERE, _CHECKS, notes)
    effective = names(read)
    longest = f"{effective['postfix_chroot']}/{effective['socket_directory']}/{_SOCKET}"
    if len(longest) > _LONGEST_SOCKET:
        notes.problem(
            f"{WHERE}: {longest}: a socket's path has {_LONGEST_SOCKET} octets at most (unix(7)); "
            "use a shorter postfix_chroot or socket_directory"
        )
        read = {key: value for key, value in read.items() if key not in _PARTS_OF_SOCKET}
    return read


def valid_names(value: object) -> dict[str, object]:
    """Return every name for this machine from an SLS file's value; Debian's for a wrong one."""
    return names(read_lookup(value, Notes()))


def names(given: Mapping[str, object]) -> dict[str, object]:
    """Return every name for this machine: Debian's, with ``Settings.lookup`` over them."""
    return {**DEFAULTS, **given}
