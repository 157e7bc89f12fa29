"""dkimpy-milter as a peer."""

import signal
from collections.abc import Sequence

from .opendkim_files import RefileTables


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
