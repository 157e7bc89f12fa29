"""The watchdog ends only a daemon that can't use a working database."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dkim_formula.settings import read
from dkim_formula.settings.lookup import names
from dkim_formula.signer import config_options, daemons, watchdog, watchdog_database
from dkim_formula.signer.watchdog import Answers, Machine, Watchdog
from dkim_formula.signer.watchdog_database import NOBODY
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples
from support.milter import Milter, accept
from support.templates import opendkim_conf

TREE = Path(__file__).resolve().parents[3]
SENDERS = tuple(f"{watchdog_database.NAME}@{name}.example" for name in ("one", "two"))


@dataclass
class Server:
    """
    A daemon and its database.

    stuck
        The tables whose sessions the daemon can't use any more.
    refuses
        Whether the daemon defers all mail for another reason.
    """

    senders: tuple[str, ...] = SENDERS
    process: int | None = 100
    stuck: set[str] = field(default_factory=set)
    bad_keys: set[str] = field(default_factory=set)
    silent: bool = False
    refuses: bool = False
    database: bool = True
    clock: float = 1000.0
    ended: list[str] = field(default_factory=list)

    def ask(self, senders, timeout):
        assert self.database, "a look-up crashes a daemon whose database is down"
        if self.process is None:
            return None
        if self.silent:
            self.clock += timeout
            return Answers(self.process, silent=True)
        failed = {one for one in senders if self._fails(one)}
        return Answers(self.process, frozenset(failed), frozenset(senders) - failed)

    def _fails(self, sender):
        if self.refuses or not self.database or "signing" in self.stuck:
            return True
        return sender != NOBODY and ("keys" in self.stuck or sender in self.bad_keys)

    def database_answers(self):
        return self.database

    def can_look_up(self, sender):
        return self.database and (sender == NOBODY or sender in self.senders)

    def known_senders(self):
        return self.senders if self.database else ()

    def end(self, process, why):
        assert process == self.process
        self.ended.append(why)
        self.process += 1
        self.stuck = set()
        self.silent = False
        return True

    def now(self):
        return self.clock

    def sleep(self, seconds):
        self.clock += seconds


def steps(dog, server, number=1):
    for _ in range(number):
        dog.step()
        server.clock += watchdog.INTERVAL


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def dog(server):
    """A watchdog whose daemon has answered well."""
    dog = Watchdog(server)
    steps(dog, server, 3)
    assert server.ended == []
    return dog


@pytest.mark.parametrize("table", ["signing", "keys"])
def test_daemon_that_cannot_use_a_session_is_ended_at_once(dog, server, table):
    server.stuck = {table}
    steps(dog, server)
    assert len(server.ended) == 1
    steps(dog, server, 100)
    assert len(server.ended) == 1


def test_daemon_that_was_stuck_before_the_watchdog_started_is_ended(server):
    server.stuck = {"signing"}
    steps(Watchdog(server), server)
    assert len(server.ended) == 1


def test_daemon_that_is_silent_while_its_database_works_is_ended(dog, server):
    server.silent = True
    steps(dog, server)
    assert len(server.ended) == 1


@pytest.mark.parametrize("fault", ["signing", "keys", "silent", "none"])
def test_nothing_is_ended_while_the_database_is_down(dog, server, fault):
    server.database = False
    server.stuck = {fault} - {"silent", "none"}
    server.silent = fault == "silent"
    steps(dog, server, 1000)
    assert server.ended == []
    server.database = True
    steps(dog, server, 2)
    assert len(server.ended) == (fault != "none")


def test_daemon_that_recovers_during_the_confirmation_is_not_ended(dog, server):
    server.stuck = {"signing"}
    server.can_look_up = lambda sender: server.stuck.clear() or True
    steps(dog, server, 10)
    assert server.ended == []


def test_daemon_is_not_ended_if_the_database_fails_during_the_confirmation(dog, server):
    server.stuck = {"signing"}
    answers = iter([True])
    server.can_look_up = lambda sender: next(answers, False)
    steps(dog, server)
    assert server.ended == []


def test_one_domain_with_an_unusable_key_is_no_reason(dog, server):
    server.bad_keys = {SENDERS[0]}
    steps(dog, server, 1000)
    assert server.ended == []


def test_sample_of_bad_keys_is_no_reason_while_another_key_works():
    senders = tuple(f"{watchdog_database.NAME}@d{number}.example" for number in range(20))
    server = Server(senders=senders)
    dog = Watchdog(server)
    steps(dog, server, 3)
    server.bad_keys = set(senders[:-1])
    steps(dog, server, 1000)
    assert server.ended == []
    server.stuck = {"keys"}
    steps(dog, server)
    assert len(server.ended) == 1


def test_daemon_that_is_stuck_before_its_first_good_answer_is_ended(dog, server):
    for number in range(1, 4):
        server.stuck = {"keys"}
        steps(dog, server, int(watchdog.FIRST_DELAY * 2**number))
        assert len(server.ended) == number


def test_deleted_row_is_no_reason(dog, server):
    server.can_look_up = lambda sender: False
    server.stuck = {"keys"}
    steps(dog, server, 100)
    assert server.ended == []


@pytest.mark.parametrize("reason", ["refuses everybody", "no key is good"])
def test_daemon_that_keeps_failing_is_ended_less_and_less_often(dog, server, reason):
    server.refuses = reason == "refuses everybody"
    server.bad_keys = set(SENDERS)
    steps(dog, server, 24 * 3600 // 2)
    assert 1 < len(server.ended) < 15
    ended = len(server.ended)
    server.refuses, server.bad_keys = False, set()
    steps(dog, server, 10)
    server.stuck = {"signing"}
    server.clock += watchdog.LONGEST_DELAY
    steps(dog, server)
    assert len(server.ended) == ended + 1


def test_daemon_that_does_not_run_is_left_to_systemd(dog, server):
    server.process = None
    steps(dog, server, 100)
    assert server.ended == []


EVENTS = ["signing", "keys", "silent", "away", "back", "bad key", "restart", "nothing"]


@examples(200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 5)), max_size=30))
def test_exactly_the_stuck_daemons_are_ended_in_any_history(history):
    server = Server()
    dog = Watchdog(server)
    steps(dog, server, 2)
    for event, number in history:
        before = len(server.ended)
        happen(server, event)
        may_end = bool(server.stuck or server.silent) and server.database
        steps(dog, server, number)
        # One broken key of two is never enough to end the daemon.
        assert len(server.ended) - before <= may_end
    happen(server, "back")
    server.clock += watchdog.LONGEST_DELAY
    steps(dog, server, 3)
    assert not server.silent
    assert server.stuck == set()


def happen(server, event):
    if event in ("signing", "keys"):
        server.stuck = {event}
    elif event == "silent":
        server.silent = True
    elif event in ("away", "back"):
        server.database = event == "back"
    elif event == "bad key":
        server.bad_keys = {SENDERS[0]}
    elif event == "restart":
        server.process += 1
        server.stuck, server.silent = set(), False


# The question to a daemon, and the use of its answers.
def configuration(tmp_path, **database):
    pillar = {"domains": {"example.com": {}}, "database": database}
    settings = read(pillar).settings
    daemon = daemons.daemon("rsa", {**names({}), "postfix_chroot": str(tmp_path)})
    return opendkim_conf(config_options.options(settings, daemon))


def test_configuration_of_the_formula_is_read(tmp_path):
    found = watchdog.read_daemon(configuration(tmp_path))
    assert found.socket == f"{tmp_path}/opendkim/opendkim.sock"
    login = {"user": "vmail-dkim-reader", "host": ",", "dbname": "vmail"}
    assert (dict(found.signing.login), dict(found.keys.login)) == (login, login)
    assert (found.signing.name, found.signing.key, found.signing.data) == (
        "dkim_signing_table",
        "pattern",
        "identifier",
    )
    assert (found.keys.name, found.keys.key) == ("dkim_key_table", "identifier")


def test_remote_database_is_read_with_its_hosts_and_port(tmp_path):
    text = configuration(tmp_path).replace("reader@,/", "reader@5433+db1.example,db2.example/")
    login = watchdog.read_daemon(text).signing.login
    assert (login["host"], login["port"]) == ("db1.example,db2.example", "5433")


@pytest.mark.parametrize(
    "text", ["", "Socket inet:8891@localhost", "Socket local:/x\nKeyTable file:/etc/KeyTable"]
)
def test_configuration_that_is_not_managed_is_ignored(tmp_path, text):
    path = tmp_path / "opendkim.conf"
    path.write_text(text)
    machine = Machine(str(path))
    assert machine.ask([NOBODY], 1) is None
    assert (machine.can_look_up(NOBODY), machine.known_senders()) == (False, [])
    assert not machine.database_answers()
    assert Machine(f"{path}.none").ask([NOBODY], 1) is None


@pytest.fixture
def machine(tmp_path):
    """A machine whose daemon's socket is in a folder of the test."""
    (tmp_path / "opendkim").mkdir()
    path = tmp_path / "opendkim.conf"
    path.write_text(configuration(tmp_path))
    return Machine(str(path))


