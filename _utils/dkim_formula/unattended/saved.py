"""
The settings of a job: the pillar of the last highstate, in a file that only root can read.

The file holds pillar ``dkim``. The sections with passwords and TSIG secrets are encrypted by
systemd-creds(1) with the key of this machine (``/var/lib/systemd/credential.secret``). So a backup
or a copy of the file shows no secret. The other sections are plain text: systemd encrypts at most
one mebibyte, and a pillar with a hundred thousand domains is larger.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..calls import SALT_CALL
from ..errors import FormulaError
from ..files import replace_file
from ..settings import Reading, read

FOLDER = "/var/lib/dkim-formula"
PROGRAM = "systemd-creds"
METRICS, REPORT, ROTATION = JOBS = ("metrics", "report", "rotation")

# The name is part of the encrypted text. Decryption needs the same name.
_NAME = "dkim-formula"
# Sections of the pillar that may hold a secret: passwords, TSIG keys, tokens of DNS providers, and
# values of OpenDKIM's options.
_SECRET = ("database", "dns", "opendkim")


@dataclass(frozen=True)
class Saved:
    """
    The content of a job's file.

    pillar
        Pillar ``dkim``. Its secrets are plain text, so never show it.
    health
        The folder of :mod:`health.cache`, which the minion's beacon also uses.
    host
        The minion's ID.
    call
        The command that calls a function on this machine (``calls.py``).
    """

    pillar: Mapping[str, object]
    health: str
    host: str
    call: str = SALT_CALL

    @cached_property
    def reading(self) -> Reading:
        """The checked settings, cached because a check of many domains takes seconds."""
        return read(self.pillar)


def path_of(job: str) -> str:
    """Return the path of the file with the settings of a job."""
    return os.path.join(FOLDER, f"{job}.json")


def of(pillar: Mapping[str, object], health: str, host: str, call: str = SALT_CALL) -> Saved:
    """
    Return the content to save for a valid pillar.

    Raises FormulaError if the pillar is no longer valid after conversion to JSON and back.
    """
    with contextlib.suppress(TypeError, ValueError):
        saved = Saved(json.loads(json.dumps(pillar, default=str)), health, host, call)
        if not saved.reading.problems:
            return saved
    raise FormulaError(
        "dkim: the pillar has a key or a value that JSON can't hold; quote keys and values in it"
    )


def load(job: str) -> Saved | None:
    """Return the saved settings of a job; None without a complete file of this machine."""
    try:
        with open(path_of(job), encoding="utf-8") as stream:
            data = json.load(stream)
        sealed = json.loads(_systemd("decrypt", data["secret"]))
        pillar = {**data["pillar"], **sealed}
        # A file of an earlier release has no ``call``.
        return Saved(pillar, data["health"], data["host"], data.get("call", SALT_CALL))
    except (OSError, ValueError, KeyError, TypeError, FormulaError):
        return None


def store(job: str, saved: Saved) -> None:
    """Write the settings of a job in one step. Raises OSError; FormulaError of systemd-creds."""
    secret = {name: saved.pillar[name] for name in _SECRET if name in saved.pillar}
    data = {
        "pillar": {name: value for name, value in saved.pillar.items() if name not in _SECRET},
        "health": saved.health,
        "host": saved.host,
        "call": saved.call,
        "secret": _systemd("encrypt", json.dumps(secret)),
    }
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    replace_file(path_of(job), json.dumps(data), 0o600)


def _systemd(command: str, text: str) -> str:
    """Encrypt or decrypt a text by systemd-creds(1). A pipe carries the text, not an argument."""
    # Only the machine's key is used: a firmware update loses a key that is also bound to a TPM.
    key = ["--with-key=host"] if command == "encrypt" else []
    arguments = [PROGRAM, command, f"--name={_NAME}", *key, "-", "-"]
    try:
        done = subprocess.run(
            arguments, input=text, capture_output=True, check=False, encoding="utf-8"
        )
    except FileNotFoundError:
        raise FormulaError(f"{PROGRAM}: missing; install systemd 250 or later") from None
    if done.returncode:
        raise FormulaError(f"{PROGRAM} {command}: {done.stderr.strip()}")
    return done.stdout
