"""main.cf as postconf(1) reads and writes it."""

import os
import subprocess
from collections.abc import Iterable, Mapping

from ..errors import PostfixError

POSTCONF = "/usr/sbin/postconf"


def explicit(config_dir: str | None = None) -> dict[str, str]:
    """
    Every parameter that main.cf sets, by name, unexpanded.

    config_dir
        Another directory than Postfix's own, as ``postconf -c``.

    Raises PostfixError where postconf is not installed or main.cf can't be read. Source:
    postconf(1), ``-n``.
    """
    lines = _postconf(config_dir, "-n").splitlines()
    return {
        name.strip(): value.strip()
        for name, equals, value in (line.partition("=") for line in lines)
        if equals
    }


def explicit_or_nothing() -> dict[str, str]:
    """As :func:`explicit`; empty where Postfix is not installed yet."""
    return explicit() if os.path.exists(POSTCONF) else {}


def in_force(name: str, config_dir: str | None = None) -> str:
    """One parameter's value, expanded, whether set or Postfix's default (``postconf -xh``)."""
    return _postconf(config_dir, "-xh", name).strip()


def services(config_dir: str | None = None) -> list[list[str]]:
    """
    The services of master.cf, each as its eight fields, the command's arguments left out.

    Raises as :func:`explicit`. Source: postconf(1), ``-M``; master(5).
    """
    lines = _postconf(config_dir, "-M").splitlines()
    return [fields[:8] for fields in (line.split() for line in lines) if len(fields) > 7]


def service_parameters(config_dir: str | None = None) -> dict[str, str]:
    """
    What services of master.cf set for themselves (``-o``), by ``service/type/parameter``.

    Raises as :func:`explicit`. Source: postconf(1), ``-P``.
    """
    lines = (line.partition("=") for line in _postconf(config_dir, "-P").splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def write(
    values: Mapping[str, str], unset: Iterable[str] = (), config_dir: str | None = None
) -> None:
    """
    Sets ``values`` and takes the lines of ``unset`` out; every other line stays as it is.

    Raises PostfixError. Source: postconf(1), ``-e`` and ``-X``.
    """
    if values:
        _postconf(config_dir, "-e", *(f"{name}={value}" for name, value in values.items()))
    unset = tuple(unset)
    if unset:
        _postconf(config_dir, "-X", *unset)


def write_own(values: Mapping[str, str], config_dir: str | None = None) -> None:
    """
    Sets what services of master.cf set for themselves, by ``service/type/parameter``. A value has
    no white space: postconf(1) refuses it (measured, Postfix 3.7).

    Raises PostfixError. Source: postconf(1), ``-P``.
    """
    if values:
        _postconf(config_dir, "-P", *(f"{name}={value}" for name, value in values.items()))


def _postconf(config_dir: str | None, *arguments: str) -> str:
    where = ["-c", config_dir] if config_dir else []
    try:
        done = subprocess.run(
            [POSTCONF, *where, *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise PostfixError(f"{POSTCONF} is not there: Postfix is not installed") from None
    if done.returncode != 0:
        raise PostfixError(f"postconf {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
