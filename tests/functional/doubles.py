"""Test doubles for daemons that a test machine does not run: OpenDKIM, Postfix, services."""

import os
import socket
import sys
from pathlib import Path

# The options of postconf(1) that the library uses (-n, -e, -X, -xh), over a file of the test's.
_POSTCONF = """#!{python} -IS
import pathlib, sys

path = pathlib.Path({path!r})
lines = path.read_text().splitlines()
values = dict(line.split(" = ", 1) for line in lines)
option, names = sys.argv[1], sys.argv[2:]
if option == "-n":
    print(*lines, sep="\\n")
elif option == "-xh":
    print(values.get(names[0], "tempfail"))
elif option == "-e":
    values.update(name.split("=", 1) for name in names)
elif option == "-X":
    values = {{name: value for name, value in values.items() if name not in names}}
path.write_text("".join(f"{{name}} = {{value}}\\n" for name, value in values.items()))
"""


class OpenDKIM:
    """The milter socket of an OpenDKIM daemon. Each start creates the socket again."""

    def __init__(self, path: Path):
        self.path = str(path)
        self._listening: socket.socket | None = None

    def start(self) -> None:
        self.stop()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(socket.SOMAXCONN)  # connections are never accepted

    def stop(self) -> None:
        if self._listening is not None:
            self._listening.close()
            os.unlink(self.path)
            self._listening = None


class Services:
    """Salt's ``service`` functions. ``events`` lists their calls in order."""

    def __init__(self, daemon: OpenDKIM):
        self.daemon = daemon
        self.runs = {"postfix": True}
        self.failing: set[str] = set()
        self.events: list[str] = []

    def functions(self) -> dict[str, object]:
        """Return the functions by their names in ``__salt__``."""
        return {
            "service.start": self.start,
            "service.stop": self.stop,
            "service.restart": self.restart,
            "service.status": lambda name: self.runs.get(name, False),
            "service.offline": lambda: True,
            "service.systemctl_reload": lambda: self._record("units read", ""),
        }

    def start(self, name: str) -> bool:
        self.runs[name] = f"start {name}" not in self.failing
        return self._record("start", name)

    def stop(self, name: str) -> bool:
        self.runs[name] = f"stop {name}" in self.failing
        return self._record("stop", name)

    def restart(self, name: str) -> bool:
        if f"restart {name}" not in self.failing:
            self.daemon.start()
        return self._record("restart", name)

    def _record(self, action: str, name: str) -> bool:
        self.events.append(f"{action} {name}".strip())
        return f"{action} {name}" not in self.failing


class Postfix:
    """A ``postconf`` program over a main.cf of the test's."""

    def __init__(self, folder: Path):
        self.main_cf = folder / "main.cf"
        self.main_cf.write_text("")
        self.postconf = folder / "postconf"
        text = _POSTCONF.format(python=sys.executable, path=str(self.main_cf))
        self.postconf.write_text(text)
        self.postconf.chmod(0o755)

    def set(self, **values: str) -> None:
        """Write main.cf as an administrator would."""
        self.main_cf.write_text("".join(f"{name} = {value}\n" for name, value in values.items()))

    def values(self) -> dict[str, str]:
        """Return the parameters in main.cf."""
        return dict(line.split(" = ", 1) for line in self.main_cf.read_text().splitlines())

    def break_down(self) -> None:
        """Make postconf fail from now on, as it does when it cannot read main.cf."""
        self.postconf.write_text(
            "#!/bin/sh\necho 'fatal: open main.cf: no permission' >&2\nexit 1\n"
        )


class Dns:
    """``dkim.publish`` over an empty server, which accepts everything unless ``refuses`` is set."""

    def __init__(self):
        self.held: set[str] = set()
        self.refuses = False

    def publish(self, domain=None, adopt=False, test=False) -> dict[str, object]:
        name = "default._domainkey.example.com TXT"
        changes = {} if name in self.held else {name: {"old": None, "new": "v=DKIM1; p="}}
        if self.refuses:
            return _published({}, [f"ns1.example.com: REFUSED: {name}"])
        if not test:
            self.held.update(changes)
        return _published(changes, [])


def _published(changes: dict[str, object], problems: list[str]) -> dict[str, object]:
    return {"changes": changes, "unchanged": 0, "problems": problems, "manual": [], "notes": []}
