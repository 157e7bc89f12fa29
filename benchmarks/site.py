"""A virtual-mail database of any size, and daemons that read it; inside a test machine, as root."""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dkim_formula.keys import PrivateKey
from dkim_formula.settings import read
from dkim_formula.signer import restart

from . import milter

CONFIG = "/etc/opendkim.conf"
SOCKET = "/var/spool/postfix/opendkim/opendkim.sock"
SCRATCH = Path("/run/dkim-bench")
PILLAR = "/srv/pillar/dkim.sls"
HOWTO = """
CREATE SCHEMA howto;
CREATE VIEW howto.dkim_signing_table AS
    SELECT selector || '.' || domains.domain AS identifier, domains.domain AS pattern
      FROM dkim INNER JOIN domains ON dkim.domain = domains.domain;
CREATE VIEW howto.dkim_key_table AS
    SELECT selector || '.' || domains.domain AS identifier, domains.domain AS domain, selector, key
      FROM dkim INNER JOIN domains ON dkim.domain = domains.domain;
GRANT USAGE ON SCHEMA howto TO "vmail-dkim-reader";
GRANT SELECT ON ALL TABLES IN SCHEMA howto TO "vmail-dkim-reader";
"""


def settings():
    """The settings that the machine was set up with."""
    return read(json.loads(Path(PILLAR).read_text(encoding="utf-8"))["dkim"]).settings


def sql(text: str, database: str = "vmail") -> str:
    """Runs statements as the local superuser; gives the output, unaligned."""
    done = subprocess.run(
        ["/usr/bin/psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", database],
        input=text,
        text=True,
        capture_output=True,
        check=False,
        user="postgres",
        cwd="/",
    )
    if done.returncode != 0:
        raise RuntimeError(f"psql: {done.stderr}")
    return done.stdout


def fill(size: int) -> Sequence[str]:
    """
    Makes the database hold ``size`` domains, each with an active key, and gives sender domains.

    All have the same private key, since a million would take a core twenty hours; no look-up sees
    the difference. The triggers, which write a history, rest meanwhile.
    """
    key = PrivateKey.generate("rsa", 2048)
    SCRATCH.mkdir(mode=0o755, exist_ok=True)
    sql(
        f"""
        TRUNCATE dkim, domains, dkim_history, dkim_pattern RESTART IDENTITY CASCADE;
        ALTER TABLE dkim DISABLE TRIGGER USER;
        INSERT INTO domains (domain)
        SELECT 'd' || n || '.example' FROM generate_series(1, {size}) n;
        INSERT INTO dkim (domain, selector, key, algorithm, bits, public_key, state)
        SELECT domain, 'default', $pem${key.pem()}$pem$, 'rsa', 2048, '{key.public_base64()}',
               'active'
          FROM domains;
        ALTER TABLE dkim ENABLE TRIGGER USER;
        SELECT dkim_signing_redraw();
        """
    )
    # Freshly loaded rows are checked for visibility at each look-up until a VACUUM has been.
    for table in ("domains", "dkim", "dkim_signing"):
        sql(f"VACUUM (ANALYZE) {table};")
    step = max(1, size // 1000)
    return [f"d{number}.example" for number in range(1, size + 1, step)]


def restart_daemon() -> float:
    """Restarts OpenDKIM; the seconds until its socket takes a connection."""
    begin = time.monotonic()
    subprocess.run(["systemctl", "restart", "opendkim"], check=True)
    restart.wait_until_ready("opendkim", SOCKET, 600)
    return time.monotonic() - begin


@contextlib.contextmanager
def daemon(name: str, options: dict[str, str]) -> Iterator[str]:
    """Another OpenDKIM with the formula's configuration, but ``options``; gives its socket."""
    SCRATCH.mkdir(mode=0o755, exist_ok=True)
    directory = SCRATCH / name
    directory.mkdir(exist_ok=True)
    account = pwd.getpwnam("opendkim")
    os.chown(directory, account.pw_uid, account.pw_gid)
    path = f"{directory}/sock"
    kept = [
        line
        for line in Path(CONFIG).read_text(encoding="utf-8").splitlines()
        if line.split(None, 1)[:1] not in [[option] for option in (*options, "Socket")]
    ]
    given = {**options, "Socket": f"local:{path}"}
    lines = [*kept, *(f"{option} {value}" for option, value in given.items() if value)]
    config = directory / "conf"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    process = subprocess.Popen(
        ["/usr/sbin/opendkim", "-f", "-x", str(config)],
        user="opendkim",
        group="opendkim",
        extra_groups=[],
        cwd="/",
    )
    try:
        restart.wait_until_ready(name, path, 60)
        yield path
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def key_file(domain: str) -> dict[str, str]:
    """Options for one key in the configuration file: what the daemon can do at best."""
    SCRATCH.mkdir(mode=0o755, exist_ok=True)
    path = SCRATCH / "limit.pem"
    path.write_text(PrivateKey.generate("rsa", 2048).pem(), encoding="utf-8")
    account = pwd.getpwnam("opendkim")
    os.chown(path, account.pw_uid, account.pw_gid)
    path.chmod(0o400)
    return {
        "KeyTable": "",
        "SigningTable": "",
        "Domain": domain,
        "Selector": "default",
        "KeyFile": str(path),
    }


def rate(path: str, domains: Sequence[str], messages: int) -> float:
    """Messages a second; every one of them has to come back signed."""
    done = milter.load(path, domains, messages)
    if done.signed != done.sent:
        raise RuntimeError(f"{path}: only {done.signed} of {done.sent} messages were signed")
    return done.rate
