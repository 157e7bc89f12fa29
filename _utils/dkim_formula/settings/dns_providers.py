"""``dkim:dns:providers``: DNS services that the formula uses through octoDNS."""

import re
from collections.abc import Mapping

from ..errors import InvalidValue
from ..secret import Secret
from .model import ApiProvider
from .validation import Notes, is_not, shown, shown_key, text

WHERE = "dkim:dns:providers"
# Arguments that are no secret: an error may show their values.
PLAIN_ARGUMENTS = (
    "account_id",
    "api_url",
    "backend",
    "base_url",
    "email",
    "endpoint",
    "host",
    "mode_of_operation",
    "port",
    "region",
    "scheme",
    "server_id",
    "timeout",
    "url",
)

_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_ARGUMENT = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# An argument with one of these words in its name must be a string: requests shows a number that it
# refuses as a header's value in its error (measured, requests 2.34).
_SECRET_WORDS = ("key", "token", "secret", "password", "passphrase")


def class_path(value: object, where: str) -> str:
    """Return a class with its module, as in octoDNS's own configuration."""
    path = text(value, where).strip()
    if not _CLASS.fullmatch(path):
        raise InvalidValue(
            where, value, "is not a class", "give one such as octodns_powerdns.PowerDnsProvider"
        )
    return path


def read_providers(value: object, notes: Notes) -> dict[str, ApiProvider]:
    """Return the providers by name. A wrong one is noted and left out."""
    if not isinstance(value, Mapping):
        notes.problem(is_not(value, WHERE, "providers", "give a mapping of names to settings"))
        return {}
    read = {}
    for given, settings in value.items():
        pillar_key = f"{WHERE}:{shown_key(given)}"
        if not isinstance(given, str) or not given.strip():
            notes.problem(f"{pillar_key}: the name of a provider is a string; quote it")
            continue
        provider = _read_provider(given, settings, pillar_key, notes)
        if provider is not None:
            read[given] = provider
    return read


def _read_provider(name: str, value: object, where: str, notes: Notes) -> ApiProvider | None:
    if not isinstance(value, Mapping):
        notes.problem(is_not(value, where, "settings", "give class and octoDNS's own arguments"))
        return None
    given = dict(value)
    path = given.pop("class", None)
    if path is None:
        notes.problem(
            f"{where}:class: is missing; give one such as octodns_powerdns.PowerDnsProvider"
        )
        return None
    checked = notes.attempt(class_path, shown(path), f"{where}:class")
    arguments = {}
    for key, one in given.items():
        pillar_key = f"{where}:{shown_key(key)}"
        if not _is_argument(key):
            notes.problem(f"{pillar_key}: is not the name of an argument; remove it")
        elif one is not None:
            arguments[key] = notes.attempt(_argument, one, pillar_key)
    return None if checked is None else ApiProvider(name, checked, arguments)


def _is_argument(key: object) -> bool:
    # octoDNS passes the provider's name as ``id``.
    return isinstance(key, str) and bool(_ARGUMENT.fullmatch(key)) and key != "id"


def _argument(value: object, where: str) -> object:
    """Return one argument with each string as a :class:`Secret`: any string may be one."""
    if isinstance(value, str):
        return _string(value, where)
    if isinstance(value, Mapping):
        return {str(key): _argument(below, f"{where}:{key}") for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_argument(one, where) for one in value]
    name = where.rpartition(":")[2].lower()
    if isinstance(value, bool) or value is None:
        return value
    if not isinstance(value, (int, float)):
        raise InvalidValue(where, shown(value), "is not a string", "quote it")
    if any(word in name.split("_") for word in _SECRET_WORDS):
        raise InvalidValue(where, Secret(""), "is a number", "quote it")
    return value


def _string(value: str, where: str) -> Secret:
    # The GPG renderer and values from files leave a newline at the end.
    stripped = value.strip()
    if not stripped:
        raise InvalidValue(where, Secret(""), "is empty", "give a value or leave the key out")
    if _CONTROL.search(stripped):
        raise InvalidValue(where, Secret(""), "has a control character", "give one line")
    if stripped.startswith("env/"):
        raise InvalidValue(
            where,
            Secret(""),
            "names an environment variable, which only octoDNS's own command reads",
            "give the value itself",
        )
    return Secret(stripped)
