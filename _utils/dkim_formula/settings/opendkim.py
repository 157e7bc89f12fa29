"""``dkim:opendkim``: options of opendkim.conf(5), and the sandbox of the unit."""

from collections.abc import Mapping

from .model import OpenDKIM
from .opendkim_options import OPTIONS, OWNED, spelling
from .opendkim_values import PATHS, Value, check_of, hidden_file
from .validation import Notes, boolean, kind_of, read_section, section, shown_key

WHERE = "dkim:opendkim"
_IN_LOWER_CASE = {name.lower(): name for name in OPTIONS}


def read_opendkim(value: object, notes: Notes) -> OpenDKIM:
    """Return the valid settings. Options have the manual's spelling."""
    read = read_section(value, WHERE, {"settings": section, "sandbox": boolean}, notes)
    options = _read_options(read.get("settings"), notes)
    sandbox = read.get("sandbox", True)
    if sandbox and options.get("SendReports") and "MTACommand" not in options:
        notes.problem(
            f"{WHERE}:settings:SendReports: sendmail(1) queues mail by its group's rights, which "
            f"the sandbox denies; give an MTACommand that speaks SMTP, or {WHERE}:sandbox: false"
        )
    return OpenDKIM(settings=options, sandbox=sandbox)


def hidden_files(opendkim: OpenDKIM) -> dict[str, str]:
    """Return the options whose file the unit's sandbox hides from the daemon, with the file."""
    if not opendkim.sandbox:
        return {}
    named = {
        name: hidden_file(setting)
        for name, setting in opendkim.settings.items()
        if OPTIONS[name] == "dataset" or name in PATHS
    }
    return {name: path for name, path in named.items() if path}


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
        pillar_key = f"{where}:{shown_key(given)}"
        name = spelling(given) if isinstance(given, str) else None
        if name is None:
            notes.problem(f"{pillar_key}: {_unknown(given, notes)}")
        elif name in OWNED:
            notes.problem(f"{pillar_key}: is the formula's own option: {OWNED[name]}")
        elif name in options:
            notes.problem(f"{pillar_key}: is given twice, in two spellings; give it once")
        elif setting is not None:
            checked = notes.attempt(check_of(name, OPTIONS[name]), setting, pillar_key)
            if checked is not None:
                options[name] = checked
    return options


def _unknown(given: object, notes: Notes) -> str:
    meant = notes.nearest(given, _IN_LOWER_CASE)
    if meant:
        return f"opendkim.conf(5) has no such option; did you mean {_IN_LOWER_CASE[meant]!r}?"
    return "opendkim.conf(5) has no such option, or Debian's build does not know it"
