"""What an option of an opendkim.conf(5) made by hand means, and the settings that keep it."""

from collections.abc import Mapping

from ..errors import InvalidValue
from ..settings import signed_headers
from ..settings.model import OpenDKIM, Settings
from ..settings.opendkim import SETTINGS, option_check, problems_together
from ..settings.opendkim_options import OPTIONS
from ..settings.opendkim_values import DATA_SET_TYPES, Value, joined, members, number
from ..text import as_yaml_string

# opendkim.conf(5), DESCRIPTION: the daemon reads the first octet.
_BOOLEANS = {**dict.fromkeys("TtYy1", True), **dict.fromkeys("FfNn0", False)}
# The daemon's defaults for booleans: opendkim.conf(5). Others are false.
_TRUE = ("RequireSafeKeys",)


def pillar_value(name: str, text: str) -> Value:
    """Return the value of dkim:opendkim:settings for an option's text in an opendkim.conf(5)."""
    kind = OPTIONS[name]
    if kind == "boolean":
        return _BOOLEANS.get(text[:1], text)
    other = text.partition(":")[0].lower() in DATA_SET_TYPES and ":" in text
    if kind != "dataset" or other or text.startswith("/") or text.endswith(".db"):
        return text
    return [member.strip() for member in text.split(",")]


def meaning(name: str, text: str | None) -> object:
    """
    Return what the daemon reads from an option's text, so that equal meanings are equal.

    text
        None if the file lacks the option. The result is then the daemon's default if that is
        known, else None.
    """
    kind = OPTIONS.get(name)
    if text is None:
        return name in _TRUE if kind == "boolean" else None
    if kind is None:
        return text
    try:
        return _meant(name, kind, option_check(name)(pillar_value(name, text), name))
    except InvalidValue:
        return text


def _meant(name: str, kind: str, value: Value) -> object:
    if kind == "integer":
        return number(value)
    if kind == "dataset":
        listed = members(value)
        return value if listed is None else tuple(listed)
    if name == "Mode":
        return frozenset(joined(value))
    return value.lower() if name == "Canonicalization" else value


def keeping(name: str, texts: Mapping[str, str], settings: Settings) -> dict[str, Value]:
    """
    Return the settings of dkim:opendkim:settings that keep an option of a file, each by its name.

    The options that select headers are kept together, because each depends on the others.

    texts
        The value of each option in the file.

    Raises InvalidValue if the pillar's check refuses the value.
    """
    kept = {name: pillar_value(name, texts[name])}
    option_check(name)(kept[name], f"{SETTINGS}:{name}")
    if name in signed_headers.TOGETHER:
        kept = _with_other_headers(kept, texts, settings.opendkim.settings)
    domains = [*settings.domains.values()]
    if settings.every_hosted is not None:
        domains.append(settings.every_hosted)
    together = {**settings.opendkim.settings, **_checked(kept)}
    found = problems_together(OpenDKIM(together, settings.opendkim.sandbox), domains)
    for one in kept:
        if one in found:
            problem = found[one].removeprefix(f"{SETTINGS}:{one}: ")
            raise InvalidValue(f"{SETTINGS}:{one}", kept[one], f"is refused: {problem}")
    return kept


def _with_other_headers(
    kept: dict[str, Value], texts: Mapping[str, str], given: Mapping[str, Value]
) -> dict[str, Value]:
    """Add the file's other valid options that select headers, and the headers to oversign."""
    found = dict(kept)
    for name in signed_headers.TOGETHER:
        if name in texts and name not in given and name not in kept:
            found |= _valid(name, pillar_value(name, texts[name]))
    if "OversignHeaders" in (*kept, *given):
        return found
    together = {**given, **_checked(found)}
    if "OversignHeaders" in signed_headers.problems(together, SETTINGS):
        del found["OversignHeaders"]
    found.setdefault("OversignHeaders", signed_headers.oversigned(together))
    return found


def _valid(name: str, value: Value) -> dict[str, Value]:
    try:
        option_check(name)(value, name)
    except InvalidValue:
        return {}
    return {name: value}


def _checked(options: Mapping[str, Value]) -> dict[str, Value]:
    return {name: option_check(name)(value, name) for name, value in options.items()}


def as_pillar(value: Value) -> str:
    """Return a value as a person types it in the pillar."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(as_yaml_string(str(one)) for one in value)}]"
    return as_yaml_string(str(value))
