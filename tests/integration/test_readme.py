"""
What README.md and the guides tell an administrator to do works, word for word.

One machine, bare at the start, goes through README.md from its first block to its last, and then
through the guides; a block's test says how that went. Each command block is one shell script, as
somebody pastes it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from support import mail, salt
from support.machine import ROOT, CommandFailed, Machine, NotInTime

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("bookworm")

# Lines that begin so are left out of what is run.
NOT_RUN = {
    "bin/demo": "it makes a machine of its own",
    "salt-call dkim.check_dns": "it wants name servers: test_dns.py has them",
    "salt-call dkim.publish": "the same",
    "systemctl restart salt-minion": "the machine has salt-call alone",
}
# Paths of «What is touched» that this pillar has no need of.
NOT_MADE = {
    "/etc/opendkim-ed25519.conf",
    "/etc/opendkim.conf.before-dkim-formula",
    "/etc/opendkim-pgpass",
    "/etc/opendkim-pgservice.conf",
    "/var/lib/dkim-formula/",  # no timer is wanted here
}
# What looks like a function's name and is a file's.
FILES = {"dkim.conf", "dkim.prom", "dkim.sls"}

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)\n\1```$", re.DOTALL | re.MULTILINE)
CONFIG = "/var/cache/dkim-formula/minion"
PILLAR = f"{CONFIG}/pillar/dkim.sls"
# Where a Salt master is, salt-call is on the path and has the minion's configuration.
SALT_CALL = f'#!/bin/sh\nexec /opt/salt/bin/salt-call --local --config-dir {CONFIG} "$@"\n'
PARSE_YAML = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    kind: str
    text: str

    @property
    def first(self) -> str:
        return next(line for line in self.text.splitlines() if not line.startswith(("#", "--")))

    @property
    def runs(self) -> str:
        """The text without the lines of ``NOT_RUN``."""
        return "\n".join(
            line for line in self.text.splitlines() if not line.startswith(tuple(NOT_RUN))
        )

    @property
    def is_pillar(self) -> bool:
        return self.kind == "yaml" and self.first == "dkim:"


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, kind, content = match.groups()
        plain = "\n".join(line.removeprefix(indent) for line in content.splitlines())
        found.append(Block(document, text.count("\n", 0, match.start()) + 2, kind, plain))
    return found


# In the order of the story: docs/remove.md undoes everything.
DOCUMENTS = (
    "README.md",
    "docs/install.md",
    "docs/rotate.md",
    "docs/dns.md",
    "docs/trouble.md",
    "docs/caveats.md",
    "docs/backup.md",
    "docs/remove.md",
)
STORY = [block for document in DOCUMENTS for block in blocks(document)]
README = [block for block in STORY if block.document == "README.md"]


@dataclass
class Told:
    """How the story went."""

    outcomes: dict[Block, tuple[bool, str]] = field(default_factory=dict)
    paths: dict[str, bool] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    keys_before_removal: str = ""
    is_back: bool = False


def query(machine: Machine, statement: str) -> str:
    return machine.run(["psql", "-d", "vmail", "-qAtc", statement], user="postgres").stdout


def read_keys(machine: Machine) -> str:
    return query(machine, "SELECT domain, selector, state, md5(key) FROM dkim ORDER BY id")


def touched_paths() -> list[str]:
    text = (ROOT / "docs" / "remove.md").read_text(encoding="utf-8")
    section = text.partition("## What is touched")[2].partition("\n## ")[0]
    return [path for path in re.findall(r"`(/[^`]+)`", section) if path not in NOT_MADE]


def before_the_logs(machine: Machine, told: Told) -> None:
    """There is mail in the log, and an outage."""
    told.paths = {path: machine.exists(path) for path in touched_paths()}
    box = mail.Mailbox(machine)
    mail.sent_by_smtp(box, "somebody@example.com")
    machine.run("systemctl stop opendkim")
    mail.sent_by_sendmail(box, "somebody@example.com")
    machine.run("systemctl start opendkim")
    machine.wait_for("test -S /var/spool/postfix/opendkim/opendkim.sock")


def before_the_restore(machine: Machine, told: Told) -> None:
    """The cluster is new, as on a new machine with the backup on it."""
    told.keys.append(read_keys(machine))
    machine.run(
        "set -e; version=$(pg_lsclusters --no-header | cut -d' ' -f1); "
        "pg_dropcluster --stop $version main; pg_createcluster --start $version main"
    )


def after_the_restore(machine: Machine, told: Told) -> None:
    """«Everything but the database comes back by a highstate.»"""
    run = salt.apply(machine)
    assert run.succeeded, run
    told.keys.append(read_keys(machine))
    box = mail.Mailbox(machine)
    records = {r["name"]: r["value"] for r in salt.call(machine, "dkim.records")}
    message = mail.sent_by_smtp(box, "somebody@example.org")
    assert [s.valid for s in mail.signatures(machine, message, records)] == [True]


def before_the_removal(machine: Machine, told: Told) -> None:
    told.keys_before_removal = read_keys(machine)


def after_the_removal(machine: Machine, told: Told) -> None:
    """Mail flows, unsigned; every key stays, and "state.apply dkim" brings everything back."""
    box = mail.Mailbox(machine)
    message = mail.sent_by_smtp(box, "somebody@example.org")
    assert mail.signatures(machine, message, {}) == []
    assert read_keys(machine) == told.keys_before_removal
    if not told.is_back:
        told.is_back = True
        machine.run("salt-call --retcode-passthrough state.apply dkim", timeout=900)
        message = mail.sent_by_smtp(box, "somebody@example.org")
        assert len(mail.signatures(machine, message, {})) == 1


def after_the_end_of_the_keys(machine: Machine, told: Told) -> None:
    """The database has nothing of ours."""
    left = (
        "SELECT relname FROM pg_class WHERE relname LIKE '%dkim%' UNION ALL "
        "SELECT proname FROM pg_proc WHERE proname LIKE '%dkim%' UNION ALL "
        "SELECT rolname FROM pg_roles WHERE rolname LIKE '%dkim%'"
    )
    assert query(machine, left) == ""


Scene = Callable[[Machine, Told], None]
# By the first line of the block.
BEFORE: dict[str, Scene] = {
    "salt-call state.apply dkim.clean": before_the_removal,
    "journalctl --unit=opendkim": before_the_logs,
    "apt-get install --yes postgresql": before_the_restore,
}
AFTER: dict[str, Scene] = {
    "apt-get install --yes postgresql": after_the_restore,
    "salt-call state.apply dkim.clean": after_the_removal,
    "BEGIN;": after_the_end_of_the_keys,
}


def tell(block: Block, machine: Machine, told: Told) -> tuple[bool, str]:
    """Run a block between its scenes; the story goes on where something fails."""
    try:
        play(BEFORE, block, machine, told)
        outcome = run_block(machine, block)
        play(AFTER, block, machine, told)
    except (AssertionError, CommandFailed, NotInTime) as error:
        return False, f"{type(error).__name__}: {error}"
    return outcome


def play(scenes: Mapping[str, Scene], block: Block, machine: Machine, told: Told) -> None:
    for first, scene in scenes.items():
        if block.first.startswith(first):
            scene(machine, told)


def run_block(machine: Machine, block: Block) -> tuple[bool, str]:
    if block.is_pillar:
        return check_pillar(machine, block)
    if block.kind == "yaml":
        command = ["/opt/salt/bin/python", "-c", PARSE_YAML]
        result = machine.run(command, input=block.text, check=False)
    elif block.kind == "sql":
        psql = ["psql", "-v", "ON_ERROR_STOP=1", "-d", "vmail"]
        result = machine.run(psql, user="postgres", input=block.text, check=False)
    else:
        script = f"set -euo pipefail\ncd {salt.TREE}\n{block.runs}\n"
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        result = machine.run(["bash", "-c", script], env=environment, check=False, timeout=900)
    return result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def check_pillar(machine: Machine, block: Block) -> tuple[bool, str]:
    """``dkim.check`` finds nothing wrong with it on this machine, with the tables that it names."""
    before = machine.read(PILLAR)
    has_tables = "preset: howto" in block.text
    if has_tables:
        query(machine, "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE)")
    machine.write(PILLAR, block.text, mode=0o600)
    try:
        output = machine.run(["salt-call", "--out", "json", "dkim.check"]).stdout
    finally:
        machine.write(PILLAR, before, mode=0o600)
        if has_tables:
            query(machine, "DROP TABLE domains")
    problems = json.loads(output)["local"]["problems"]
    return not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def told(machine: Machine) -> Told:
    """The story, told once."""
    salt.install_formula(machine)
    machine.write("/usr/local/bin/salt-call", SALT_CALL, mode=0o755)
    machine.run("apt-get update --quiet")
    story = Told()
    for block in STORY:
        if block.kind != "text" and block.runs:
            story.outcomes[block] = tell(block, machine, story)
    for function in ("sys.list_functions", "sys.list_state_functions"):
        story.functions |= set(salt.call(machine, function, "dkim"))
    return story


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    chosen = [block for block in STORY if block.kind in kinds and block.runs]
    names = [f"{block.document}:{block.line}" for block in chosen]
    return pytest.mark.parametrize("block", chosen, ids=names)


@of_kind("bash", "sql", "yaml")
def test_block_does_as_it_says(told: Told, block: Block):
    succeeded, output = told.outcomes[block]
    assert succeeded, f"{block.text}\n\n{output}"


def test_records_look_as_the_example_shows(told: Told):
    example = next(block for block in README if block.kind == "text")
    command = next(block for block in README if block.text.strip() == "salt-call dkim.records")
    shown = re.escape(example.text).replace("…", '[^"]*')
    assert re.search(shown, told.outcomes[command][1])


def test_screen_ends_with_the_records_as_they_paste(told: Told):
    quick_start = next(block for block in README if block.first.startswith("install -D"))
    last = told.outcomes[quick_start][1].rpartition("Total run time")[2]
    assert "\ndefault._domainkey.example.com. 3600 IN TXT (\n\t" in last


def test_restored_keys_are_those_of_the_backup(told: Told):
    before, after = told.keys
    assert before
    assert after == before


def test_what_is_said_to_be_touched_is_there(told: Told):
    assert told.paths
    assert [path for path, there in told.paths.items() if not there] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_functions_and_states_that_are_named_exist(told: Told, document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"\bdkim\.[a-z_]+\b(?!\.[a-z])", text)) - FILES
    states = {f"dkim.{path.stem}" for path in (ROOT / "dkim").glob("*.sls")}
    states |= {f"dkim.{path.parent.name}" for path in (ROOT / "dkim").glob("*/init.sls")}
    assert named - told.functions - states == set()
