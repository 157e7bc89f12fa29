"""
The functions of ``dkim``, and runs of states, as a person reads them on a terminal.

``__outputter__`` in ``_modules/dkimmod.py`` picks this; ``--out=json`` and every other ``--out``
give the data. Here is what Salt and the terminal say alone; what a screen shows is in
``dkim_formula.screens``.
"""

import copy
import datetime
import os
import shutil
import sys
from pathlib import Path

import salt.loader
import salt.utils.args

try:
    from dkim_formula.screens import commands
except ImportError:
    # salt-call has the library by now; salt(1) on a master loads outputters without _utils.
    sys.path.append(str(Path(__file__).resolve().parents[1] / "utils"))
    from dkim_formula.screens import commands


def __virtual__():
    return "dkim_screen"


def output(data, **kwargs):
    """
    Return the screen of each minion's return.

    data
        The return by minion; ``local`` is what ``salt-call`` calls its own.
    """
    module, _, function = str(__opts__.get("fun") or "").rpartition(".")
    if module == "state":
        return _run_of_states(data, kwargs)
    # A copy: parse_input takes marks out of mappings.
    given, named = salt.utils.args.parse_input(
        copy.deepcopy(list(__opts__.get("arg") or [])), condition=False
    )
    asked = commands.asked(function, given, named)
    terminal, now = _terminal(), datetime.datetime.now(datetime.timezone.utc)
    texts = []
    for minion, found in data.items():
        text = commands.draw(function, found, asked, terminal, now)
        # A comment of zone files: what is printed for several minions pastes all the same.
        head = "" if minion == "local" else f"{terminal.paint(f'; {minion}', 'bold')}\n"
        texts.append(f"{head}{text}")
    return "\n\n".join(texts)


def _run_of_states(data, kwargs):
    """
    Return what Salt shows of a run of states, with the records to publish at its end: they are the
    comment of a state that changes nothing, which Salt shows in its place, or not at all.
    """
    shown, records = {}, []
    for minion, states in data.items():
        shown[minion] = states
        if isinstance(states, dict):
            found = {tag: one for tag, one in states.items() if _shows_records(tag, one)}
            records += [one["comment"] for one in found.values()]
            moved = {tag: {**one, "comment": "See the end"} for tag, one in found.items()}
            shown[minion] = {**states, **moved}
    text = salt.loader.outputters(__opts__)["highstate"](shown, **kwargs)
    return "\n\n".join([text.rstrip("\n"), *records])


def _shows_records(tag, state):
    """Whether a state of a run is ``dkim.records_shown``, and succeeded."""
    is_it = tag.startswith("dkim_|-") and tag.endswith("_|-records_shown")
    return is_it and isinstance(state, dict) and state.get("result") is True


def _terminal():
    is_terminal = sys.stdout.isatty() and not __opts__.get("output_file")
    size = shutil.get_terminal_size((80, 24))
    return commands.Terminal(
        size.columns if is_terminal or os.environ.get("COLUMNS") else None,
        size.lines,
        _has_colour(is_terminal),
        _has_utf8(),
    )


def _has_colour(is_terminal):
    """Whether colours are wanted: https://no-color.org, --no-color, --force-color."""
    if __opts__.get("force_color"):
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal and bool(__opts__.get("color", True)) and not __opts__.get("no_color")


def _has_utf8():
    """
    Whether the locale has UTF-8: locale(7), the first of three variables that is set.

    Without one Python sets LC_CTYPE to C.UTF-8 (PEP 538), which says nothing of the terminal.
    """
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    values = {name: os.environ.get(name, "") for name in names}
    if values["LC_CTYPE"] == "C.UTF-8" and values["LANG"] in ("", "C", "POSIX"):
        values["LC_CTYPE"] = ""
    chosen = next((value for value in values.values() if value), "")
    return "utf8" in chosen.lower().replace("-", "")
