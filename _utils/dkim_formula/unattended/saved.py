"""
The settings of a job, in a file for root alone, as the last highstate had them.

The file holds pillar ``dkim``. The sections with passwords and TSIG secrets are encrypted by
systemd-creds(1) with the key of this machine (``/var/lib/systemd/credential.secret``), so that a
backup or a copy of the file shows none of them. systemd encrypts a mebibyte at most, and a pillar
that names a hundred thousand domains is larger: the other sections stand as they are.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..errors import FormulaError
from ..files import replace_file
from ..settings import Reading, read

FOLDER = "/var/lib/dkim-formula"
PROGRAM = "systemd-creds"
METRICS, REPORT, ROTATION = JOBS = ("metrics", "report", "rotation")

# The encrypted text says what it is for, and decrypts under that name alone.
_NAME = "dkim-formula"
# Sections of the pillar that may hold a secret: passwords, TSIG keys, tokens of DNS providers, and
# values of OpenDKIM's options.
_SECRET = ("database", "dns", "opendkim")


@dataclass(frozen=True)
class Saved:
    """
    What the file of a job holds.

    pillar
        Pillar ``dkim``. Its secrets are plain text: show nothing of it.
    health
        The folder of :mod:`health.cache`, which the minion's beacon shares.
    host
        What the minion is called.
    """

    pillar: Mapping[str, object]
    health: str
    host: str

    @cached_property
    def reading(self) -> Reading:
        """The checked settings: a pillar with many domains takes seconds to check."""
        return read(self.pillar)


def path_of(job: str) -> str:
    """Return the file with the settings of a job."""
    return os.path.join(FOLDER, f"{job}.json")


def of(pillar: Mapping[str, object], health: str, host: str) -> Saved:
    """
    Return what is to be saved of a sound pillar.

    Raises FormulaError where the pillar is another one after its way through JSON.
    """
    with contextlib.suppress(TypeError, ValueError):
        saved = Saved(json.loads(json.dumps(pillar, default=str)), health, host)
        if not saved.reading.problems:
            return saved
    raise FormulaError(
        "dkim: the pillar has a key or a value that JSON can't hold; quote keys and values in it"
    )


def load(job: str) -> Saved | None:
    """Return the saved settings of a job; None where no complete file of this machine is there."""
    try:
        with open(path_of(job), encoding="utf-8") as stream:
            data = json.load(stream)
        sealed = json.loads(_systemd("decrypt", data["secret"]))
        return Saved({**data["pillar"], **sealed}, data["health"], data["host"])
    except (OSError, ValueError, KeyError, TypeError, FormulaError):
        return None


def store(job: str, saved: Saved) -> None:
    """Write the settings of a job in one step. Raises OSError, and FormulaError for systemd's."""
    secret = {name: saved.pillar[name] for name in _SECRET if name in saved.pillar}
    data = {
        "pillar": {name: value for name, value in saved.pillar.items() if name not in _SECRET},
        "health": saved.health,
        "host": saved.host,
        "secret": _systemd("encrypt", json.dumps(secret)),
    }
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    replace_file(path_of(job), json.dumps(data), 0o600)


def _systemd(command: str, text: str) -> str:
    """Have systemd-creds(1) encrypt or decrypt a text by a pipe; no argument has the text."""
    # By the machine's key alone: one that a TPM guards as well is lost with a change of firmware.
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
