"""
A test of a new configuration by the daemon itself, before the file is written.

``opendkim -n`` reads the options and opens the data sets. ``-t`` also sets up the library, and
stops before the socket (2.11.0~beta2, ``main`` in ``opendkim.c``). Both read the text from standard
input, so no file is written. Both would open the tables of keys and so query PostgreSQL. Therefore
the text omits these two options (measured: the daemon accepts it).
"""

import glob
import os
import pwd
import re
import signal
import subprocess
from collections.abc import Mapping

from ..settings import signed_headers
from ..settings.model import Settings
from ..settings.opendkim import hidden_files
from . import config_options, daemons, existing_config

PROGRAM = "/usr/sbin/opendkim"
WHERE = "dkim:opendkim:settings"
DROP_INS = "/etc/systemd/system"

_TABLES = ("KeyTable", "SigningTable")
_QUESTIONS = (("-n",), ("-t", "/dev/null"))
# Seconds. A data set in LDAP or SQL that does not answer would delay the daemon's start too.
_ANSWERS_WITHIN = 30
_AT_LINE = re.compile(r"configuration error at line (\d+): (.*)")
# A data set's address may contain a password, and the daemon prints the whole address.
_ADDRESS = re.compile(r"[A-Za-z]+:[A-Za-z]*:?//\S*")


def problems(settings: Settings, lookup: Mapping[str, object]) -> list[str]:
    """
    Return the reasons why daemons would not start with these settings, without duplicates.

    The result is empty if all daemons would start, or if OpenDKIM is not installed yet.
    """
    found = []
    for daemon in daemons.daemons(settings, lookup):
        options = config_options.options(settings, daemon)
        reason = refusal(options, str(lookup["opendkim_user"]))
        if reason is not None and reason not in found:
            found.append(reason)
    headers = signed_headers.problems(settings.opendkim.settings, WHERE, _text_of)
    return [
        *_hidden(settings, lookup),
        *headers.values(),
        *(f"{WHERE}{reason}" for reason in found),
    ]


def _text_of(path: str) -> str | None:
    return existing_config.text_of(path) or None


def _hidden(settings: Settings, lookup: Mapping[str, object]) -> list[str]:
    # A drop-in that is not the formula's may have opened the sandbox: docs/caveats.md.
    others = glob.glob(f"{DROP_INS}/{lookup['opendkim_service']}.service.d/*.conf")
    if [path for path in others if not path.endswith("/dkim-formula.conf")]:
        return []
    return [
        f"{WHERE}:{name}: the unit's sandbox hides {path} from the daemon; move it, for instance "
        "to /etc/opendkim, or set dkim:opendkim:sandbox to false"
        for name, path in hidden_files(settings.opendkim).items()
    ]


def can_ask(user: str) -> bool:
    """Return whether OpenDKIM is installed and its account exists."""
    return os.path.exists(PROGRAM) and _account(user) is not None


def refusal(options: Mapping[str, str], user: str) -> str | None:
    """
    Return why the daemon refuses a configuration.

    The result is None if the daemon accepts it, or is not installed. The text begins with
    ``:OPTION: `` if the daemon names an option, else with ``: ``.

    options
        Each option of an opendkim.conf(5) with its value.
    user
        The account that the daemon runs as. A file that the account can't read is refused too.
    """
    if not can_ask(user):
        return None
    lines = [f"{name} {value}" for name, value in options.items() if name not in _TABLES]
    for question in _QUESTIONS:
        reason = _ask(question, lines, user)
        if reason is not None:
            return reason
    return None


def _ask(question: tuple[str, ...], lines: list[str], user: str) -> str | None:
    try:
        asked = subprocess.run(
            [PROGRAM, *question, "-x", "-"],
            input="\n".join([*lines, ""]),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            timeout=_ANSWERS_WITHIN,
            check=False,
            **_as_user(user),
        )
    except subprocess.TimeoutExpired:
        return f": opendkim does not end its test of these options within {_ANSWERS_WITHIN} s"
    except OSError as error:
        return f": opendkim can't be run: {error.strerror}"
    if asked.returncode == 0:
        return None
    return _reason(asked.returncode, asked.stderr, lines)


def _as_user(user: str) -> dict[str, object]:
    """Return arguments to run the daemon as systemd does: user, group and further groups."""
    account = _account(user)
    if os.geteuid() != 0 or account is None:
        return {}
    groups = os.getgrouplist(user, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


def _account(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


def _reason(status: int, output: str, lines: list[str]) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        return f": opendkim crashes with these options ({name}); change the last one that was set"
    last = (output.strip().splitlines() or ["it gave no reason"])[-1]
    words = _ADDRESS.sub("…", last.removeprefix("opendkim: ").removeprefix("-: "))
    words = "".join(one for one in words if one.isprintable() and one != "\ufffd")
    at_line = _AT_LINE.search(words)
    if at_line and 0 < int(at_line[1]) <= len(lines):
        name = (lines[int(at_line[1]) - 1].split() or ["?"])[0]
        return f":{name}: opendkim refuses it: {at_line[2]}"
    return f": opendkim would not start with these options: {words}"
