"""The base class of the benchmark's peers, which are programs that sign mail."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from dkim_formula.errors import OpenDKIMError
from dkim_formula.signer.milter import Connection

from .. import milter, site
from .keys import Key

# The parent of every peer's folder, open to Postfix's processes.
SCRATCH = Path("/run/dkim-peers")
DEADLINE = 600.0  # seconds


class Peer(ABC):
    """
    A daemon with keys. A subclass configures it.

    title
        The peer's name in the tables of results.
    keys
        The keys at the start.
    domains
        The domains that send messages.
    """

    title: ClassVar[str]
    account: ClassVar[str]
    most: ClassVar[int | None] = None  # the largest number of keys; None for any number
    signatures: ClassVar[int] = 1  # per message

    def __init__(self, keys: Sequence[Key]):
        self.folder = SCRATCH / f"{type(self).__name__.lower()}-{len(keys)}"
        self.keys = list(keys)
        self.processes: list[subprocess.Popen] = []

    @property
    def sockets(self) -> Sequence[str]:
        """The Unix sockets of the milters that a message passes."""
        return [f"{self.folder}/sock"]

    @property
    def domains(self) -> Sequence[str]:
        """About a thousand of the domains, or all of fewer."""
        return [key.domain for key in self.keys[:: max(1, len(self.keys) // 1000)]]

    @abstractmethod
    def configure(self) -> None:
        """Write everything that the daemon reads, for :attr:`keys`."""

    @abstractmethod
    def commands(self) -> Sequence[Sequence[str]]:
        """Return the daemons' command lines; each daemon stays in the foreground."""

    @abstractmethod
    def put(self, key: Key) -> None:
        """Give one domain another key, in the way that the program's manual describes."""

    def put_all(self, keys: Sequence[Key]) -> float:
        """
        Give every domain another key: write all files, and restart the daemon.

        Return the seconds of this, without those of the daemon's stop.
        """
        self.keys = list(keys)
        seconds = timed(self.configure)
        self.stop()
        return seconds + timed(self.start)

    def database_processes(self) -> Sequence[int]:
        """Return the processes of a database that work for the peer."""
        return ()

    def remove(self) -> None:
        """Remove the peer's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Configure and start the daemon; stop it at the end of the context."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.own(self.folder)
        self.configure()
        try:
            self.start()
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """Start the daemon, and wait until a message comes back signed."""
        # dkimpy-milter does not start if its pid file exists already.
        for path in (*self.sockets, f"{self.folder}/pid"):
            Path(path).unlink(missing_ok=True)
        for command in self.commands():
            self.processes.append(
                subprocess.Popen(
                    command,
                    user=self.account,
                    group=self.account,
                    extra_groups=[],
                    cwd="/",
                    stdout=subprocess.DEVNULL,
                    stderr=(self.folder / "stderr").open("wb"),
                )
            )
        self.wait_for(self.keys[0])
        for path in self.sockets:
            Path(path).chmod(0o666)

    def stop(self) -> None:
        """Stop the daemon."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait()
        self.processes = []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to each daemon."""
        for process in self.processes:
            process.send_signal(number)

    def wait_for(self, key: Key) -> None:
        """Wait until mail of the key's domain is signed with that key."""
        end = time.monotonic() + DEADLINE
        while not self._signs_with(key):
            if time.monotonic() > end:
                output = (self.folder / "stderr").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.title}: {key.name} signs nothing: {output}")
            time.sleep(0.005)

    def _signs_with(self, key: Key) -> bool:
        # A daemon that restarts may close the connection during a message.
        with contextlib.suppress(OpenDKIMError):
            return all(self._passes(path, key) for path in self.sockets)
        return False

    def _passes(self, path: str, key: Key) -> bool:
        with Connection(path) as connection:
            answer = milter.passed(connection, f"someone@{key.domain}")
        texts = ["".join(value.split()) for value in milter.signatures(answer)]
        return any(re.search(rf"\bs={key.selector}(-ed25519)?;", text) for text in texts)

    def own(self, path: Path, mode: int | None = None) -> None:
        """Give a file or folder to the daemon's account."""
        account = pwd.getpwnam(self.account)
        os.chown(path, account.pw_uid, account.pw_gid)
        if mode is not None:
            path.chmod(mode)

    def write(self, name: str, text: str) -> str:
        """Write a file that the daemon's account owns; return its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        self.own(path, 0o600)
        return str(path)

    def write_key(self, key: Key) -> str:
        """Write a key's file; return its path."""
        folder = self.folder / "keys"
        if not folder.is_dir():
            folder.mkdir()
            self.own(folder)
        return self.write(f"keys/{key.name}", key.pem)

    def processor_seconds(self) -> tuple[float, float]:
        """Return the processor seconds of the peer's processes, and of its database's."""
        return _used(self._tree()), _used(self.database_processes())

    def memory(self) -> tuple[int, int]:
        """Return the bytes of memory of the peer's processes, and of its database's."""
        return _held(self._tree()), _held(self.database_processes())

    def _tree(self) -> list[int]:
        found = [process.pid for process in self.processes]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        return found


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def _used(pids: Sequence[int]) -> float:
    return sum(map(site.processor_seconds, pids))


def _held(pids: Sequence[int]) -> int:
    return sum(map(site.memory, pids))
