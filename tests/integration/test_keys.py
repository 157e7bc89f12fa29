"""Signatures with keys of every kind, generated, imported or exported, few or many."""

import json
import random
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pytest
from support import mail, salt
from support.machine import ROOT, CommandFailed, Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

DOMAINS = {
    "dual.example": {"algorithm": ["rsa", "ed25519"]},
    "rsa.example": {},
    "ed.example": {"algorithm": "ed25519", "selector": "ed"},
    "sub.example": {"subdomains": True},
    "address.example": {"addresses": {"news@address.example": {}}},
    "alias.example": {"alias_of": "rsa.example"},
    "skip.example": False,
    "*": {},
}
PILLAR = {"dkim": {"domains": DOMAINS}}

# The same pillar with RSA alone.
RSA_ONLY = {"dkim": {"domains": {**DOMAINS, "dual.example": {}, "ed.example": False}}}

SOCKET = "/var/spool/postfix/opendkim/opendkim-ed25519.sock"
SECOND_DAEMON = [
    SOCKET,
    "/etc/opendkim-ed25519.conf",
    "/etc/systemd/system/opendkim-ed25519.service",
    "/etc/systemd/system/multi-user.target.wants/opendkim-ed25519.service",
]

# RFC 8463, appendix A.2 (and RFC 8032, section 7.1, TEST 1): the key in PEM, and its record.
RFC_KEY = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
"""
RFC_RECORD = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@pytest.fixture(scope="module")
def box(machine: Machine) -> mail.Mailbox:
    """A mailbox on a machine that was bare before the formula's run."""
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    query(machine, "CREATE TABLE domains (id serial PRIMARY KEY, domain text NOT NULL UNIQUE)")
    run = salt.apply(machine, "dkim.database")
    assert run.succeeded, str(run)
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def published(box: mail.Mailbox) -> Mapping[str, str]:
    """The records of the pillar's domains."""
    return records(box.machine)


def records(machine: Machine, domain: str | None = None) -> Mapping[str, str]:
    """Return the records that ``dkim.records`` prints for a zone file, as a receiver reads them."""
    lines = salt.call(machine, "dkim.records", domain=domain, format="bind")
    return {name.rstrip("."): text for name, text in mail.zone_records(machine, lines).items()}


