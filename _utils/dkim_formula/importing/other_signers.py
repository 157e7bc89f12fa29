"""Other programs on this machine that sign mail, and how to switch their signing off."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InvalidValue, PostfixError
from ..postfix import milter_actions, service_milters
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer import daemons, existing_config
from . import amavisd_config, rspamd, rspamd_config

_RSPAMD_PORT = ":11332"  # the port of rspamd's milter, its proxy worker (worker-proxy.inc)
_DKIMPY_MILTER = "dkimpy-milter"
_DKIMPY_CONFIGURATION = "/etc/dkimpy-milter/dkimpy-milter.conf"
_DKIMPY_KEYS = ("KeyFile", "KeyTable", "KeyFileEd25519", "KeyTableEd25519")


@dataclass(frozen=True)
class Signer:
    """A program that signs: its name, the finding, and the remedy."""

    program: str
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.finding}: mail would be signed twice; switch it off: {self.remedy}"


@dataclass(frozen=True)
class Process:
    """A running process: its number (PID) and the words of its command line."""

    number: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """The program's name, without its folder and without its status text."""
        return os.path.basename(self.words[0].partition(" ")[0]).rstrip(":")


def signers(settings: Settings) -> list[Signer]:
    """Return the other programs that sign. Changes nothing."""
    running = list(processes())
    return [
        *_rspamd(settings, running),
        *_amavisd(running),
        *_other_opendkims(settings, running),
        *_dkimpy_milters(running),
    ]


def messages(settings: Settings) -> list[str]:
    """Return a message for each other program that signs."""
    return [str(signer) for signer in signers(settings)]


def processes() -> Iterator[Process]:
    """Yield the processes of this machine, without those of containers."""
    for number in process_numbers():
        with contextlib.suppress(OSError):  # the process has ended
            with open(f"/proc/{number}/cmdline", "rb") as stream:
                words = stream.read().decode("utf-8", "replace").rstrip("\0").split("\0")
            if words[0]:
                yield Process(int(number), tuple(words))


def process_numbers() -> Iterator[str]:
    """Yield the numbers of this machine's processes, without those of containers."""
    own = os.readlink("/proc/self/ns/pid")
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # the process has ended
            if os.readlink(f"/proc/{number}/ns/pid") == own:
                yield number


def _rspamd(settings: Settings, running: Sequence[Process]) -> Iterator[Signer]:
    milters = _milters_of_rspamd()
    if not milters and not any(process.name == "rspamd" for process in running):
        return
    milter = f", and Postfix asks it ({milters[0]})" if milters else ""
    if not os.path.isdir(rspamd_config.CONFIGURATION):
        yield Signer(
            "rspamd",
            f"Postfix asks a milter of rspamd ({milters[0]}), which may sign",
            "write 'enabled = false;' into override.d/dkim_signing.conf of that rspamd",
        )
        return
    configuration = rspamd_config.configuration(None)
    if not configuration.is_on:
        return
    remedy = (
        f"write 'enabled = false;' into {rspamd_config.CONFIGURATION}/override.d/"
        "dkim_signing.conf; then: systemctl restart rspamd"
    )
    held = rspamd.read(None, domains=settings.domains)
    signing = held.signing.lines if held.signing else []
    files = {held.entries[line.key_name].key_or_path.reveal() for line in signing}
    if files or configuration.other_key_source or rspamd.has_key(configuration):
        count = len(files) or (0 if configuration.other_key_source else 1)
        finding = f"rspamd signs with {_keys(count)} (dkim_signing){milter}"
        yield Signer("rspamd", finding, remedy)
    elif held.refused:
        first = held.refused[0]
        finding = f"rspamd may sign (dkim_signing; {first.entry}: {first.reason}){milter}"
        yield Signer("rspamd", finding, remedy)


def _milters_of_rspamd() -> list[str]:
    try:
        entries = list(milter_actions.entries(service_milters.read()))
    except PostfixError:
        return []
    return [
        f"{entry.where}: {entry.text}"
        for entry in entries
        if _RSPAMD_PORT in entry.text or "rspamd" in entry.text
    ]


def _amavisd(running: Sequence[Process]) -> Iterator[Signer]:
    if not any(process.name.startswith("amavisd") for process in running):
        return
    try:
        files = amavisd_config.files(None)
        found = amavisd_config.configuration(files)
    except InvalidValue as error:
        yield Signer(
            "amavisd",
            f"amavisd may sign ({error})",
            "write '$enable_dkim_signing = 0;' into its configuration; then: "
            "systemctl restart amavis",
        )
        return
    if found.signs and (found.keys or found.unknown or found.unread):
        yield Signer(
            "amavisd",
            f"amavisd signs with {_keys(len(found.keys))} (dkim_key)",
            f"write '$enable_dkim_signing = 0;' into {files[-1]}, before its last line; then: "
            "systemctl restart amavis",
        )


def _other_opendkims(settings: Settings, running: Sequence[Process]) -> Iterator[Signer]:
    needed = daemons.daemons(settings, names(settings.lookup))
    known = {daemon.config_file for daemon in needed}
    for process in running:
        if process.name != "opendkim":
            continue
        path = _option(process.words, "-x") or "/etc/opendkim.conf"
        options = {one.name: one.value for one in existing_config.options(path)}
        if path not in known and "s" in options.get("Mode", "sv"):
            yield Signer(
                "opendkim",
                f"another OpenDKIM signs with the configuration {path}",
                _end(process.number),
            )


def _dkimpy_milters(running: Sequence[Process]) -> Iterator[Signer]:
    for process in running:
        # The program is in Python, so the interpreter may come first.
        words = process.words[1:] if process.name.startswith("python") else process.words
        if not words or os.path.basename(words[0]) != _DKIMPY_MILTER:
            continue
        path = next((word for word in words[1:] if word.startswith("/")), _DKIMPY_CONFIGURATION)
        options = {one.name: one.value for one in existing_config.options(path)}
        if "s" in options.get("Mode", "sv") and any(options.get(name) for name in _DKIMPY_KEYS):
            yield Signer(
                _DKIMPY_MILTER,
                f"dkimpy-milter signs with the configuration {path}",
                _end(process.number),
            )


def _keys(count: int) -> str:
    """Return the number of keys as text; 0 means that the keys are outside of files."""
    return {0: "its keys", 1: "1 key"}.get(count, f"{count} keys")


def _option(words: Sequence[str], option: str) -> str:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == option:
            return following
        if word.startswith(option):
            return word.removeprefix(option)
    return ""


def _end(number: int) -> str:
    """Return the remedy that ends a milter's process."""
    unit = _unit(number)
    first = f"systemctl disable --now {unit}" if unit else f"end the process {number}"
    return f"{first}; then remove its milter from main.cf"


def _unit(number: int) -> str:
    """Return the name of a process's systemd unit, or '' if the process has none."""
    with contextlib.suppress(OSError), open(f"/proc/{number}/cgroup", encoding="utf-8") as stream:
        name = stream.read().strip().rpartition("/")[2]
        if name.endswith(".service"):
            return name
    return ""
