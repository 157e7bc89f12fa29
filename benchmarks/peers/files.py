"""Peers that read keys from files: OpenDKIM in three ways, rspamd and dkimpy-milter."""

import os
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


class DkimpyMilter(RefileTables):
    """dkimpy-milter, which has OpenDKIM's configuration format."""

    title = "dkimpy-milter"
    account = "dkimpy-milter"

    def commands(self) -> Sequence[Sequence[str]]:
        """Return the command; dkimpy-milter stays in the foreground."""
        return [
            ["/usr/bin/dkimpy-milter", f"{self.folder}/conf", "-P", f"{self.folder}/pid"],
        ]

    def write_configuration(self, **options: str) -> None:
        """Write the configuration file, with only the options that dkimpy-milter knows."""
        given = {
            "Socket": f"local:{self.folder}/sock",
            "Canonicalization": "relaxed/relaxed",
            "Mode": "s",
            "UMask": "007",
            "UserID": self.account,
            "PidFile": f"{self.folder}/pid",
            "InternalHosts": "127.0.0.1",
            **options,
        }
        self.write("conf", "".join(f"{name} {value}\n" for name, value in given.items()))

    def signal(self, number: signal.Signals) -> None:
        """Restart the daemon: it has no signal to reload its files."""
        self.stop()
        self.start()


class Rspamd(Peer):
    """rspamd with only its module that signs."""

    title = "rspamd, keys by map"
    account = "_rspamd"

    def commands(self) -> Sequence[Sequence[str]]:
        """Return the command that runs rspamd in the foreground."""
        return [["/usr/bin/rspamd", "--no-fork", "--config", f"{self.folder}/conf"]]

    def configure(self) -> None:
        """Write a map of selectors, and a map of key files."""
        paths = {key: self.write_key(key) for key in self.keys}
        self.write("selectors", "".join(f"{key.domain} {key.selector}\n" for key in paths))
        self.write("paths", "".join(f"{key.domain} {path}\n" for key, path in paths.items()))
        self.write("tld", "example\nnet\n")
        processors = len(os.sched_getaffinity(0))
        self.write("conf", _RSPAMD.format(folder=self.folder, processors=processors))

    def put(self, key: Key) -> None:
        """Replace the domain's line in both maps, and reload: rspamd itself polls every 30 s."""
        path = self.write_key(key)
        for name, line in (
            ("selectors", f"{key.domain} {key.selector}\n"),
            ("paths", f"{key.domain} {path}\n"),
        ):
            lines = (self.folder / name).read_text(encoding="ascii").splitlines(keepends=True)
            others = [other for other in lines if not other.startswith(f"{key.domain} ")]
            self.write(name, "".join([*others, line]))
        self.signal(signal.SIGHUP)


# One worker per processor; the worker with the milter protocol also signs. There are no rules and
# only two top-level domains, since otherwise the start compiles patterns for half a minute.
_RSPAMD = """
options {{
    pidfile = "{folder}/pid";
    filters = "dkim";
    tempdir = "/tmp";
    control_socket = "{folder}/control mode=0600";
    cache_file = "{folder}/cache";
    history_file = "{folder}/history";
    stats_file = "{folder}/stats";
    url_tld = "{folder}/tld";
    disable_hyperscan = true;
    local_addrs = [];
    explicit_modules = [];
    dns {{ nameserver = ["127.0.0.1"]; }}
}}
logging {{ type = "console"; level = "error"; }}
modules {{ path = "/usr/share/rspamd/plugins/dkim_signing.lua"; }}
worker "rspamd_proxy" {{
    bind_socket = "{folder}/sock mode=0666";
    milter = yes;
    timeout = 120s;
    count = {processors};
    upstream "local" {{ default = yes; self_scan = yes; }}
}}
dkim_signing {{
    use_esld = false;
    sign_local = true;
    allow_username_mismatch = true;
    selector_map = "{folder}/selectors";
    path_map = "{folder}/paths";
}}
"""
