"""Runs and calls of the formula inside a test machine, by ``bin/highstate``, and their results."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.machine import ROOT, CommandFailed, Machine
from support.machine.machine import ENVIRONMENT

TREE = "/srv/dkim-formula"
PILLAR = "/srv/pillar/dkim.sls"
HIGHSTATE = f"{TREE}/bin/highstate"
# The salt-call in this folder passes its call to a Salt process that runs already.
WARM = f"{TREE}/tests/support/warm"


@dataclass(frozen=True)
class State:
    """A state's result; ``result`` is ``None`` if a run would change something (test mode)."""

    id: str
    function: str
    name: str
    sls: str
    result: bool | None
    changes: dict[str, Any]
    comment: str
    milliseconds: float

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAILED", None: "would change"}[self.result]
        return f"{self.function} {self.id!r}: {mark}: {self.comment.strip()} {self.changes or ''}"


@dataclass(frozen=True)
class Run:
    """
    The result of a run of states.

    errors
        The reasons why no state ran: an SLS file or a pillar that does not render.
    """

    returncode: int
    states: list[State]
    errors: list[str] = field(default_factory=list)
    log: str = ""

    @property
    def failed(self) -> list[State]:
        """The failed states."""
        return [state for state in self.states if state.result is False]

    @property
    def changed(self) -> list[State]:
        """The states with changes; in test mode these are the announced changes."""
        return [state for state in self.states if state.changes]

    @property
    def would_change(self) -> list[State]:
        """The states for which a run in test mode announces changes."""
        return [state for state in self.states if state.result is None]

    @property
    def succeeded(self) -> bool:
        """Whether states ran and none of them failed."""
        return self.returncode == 0 and bool(self.states) and not self.failed and not self.errors

    def __getitem__(self, state_id: str) -> State:
        return next(state for state in self.states if state.id == state_id)

    def __str__(self) -> str:
        lines = [*self.errors, *(str(state) for state in self.states), self.log.strip()]
        return f"exit status {self.returncode}\n" + "\n".join(line for line in lines if line)


def install_formula(machine: Machine, pillar: Mapping[str, Any] | str | None = None) -> None:
    """Copy this tree into the machine, and write a pillar (a mapping or SLS text), if any."""
    machine.put_tree(ROOT, TREE)
    if pillar is not None:
        set_pillar(machine, pillar)


def set_pillar(machine: Machine, pillar: Mapping[str, Any] | str) -> None:
    """Write the next run's pillar; a mapping is the complete pillar, with the key ``dkim``."""
    text = pillar if isinstance(pillar, str) else json.dumps(pillar, indent=2)
    machine.write(PILLAR, f"{text}\n", mode=0o600)


def apply(
    machine: Machine,
    state: str = "state.highstate",
    test: bool = False,
    pillar: Mapping[str, Any] | str | None = None,
    timeout: float = 900,
    minion: str = "",
) -> Run:
    """
    Run states, and return their results; failed states raise no exception.

    state
        ``state.highstate``, or an SLS name (``dkim.postfix``).
    test
        Run in test mode: report changes without making them.
    pillar
        A pillar to write before the run.
    minion
        The folder of another minion's configuration, instead of the one of ``bin/highstate``.
        This minion shares no cache or lock with the first one.

    Raises :class:`CommandFailed` if the output is not Salt's.
    """
    if pillar is not None:
        set_pillar(machine, pillar)
    command = [HIGHSTATE, "--pillar", PILLAR, "--out", "json"]
    if state != "state.highstate":
        command += ["--state", state]
    if test:
        command.append("--test")
    env = {"DKIM_FORMULA_MINION": minion} if minion else {}
    result = machine.run(command, check=False, timeout=timeout, env={**environment(machine), **env})
    returned = _returned(command, result)
    if isinstance(returned, dict):
        return Run(result.returncode, _states(returned), log=result.stderr)
    return Run(result.returncode, [], errors=_lines(returned), log=result.stderr)


def command_line(
    function: str, *arguments: object, out: str = "json", **named: object
) -> list[str]:
    """
    Return the command line of a call, for tests that run it themselves.

    ``named`` has the function's named arguments. Salt gets each as JSON, which is also YAML.
    """
    given = [_argument(value) for value in arguments]
    given += [f"{name}={_argument(value)}" for name, value in named.items()]
    return [HIGHSTATE, "--pillar", PILLAR, "--out", out, "--call", function, *given]


def ask(machine: Machine, function: str, *arguments: object, **named: object) -> tuple[int, Any]:
    """
    Call an execution function; return the exit status and the function's return, as data.

    A failed call raises no exception. Raises :class:`CommandFailed` if the output is not Salt's.
    """
    command, result = _run(machine, function, *arguments, **named)
    return result.returncode, _returned(command, result)


def call(machine: Machine, function: str, *arguments: object, **named: object) -> Any:
    """
    Call an execution function; return the function's return, as data.

    Raises :class:`CommandFailed` if the call fails.
    """
    command, result = _run(machine, function, *arguments, **named)
    if result.returncode != 0:
        raise CommandFailed(" ".join(command[command.index("--call") + 1 :]), result)
    return _returned(command, result)


def _run(
    machine: Machine, function: str, *arguments: object, **named: object
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    command = command_line(function, *arguments, **named)
    return command, machine.run(command, check=False, timeout=600, env=environment(machine))


def environment(machine: Machine) -> dict[str, str]:
    """Return the variables by which ``bin/highstate`` finds the machine's salt-call."""
    return {"PATH": f"{WARM}:{ENVIRONMENT['PATH']}"} if machine.warm_salt else {}


def _argument(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _returned(command: list[str], result: Any) -> Any:
    try:
        return json.loads(result.stdout)["local"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise CommandFailed(" ".join(command), result) from None


def _lines(returned: Any) -> list[str]:
    return [str(line) for line in (returned if isinstance(returned, list) else [returned])]


def _states(returned: Mapping[str, Any]) -> list[State]:
    states = []
    for tag, result in sorted(returned.items(), key=lambda item: item[1]["__run_num__"]):
        module, _, _, function = tag.split("_|-")
        states.append(
            State(
                id=result["__id__"],
                function=f"{module}.{function}",
                name=result["name"],
                sls=result["__sls__"],
                result=result["result"],
                changes=result["changes"],
                comment=str(result["comment"]),
                milliseconds=float(result.get("duration") or 0),
            )
        )
    return states
