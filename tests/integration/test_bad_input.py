"""Invalid input: a run finds it before its first change and reports all errors at once."""

from collections.abc import Callable, Iterator

import pytest
from support import mail, salt, server
from support.machine import Machine
from support.share import short_form

pytestmark = pytest.mark.one_release("bookworm")

VALID = {"dkim": {"domains": {"example.com": {}}}}
SECRET = "quite:a@secret"

# One pillar with every independent error, and for each error its pillar key and part of its text.
WRONG = {
    "dkim": {
        "database": {
            "name": "v mail",
            "reader": {"auth": "password", "password": SECRET},
            "domain": {"name": "fqdn"},
        },
        "defaults": {"algoritm": "rsa"},
        "domains": {
            "two words.example": {},
            f"{'a' * 64}.example": {},
            ".".join(["a" * 60] * 5): {},
            "-hyphen.example": {},
            "bad..example": {},
            "192.0.2.1": {},
            "\u2603.example": {},
            "selector.example": {"selector": "not_a_label"},
            "long.example": {"selector": "s" * 64},
            "small.example": {"bits": 1023},
            "big.example": {"bits": 65536},
            "worded.example": {"bits": "many"},
            "algorithm.example": {"algorithm": "dsa"},
            "unknown.example": {"selektor": "x"},
        },
        "opendkim": {"settings": {"Canonicalisation": "relaxed", "Statistix": 1}},
        "postfix": {"milter_default_action": "acept"},
        "rotations": {},
    }
}
PROBLEMS = {
    "dkim:database:name": "white space",
    "dkim:database:reader:password": "one of : / @ + ? =",
    "dkim:database:domain": "'domains'",
    "dkim:defaults:algoritm": "'algorithm'",
    "dkim:domains:two words.example": "malformed label 'two words'",
    f"dkim:domains:{'a' * 64}.example": "longer than 63",
    f"dkim:domains:{'.'.join(['a' * 60] * 5)}"[:60]: "a name has 253 at most",
    "dkim:domains:-hyphen.example": "malformed label '-hyphen'",
    "dkim:domains:bad..example": "empty label",
    "dkim:domains:192.0.2.1": "not an IP address",
    "dkim:domains:\u2603.example": "not an internationalised name",
    "dkim:domains:selector.example:selector": "malformed label 'not_a_label'",
    "dkim:domains:long.example:selector": "longer than 63",
    "dkim:domains:small.example:bits": "1024",
    "dkim:domains:big.example:bits": "4096",
    "dkim:domains:worded.example:bits": "'many'",
    "dkim:domains:algorithm.example:algorithm": "'rsa'",
    "dkim:domains:unknown.example:selektor": "'selector'",
    "dkim:opendkim:settings:Canonicalisation": "'Canonicalization'",
    "dkim:opendkim:settings:Statistix": "'Statistics'",
    "dkim:postfix:milter_default_action": "accept",
    "dkim:rotations": "'rotation'",
}


@pytest.fixture(scope="module")
def bare(machine: Machine) -> Machine:
    salt.install_formula(machine)
    return machine


@pytest.fixture(scope="module")
def set_up(bare: Machine) -> mail.Mailbox:
    run = salt.apply(bare, pillar=VALID)
    assert run.succeeded, str(run)
    server.sql(
        bare,
        "CREATE TABLE hosted (number serial PRIMARY KEY, fqdn text NOT NULL);"
        "INSERT INTO hosted (fqdn) VALUES ('example.com');"
        "CREATE VIEW seen AS SELECT * FROM hosted;"
        "CREATE TABLE keyless (number int, fqdn text)",
    )
    return mail.Mailbox(bare)


@pytest.fixture
def refused(bare: Machine) -> Iterator[Callable[[dict], str]]:
    """A function that asserts that a pillar is refused without a change, and returns the error."""

    def run(pillar: dict) -> str:
        before = server.state(bare)
        done = salt.apply(bare, pillar=pillar)
        assert done.returncode != 0
        assert done.states[0].function == "dkim.checked"
        assert done.states[0].result is False, str(done)
        assert done.changed == [], str(done)
        assert server.state(bare).differences(before) == []
        return done.states[0].comment

    yield run
    salt.set_pillar(bare, VALID)


def assert_all_reported(comment: str) -> None:
    lines = comment.splitlines()
    for key, words in PROBLEMS.items():
        reported = [line for line in lines if line.startswith(key)]
        assert any(words in line for line in reported), f"{key}: {words!r}\n{comment}"
    assert len(lines) == len(PROBLEMS), comment
    assert SECRET not in comment


def database(**keys: object) -> dict:
    return {"dkim": {"database": keys, "domains": {"example.com": {}}}}


