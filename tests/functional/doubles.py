"""Stand-ins for daemons that a test machine does not run: OpenDKIM, Postfix, Salt's services."""

import os
import socket
import sys
from pathlib import Path

# As far as the library uses it: postconf(1) with -n, -e, -X and -xh, on a file of its own.
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
    """A daemon as far as its milter socket shows it: made anew at each start."""

    def __init__(self, path: Path):
        self.path = str(path)
        self._listening: socket.socket | None = None

    def start(self) -> None:
        self.stop()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(socket.SOMAXCONN)  # nobody takes the connections

    def stop(self) -> None:
        if self._listening is not None:
            self._listening.close()
            os.unlink(self.path)
            self._listening = None


class Services:
    """Salt's ``service`` functions; ``events`` is what they were told, in order."""

    def __init__(self, daemon: OpenDKIM):
        self.daemon = daemon
        self.runs = {"postfix": True}
        self.failing: set[str] = set()
        self.events: list[str] = []

    def functions(self) -> dict[str, object]:
        """By the names that ``__salt__`` knows them by."""
        return {
            "service.start": self.start,
            "service.stop": self.stop,
            "service.restart": self.restart,
            "service.status": lambda name: self.runs.get(name, False),
            "service.offline": lambda: True,
            "service.systemctl_reload": lambda: self._told("units read", ""),
        }

    def start(self, name: str) -> bool:
        self.runs[name] = f"start {name}" not in self.failing
        return self._told("start", name)

    def stop(self, name: str) -> bool:
        self.runs[name] = f"stop {name}" in self.failing
        return self._told("stop", name)

    def restart(self, name: str) -> bool:
        if f"restart {name}" not in self.failing:
            self.daemon.start()
        return self._told("restart", name)

    def _told(self, what: str, name: str) -> bool:
        self.events.append(f"{what} {name}".strip())
        return f"{what} {name}" not in self.failing


class Postfix:
    """``postconf`` as a program over a main.cf of its own."""

    def __init__(self, folder: Path):
        self.main_cf = folder / "main.cf"
        self.main_cf.write_text("")
        self.postconf = folder / "postconf"
        text = _POSTCONF.format(python=sys.executable, path=str(self.main_cf))
        self.postconf.write_text(text)
        self.postconf.chmod(0o755)

    def set(self, **values: str) -> None:
        """Main.cf as an administrator has it."""
        self.main_cf.write_text("".join(f"{name} = {value}\n" for name, value in values.items()))

    def values(self) -> dict[str, str]:
        """What main.cf says now."""
        return dict(line.split(" = ", 1) for line in self.main_cf.read_text().splitlines())

    def break_down(self) -> None:
        """From now on postconf fails as it does over a main.cf that it can't read."""
        self.postconf.write_text(
            "#!/bin/sh\necho 'fatal: open main.cf: no permission' >&2\nexit 1\n"
        )


class Dns:
    """``dkim.publish`` over a server that holds nothing yet and takes everything, unless told."""

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
