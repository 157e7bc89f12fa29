"""rspamd as a peer, with keys by maps."""

import os
import signal
from collections.abc import Sequence

from .keys import Key
from .peer import Peer


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
