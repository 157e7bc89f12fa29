"""A throw-away Debian machine."""

import os
import shlex
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

from support.machine import host, image, recipe, registry
from support.machine.container import Container
from support.machine.overlay import Overlay
from support.progress import SILENT, Progress

ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

# Joins the machine's first control group before nsenter. systemd mounts cgroup2 with nsdelegate, so
# that no process can be moved into the machine's group from outside (cgroups(7)).
ENTER = 'echo $$ > "$1" && shift && exec "$@"'

Condition = Callable[[], object] | str


class CommandFailed(Exception):
    """A command inside a machine that ended with another status than 0, and its output."""

    def __init__(self, command: str, result: subprocess.CompletedProcess[str]):
        self.result = result
        output = f"{result.stdout or ''}{result.stderr or ''}".strip()
        super().__init__(f"{command}\nended with {result.returncode}:\n{output[-4000:]}")


class NotInTime(Exception):
    """A condition that did not hold before its deadline."""


class Machine:
    """
    A Debian machine that is bare when it starts; a context manager.

    A bare machine has Salt in ``/opt/salt``, tools for tests in ``/opt/tests`` and a local archive
    of packages to install, and nothing else beside the base system.

    release
        ``bookworm`` or ``trixie``.
    name
        The name of its folder and control group; generated if it is ``None``.
    hostname
        A fully qualified name, ``mail.example.net``.
    boot
        Start systemd. Without it the first process only sleeps and reaps.
    network_namespace
        The path of a network namespace; by default the machine has a loopback only.
    keep
        Leave the machine running when this process ends.
    progress
        Shows the build of an image, if one is missing.
    layers
        The machine's read-only layers, uppermost first; by default the release's image. See
        :mod:`support.machine.equipment` for others.
    warm_salt
        :mod:`support.salt` starts its runs and calls in a Salt process that runs already.
    """

    def __init__(
        self,
        release: str = "bookworm",
        name: str | None = None,
        hostname: str = recipe.HOSTNAME,
        boot: bool = True,
        network_namespace: str | None = None,
        keep: bool = False,
        progress: Progress = SILENT,
        layers: Sequence[Path] = (),
        warm_salt: bool = False,
    ):
        self.layers = layers
        self.warm_salt = warm_salt
        self.release = release
        self.name = name or f"{release}-{os.getpid()}-{id(self):x}"
        self.hostname = hostname
        self.boot = boot
        self.network_namespace = network_namespace
        self.keep = keep
        self.progress = progress
        self._overlay = Overlay([], registry.folder(self.name))
        self._container = self._make_container()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The machine's files are removed too, so no service has to save anything.
        if not self.keep:
            self.stop(hard=True)

    @classmethod
    def attach(cls, name: str) -> Self:
        """Return a machine that another process started and kept. Raises ``LookupError``."""
        record = registry.read(name)
        if record is None or not registry.alive(record):
            raise LookupError(f"no machine {name!r} runs; known machines: {registry.names()}")
        machine = cls(record.release, record.name, record.hostname, record.boot, keep=True)
        machine._container.leader = record.leader
        return machine

    def start(self) -> None:
        """
        Make the machine and wait until it is up. Builds the image if it is missing.

        Raises :class:`support.machine.image.ImageError`,
        :class:`support.machine.container.ContainerError` and :class:`NotInTime`.
        """
        registry.sweep()
        layers = self.layers or image.layers(self.release, self.progress)
        self._overlay = Overlay(layers, registry.folder(self.name))
        with host.locked("machines"):
            if registry.read(self.name):
                raise ValueError(f"a machine {self.name!r} exists already; use another name")
            self._overlay.mount()
            self._note()
        self._name_host()
        self.power_on()

    def power_on(self) -> None:
        """Start the machine over its present tree, and wait until it is up."""
        self._container = self._make_container()
        try:
            self._container.start()
            self._note()
            self.wait_for(self._is_up, deadline=180, what="the machine is up")
        except BaseException:
            self.stop(hard=True)
            raise

    def power_off(self) -> None:
        """Shut the machine down in order; its files stay."""
        self._container.shut_down()

    def unmount(self) -> Path:
        """Unmount the tree of a machine that is off; return the folder of written files."""
        return self._overlay.unmount()

    def pull_the_plug(self) -> None:
        """Kill every process of the machine at once; its files stay."""
        self._container.kill()

    def reboot(self) -> None:
        """Shut the machine down and start it again."""
        self.power_off()
        self.power_on()

    def stop(self, hard: bool = False) -> None:
        """Stop the machine and remove its files; ``hard`` does not stop its services in order."""
        if hard or not self.boot:
            self._container.kill()
        else:
            self._container.shut_down()
        self._overlay.remove()

    def run(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        check: bool = True,
        timeout: float | None = 300,
        input: str | None = None,  # noqa: A002 - as subprocess.run has it
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a command inside and return its status and output, as text.

        command
            An argument list, or shell text.
        user
            The command's user; root by default.
        check
            Raise :class:`CommandFailed` if the command ends with another status than 0.
        timeout
            Seconds until ``subprocess.TimeoutExpired``.
        input
            The command's standard input; empty by default.
        env
            Variables besides ``PATH``, ``HOME`` and ``LANG``.
        """
        result = subprocess.run(
            self.command(command, user=user, env=env),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        if check and result.returncode != 0:
            raise CommandFailed(_shown(command), result)
        return result

    def stream(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command inside on this process's terminal, and return its status."""
        return subprocess.run(self.command(command, user=user, env=env), check=False).returncode

    def popen(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        **options: object,
    ) -> subprocess.Popen:
        """Start a command inside and return at once; ``options`` go to ``subprocess.Popen``."""
        return subprocess.Popen(self.command(command, user=user, env=env), **options)

    def command(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Return the argument list that runs a command inside, from the host."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        if user:
            words = ["/usr/sbin/runuser", "-u", user, "--", *words]
        variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        leader = self._container.leader
        enter = ["nsenter", f"--target={leader}", "--all", "--root", "--wd"]
        inside = [*enter, "/usr/bin/env", "--ignore-environment", *variables, *words]
        return ["/bin/sh", "-c", ENTER, "sh", f"{self._cgroup(leader)}/cgroup.procs", *inside]

    def wait_for(
        self, condition: Condition, deadline: float = 120, what: str | None = None
    ) -> None:
        """
        Wait until a condition holds.

        condition
            A function that returns a true value, or shell text that ends with 0 inside.
        deadline
            Seconds until :class:`NotInTime`.
        what
            The description of the condition in the error.
        """
        begin = time.monotonic()
        while not self._holds(condition):
            waited = time.monotonic() - begin
            if waited > deadline:
                name = what or (condition if isinstance(condition, str) else repr(condition))
                raise NotInTime(f"not within {deadline} s: {name}\n{self._container.console()}")
            # Each test of a condition costs processor time that other machines may need.
            time.sleep(min(0.3, 0.05 + waited / 20))

    def path(self, path: str) -> Path:
        """
        Return where a file of the machine is on the host.

        Not for paths through links or through the machine's own mounts (``/run``, ``/tmp``).
        """
        return self._overlay.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        """Return whether the path exists on the machine."""
        return self.run(["test", "-e", path], check=False).returncode == 0

    def read(self, path: str) -> str:
        """Return a file's text, read as root. Raises :class:`CommandFailed`."""
        return self.run(["cat", "--", path]).stdout

    def write(self, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file with its mode and owner; a missing folder is made."""
        # The text may be a secret: nobody but root reads it before chown and chmod.
        script = (
            'mkdir -p "$(dirname "$1")" && rm -f "$1" && umask 077 && cat > "$1" '
            '&& chown "$2" "$1" && chmod "$3" "$1"'
        )
        self.run(["/bin/sh", "-c", script, "sh", path, owner, f"{mode:o}"], input=text)

    def put_tree(self, source: Path, target: str) -> None:
        """Copy a working tree's tracked and new files, as they are on the disk now."""
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in tracked(source):
                tar.add(source / name, name, recursive=False, filter=_as_root)
        self.unpack(archive.getvalue(), target)

    def unpack(self, archive: bytes, target: str) -> None:
        """Unpack a tar archive into a folder; a missing folder is made."""
        self.run(["mkdir", "-p", target])
        subprocess.run(
            self.command(["tar", "-x", "-C", target]),
            input=archive,
            check=True,
            capture_output=True,
        )

    def install(self, *packages: str) -> None:
        """Install packages from the machine's own archive, as ``apt-get install`` does."""
        self.run("apt-get update --quiet")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        self.run(["apt-get", "install", "--yes", *packages], env=env, timeout=600)

    def _holds(self, condition: Condition) -> bool:
        if isinstance(condition, str):
            return self.run(condition, check=False).returncode == 0
        return bool(condition())

    def _is_up(self) -> bool:
        if not self.boot:
            return True
        if not self._container.running():
            raise NotInTime(f"the machine ended while it started\n{self._container.console()}")
        state = self.run(["systemctl", "is-system-running"], check=False)
        return state.stdout.strip() in {"running", "degraded"}

    def _make_container(self) -> Container:
        return Container(
            self._overlay.root,
            self.name,
            self.hostname,
            self.boot,
            self.network_namespace,
            self._overlay.home / "console",
        )

    def _note(self) -> None:
        leader = self._container.leader
        record = registry.new_record(
            self.release, self.name, self.hostname, self.boot, leader, self.keep
        )
        registry.write(record)

    def _name_host(self) -> None:
        """Write the host's name into the tree, if the image has another one."""
        if self.hostname != recipe.HOSTNAME:
            short = self.hostname.partition(".")[0]
            hosts = f"127.0.0.1 localhost\n127.0.1.1 {self.hostname} {short}\n::1 localhost\n"
            self.path("/etc/hostname").write_text(f"{self.hostname}\n")
            self.path("/etc/hosts").write_text(hosts)

    def _cgroup(self, leader: int) -> Path:
        for line in Path(f"/proc/{leader}/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return Path(f"{host.cgroup2()}{line.removeprefix('0::')}")
        raise NotInTime(f"{self.name} has no control group: it is not running")


def tracked(source: Path) -> list[str]:
    """
    Return the files of a working tree: tracked by git, or new and not ignored.

    Without git, or outside of a repository, these are all files that are not hidden.
    """
    command = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others"]
    try:
        listed = subprocess.run(
            [*command, "--exclude-standard"], check=True, capture_output=True, text=True
        )
        names = listed.stdout.split("\0")
    except (FileNotFoundError, subprocess.CalledProcessError):
        paths = (path.relative_to(source) for path in source.rglob("*"))
        names = [str(path) for path in paths if not any(p.startswith(".") for p in path.parts)]
    return sorted(name for name in set(names) if name and (source / name).is_file())


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _shown(command: Sequence[str] | str) -> str:
    return command if isinstance(command, str) else shlex.join(command)