def test_every_error_of_the_pillar_is_reported_at_once_on_a_bare_machine(
    bare: Machine, refused: Callable[[dict], str]
) -> None:
    assert_all_reported(refused(WRONG))
    assert not bare.exists("/etc/postfix")
    assert not bare.exists("/etc/opendkim.conf")


def test_missing_database_on_a_bare_machine_stops_the_run(bare: Machine) -> None:
    # The driver is installed first: without it the formula can't query the database.
    run = salt.apply(bare, pillar=database(manage=False))
    assert [state.function for state in run.changed] == ["pip.installed"]
    assert (
        "so PostgreSQL is not installed here" in run["The DKIM settings fit the database"].comment
    )
    assert not bare.exists("/etc/postfix")


def test_every_error_of_the_pillar_is_reported_at_once_on_a_server(
    set_up: mail.Mailbox, refused: Callable[[dict], str]
) -> None:
    assert_all_reported(refused(WRONG))
    message = mail.sent_by_smtp(set_up, "someone@example.com")
    assert "DKIM-Signature:" in mail.headers(message)


UNFIT = [
    (
        database(name="nowhere", manage=False),
        "dkim:database:name: there is no database 'nowhere' at the local socket",
    ),
    (
        database(port=5433, manage=False),
        "no PostgreSQL answers at the local socket (dkim:database:host), port 5433",
    ),
    (
        database(user="stranger", manage=False),
        "refused a session with 'vmail' (dkim:database:name) as 'stranger'",
    ),
    (
        database(manage=False, domains={"table": "mailboxes"}),
        "dkim:database:domains:table: there is no table public.mailboxes",
    ),
    (
        database(domains={"table": "mail.domains"}),
        "dkim:database:domains:table: there is no table mail.domains",
    ),
    (
        database(domains={"table": "hosted"}),
        "dkim:database:domains:name: public.hosted has no column 'domain'; use one of number, fqdn",
    ),
    (
        database(domains={"table": "hosted", "name": "fqdn", "only": {"number": "many"}}),
        "dkim:database:domains:only:number: 'many' can't be compared with the column of "
        "public.hosted, whose type is integer",
    ),
    (
        database(domains={"create_missing": True}),
        "dkim:database:domains:create_missing: unknown key: nothing is added to a table of yours",
    ),
]


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("pillar", "message"),
    short_form(UNFIT),
)
def test_settings_that_do_not_fit_the_database_are_refused(
    refused: Callable[[dict], str], pillar: dict, message: str
) -> None:
    assert message in refused(pillar)


def test_internationalised_name_is_stored_as_its_a_label(set_up: mail.Mailbox) -> None:
    machine = set_up.machine
    pillar = {"dkim": {"domains": ["example.com", "m\u00fcller.example"]}}
    run = salt.apply(machine, pillar=pillar)
    assert run.succeeded, str(run)
    records = mail.zone_records(machine, salt.call(machine, "dkim.records", format="bind"))
    assert "default._domainkey.xn--mller-kva.example." in records
    message = mail.sent_by_smtp(set_up, "someone@xn--mller-kva.example")
    (signature,) = mail.signatures(machine, message, records)
    assert signature.valid, str(signature)


INVALID = [
    (["dkim.rotate", "example.com", "selector=2026.10"], "selector=\"'2026.10'\""),
    (["dkim.rotate", "example.com", "007"], "selector=\"'007'\""),
    (["dkim.rotate", "example.com", "selector=true"], "selector: true is not a selector"),
    (["dkim.rotate", "no such.example"], "domain: 'no such.example'"),
    (["dkim.rotate"], "missing a required argument: 'domain'"),
    (["dkim.rotate", "example.com", "selecter=s1"], "selecter=s1"),
    (["dkim.retire", "example.com", "default", "force=perhaps"], "force: 'perhaps'"),
    (["dkim.list_keys", "nowhere..example"], "domain: 'nowhere..example'"),
    (["dkim.generate", "nowhere.example"], "domain: nowhere.example is neither in"),
]


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("words", "message"),
    short_form(INVALID, 2),
)
def test_invalid_arguments_of_a_command_are_refused_without_a_traceback(
    bare: Machine, words: list[str], message: str
) -> None:
    salt.set_pillar(bare, VALID)
    command = [salt.HIGHSTATE, "--pillar", salt.PILLAR, "--call", *words]
    result = bare.run(command, check=False, env=salt.environment(bare))
    assert result.returncode != 0
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_selector_that_looks_like_a_number_is_accepted(set_up: mail.Mailbox) -> None:
    words = ["dkim.rotate", " Example.COM. ", "selector=20261124", "test=True"]
    command = [salt.HIGHSTATE, "--pillar", salt.PILLAR, "--call", *words]
    machine = set_up.machine
    output = machine.run(command, env=salt.environment(machine)).stdout
    assert "20261124._domainkey.example.com" in output
