"""
The commands of README.md and the guides, executed exactly as an administrator pastes them.

One machine, bare at the start, executes all blocks of README.md in order, then those of the guides.
Each block has a test of its outcome. Each block of commands is one shell script. The machine has no
minion, so ``salt-call`` is ``bin/highstate --call``, as README.md says. Its own BIND serves the
zones, and a person publishes the printed records there.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest
from support import mail, salt, zones
from support.machine import ROOT, CommandFailed, Machine, NotInTime

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("bookworm")

# Lines with these prefixes are not executed.
NOT_RUN = {
    "bin/demo": "the script creates its own machine",
    "editor /srv/pillar/dkim.sls": "a person edits the settings",
    "salt-call dkim.publish": "needs a pillar with dns:publish: test_dns.py has one",
    "systemctl restart salt-minion": "the machine has only salt-call",
}
# Paths of «What is touched» that this pillar does not create.
NOT_MADE = {
    "/opt/dkim-formula/salt",  # the machine has a Salt in /opt/salt
    "/etc/opendkim-ed25519.conf",
    "/etc/opendkim.conf.before-dkim-formula",
    "/etc/opendkim-pgpass",
    "/etc/opendkim-pgservice.conf",
    "/var/lib/dkim-formula/",  # this pillar has no timer
}
# Names of files that look like names of functions.
FILES = {"dkim.conf", "dkim.prom", "dkim.sls"}

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)\n\1```$", re.DOTALL | re.MULTILINE)
CONFIG = "/var/cache/dkim-formula/minion"
PILLAR = f"{CONFIG}/pillar/dkim.sls"
# bin/highstate writes PILLAR at each call, so this call uses its configuration without it.
CHECK = f"{salt.WARM}/salt-call --local --config-dir {CONFIG} --out json dkim.check"
CALL = re.compile(r"(?<![\w/-])salt-call(?= )")
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
    def script(self) -> str:
        """The lines to execute, as a person types them on a machine without a minion."""
        return CALL.sub("bin/highstate --call", self.runs)

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


# In the order of execution: docs/remove.md undoes everything.
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
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
README = [block for block in BLOCKS if block.document == "README.md"]


@dataclass
class Outcome:
    """
    The outcome of each block, and what the tests need to know of the machine.

    printed
        The standard output of the last block of commands.
    new_selector
        The selector of the key that ``dkim.rotate`` of README.md generated.
    """

    blocks: dict[Block, tuple[bool, str]] = field(default_factory=dict)
    paths: dict[str, bool] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    printed: str = ""
    new_selector: str = ""
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


def publish(machine: Machine, zone_lines: str) -> dict[str, str]:
    """Publish printed records, and return their values by name."""
    records = mail.zone_records(machine, zone_lines)
    for name, value in records.items():
        zones.publish(machine, name, value)
    return records


def after_the_records(machine: Machine, outcome: Outcome) -> None:
    """Publish the records, as README.md says."""
    assert publish(machine, outcome.printed)


def after_the_rotation(machine: Machine, outcome: Outcome) -> None:
    """Publish the new key's record, and wait until ``dkim.advance`` may let the key sign."""
    if outcome.new_selector:
        return
    # The default margin is five minutes.
    machine.run(f"echo '  rotation: {{margin: 1s}}' >>{salt.PILLAR}")
    (name,) = publish(machine, outcome.printed.partition("Publish these records:")[2])
    done = salt.call(machine, "dkim.advance", "example.com")
    assert (done["problems"], done["changes"]) == ([], {})
    # The time is printed without its fraction of a second.
    time = datetime.fromisoformat(done["next_check"]) + timedelta(seconds=1)
    machine.wait_for(lambda: datetime.now(timezone.utc) > time, what=f"it is {time}")
    outcome.new_selector = name.partition("._domainkey.")[0]


def after_the_advance(machine: Machine, outcome: Outcome) -> None:
    """Assert that the new key signs, and that DNS verifies its signature."""
    active = "SELECT selector FROM dkim WHERE domain = 'example.com' AND state = 'active'"
    assert outcome.new_selector not in ("", "default")
    assert query(machine, active).split() == [outcome.new_selector]
    message = mail.sent_by_smtp(mail.Mailbox(machine), "somebody@example.com")
    records = zones.key_records(machine, "example.com")
    (signature,) = mail.signatures(machine, message, records)
    assert (signature.selector, signature.valid) == (outcome.new_selector, True)


