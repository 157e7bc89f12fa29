"""``dkim:opendkim``: options of opendkim.conf(5), and the sandbox of the unit."""

from collections.abc import Collection, Mapping

from . import signed_headers, signing_options
from .model import Domain, OpenDKIM
from .opendkim_options import OPTIONS, OWNED, spelling
from .opendkim_values import PATHS, Value, check_of, hidden_file
from .validation import Check, Notes, boolean, kind_of, read_section, section, shown_key

WHERE = "dkim:opendkim"
SETTINGS = f"{WHERE}:settings"
_IN_LOWER_CASE = {name.lower(): name for name in OPTIONS}
_HEADERS = {
    "SignHeaders": signed_headers.selection,
    "OmitHeaders": signed_headers.selection,
    "OversignHeaders": signed_headers.oversigning,
}


def read_opendkim(value: object, domains: Collection[Domain], notes: Notes) -> OpenDKIM:
    """
    Return the valid settings. Options have the manual's spelling.

    domains
        The domains of the pillar, with the template of every hosted domain.
    """
    read = read_section(value, WHERE, {"settings": section, "sandbox": boolean}, notes)
    options = _read_options(read.get("settings"), notes)
    opendkim = OpenDKIM(settings=options, sandbox=read.get("sandbox", True))
    for name, problem in problems_together(opendkim, domains).items():
        notes.problem(problem)
        del options[name]
    signing_options.advise(options, SETTINGS, notes)
    return opendkim


def option_check(name: str) -> Check:
    """Return the check of the value of an option in the manual's spelling."""
    return _HEADERS.get(name) or check_of(name, OPTIONS[name])


def problems_together(opendkim: OpenDKIM, domains: Collection[Domain]) -> dict[str, str]:
    """
    Return what is wrong with valid values beside each other and beside the domains.

    The result has a sentence by the name of an option. Without that option the others are valid.
    """
    options = opendkim.settings
    found = {
        **signed_headers.problems(options, SETTINGS),
        **signing_options.problems(options, domains, SETTINGS),
    }
    if opendkim.sandbox and options.get("SendReports") and "MTACommand" not in options:
        found["SendReports"] = (
            f"{SETTINGS}:SendReports: sendmail(1) queues mail by its group's rights, which "
            f"the sandbox denies; give an MTACommand that speaks SMTP, or {WHERE}:sandbox: false"
        )
    return found


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
    where = SETTINGS
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
            checked = notes.attempt(option_check(name), setting, pillar_key)
            if checked is not None:
                options[name] = checked
    return options


def _unknown(given: object, notes: Notes) -> str:
    meant = notes.nearest(given, _IN_LOWER_CASE)
    if meant:
        return f"opendkim.conf(5) has no such option; did you mean {_IN_LOWER_CASE[meant]!r}?"
    return "opendkim.conf(5) has no such option, or Debian's build does not know it"
