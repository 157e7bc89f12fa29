"""``dkim:opendkim``: options of opendkim.conf(5), and the sandbox of the unit."""

import difflib
import re
from collections.abc import Mapping

from ..errors import InvalidValue
from ..secret import Secret
from ..signer.options import OPTIONS, OWNED, spelling
from .check import Notes, boolean, kind_of, read_section, section, shown, shown_key
from .model import OpenDKIM

WHERE = "dkim:opendkim"

# A line's end would begin another option; "#" begins a comment anywhere on a line (measured).
_NOT_IN_A_LINE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f#]")
# The daemon reads integers as strtoul(3) with base 0: 022 is octal there.
_INTEGER = re.compile(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10}")

Value = str | bool | int | list


def read_opendkim(value: object, notes: Notes) -> OpenDKIM:
    """What is given and right, the options in the manual's spelling."""
    read = read_section(value, WHERE, {"settings": section, "sandbox": boolean}, notes)
    options = _read_options(read.get("settings"), notes)
    sandbox = read.get("sandbox", True)
    if sandbox and options.get("SendReports") and "MTACommand" not in options:
        notes.problem(
            f"{WHERE}:settings:SendReports: sendmail(1) queues by its group's rights, which the "
            f"sandbox denies; give an MTACommand that speaks SMTP, or {WHERE}:sandbox: false"
        )
    return OpenDKIM(settings=options, sandbox=sandbox)


def _read_options(value: object, notes: Notes) -> dict[str, Value]:
    where = f"{WHERE}:settings"
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        notes.problem(
            f"{where}: {kind_of(value)} is not options; give a mapping of names to values"
        )
        return {}
    options: dict[str, Value] = {}
    for given, setting in value.items():
        place = f"{where}:{shown_key(given)}"
        name = spelling(given) if isinstance(given, str) else None
        if name is None:
            notes.problem(f"{place}: {_unknown(given)}")
        elif name in OWNED:
            notes.problem(f"{place}: is the formula's own option: {OWNED[name]}")
        elif name in options:
            notes.problem(f"{place}: is given twice, in two spellings; give it once")
        elif setting is not None:
            checked = notes.attempt(_CHECKS[OPTIONS[name]], setting, place)
            if checked is not None:
                options[name] = checked
    return options


def _unknown(given: object) -> str:
    lower = {name.lower(): name for name in OPTIONS}
    nearest = difflib.get_close_matches(str(given).lower()[:80], lower, 1)
    if nearest:
        return f"opendkim.conf(5) has no such option; did you mean {lower[nearest[0]]!r}?"
    return "opendkim.conf(5) has no such option, or Debian's build does not take it"


def _integer(value: object, where: str) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return value
    raise InvalidValue(where, _safe(value), "is not a number", "this option is a number from 0 on")


def _line(value: object, where: str) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise InvalidValue(where, _safe(value), "is not a string", "quote it")
    if not value.strip():
        raise InvalidValue(where, value, "is empty", "give a value or leave the option out")
    if _NOT_IN_A_LINE.search(value):
        raise InvalidValue(
            where,
            _safe(value),
            "has a # or a control character",
            "an option is one line, and # begins a comment in it",
        )
    return value


def _line_or_list(value: object, where: str) -> Value:
    if not isinstance(value, (list, tuple)):
        return _line(value, where)
    if not value:
        raise InvalidValue(where, [], "is empty", "give a value or leave the option out")
    return [_line(member, where) for member in value]


def _safe(value: object) -> object:
    # A data set's DSN or URL may carry a password: opendkim(8), "DATA SETS".
    if isinstance(value, str) and "://" in value:
        return Secret("")
    return shown(value)


_CHECKS = {
    "boolean": boolean,
    "integer": _integer,
    "string": _line_or_list,
    "dataset": _line_or_list,
}
