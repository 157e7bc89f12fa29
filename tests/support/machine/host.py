"""Requirements of test machines on this host, and the folder of their files."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = {
    "debootstrap": "debootstrap",
    "mount": "mount",
    "nsenter": "util-linux",
    "systemd-nspawn": "systemd-container",
}


def cache() -> Path:
    """Return the folder of images and machines: ``DKIM_FORMULA_CACHE``, or below ``/var/cache``."""
    return Path(os.environ.get("DKIM_FORMULA_CACHE", "/var/cache/dkim-formula"))


def missing() -> list[str]:
    """Return what this host lacks for test machines, a sentence each; empty if nothing."""
    if os.geteuid() != 0:
        return ["This must be run as root: containers and overlay mounts need it."]
    problems = [
        f"The program {program} is missing: apt-get install {package}."
        for program, package in PROGRAMS.items()
        if shutil.which(program) is None
    ]
    filesystems = Path("/proc/filesystems").read_text().split()
    if "overlay" not in filesystems and not _loads_module("overlay"):
        problems.append("The kernel has no overlay file system.")
    problems += [
        f"The kernel has no {kind} namespaces."
        for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup")
        if not Path(f"/proc/self/ns/{kind}").exists()
    ]
    if cgroup2() is None:
        problems.append("No cgroup2 file system is mounted below /sys/fs/cgroup.")
    if not problems and not _may_unshare():
        problems.append(
            "The kernel refuses new namespaces to root: run this on a virtual or real machine, "
            "or in a privileged container."
        )
    return problems


def cgroup2() -> Path | None:
    """
    Return where the unified control group hierarchy is mounted.

    On a mixed host it is mounted beside the old hierarchies.
    """
    return next(iter(_mounted("cgroup2")), None)


def cgroups() -> list[Path]:
    """
    Return the hierarchies in which a container has a group.

    These are the unified hierarchy and, on a mixed host, systemd's own one: systemd-nspawn makes a
    group of the same name there.
    """
    old = [mount for mount in _mounted("cgroup") if mount.name == "systemd"]
    return _mounted("cgroup2") + old


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process in at a time, also across checkouts that share the cache."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mounted(kind: str) -> list[Path]:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(target) for _, target, found, *_ in mounts if found == kind]


def _loads_module(name: str) -> bool:
    if shutil.which("modprobe") is None:
        return False
    return subprocess.run(["modprobe", "--quiet", name], check=False).returncode == 0


def _may_unshare() -> bool:
    command = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "true"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