def signatures(
    box: mail.Mailbox, sender: str, known: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """
    Return domain, selector and algorithm of each signature of a new message. Assert that the known
    records verify every signature.
    """
    found = mail.signatures(box.machine, mail.sent_by_smtp(box, sender), known)
    assert all(signature.valid for signature in found), found
    return sorted((one.domain, one.selector, one.algorithm) for one in found)


def query(machine: Machine, sql: str) -> list[list[str]]:
    """Return the rows of a query as text."""
    command = ["psql", "-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", "vmail"]
    output = machine.run([*command, "-c", sql], user="postgres").stdout
    return [line.split("\t") for line in output.splitlines() if line]


def host(machine: Machine, *domains: str) -> None:
    """Add hosted domains, as the server's own tool does."""
    values = ", ".join(f"('{domain}')" for domain in domains)
    query(machine, f"INSERT INTO domains (domain) VALUES {values} ON CONFLICT DO NOTHING")


# --- Algorithms -----------------------------------------------------------------------------------


def test_domain_with_two_algorithms_signs_twice(
    box: mail.Mailbox, published: Mapping[str, str]
) -> None:
    assert signatures(box, "user@dual.example", published) == [
        ("dual.example", "default", "rsa-sha256"),
        ("dual.example", "default-ed25519", "ed25519-sha256"),
    ]


@pytest.mark.parametrize(
    ("domain", "selector", "algorithm"),
    [("rsa.example", "default", "rsa-sha256"), ("ed.example", "ed", "ed25519-sha256")],
)
def test_domain_with_one_algorithm_signs_once(
    box: mail.Mailbox, published: Mapping[str, str], domain: str, selector: str, algorithm: str
) -> None:
    assert signatures(box, f"user@{domain}", published) == [(domain, selector, algorithm)]


def test_second_daemon_leaves_nothing_behind_when_it_is_turned_off(
    box: mail.Mailbox, published: Mapping[str, str]
) -> None:
    machine = box.machine
    try:
        run = salt.apply(machine, pillar=RSA_ONLY)
        assert run.succeeded, str(run)
        assert [path for path in SECOND_DAEMON if machine.exists(path)] == []
        units = machine.run("systemctl list-units --all --plain --no-legend 'opendkim*'").stdout
        assert "ed25519" not in units
        assert machine.run("systemctl is-system-running").stdout.strip() == "running"
        assert "ed25519" not in machine.run("postconf -n").stdout
        assert signatures(box, "user@dual.example", published) == [
            ("dual.example", "default", "rsa-sha256")
        ]
        again = salt.apply(machine)
        assert again.succeeded, str(again)
        assert again.changed == []
    finally:
        run = salt.apply(machine, pillar=PILLAR)
    assert run.succeeded, str(run)
    assert len(signatures(box, "user@dual.example", published)) == 2


# --- Patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", ["user@sub.example", "user@a.sub.example", "u@b.a.SUB.example"])
def test_key_signs_for_subdomains(
    box: mail.Mailbox, published: Mapping[str, str], sender: str
) -> None:
    assert signatures(box, sender, published) == [("sub.example", "default", "rsa-sha256")]


def test_key_for_subdomains_has_no_strict_flag(published: Mapping[str, str]) -> None:
    assert "t=s" not in published["default._domainkey.sub.example"]
    assert "t=s" in published["default._domainkey.rsa.example"]


def test_key_does_not_sign_for_subdomains_by_default(
    box: mail.Mailbox, published: Mapping[str, str]
) -> None:
    assert signatures(box, "user@a.rsa.example", published) == []


@pytest.mark.parametrize(("user", "selector"), [("news", "news"), ("other", "default")])
def test_address_has_its_own_key(
    box: mail.Mailbox, published: Mapping[str, str], user: str, selector: str
) -> None:
    assert signatures(box, f"{user}@address.example", published) == [
        ("address.example", selector, "rsa-sha256")
    ]


def test_alias_is_signed_with_the_key_of_the_other_domain(
    box: mail.Mailbox, published: Mapping[str, str]
) -> None:
    assert signatures(box, "user@alias.example", published) == [
        ("rsa.example", "default", "rsa-sha256")
    ]


# --- Every hosted domain --------------------------------------------------------------------------


def test_new_hosted_domain_gets_a_key_and_an_excluded_one_does_not(box: mail.Mailbox) -> None:
    host(box.machine, "later.example", "skip.example")
    changes = salt.call(box.machine, "dkim.generate_missing")["changes"]
    assert "key default._domainkey.later.example" in changes
    assert not [name for name in changes if "skip.example" in name]
    known = records(box.machine, "later.example")
    assert signatures(box, "user@later.example", known) == [
        ("later.example", "default", "rsa-sha256")
    ]
    assert signatures(box, "user@skip.example", known) == []


@pytest.mark.soak
def test_two_runs_at_once_generate_one_key_per_domain(box: mail.Mailbox) -> None:
    machine = box.machine
    host(machine, *(f"twice{number}.example" for number in range(150)))

    def run(_: int) -> object:
        return salt.call(machine, "dkim.generate_missing")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert_one_key_each(machine, "twice", 150)


@pytest.mark.soak
def test_killed_run_is_completed_by_the_next(box: mail.Mailbox) -> None:
    machine = box.machine
    host(machine, *(f"killed{number}.example" for number in range(400)))
    count = "SELECT count(*) FROM dkim WHERE domain ~ '^killed'"
    enough = random.randrange(1, 300)
    run = machine.popen(
        # The run has its own process group, so that one signal ends all of it and nothing else.
        f"echo $$ > /run/bulk; exec {salt.HIGHSTATE} --pillar {salt.PILLAR} --state dkim.keys",
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    machine.wait_for(lambda: int(query(machine, count)[0][0]) >= enough, deadline=120)
    machine.run("kill -KILL $(cat /run/bulk)")
    run.wait(timeout=30)
    idle = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dkim-formula'"
    machine.wait_for(lambda: query(machine, idle) == [["0"]], deadline=120)
    stored = int(query(machine, count)[0][0])
    assert enough <= stored < 400, f"killed at {enough}"
    assert_every_row_complete(machine)
    following = salt.apply(machine, "dkim.keys")
    assert following.succeeded, str(following)
    assert_one_key_each(machine, "killed", 400)
    assert_every_row_complete(machine)
    assert salt.apply(machine, "dkim.keys").changed == []


def assert_one_key_each(machine: Machine, prefix: str, number: int) -> None:
    """Assert that each domain has one key and never had another one."""
    rows = f"SELECT count(*), count(DISTINCT domain) FROM dkim WHERE domain ~ '^{prefix}'"
    history = (
        "SELECT count(*), count(DISTINCT domain) FROM dkim_history "
        f"WHERE domain ~ '^{prefix}' AND from_state IS NULL"
    )
    expected = [[str(number), str(number)]]
    assert query(machine, rows) == expected
    assert query(machine, history) == expected


def assert_every_row_complete(machine: Machine) -> None:
    incomplete = (
        "SELECT count(*) FROM dkim WHERE key !~ '-----END (RSA )?PRIVATE KEY-----\\s*$' "
        "OR public_key IS NULL OR state <> 'active'"
    )
    assert query(machine, incomplete) == [["0"]]


# --- Import and export ----------------------------------------------------------------------------

MOVING = ROOT / "docs" / "moving.md"

OLD = PurePosixPath("/etc/old-opendkim")
KEY_TABLE = f"{OLD}/KeyTable"
SIGNING_TABLE = f"refile:{OLD}/SigningTable"

# Name in the KeyTable, domain, selector, and bits of a key of opendkim-genkey.
GENERATED = [
    ("good", "one.test", "s2024", 2048),
    ("used-by-two", "two.test", "mail", 2048),
    ("unused", "one.test", "s2019", 2048),
    ("weak", "weak.test", "weak", 1024),
    ("broken", "broken.test", "broken", 2048),
    ("duplicate", "one.test", "s2024", 2048),
    ("address", "one.test", "news", 2048),
]
SIGNING = """\
# Whose mail is signed by which key
news@one.test      address
*@one.test         good
*@two.test         used-by-two
*@*.two.test       used-by-two
*@three.test       used-by-two
*@weak.test        weak
*@broken.test      broken
*@unreadable.test  unreadable
"""


@pytest.fixture(scope="module")
def old(box: mail.Mailbox) -> Machine:
    """A machine with the files of an OpenDKIM that an administrator set up with key files."""
    machine = box.machine
    machine.install("opendkim-tools")
    lines = []
    for name, domain, selector, bits in GENERATED:
        folder = OLD / "keys" / name
        machine.run(["mkdir", "-p", str(folder)])
        genkey = ["opendkim-genkey", "-D", str(folder), "-d", domain, "-s", selector]
        machine.run([*genkey, "-b", str(bits)])
        lines.append(f"{name} {domain}:{selector}:{folder}/{selector}.private")
    lines.append(f"unreadable unreadable.test:mail:{OLD}/keys/nowhere.private")
    machine.run(f"sed -i 5,9d {OLD}/keys/broken/broken.private")
    machine.write(KEY_TABLE, "\n".join(lines) + "\n")
    machine.write(f"{OLD}/SigningTable", SIGNING)
    pillar = json.loads(json.dumps(PILLAR))
    salt.set_pillar(machine, pillar)
    return machine


def signing_from_files(
    machine: Machine, key_table: str, signing_table: str
) -> Callable[[str], tuple[str, str]]:
    """Return a function: the domain and selector by which OpenDKIM signs with keys in files."""
    conf = (
        f"KeyTable {key_table}\nSigningTable {signing_table}\nMode s\nInternalHosts 0.0.0.0/0\n"
        "Socket local:/run/files.sock\nRequireSafeKeys no\n"
    )
    machine.write("/root/files.conf", conf)

    def sign(sender: str) -> tuple[str, str]:
        machine.write("/root/message", mail.compose(sender, "somebody@example.org"))
        words = ["opendkim", "-x", "/root/files.conf", "-vvv", "-t", "/root/message"]
        result = machine.run(words, check=False)
        header = next((text for text in result.stdout.split("###") if "DKIM-Sig" in text), "")
        assert header, f"{result.stdout}{result.stderr}"
        tags = (tag.strip().split("=", 1) for tag in header.split(";") if "=" in tag)
        found = dict(tags)
        return found["d"], found["s"]

    return sign


@pytest.fixture(scope="module")
def signed_before(old: Machine) -> Callable[[str], tuple[str, str]]:
    """A function that signs with OpenDKIM as before the import."""
    return signing_from_files(old, KEY_TABLE, SIGNING_TABLE)


@pytest.fixture(scope="module")
def imported(old: Machine, signed_before: Callable) -> dict:
    """The state's returns of a test, a run and a second run, and two returns of the function."""
    arguments = {"name": "x", "key_table": KEY_TABLE, "signing_table": SIGNING_TABLE}

    def state(**more: bool) -> dict:
        returned = salt.call(old, "state.single", "dkim.keys_imported", **arguments, **more)
        return next(iter(returned.values()))

    def tables() -> dict:
        return salt.call(old, "dkim.import_tables", KEY_TABLE, SIGNING_TABLE, test=True)

    unknown = tables()
    pillar = json.loads(json.dumps(PILLAR))
    pillar["dkim"]["domains"] |= unknown["pillar"]
    salt.set_pillar(old, pillar)
    runs = {"unknown": unknown, "preview": tables()}
    runs |= {"test": state(test=True), "run": state(), "again": state()}
    # Patterns come from the pillar, which now has the settings that the import returned.
    salt.call(old, "dkim.generate_missing")
    return runs


@pytest.mark.soak
def test_refusal_of_an_unknown_domains_key_gives_the_pillar_that_allows_it(
    imported: dict,
) -> None:
    unknown = imported["unknown"]
    assert unknown["imported"] == []
    reasons = {entry["entry"].split()[0]: entry["reason"] for entry in unknown["refused"]}
    assert "one.test is neither in dkim:domains nor hosted" in reasons["good"]
    assert {"one.test", "two.test", "three.test"} <= unknown["pillar"].keys()
    assert imported["preview"]["pillar"] == {}


@pytest.mark.soak
def test_import_does_what_its_test_run_announced_and_a_second_run_nothing(imported: dict) -> None:
    assert imported["test"]["result"] is None
    assert imported["run"]["result"] is True
    changes = imported["preview"]["changes"]
    assert imported["run"]["changes"] == imported["test"]["changes"] == changes
    assert imported["again"]["result"] is True
    assert imported["again"]["changes"] == {}


@pytest.mark.soak
def test_import_gives_a_reason_for_each_refused_key(imported: dict) -> None:
    preview = imported["preview"]
    reasons = {entry["entry"].split()[0]: entry["reason"] for entry in preview["refused"]}
    assert set(reasons) == {"weak", "broken", "duplicate", "unreadable"}
    assert "1024 bits" in reasons["weak"]
    assert "does not parse" in reasons["broken"]
    assert "another key under selector 's2024'" in reasons["duplicate"]
    assert "No such file" in reasons["unreadable"]
    for reason in reasons.values():
        assert reason in imported["run"]["comment"]
    assert {key["selector"]: key["state"] for key in preview["imported"]} == {
        "s2024": "active",
        "mail": "active",
        "news": "active",
        "s2019": "retired",
    }


@pytest.mark.soak
@pytest.mark.parametrize(
    ("sender", "domain", "selector"),
    [
        ("user@one.test", "one.test", "s2024"),
        ("news@one.test", "one.test", "news"),
        ("user@two.test", "two.test", "mail"),
        ("user@a.two.test", "two.test", "mail"),
        ("user@three.test", "two.test", "mail"),
    ],
)
def test_imported_key_signs_as_before_the_import(
    box: mail.Mailbox,
    imported: dict,
    signed_before: Callable,
    sender: str,
    domain: str,
    selector: str,
) -> None:
    assert signed_before(sender) == (domain, selector)
    known = records(box.machine, domain)
    assert signatures(box, sender, known) == [(domain, selector, "rsa-sha256")]


@pytest.mark.soak
def test_imported_key_verifies_by_the_record_of_opendkim_genkey(
    box: mail.Mailbox, imported: dict
) -> None:
    zone = box.machine.read(f"{OLD}/keys/good/s2024.txt").replace("s2024._domainkey", "s2024.", 1)
    value = "".join(zone.split('"')[1::2])
    name = "s2024._domainkey.one.test"
    (signature,) = mail.signatures(
        box.machine, mail.sent_by_smtp(box, "user@one.test"), {name: value}
    )
    assert signature.valid, signature


@pytest.mark.soak
def test_private_keys_of_an_import_are_in_no_output(box: mail.Mailbox, imported: dict) -> None:
    output = json.dumps(imported)
    for name, _, selector, _ in GENERATED:
        text = box.machine.read(f"{OLD}/keys/{name}/{selector}.private")
        assert not [line for line in text.splitlines()[1:-1] if line in output]


@pytest.mark.soak
def test_key_of_rfc_8463_signs_and_has_the_published_record(
    old: Machine, box: mail.Mailbox
) -> None:
    old.write("/root/brisbane.private", RFC_KEY, mode=0o600)
    pillar = json.loads(old.read(salt.PILLAR))
    pillar["dkim"]["domains"]["football.example.com"] = {}
    salt.set_pillar(old, pillar)
    key = salt.call(
        old, "dkim.import_key", "football.example.com", "brisbane", "/root/brisbane.private"
    )
    assert (key["algorithm"], key["state"]) == ("ed25519", "active")
    assert key["record"]["value"].replace(" t=s;", "") == RFC_RECORD
    name = "brisbane._domainkey.football.example.com"
    message = mail.sent_by_smtp(box, "joe@football.example.com")
    (signature,) = mail.signatures(old, message, {name: RFC_RECORD})
    assert signature.valid, signature


def test_exported_key_is_the_one_that_signs(machine: Machine, published: Mapping[str, str]) -> None:
    path = "/root/exported.private"
    found = salt.call(machine, "dkim.export_key", "rsa.example", "default", path)
    assert machine.run(f"stat -c '%a %U' {path}").stdout == "600 root\n"
    openssl = f"openssl pkey -in {path} -pubout -outform DER | base64 --wrap=0"
    assert machine.run(openssl).stdout == found["public_key"]
    assert found["public_key"] in published["default._domainkey.rsa.example"]
    with pytest.raises(CommandFailed, match="File exists"):
        salt.call(machine, "dkim.export_key", "rsa.example", "default", path)


@pytest.mark.soak
def test_exported_key_files_sign_as_the_database_did(
    box: mail.Mailbox, published: Mapping[str, str]
) -> None:
    machine = box.machine
    # The script calls salt-call: have it use the minion of bin/highstate.
    minion = "exec /opt/salt/bin/salt-call --local -c /var/cache/dkim-formula/minion"
    machine.write("/usr/local/bin/salt-call", f'#!/bin/sh\n{minion} "$@"\n', mode=0o755)
    script = next(text for text in MOVING.read_text().split("```") if "while read" in text)
    machine.run(script.replace("domain=example.com", "domain=address.example"))
    by_files = signing_from_files(
        machine, "/etc/opendkim/KeyTable", "refile:/etc/opendkim/SigningTable"
    )
    for user, selector in (("news", "news"), ("other", "default")):
        sender = f"{user}@address.example"
        assert by_files(sender) == ("address.example", selector)
        assert signatures(box, sender, published) == [("address.example", selector, "rsa-sha256")]
