"""A virtual-mail database of any size, and daemons that read it; inside a test machine, as root."""

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


def fill(size: int, database: str = "vmail") -> Sequence[str]:
    """
    Makes the database hold ``size`` domains, each with an active key, and gives sender domains.

    All have the same private key, since a million would take a core twenty hours; no look-up sees
    the difference. The triggers rest meanwhile; what they would write is written at once.

    database
        The one to be filled; ``vmail`` has a table of domains too.
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
    # Freshly loaded rows are checked for visibility at each look-up until a VACUUM has been.
    for table in tables:
        sql(f"VACUUM (ANALYZE) {table};", database)
    step = max(1, size // 1000)
    return [f"d{number}.example" for number in range(1, size + 1, step)]


@contextlib.contextmanager
def database_of(size: int) -> Iterator[tuple[dict[str, str], Sequence[str]]]:
    """
    A database beside the formula's, with the formula's tables and views, made by its own set-up,
    and ``size`` domains; gives a daemon's options and sender domains.
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
    """Lets the reader into every database as the formula lets it into its own."""
    path = Path(sql("SHOW hba_file;").strip())
    text = path.read_text(encoding="utf-8")
    # A run that was killed has left its line.
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
    Options for a daemon that asks PostgreSQL as often, and gets the same answers, as constants: no
    table, view or index is read, and PostgreSQL has as little to do as for SELECT 1.
    """
    pem = PrivateKey.generate("rsa", 2048).pem()
    # A key can't stand in a DSN: it has the DSN's own delimiters in it.
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
    """A daemon's options for two views."""
    return {
        "SigningTable": data_set(signing, "pattern", "identifier", database),
        "KeyTable": data_set(keys, "identifier", "domain,selector,key", database),
    }


def data_set(table: str, key: str, data: str, database: str = "vmail") -> str:
    """The DSN of an OpenDKIM that asks ``SELECT data FROM table WHERE key = '…'``."""
    return f"dsn:pgsql://{READER}@,/{database}/table={table}?keycol={key}?datacol={data}"


def restart_daemon() -> float:
    """Restarts OpenDKIM; the seconds until its socket takes a connection."""
    begin = time.monotonic()
    subprocess.run(["systemctl", "restart", "opendkim"], check=True)
    restart.wait_until_ready("opendkim", SOCKET, 600)
    return time.monotonic() - begin


@dataclass(frozen=True)
class Daemon:
    """A daemon of the benchmark's own: its socket and its process id."""

    socket: str
    pid: int

    def processor_seconds(self) -> float:
        """What it has used of the processors."""
        return processor_seconds(self.pid)


def command_output(words: Sequence[str]) -> str:
    """What a command writes; raises CalledProcessError where it fails."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def memory(pid: int) -> int:
    """
    The proportional set size of a process, in bytes: what processes share counts once. A process
    that has ended has none.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def processor_seconds(pid: int) -> float:
    """What a process has used of the processors, with its threads."""
    # utime and stime of proc(5)
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def sessions(database: str | None = None) -> list[int]:
    """PostgreSQL's processes for the reader, in every database or in one."""
    found = sql(f"SELECT pid, datname FROM pg_stat_activity WHERE usename = '{READER}';")
    rows = [line.split("|") for line in found.splitlines()]
    return [int(pid) for pid, name in rows if database in (None, name)]


def database_seconds() -> float:
    """What PostgreSQL's processes for the reader have used of the processors."""
    # Of schedstat(5) the first number is nanoseconds on a processor.
    texts = [Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8") for pid in sessions()]
    return sum(int(text.split()[0]) for text in texts) / 1e9


def configuration(options: Mapping[str, str]) -> str:
    """The formula's configuration of OpenDKIM but for ``options``; an empty one is left out."""
    kept = [
        line
        for line in Path(CONFIG).read_text(encoding="utf-8").splitlines()
        if line.split(None, 1)[:1] not in [[option] for option in options]
    ]
    lines = [*kept, *(f"{option} {value}" for option, value in options.items() if value)]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def daemon(name: str, options: dict[str, str]) -> Iterator[Daemon]:
    """Another OpenDKIM with the formula's configuration, but ``options``."""
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
    done = milter.load([path], domains, messages)
    if done.signed != done.sent:
        raise RuntimeError(f"{path}: only {done.signed} of {done.sent} messages were signed")
    return done.rate