def before_the_doctor(machine: Machine, outcome: Outcome) -> None:
    """Publish the records that the blocks before printed; the doctor fails without them."""
    publish(machine, salt.call(machine, "dkim.records", format="bind"))


def before_the_logs(machine: Machine, outcome: Outcome) -> None:
    """Put mail and an outage into the log."""
    outcome.paths = {path: machine.exists(path) for path in touched_paths()}
    box = mail.Mailbox(machine)
    mail.sent_by_smtp(box, "somebody@example.com")
    machine.run("systemctl stop opendkim")
    mail.sent_by_sendmail(box, "somebody@example.com")
    machine.run("systemctl start opendkim")
    machine.wait_for("test -S /var/spool/postfix/opendkim/opendkim.sock")


def before_the_restore(machine: Machine, outcome: Outcome) -> None:
    """Create a new cluster, as on a new machine with the backup on it."""
    outcome.keys.append(read_keys(machine))
    machine.run(
        "set -e; version=$(pg_lsclusters --no-header | cut -d' ' -f1); "
        "pg_dropcluster --stop $version main; pg_createcluster --start $version main"
    )


def after_the_restore(machine: Machine, outcome: Outcome) -> None:
    """Restore everything but the database by a highstate, as docs/backup.md says."""
    run = salt.apply(machine)
    assert run.succeeded, run
    outcome.keys.append(read_keys(machine))
    box = mail.Mailbox(machine)
    records = {r["name"]: r["value"] for r in salt.call(machine, "dkim.records")}
    message = mail.sent_by_smtp(box, "somebody@example.org")
    assert [s.valid for s in mail.signatures(machine, message, records)] == [True]


def before_the_removal(machine: Machine, outcome: Outcome) -> None:
    outcome.keys_before_removal = read_keys(machine)


def after_the_removal(machine: Machine, outcome: Outcome) -> None:
    """Assert that mail is unsigned, every key is kept, and "state.apply dkim" restores signing."""
    box = mail.Mailbox(machine)
    message = mail.sent_by_smtp(box, "somebody@example.org")
    assert mail.signatures(machine, message, {}) == []
    assert read_keys(machine) == outcome.keys_before_removal
    if not outcome.is_back:
        outcome.is_back = True
        again = [salt.HIGHSTATE, "--call", "state.apply", "dkim"]
        machine.run(again, env=salt.environment(machine), timeout=900)
        message = mail.sent_by_smtp(box, "somebody@example.org")
        assert len(mail.signatures(machine, message, {})) == 1


def after_the_end_of_the_keys(machine: Machine, outcome: Outcome) -> None:
    """Assert that the database has no object of the formula."""
    left = (
        "SELECT relname FROM pg_class WHERE relname LIKE '%dkim%' UNION ALL "
        "SELECT proname FROM pg_proc WHERE proname LIKE '%dkim%' UNION ALL "
        "SELECT rolname FROM pg_roles WHERE rolname LIKE '%dkim%'"
    )
    assert query(machine, left) == ""


Step = Callable[[Machine, Outcome], None]
# Steps before and after a block, by the block's first line.
BEFORE: dict[str, Step] = {
    "salt-call state.apply dkim.clean": before_the_removal,
    "salt-call dkim.doctor": before_the_doctor,
    "journalctl --unit=opendkim": before_the_logs,
    "apt-get install --yes postgresql": before_the_restore,
}
AFTER: dict[str, Step] = {
    "salt-call dkim.records": after_the_records,
    "salt-call dkim.rotate example.com": after_the_rotation,
    "salt-call dkim.advance": after_the_advance,
    "apt-get install --yes postgresql": after_the_restore,
    "salt-call state.apply dkim.clean": after_the_removal,
    "BEGIN;": after_the_end_of_the_keys,
}


def execute(block: Block, machine: Machine, outcome: Outcome) -> tuple[bool, str]:
    """Run a block and its steps; return whether it succeeded, and its output or error."""
    try:
        run_steps(BEFORE, block, machine, outcome)
        result = run_block(machine, block, outcome)
        run_steps(AFTER, block, machine, outcome)
    except (AssertionError, CommandFailed, NotInTime) as error:
        return False, f"{type(error).__name__}: {error}"
    return result


