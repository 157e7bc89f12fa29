"""Applies the formula inside a test machine, by ``bin/highstate``, and reads what Salt says."""

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
# Its salt-call is a Salt that has started already.
WARM = f"{TREE}/tests/support/warm"


@dataclass(frozen=True)
class State:
    """One state's result; ``result`` is ``None`` where a test run would change something."""

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
    What a run of states said.

    errors
        Why nothing could be run at all: SLS or pillar that does not render.
    """

    returncode: int
    states: list[State]
    errors: list[str] = field(default_factory=list)
    log: str = ""

    @property
    def failed(self) -> list[State]:
        """States that failed."""
        return [state for state in self.states if state.result is False]

    @property
    def changed(self) -> list[State]:
        """States that changed something; in a test run, of which changes are announced."""
        return [state for state in self.states if state.changes]

    @property
    def would_change(self) -> list[State]:
        """States that a test run announces changes for."""
        return [state for state in self.states if state.result is None]

    @property
    def succeeded(self) -> bool:
        """Whether states ran and none failed."""
        return self.returncode == 0 and bool(self.states) and not self.failed and not self.errors

    def __getitem__(self, state_id: str) -> State:
        return next(state for state in self.states if state.id == state_id)

    def __str__(self) -> str:
        lines = [*self.errors, *(str(state) for state in self.states), self.log.strip()]
        return f"exit status {self.returncode}\n" + "\n".join(line for line in lines if line)


def install_formula(machine: Machine, pillar: Mapping[str, Any] | str | None = None) -> None:
    """Copy this tree into the machine, and a pillar where one is given (a mapping or SLS text)."""
    machine.put_tree(ROOT, TREE)
    if pillar is not None:
        set_pillar(machine, pillar)


def set_pillar(machine: Machine, pillar: Mapping[str, Any] | str) -> None:
    """Write the pillar that the next run reads; a mapping is all of it, ``dkim`` on its top."""
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
    Run states, and return what they said; failed states are no exception.

    state
        ``state.highstate``, or an SLS name (``dkim.postfix``).
    test
        Only ask what would be changed.
    pillar
        Is set before the run.
    minion
        Where Salt's configuration is, in place of ``bin/highstate``'s own: another minion, which
        knows nothing of what the first one does.

    Raises :class:`CommandFailed` where the output is not Salt's.
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
    The words that call an execution function, for who runs them in a way of their own.

    ``named`` are the function's own arguments; each goes to Salt as JSON, which is YAML too.
    """
    given = [_argument(value) for value in arguments]
    given += [f"{name}={_argument(value)}" for name, value in named.items()]
    return [HIGHSTATE, "--pillar", PILLAR, "--out", out, "--call", function, *given]


def ask(machine: Machine, function: str, *arguments: object, **named: object) -> tuple[int, Any]:
    """
    The exit status of a call and what the function returns, as data, whether it succeeds or not.
    Raises :class:`CommandFailed` where the output is not Salt's.
    """
    command, result = _run(machine, function, *arguments, **named)
    return result.returncode, _returned(command, result)


def call(machine: Machine, function: str, *arguments: object, **named: object) -> Any:
    """What an execution function returns, as data. Raises :class:`CommandFailed` where it fails."""
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
    """The variables by which ``bin/highstate`` finds the Salt that a machine's calls go to."""
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
