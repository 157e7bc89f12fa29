"""main.cf and master.cf, read and written with postconf(1)."""

import os
import subprocess
from collections.abc import Iterable, Mapping

from ..errors import PostfixError

POSTCONF = "/usr/sbin/postconf"


def explicit(config_dir: str | None = None) -> dict[str, str]:
    """
    Return every parameter that main.cf sets, by name, unexpanded.

    config_dir
        A configuration directory instead of Postfix's default, see ``postconf -c``.

    Raises PostfixError if postconf is not installed or main.cf can't be read. Source:
    postconf(1), ``-n``.
    """
    lines = _postconf(config_dir, "-n").splitlines()
    return {
        name.strip(): value.strip()
        for name, equals, value in (line.partition("=") for line in lines)
        if equals
    }


def in_force(name: str, config_dir: str | None = None) -> str:
    """Return the expanded value of a parameter, set or default (``postconf -xh``)."""
    return _postconf(config_dir, "-xh", name).strip()


def services(config_dir: str | None = None) -> list[list[str]]:
    """
    Return the services of master.cf, eight fields each, without the command's arguments.

    Raises PostfixError as :func:`explicit`. Source: postconf(1), ``-M``; master(5).
    """
    lines = _postconf(config_dir, "-M").splitlines()
    return [fields[:8] for fields in (line.split() for line in lines) if len(fields) > 7]


def service_parameters(config_dir: str | None = None) -> dict[str, str]:
    """
    Return the parameters that services of master.cf set (``-o``), by ``service/type/parameter``.

    Raises PostfixError as :func:`explicit`. Source: postconf(1), ``-P``.
    """
    lines = (line.partition("=") for line in _postconf(config_dir, "-P").splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def write(
    values: Mapping[str, str], unset: Iterable[str] = (), config_dir: str | None = None
) -> None:
    """
    Set ``values`` and remove the lines of ``unset``. Every other line stays as it is.

    Raises PostfixError. Source: postconf(1), ``-e`` and ``-X``.
    """
    if values:
        _postconf(config_dir, "-e", *(f"{name}={value}" for name, value in values.items()))
    unset = tuple(unset)
    if unset:
        _postconf(config_dir, "-X", *unset)


def write_own(values: Mapping[str, str], config_dir: str | None = None) -> None:
    """
    Set parameters of services of master.cf, by ``service/type/parameter``.

    A value must not contain white space: postconf(1) refuses it (measured, Postfix 3.7).

    Raises PostfixError. Source: postconf(1), ``-P``.
    """
    if values:
        _postconf(config_dir, "-P", *(f"{name}={value}" for name, value in values.items()))


def _postconf(config_dir: str | None, *arguments: str) -> str:
    directory = ["-c", config_dir] if config_dir else []
    try:
        done = subprocess.run([POSTCONF, *directory, *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise PostfixError(f"{POSTCONF} is missing: Postfix is not installed") from None
    if done.returncode != 0:
        raise PostfixError(f"postconf {' '.join(arguments)}: {os.fsdecode(done.stderr).strip()}")
    # Values may hold octets that are not UTF-8, which a call with such a value writes unchanged.
    return os.fsdecode(done.stdout)
