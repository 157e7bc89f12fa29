"""A Python script that runs inside a machine while a test changes the machine."""

import json
import subprocess
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from support.machine import Machine


class BackgroundScript:
    """
    A script that runs until its block ends; a context manager.

    At the end of the block the script's standard input ends, and the script prints its result as
    JSON.

    python
        The interpreter inside the machine.
    script
        The script's text; its only argument is ``given`` as JSON.
    timeout
        The seconds that the script has to end after its block.
    """

    def __init__(
        self, machine: Machine, python: str, script: str, given: Mapping[str, Any], timeout: float
    ):
        self.machine = machine
        self._command = [python, "-c", script, json.dumps(given)]
        self._timeout = timeout
        self.result: Any = None

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
        output, _ = self._process.communicate("", timeout=self._timeout)
        self.result = json.loads(output)
