"""The addresses of the formula's milters, and the entries of a list that refer to them."""

import os
from collections.abc import Iterable, Mapping, Sequence

from .expansion import QUEUE
from .milter_entry import address
from .own_host import hosts_meant


class ManagedMilters:
    """
    The formula's milters, recognised at every address that refers to one of them.

    milters
        The desired addresses in main.cf: ``unix:opendkim/opendkim.sock``.
    older
        Former addresses of the same daemon, by milter.
    queue
        Postfix's queue directory.
    """

    def __init__(
        self,
        milters: Sequence[str],
        older: Mapping[str, Sequence[str]] | None = None,
        queue: str = QUEUE,
    ):
        self.milters = tuple(milters)
        self.older = dict(older or {})
        self.queue = queue
        known = [(milter, milter) for milter in milters]
        known += [(old, milter) for milter in milters for old in self.older.get(milter, ())]
        self._known = [(endpoints(address, queue), milter) for address, milter in known]

    def which(self, entry: str) -> str | None:
        """Return the formula's milter that an entry refers to, or None."""
        named = endpoints(address(entry), self.queue)
        return next((milter for known, milter in self._known if known & named), None)

    def among(self, found: Iterable[str]) -> list[str]:
        """Return the formula's milters that some entries refer to, without duplicates."""
        return list(dict.fromkeys(filter(None, map(self.which, found))))


def endpoints(milter: str, queue: str = QUEUE) -> frozenset[str]:
    """
    Return every endpoint that a milter's address may refer to.

    smtpd(8) and cleanup(8) work in the queue directory, so they find a relative path there. A
    chrooted service finds an absolute path below the queue directory, any other service below the
    root (measured, Debian 12 and 13). Links are followed: ``/var/run`` is ``/run``. A daemon at
    every address of this host has all of them: :func:`own_host.hosts_meant`.
    """
    transport, colon, endpoint = milter.partition(":")
    if colon and transport in ("unix", "local"):
        paths = [os.path.join(queue, endpoint.lstrip("/"))]
        paths += [endpoint] if endpoint.startswith("/") else []
        return frozenset(f"unix:{_real(path)}" for path in paths)
    if colon and transport == "inet":
        host, _, port = endpoint.rpartition(":")
        return frozenset(f"inet:{one}:{port}" for one in hosts_meant(host))
    return frozenset([milter])


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # the text is not a valid path
        return path
