"""A script that goes on inside a machine while something else is done to it."""

import json
import subprocess
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from support.machine import Machine


class Meanwhile:
    """
    Runs as a context manager: until the block ends, when the script's standard input ends too and
    it prints, as JSON, what it has to say.

    python
        The interpreter inside.
    script
        Python; its one argument is ``given`` as JSON.
    patience
        In seconds; how long it may take to come to its end.
    """

    def __init__(
        self, machine: Machine, python: str, script: str, given: Mapping[str, Any], patience: float
    ):
        self.machine = machine
        self._command = [python, "-c", script, json.dumps(given)]
        self._patience = patience
        self.said: Any = None

    def __enter__(self) -> Self:
        self._process = self.machine.popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        said, _ = self._process.communicate("", timeout=self._patience)
        self.said = json.loads(said)
