"""One systemd-nspawn process, its control group and its first process."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from support.machine import host


class ContainerError(Exception):
    """A container did not start, or did not do as it was told."""


class Container:
    """
    A container over a tree that is there.

    tree
        Its root.
    name
        Of the container and its control group.
    hostname
        What ``hostname`` says inside.
    boot
        Run the tree's own init; without it the first process only reaps children.
    network_namespace
        A network namespace's path (``/run/netns/…``) instead of one with a loopback alone.
    log
        Takes the console.
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
        """Start it and find its first process; ``deadline`` in seconds."""
        enter = f'echo $$ > {self._make_cgroup()}/cgroup.procs && exec "$@"'
        with self.log.open("ab") as console:
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", enter, "sh", *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                # Ctrl-C belongs to the program that uses the machine.
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
        """Whether its first process lives."""
        return self.leader != 0 and Path(f"/proc/{self.leader}").exists()

    def shut_down(self, deadline: float = 60) -> None:
        """An orderly power-off, and a hard one after ``deadline`` seconds."""
        if self.running():
            # systemd-nspawn(1): on SIGTERM the payload is told to power off.
            signal_to = self._supervisor.pid if self._supervisor else _parent(self.leader)
            with contextlib.suppress(ProcessLookupError):
                os.kill(signal_to, signal.SIGTERM)
            end = time.monotonic() + deadline
            while self.running() and time.monotonic() < end:
                self._reap()
                time.sleep(0.02)
        self.kill()

    def kill(self, deadline: float = 20) -> None:
        """Pull the plug: every process of the container dies with its first one."""
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
        """The last lines of its console."""
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
            # No machined and no systemd is needed on the host.
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
        A control group for this machine alone. With --keep-unit systemd-nspawn uses the one that it
        is started in, and two machines in one would each take the other's services for their own.
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
        """The machine's control groups in every hierarchy, children first."""
        name = f"dkim-machine-{self.name}"
        # os.walk bears with the groups of other machines that go away meanwhile.
        walked = (path for mount in host.cgroups() for path, *_ in os.walk(mount, topdown=False))
        return [Path(path) for path in walked if name in path.split("/")]

    def _members(self) -> list[int]:
        """Every process of the machine, systemd-nspawn included."""
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
    """A control group of which the last process is just going is busy for a moment."""
    end = time.monotonic() + deadline
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _first_process(supervisor: int) -> int:
    """The process that is 1 in the namespace below the supervisor's; 0 where there is none yet."""
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
    Whether the tree is in place: before its exec the first process is still systemd-nspawn's. With
    --as-pid2 it stays so, and its child is the one to look at.
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