def run_steps(steps: Mapping[str, Step], block: Block, machine: Machine, outcome: Outcome) -> None:
    for first, step in steps.items():
        if block.first.startswith(first):
            step(machine, outcome)


def run_block(machine: Machine, block: Block, outcome: Outcome) -> tuple[bool, str]:
    if block.is_pillar:
        return check_pillar(machine, block)
    if block.kind == "yaml":
        command = ["/opt/salt/bin/python", "-c", PARSE_YAML]
        result = machine.run(command, input=block.text, check=False)
    elif block.kind == "sql":
        psql = ["psql", "-v", "ON_ERROR_STOP=1", "-d", "vmail"]
        result = machine.run(psql, user="postgres", input=block.text, check=False)
    else:
        script = f"set -euo pipefail\ncd {salt.TREE}\n{block.script}\n"
        environment = {"DEBIAN_FRONTEND": "noninteractive", **salt.environment(machine)}
        result = machine.run(["bash", "-c", script], env=environment, check=False, timeout=900)
    outcome.printed = result.stdout
    return result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def check_pillar(machine: Machine, block: Block) -> tuple[bool, str]:
    """Run ``dkim.check`` with a pillar; return whether it found no problem, and its problems."""
    before = machine.read(PILLAR)
    has_tables = "preset: howto" in block.text
    if has_tables:
        query(machine, "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE)")
    machine.write(PILLAR, block.text, mode=0o600)
    try:
        output = machine.run(CHECK).stdout
    finally:
        machine.write(PILLAR, before, mode=0o600)
        if has_tables:
            query(machine, "DROP TABLE domains")
    problems = json.loads(output)["local"]["problems"]
    return not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def outcome(machine: Machine) -> Outcome:
    """The outcome of all blocks, which are executed once."""
    salt.install_formula(machine)
    machine.run("apt-get update --quiet")
    zones.serve(machine, "example.com", "example.org")
    machine.write("/etc/resolv.conf", f"nameserver {zones.PRIMARY}\n")
    result = Outcome()
    for block in BLOCKS:
        if block.kind != "text" and block.runs:
            result.blocks[block] = execute(block, machine, result)
    for function in ("sys.list_functions", "sys.list_state_functions"):
        result.functions |= set(salt.call(machine, function, "dkim"))
    return result


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    chosen = [block for block in BLOCKS if block.kind in kinds and block.runs]
    names = [f"{block.document}:{block.line}" for block in chosen]
    return pytest.mark.parametrize("block", chosen, ids=names)


@of_kind("bash", "sql", "yaml")
def test_block_succeeds(outcome: Outcome, block: Block):
    succeeded, output = outcome.blocks[block]
    assert succeeded, f"{block.text}\n\n{output}"


def test_records_are_printed_as_in_the_example(outcome: Outcome):
    example = next(block for block in README if block.kind == "text")
    command = next(block for block in README if block.text.strip() == "salt-call dkim.records")
    shown = re.escape(example.text).replace("…", '[^"]*')
    assert re.search(shown, outcome.blocks[command][1])


def test_published_records_are_found_at_the_name_server(outcome: Outcome):
    command = next(block for block in README if block.first.startswith("salt-call dkim.check_dns"))
    assert re.search(r"^✓ \d+ records as desired$", outcome.blocks[command][1], re.MULTILINE)


def test_first_run_prints_the_records_in_zone_file_form_at_its_end(outcome: Outcome):
    quick_start = next(block for block in README if block.first.startswith("install -D"))
    last = outcome.blocks[quick_start][1].rpartition("Total run time")[2]
    assert "\ndefault._domainkey.example.com. 3600 IN TXT (\n\t" in last


def test_restored_keys_equal_those_of_the_backup(outcome: Outcome):
    before, after = outcome.keys
    assert before
    assert after == before


def test_every_path_that_docs_list_as_touched_exists(outcome: Outcome):
    assert outcome.paths
    assert [path for path, exists in outcome.paths.items() if not exists] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_functions_and_states_that_docs_name_exist(outcome: Outcome, document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"\bdkim\.[a-z_]+\b(?!\.[a-z])", text)) - FILES
    states = {f"dkim.{path.stem}" for path in (ROOT / "dkim").glob("*.sls")}
    states |= {f"dkim.{path.parent.name}" for path in (ROOT / "dkim").glob("*/init.sls")}
    assert named - outcome.functions - states == set()
