"""A mail database of any size, and daemons that read it; runs as root inside a test machine."""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dkim_formula.postgres import schema
from dkim_formula.postgres.connection import session
from dkim_formula.private_key import PrivateKey
from dkim_formula.settings import read
from dkim_formula.signer import restart

from . import milter

CONFIG = "/etc/opendkim.conf"
SOCKET = "/var/spool/postfix/opendkim/opendkim.sock"
SCRATCH = Path("/run/dkim-bench")
READER = "vmail-dkim-reader"
SIGNING, KEYS = "dkim_signing_table", "dkim_key_table"
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
    """Return the settings of the machine's pillar."""
    return read(json.loads(Path(PILLAR).read_text(encoding="utf-8"))["dkim"]).settings


def sql(text: str, database: str = "vmail") -> str:
    """Run statements as the local superuser; return the unaligned output."""
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


def fill(size: int, database: str = "vmail") -> Sequence[str]:
    """
    Fill the database with ``size`` domains, each with an active key; return sender domains.

    All keys have the same private key, since a million keys would take a core twenty hours. This
    makes no difference to look-ups. The triggers are disabled, and two statements write what they
    would write.

    database
        The database to fill; ``vmail`` has a table of domains too.
    """
    key = PrivateKey.generate("rsa", 2048)
    SCRATCH.mkdir(mode=0o755, exist_ok=True)
    tables = ["dkim", "dkim_signing", "dkim_history"]
    hosted = ""
    if database == "vmail":
        tables.append("domains")
        hosted = f"""
            TRUNCATE domains RESTART IDENTITY CASCADE;
            INSERT INTO domains (domain)
            SELECT 'd' || n || '.example' FROM generate_series(1, {size}) n;
        """
    sql(
        f"""
        {hosted}
        TRUNCATE dkim, dkim_history, dkim_pattern RESTART IDENTITY CASCADE;
        ALTER TABLE dkim DISABLE TRIGGER USER;
        INSERT INTO dkim (domain, selector, key, algorithm, bits, public_key, state)
        SELECT 'd' || n || '.example', 'default', $pem${key.pem()}$pem$, 'rsa', 2048,
               '{key.public_base64()}', 'active'
          FROM generate_series(1, {size}) n;
        ALTER TABLE dkim ENABLE TRIGGER USER;
        INSERT INTO dkim_history (dkim_id, domain, selector, algorithm, address, who, to_state)
        SELECT id, domain, selector, algorithm, address, 'benchmark', state FROM dkim;
        SELECT dkim_signing_redraw();
        """,
        database,
    )
    # Each look-up checks the visibility of newly loaded rows until a VACUUM.
    for table in tables:
        sql(f"VACUUM (ANALYZE) {table};", database)
    step = max(1, size // 1000)
    return [f"d{number}.example" for number in range(1, size + 1, step)]


@contextlib.contextmanager
def database_of(size: int) -> Iterator[tuple[dict[str, str], Sequence[str]]]:
    """
    Make a second database with ``size`` domains; yield a daemon's options and sender domains.

    The formula's own set-up makes its tables and views.
    """
    name = f"bench_{size}"
    sql(f"CREATE DATABASE {name};")
    try:
        database = replace(settings().database, name=name)
        with session(database, setup=True) as connection:
            schema.apply(connection, database)
        sql(f'GRANT SELECT ON {SIGNING}, {KEYS} TO "{READER}";', name)
        yield options(SIGNING, KEYS, name), fill(size, name)
    finally:
        sql(f"DROP DATABASE {name} WITH (FORCE);")


@contextlib.contextmanager
def reader_let_in() -> Iterator[None]:
    """Let the reader log in to every database as it logs in to the formula's database."""
    path = Path(sql("SHOW hba_file;").strip())
    text = path.read_text(encoding="utf-8")
    # A killed run may have left its line.
    kept = [line for line in text.splitlines() if not line.startswith(f"local all {READER} ")]
    before = "".join(f"{line}\n" for line in kept)
    (line,) = (line for line in kept if READER in line and line.startswith("local"))
    every = " ".join(["local", "all", *line.split()[2:]])
    try:
        _write(path, f"{every}\n{before}")
        yield
    finally:
        _write(path, before)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    sql("SELECT pg_reload_conf();")


@contextlib.contextmanager
def constants(domain: str) -> Iterator[dict[str, str]]:
    """
    Yield the options of a daemon whose queries to PostgreSQL return constants.

    The daemon sends as many queries and gets the same answers, but PostgreSQL reads no table, view
    or index: each query costs as little as SELECT 1.
    """
    pem = PrivateKey.generate("rsa", 2048).pem()
    # A key contains the DSN's delimiters, so it cannot be part of a DSN.
    sql(f'ALTER ROLE "{READER}" SET bench.key = $pem${pem}$pem$;')
    nothing = "(SELECT) AS nothing"
    try:
        yield {
            "SigningTable": data_set(nothing, f"'{domain}'", "'1'"),
            "KeyTable": data_set(
                nothing, "'1'", f"'{domain}','default',current_setting('bench.key')"
            ),
        }
    finally:
        sql(f'ALTER ROLE "{READER}" RESET bench.key;')


def options(signing: str, keys: str, database: str = "vmail") -> dict[str, str]:
    """Return a daemon's options for two views."""
    return {
        "SigningTable": data_set(signing, "pattern", "identifier", database),
        "KeyTable": data_set(keys, "identifier", "domain,selector,key", database),
    }


def data_set(table: str, key: str, data: str, database: str = "vmail") -> str:
    """Return OpenDKIM's DSN for the query ``SELECT data FROM table WHERE key = '…'``."""
    return f"dsn:pgsql://{READER}@,/{database}/table={table}?keycol={key}?datacol={data}"


def restart_daemon() -> float:
    """Restart OpenDKIM; return the seconds until its socket accepts a connection."""
    begin = time.monotonic()
    subprocess.run(["systemctl", "restart", "opendkim"], check=True)
    restart.wait_until_ready("opendkim", SOCKET, 600)
    return time.monotonic() - begin


@dataclass(frozen=True)
class Daemon:
    """A daemon that the benchmark started: its socket and its process id."""

    socket: str
    pid: int

    def processor_seconds(self) -> float:
        """Return the processor seconds that the daemon has used."""
        return processor_seconds(self.pid)


def command_output(words: Sequence[str]) -> str:
    """Return a command's output; raise CalledProcessError if the command fails."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def memory(pid: int) -> int:
    """
    Return the proportional set size of a process, in bytes: shared memory counts once.

    Return 0 for a process that has ended.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def processor_seconds(pid: int) -> float:
    """Return the processor seconds that a process and its threads have used."""
    # utime and stime of proc(5)
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def sessions(database: str | None = None) -> list[int]:
    """Return PostgreSQL's processes for the reader's sessions, in every database or in one."""
    found = sql(f"SELECT pid, datname FROM pg_stat_activity WHERE usename = '{READER}';")
    rows = [line.split("|") for line in found.splitlines()]
    return [int(pid) for pid, name in rows if database in (None, name)]


def database_seconds() -> float:
    """Return the processor seconds of PostgreSQL's processes for the reader's sessions."""
    # The first number of schedstat(5) is the nanoseconds on a processor.
    texts = [Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8") for pid in sessions()]
    return sum(int(text.split()[0]) for text in texts) / 1e9


def configuration(options: Mapping[str, str]) -> str:
    """Return the formula's configuration of OpenDKIM with changed options; "" removes one."""
    kept = [
        line
        for line in Path(CONFIG).read_text(encoding="utf-8").splitlines()
        if line.split(None, 1)[:1] not in [[option] for option in options]
    ]
    lines = [*kept, *(f"{option} {value}" for option, value in options.items() if value)]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def daemon(name: str, options: dict[str, str]) -> Iterator[Daemon]:
    """Run another OpenDKIM with the formula's configuration and changed options."""
    SCRATCH.mkdir(mode=0o755, exist_ok=True)
    directory = SCRATCH / name
    directory.mkdir(exist_ok=True)
    account = pwd.getpwnam("opendkim")
    os.chown(directory, account.pw_uid, account.pw_gid)
    path = f"{directory}/sock"
    config = directory / "conf"
    config.write_text(configuration({**options, "Socket": f"local:{path}"}), encoding="utf-8")
    process = subprocess.Popen(
        ["/usr/sbin/opendkim", "-f", "-x", str(config)],
        user="opendkim",
        group="opendkim",
        extra_groups=[],
        cwd="/",
    )
    try:
        restart.wait_until_ready(name, path, 60)
        yield Daemon(path, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def key_file(domain: str) -> dict[str, str]:
    """Return the options for one key in the configuration file: the fastest configuration."""
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
    """Return messages a second; raise RuntimeError if a message comes back unsigned."""
    done = milter.load([path], domains, messages)
    if done.signed != done.sent:
        raise RuntimeError(f"{path}: only {done.signed} of {done.sent} messages were signed")
    return done.rate
