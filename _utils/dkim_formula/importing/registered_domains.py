"""The registered domain of a name, as rspamd finds it in its list of public suffixes."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

# The list of Debian's package: «effective_tld_names.dat», the Public Suffix List.
LIST = "/usr/share/rspamd/effective_tld_names.dat"


class RegisteredDomains:
    """
    The look-up of registered domains.

    known
        Known domains. Without the list the shortest known parent of a name counts.
    """

    def __init__(self, known: Collection[str]):
        self.known = set(known)
        self._suffixes: set[str] = set()
        with (
            contextlib.suppress(OSError),
            open(LIST, encoding="utf-8", errors="replace") as stream,
        ):
            # rspamd passes over the exceptions, which begin with an exclamation mark (measured).
            words = (line.split() for line in stream)
            self._suffixes = {one[0] for one in words if one and one[0][:1] not in "/!"}

    def of(self, name: str) -> str:
        """
        Return the registered domain of a name.

        A name whose top-level domain the list lacks is its own registered domain (measured, 3.4).
        """
        parents = [name]
        while "." in parents[-1]:
            parents.append(parents[-1].partition(".")[2])
        if not self._suffixes:
            return next((one for one in reversed(parents) if one in self.known), name)
        for number, parent in enumerate(parents):
            above = parent.partition(".")[2]
            if parent in self._suffixes or (above and f"*.{above}" in self._suffixes):
                return parents[max(number - 1, 0)]
        return name
