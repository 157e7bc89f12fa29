"""Peers that read keys from files: OpenDKIM in three ways, rspamd and dkimpy-milter."""

import os
import signal
from collections.abc import Sequence

from .. import site
from .keys import Key
from .peer import Peer


class OpenDKIM(Peer):
    """OpenDKIM with the formula's own options but for where its keys are."""

    account = "opendkim"

    def commands(self) -> Sequence[Sequence[str]]:
        """In the foreground."""
        return [["/usr/sbin/opendkim", "-f", "-x", f"{self.folder}/conf"]]

    def write_configuration(self, **options: str) -> None:
        """The configuration file."""
        given = {"Socket": f"local:{self.folder}/sock", **options}
        self.write("conf", site.configuration(given))


class KeyFile(OpenDKIM):
    """One key, named in the configuration file."""

    title = "OpenDKIM, one key in a file"
    most = 1

    def configure(self) -> None:
        """One key, and no table."""
        (key,) = self.keys
        self.write_configuration(
            Domain=key.domain,
            Selector=key.selector,
            KeyFile=self.write_key(key),
            KeyTable="",
            SigningTable="",
        )

    def put(self, key: Key) -> None:
        """There is one domain alone."""
        self.keys = [key]
        self.configure()
        # opendkim(8), «SIGNALS»
        self.signal(signal.SIGUSR1)


class FileTables(OpenDKIM):
    """``file:`` tables, which OpenDKIM reads whole and searches line by line."""

    title = "OpenDKIM, file:"
    kind, pattern = "file", "{}"

    def configure(self) -> None:
        """A key a file, and two tables."""
        paths = {key: self.write_key(key) for key in self.keys}
        self.write("keytable", "".join(self._key_line(key, path) for key, path in paths.items()))
        self.write("signingtable", "".join(map(self._signing_line, self.keys)))
        self.write_configuration(
            KeyTable=f"file:{self.folder}/keytable",
            SigningTable=f"{self.kind}:{self.folder}/signingtable",
        )

    def put(self, key: Key) -> None:
        """Both tables anew, with the other domains' lines as they are, and a reload."""
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
    """A ``refile:`` SigningTable, as most guides have it."""

    title = "OpenDKIM, refile:"
    kind, pattern = "refile", "*@{}"


class DkimpyMilter(RefileTables):
    """dkimpy-milter, whose configuration is OpenDKIM's."""

    title = "dkimpy-milter"
    account = "dkimpy-milter"

    def commands(self) -> Sequence[Sequence[str]]:
        """It stays in the foreground."""
        return [
            ["/usr/bin/dkimpy-milter", f"{self.folder}/conf", "-P", f"{self.folder}/pid"],
        ]

    def write_configuration(self, **options: str) -> None:
        """Only those options that it knows."""
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
        """A restart: it knows no signal to read anew."""
        self.stop()
        self.start()


class Rspamd(Peer):
    """rspamd with nothing but its module that signs."""

    title = "rspamd, keys by map"
    account = "_rspamd"

    def commands(self) -> Sequence[Sequence[str]]:
        """In the foreground."""
        return [["/usr/bin/rspamd", "--no-fork", "--config", f"{self.folder}/conf"]]

    def configure(self) -> None:
        """A map of selectors, and one of key files."""
        paths = {key: self.write_key(key) for key in self.keys}
        self.write("selectors", "".join(f"{key.domain} {key.selector}\n" for key in paths))
        self.write("paths", "".join(f"{key.domain} {path}\n" for key, path in paths.items()))
        self.write("tld", "example\nnet\n")
        processors = len(os.sched_getaffinity(0))
        self.write("conf", _RSPAMD.format(folder=self.folder, processors=processors))

    def put(self, key: Key) -> None:
        """Both maps anew, and a reload: by itself rspamd looks at them every half a minute."""
        path = self.write_key(key)
        for name, line in (
            ("selectors", f"{key.domain} {key.selector}\n"),
            ("paths", f"{key.domain} {path}\n"),
        ):
            lines = (self.folder / name).read_text(encoding="ascii").splitlines(keepends=True)
            others = [other for other in lines if not other.startswith(f"{key.domain} ")]
            self.write(name, "".join([*others, line]))
        self.signal(signal.SIGHUP)


# As many workers as processors; what speaks the milter protocol signs itself. No rules, and a few
# top-level domains alone: else its start compiles patterns for half a minute.
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
