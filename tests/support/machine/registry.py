"""Records of the existing machines, and the removal of machines whose owner has ended."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from support.machine import host
from support.machine.container import Container
from support.machine.overlay import Overlay

RECORD = "machine.json"


@dataclass(frozen=True)
class Record:
    """
    The facts about a machine besides its tree.

    owner, owner_start
        The process that uses the machine, and the start time of that process (process numbers are
        reused). 0 for a kept machine, which exists as long as its first process.
    leader, leader_start
        The machine's first process and its start time.
    """

    name: str
    release: str
    hostname: str
    boot: bool
    owner: int
    owner_start: str
    leader: int
    leader_start: str


def folder(name: str) -> Path:
    """Return the folder of a machine's files."""
    return host.cache() / "machines" / name


def write(record: Record) -> None:
    """Write a record beside the machine's tree."""
    path = folder(record.name) / RECORD
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(record)))
    scratch.rename(path)


def read(name: str) -> Record | None:
    """Return a machine's record, or ``None`` if it is missing."""
    try:
        return Record(**json.loads((folder(name) / RECORD).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def names() -> list[str]:
    """Return the names of all machines that have files on this host."""
    machines = host.cache() / "machines"
    return sorted(path.name for path in machines.iterdir()) if machines.is_dir() else []


def start_time(pid: int) -> str:
    """Return a process's start, in ticks since the host's start; empty without such a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[19]


def new_record(
    release: str, name: str, hostname: str, boot: bool, leader: int, keep: bool
) -> Record:
    """Return the record of a machine that this process owns, or of a kept one."""
    owner = 0 if keep else os.getpid()
    return Record(
        name, release, hostname, boot, owner, start_time(owner), leader, start_time(leader)
    )


def alive(record: Record) -> bool:
    """Return whether a machine may still be in use: its owner, or its first process, exists."""
    leader = record.leader and start_time(record.leader) == record.leader_start
    if record.owner == 0:
        return bool(leader)
    return start_time(record.owner) == record.owner_start


def sweep() -> list[str]:
    """Remove the machines whose owners have ended, and return their names."""
    with host.locked("machines"):
        stale = []
        for name in names():
            record = read(name)
            if record is None or not alive(record):
                remove(name, record)
                stale.append(name)
        return stale


def remove(name: str, record: Record | None) -> None:
    """Remove a machine in any state."""
    overlay = Overlay([], folder(name))
    container = Container(overlay.root, name, "", True, None, folder(name) / "console")
    if record and record.leader and start_time(record.leader) == record.leader_start:
        container.leader = record.leader
    container.kill()
    overlay.remove()
