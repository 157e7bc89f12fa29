"""
The screens of ``dkim.*`` functions and of runs of states, for a person at a terminal.

``__outputter__`` in ``_modules/dkimmod.py`` selects this outputter. ``--out=json`` and every other
``--out`` show the data. This module reads the properties of Salt and of the terminal; the text of
each screen is made in ``dkim_formula.screens``.
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
    from dkim_formula import calls
    from dkim_formula.screens import commands
except ImportError:
    # In salt-call the library can be imported. salt(1) on a master loads outputters without _utils.
    sys.path.append(str(Path(__file__).resolve().parents[1] / "utils"))
    from dkim_formula import calls
    from dkim_formula.screens import commands


def __virtual__():
    return "dkim_screen"


def output(data, **kwargs):
    """
    Return the screen of each minion's return.

    data
        The return of each minion by name; ``local`` is the name under ``salt-call``. Of a runner:
        its return.
    """
    module, _, function = str(__opts__.get("fun") or "").rpartition(".")
    with calls.made_by(__opts__.get(calls.OPTION)):
        return _run_of_states(data, kwargs) if module == "state" else _screens(function, data)


def _screens(function, data):
    # The arguments are copied because parse_input removes marks from mappings.
    given, named = salt.utils.args.parse_input(
        copy.deepcopy(list(__opts__.get("arg") or [])), condition=False
    )
    asked = commands.asked(function, given, named)
    terminal, now = _terminal(), datetime.datetime.now(datetime.timezone.utc)
    if function in commands.RUNNER_SCREENS:
        return commands.draw(function, data, asked, terminal, now)
    texts = []
    for minion, found in data.items():
        text = commands.draw(function, found, asked, terminal, now)
        # A comment in zone files, so that records of several minions can be pasted.
        head = "" if minion == "local" else f"{terminal.paint(f'; {minion}', 'bold')}\n"
        texts.append(f"{head}{text}")
    return "\n\n".join(texts)


def _run_of_states(data, kwargs):
    """
    Return what Salt shows of a run of states, followed by the advice of the check and the records
    to publish. Both are in comments of states without changes, which Salt shows among the other
    states or not at all. States that did not run because of a failed state are only counted: Salt
    shows each, below the failed one.
    """
    shown, not_run, advice, records = {}, 0, [], []
    for minion, states in data.items():
        if not isinstance(states, dict):
            shown[minion] = states
            continue
        shown[minion] = {}
        for tag, one in states.items():
            if _did_not_run(one):
                not_run += 1
                continue
            shown[minion][tag] = one
            if _succeeded(tag, one, "records_shown"):
                records.append(one["comment"])
                shown[minion][tag] = {**one, "comment": "See the end"}
            elif _succeeded(tag, one, "checked"):
                given, rest = commands.advice_of(one["comment"])
                advice += given
                shown[minion][tag] = {**one, "comment": rest}
    text = salt.loader.outputters(__opts__)["highstate"](shown, **kwargs)
    parts = [text.rstrip("\n"), *commands.left_out(not_run, _terminal())]
    parts += [*commands.advice(advice, _terminal()), *records]
    return calls.typed("\n\n".join(parts))


def _did_not_run(state):
    """Return whether a state of a run did not run, because a state that it requires failed."""
    # Salt has no other mark for this; the comment is the same from 3006 to 3008.
    comment = state.get("comment") if isinstance(state, dict) else None
    return isinstance(comment, str) and comment.startswith("One or more requisite failed")


def _succeeded(tag, state, function):
    """Return whether a state of a run is a successful one of this function of ``dkim``."""
    is_it = tag.startswith("dkim_|-") and tag.endswith(f"_|-{function}")
    return is_it and isinstance(state, dict) and state.get("result") is True


def _terminal():
    is_terminal = sys.stdout.isatty() and not __opts__.get("output_file")
    size = shutil.get_terminal_size((80, 24))
    return commands.Terminal(
        size.columns if is_terminal or os.environ.get("COLUMNS") else None,
        size.lines,
        _has_colour(is_terminal),
        commands.has_utf8(os.environ),
    )


def _has_colour(is_terminal):
    """Return whether to use colours: https://no-color.org, --no-color, --force-color."""
    if __opts__.get("force_color"):
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal and bool(__opts__.get("color", True)) and not __opts__.get("no_color")
