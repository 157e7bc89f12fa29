"""The machines that are there, and the removal of those that nobody owns any more."""

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
    What is known of a machine besides its tree.

    owner, owner_start
        The process that uses it, with its start time (a process number may come again). 0 for a
        kept machine, which lives as long as its first process.
    leader, leader_start
        The machine's first process.
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
    """Where a machine's files are."""
    return host.cache() / "machines" / name


def write(record: Record) -> None:
    """Note it beside the machine's tree."""
    path = folder(record.name) / RECORD
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(record)))
    scratch.rename(path)


def read(name: str) -> Record | None:
    """The record, or ``None`` where there is none."""
    try:
        return Record(**json.loads((folder(name) / RECORD).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def names() -> list[str]:
    """Of every machine that has files here."""
    machines = host.cache() / "machines"
    return sorted(path.name for path in machines.iterdir()) if machines.is_dir() else []


def start_time(pid: int) -> str:
    """A process's start, in ticks since the host's; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[19]


def ours(release: str, name: str, hostname: str, boot: bool, leader: int, keep: bool) -> Record:
    """A record of a machine that this process owns, or that is kept."""
    owner = 0 if keep else os.getpid()
    return Record(
        name, release, hostname, boot, owner, start_time(owner), leader, start_time(leader)
    )


def alive(record: Record) -> bool:
    """Whether the machine runs and somebody may still want it."""
    leader = record.leader and start_time(record.leader) == record.leader_start
    if record.owner == 0:
        return bool(leader)
    return start_time(record.owner) == record.owner_start


def sweep() -> list[str]:
    """Remove the machines of dead owners, and return their names."""
    with host.locked("machines"):
        stale = []
        for name in names():
            record = read(name)
            if record is None or not alive(record):
                remove(name, record)
                stale.append(name)
        return stale


def remove(name: str, record: Record | None) -> None:
    """Take a machine away, whatever state it is in."""
    overlay = Overlay([], folder(name))
    container = Container(overlay.root, name, "", True, None, folder(name) / "console")
    if record and record.leader and start_time(record.leader) == record.leader_start:
        container.leader = record.leader
    container.kill()
    overlay.remove()