def failing_at_headers(command, message):
    failing = command == b"N" and SENDERS[0] in dict(message.headers)["From"]
    return [(b"t", b"")] if failing else accept(command, message)


def test_question_ends_with_the_headers_and_names_the_watchdog(machine, tmp_path):
    with Milter(tmp_path / "opendkim" / "opendkim.sock", failing_at_headers) as milter:
        answers = machine.ask([NOBODY, *SENDERS], 5)
    assert (answers.failed, answers.succeeded) == ({SENDERS[0]}, {NOBODY, SENDERS[1]})
    for message in milter.messages:
        assert message.body == b""
        assert message.macros["i"] == watchdog_database.NAME
        assert dict(message.headers)["From"].startswith(f"{watchdog_database.NAME}@")


def test_milter_without_answer_is_silent_and_a_missing_milter_is_none(machine, tmp_path):
    assert machine.ask([NOBODY], 1) is None
    with Milter(tmp_path / "opendkim" / "opendkim.sock", lambda command, message: []):
        assert machine.ask([NOBODY], 0.2).silent


def test_installed_program_has_every_module_that_it_imports(tmp_path):
    state = (TREE / "dkim" / "opendkim" / "service.sls").read_text(encoding="utf-8")
    included = re.compile(re.search(r"include_pat: 'E@(.*)'", state)[1])
    library = TREE / "_utils" / "dkim_formula"
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library)
        if included.search(str(name)):
            (tmp_path / "dkim_formula" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "dkim_formula" / name)
    program = [sys.executable, "-c", "import dkim_formula.signer.watchdog"]
    done = subprocess.run(
        program, cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
