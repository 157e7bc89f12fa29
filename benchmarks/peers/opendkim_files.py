"""OpenDKIM with keys in files: one key, ``file:`` tables and ``refile:`` tables."""

import signal
from collections.abc import Sequence

from .. import site
from .keys import Key
from .peer import Peer


class OpenDKIM(Peer):
    """OpenDKIM with the formula's own options and another source of keys."""

    account = "opendkim"

    def commands(self) -> Sequence[Sequence[str]]:
        """Return the command that runs OpenDKIM in the foreground."""
        return [["/usr/sbin/opendkim", "-f", "-x", f"{self.folder}/conf"]]

    def write_configuration(self, **options: str) -> None:
        """Write the configuration file."""
        given = {"Socket": f"local:{self.folder}/sock", **options}
        self.write("conf", site.configuration(given))


class KeyFile(OpenDKIM):
    """OpenDKIM with one key, named in the configuration file."""

    title = "OpenDKIM, one key in a file"
    most = 1

    def configure(self) -> None:
        """Write the configuration with one key and without tables."""
        (key,) = self.keys
        self.write_configuration(
            Domain=key.domain,
            Selector=key.selector,
            KeyFile=self.write_key(key),
            KeyTable="",
            SigningTable="",
        )

    def put(self, key: Key) -> None:
        """Replace the only key; this peer has one domain."""
        self.keys = [key]
        self.configure()
        # opendkim(8), «SIGNALS»
        self.signal(signal.SIGUSR1)


class FileTables(OpenDKIM):
    """OpenDKIM with ``file:`` tables, which it reads completely and searches line by line."""

    title = "OpenDKIM, file:"
    kind, pattern = "file", "{}"

    def configure(self) -> None:
        """Write one file per key, and two tables."""
        paths = {key: self.write_key(key) for key in self.keys}
        self.write("keytable", "".join(self._key_line(key, path) for key, path in paths.items()))
        self.write("signingtable", "".join(map(self._signing_line, self.keys)))
        self.write_configuration(
            KeyTable=f"file:{self.folder}/keytable",
            SigningTable=f"{self.kind}:{self.folder}/signingtable",
        )

    def put(self, key: Key) -> None:
        """Replace the domain's line in both tables, and reload."""
        path = self.write_key(key)
        self.keys = [*(other for other in self.keys if other.domain != key.domain), key]
        for name, line in (
            ("keytable", self._key_line(key, path)),
            ("signingtable", self._signing_line(key)),
        ):
            table = self.folder / name
            others = [
                other
                for other in table.read_text(encoding="ascii").splitlines(keepends=True)
                if f"._domainkey.{key.domain} " not in other.replace("\n", " ")
            ]
            self.write(name, "".join([*others, line]))
        self.signal(signal.SIGUSR1)

    def _key_line(self, key: Key, path: str) -> str:
        return f"{key.name} {key.domain}:{key.selector}:{path}\n"

    def _signing_line(self, key: Key) -> str:
        return f"{self.pattern.format(key.domain)} {key.name}\n"


class RefileTables(FileTables):
    """OpenDKIM with a ``refile:`` SigningTable, as in most guides."""

    title = "OpenDKIM, refile:"
    kind, pattern = "refile", "*@{}"
