"""A systemd-nspawn process, its control group and its first process."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from support.machine import host


class ContainerError(Exception):
    """A container that did not start or did not stop."""


class Container:
    """
    A container over an existing tree.

    tree
        The container's root.
    name
        The name of the container and of its control group.
    hostname
        The output of ``hostname`` inside.
    boot
        Run the tree's own init; without it the first process only reaps children.
    network_namespace
        The path of a network namespace (``/run/netns/…``); by default one with a loopback only.
    log
        The file for the output of the console.
    """

    def __init__(
        self,
        tree: Path,
        name: str,
        hostname: str,
        boot: bool,
        network_namespace: str | None,
        log: Path,
    ):
        self.tree = tree
        self.name = name
        self.hostname = hostname
        self.boot = boot
        self.network_namespace = network_namespace
        self.log = log
        self.leader = 0
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self, deadline: float = 30) -> None:
        """Start the container and find its first process; ``deadline`` in seconds."""
        enter = f'echo $$ > {self._make_cgroup()}/cgroup.procs && exec "$@"'
        with self.log.open("ab") as console:
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", enter, "sh", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                # Ctrl-C ends the program that uses the machine, not the machine itself.
                start_new_session=True,
            )
        end = time.monotonic() + deadline
        while not (leader := _first_process(self._supervisor.pid)):
            if self._supervisor.poll() is not None or time.monotonic() > end:
                self.kill()
                raise ContainerError(f"systemd-nspawn did not start:\n{self.console()}")
            time.sleep(0.02)
        self.leader = leader

    def running(self) -> bool:
        """Return whether the container's first process exists."""
        return self.leader != 0 and Path(f"/proc/{self.leader}").exists()

    def shut_down(self, deadline: float = 60) -> None:
        """Power the container off in order; kill it after ``deadline`` seconds."""
        if self.running():
            # systemd-nspawn(1): on SIGTERM it makes the payload power off.
            signal_to = self._supervisor.pid if self._supervisor else _parent(self.leader)
            with contextlib.suppress(ProcessLookupError):
                os.kill(signal_to, signal.SIGTERM)
            end = time.monotonic() + deadline
            while self.running() and time.monotonic() < end:
                self._reap()
                time.sleep(0.02)
        self.kill()

    def kill(self, deadline: float = 20) -> None:
        """Kill every process of the container; they die with the first one."""
        if self.leader:
            _kill(self.leader)
        end = time.monotonic() + deadline
        while self.running() or self._members():
            self._reap()
            for pid in self._members():
                _kill(pid)
            if time.monotonic() > end:
                raise ContainerError(f"processes of {self.name} do not end: {self._members()}")
            time.sleep(0.02)
        self.leader = 0
        self._supervisor = None
        self._remove_cgroup()

    def console(self, lines: int = 25) -> str:
        """Return the last lines of the container's console."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _reap(self) -> None:
        if self._supervisor:
            self._supervisor.poll()

    def _command(self) -> list[str]:
        network = (
            f"--network-namespace-path={self.network_namespace}"
            if self.network_namespace
            else "--private-network"
        )
        return [
            "systemd-nspawn",
            f"--directory={self.tree}",
            f"--machine={self.name}",
            f"--hostname={self.hostname}",
            # So that the host needs neither machined nor systemd.
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--timezone=off",
            "--resolv-conf=off",
            "--link-journal=no",
            "--quiet",
            network,
            *(["--boot"] if self.boot else ["--as-pid2", "/bin/sleep", "infinity"]),
        ]

    def _make_cgroup(self) -> Path:
        """
        Make a control group for this machine alone.

        With --keep-unit systemd-nspawn uses the group that it is started in. In a shared group each
        of two machines would treat the other's services as its own.
        """
        mount = host.cgroup2()
        if mount is None:
            raise ContainerError("no cgroup2 file system is mounted")
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                own = line.removeprefix("0::/")
                group = mount / own / f"dkim-machine-{self.name}"
                group.mkdir(exist_ok=True)
                return group
        raise ContainerError("this process is in no unified control group")

    def _groups(self) -> list[Path]:
        """Return the machine's control groups in every hierarchy, children first."""
        name = f"dkim-machine-{self.name}"
        # os.walk ignores the groups of other machines that disappear during the walk.
        walked = (path for mount in host.cgroups() for path, *_ in os.walk(mount, topdown=False))
        return [Path(path) for path in walked if name in path.split("/")]

    def _members(self) -> list[int]:
        """Return every process of the machine, systemd-nspawn included."""
        pids = []
        for group in self._groups():
            with contextlib.suppress(OSError):
                pids += [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
        return pids

    def _remove_cgroup(self) -> None:
        for group in self._groups():
            _remove_folder(group)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _remove_folder(folder: Path, deadline: float = 5) -> None:
    """Remove a control group; while its last process ends, the kernel reports it as busy."""
    end = time.monotonic() + deadline
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _first_process(supervisor: int) -> int:
    """Return the process with number 1 in the container's namespace, 0 if none exists yet."""
    for pid in _descendants(supervisor):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        if inside[-1] == "1" and len(inside) > 2 and _has_begun(pid, supervisor):
            return pid
    return 0


def _has_begun(leader: int, supervisor: int) -> bool:
    """
    Return whether the container runs a program from its tree.

    Before its exec the first process still runs systemd-nspawn. With --as-pid2 that stays so, and
    its child runs the tree's program.
    """
    programs = {_program(pid) for pid in (leader, *_descendants(leader))}
    return bool(programs - {_program(supervisor), ""})


def _descendants(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    children = [int(child) for child in text.split()]
    return children + [below for child in children for below in _descendants(child)]


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])
