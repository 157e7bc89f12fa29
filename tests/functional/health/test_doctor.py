"""Findings of the doctor and the self-test in a real database, which they do not change."""

import re
import shlex
import shutil
import subprocess
import sys
from unittest import mock

import pytest
from cryptography.hazmat.primitives import serialization
from dkim_formula.health import check_postfix, model, selftest
from dkim_formula.health import run as checks_of
from dkim_formula.postfix import main_cf, service_milters
from dkim_formula.postfix.service_milters import Configuration
from dkim_formula.postgres import connection as db
from dkim_formula.private_key import PrivateKey
from functional.server import execute, query, rsa_key
from support.milter import Milter, accept

import dkim

pytestmark = pytest.mark.one_release

READER = "vmail-dkim-reader"
# An account that every machine has replaces the daemon's account.
ACCOUNT = "nobody"
DOMAINS = {"example.com": {}, "example.org": {"subdomains": True}}


@pytest.fixture
def host(server, mailhost, tmp_path, monkeypatch):
    """A minion with keys, the reader's role, its access lines, and a replacement for OpenDKIM."""
    files = {path: path.read_text() for path in server.data.glob("pg_*.conf")}
    monkeypatch.setattr(model, "OPENDKIM", sys.executable)
    monkeypatch.setattr(main_cf, "POSTCONF", str(tmp_path / "no-postconf"))
    (tmp_path / "opendkim").mkdir()
    set_pillar(mailhost, tmp_path)
    for number, domain in enumerate(DOMAINS):
        insert(mailhost, domain, rsa_key(number))
    for function in ("generate_missing", "list_keys"):
        mailhost.call(f"dkim.{function}")
    mailhost.call("dkim_postgres.manage_role", READER, "keep")
    mailhost.call("dkim_postgres.manage_writer")
    mailhost.call("dkim_postgres.manage_access")
    yield mailhost
    for path, text in files.items():
        path.write_text(text)
    with db.session(server.settings, setup=True) as connection:
        execute(connection, "SELECT pg_reload_conf()")


def set_pillar(minion, folder, domains=None, **sections):
    minion.set_pillar(
        database={"reader": {"system_user": ACCOUNT}},
        domains=domains or DOMAINS,
        lookup={"opendkim_user": ACCOUNT, "postfix_chroot": str(folder)},
        dns={"resolver": ["127.0.0.1@1"], "timeout": 1},
        **sections,
    )


def insert(minion, domain, key, selector="default"):
    """Store a key as another tool would."""
    with db.session(minion.database, setup=True) as connection:
        execute(
            connection,
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT id, %s, %s FROM public.domains WHERE domain = %s",
            (selector, key.pem(), domain),
        )


def run(minion, statement, arguments=None):
    with db.session(minion.database, setup=True) as connection:
        execute(connection, statement, arguments)


def found(minion, *names):
    """Return the findings of the checks with these names, by the findings' names."""
    checks = [check for check in checks_of.CHECKS if check.name in ("database", *names)]
    with mock.patch.object(checks_of, "CHECKS", checks):
        return {
            f"{one['check']} {one['subject']}".strip(): one for one in minion.call("dkim.doctor")
        }


def test_correct_database_has_no_problem(host):
    names = (
        "tables and views",
        "rights",
        "access files",
        "login",
        "keys",
        "unsigned",
        "domains",
        "patterns",
    )
    results = found(host, *names, "database-clock")
    assert {one["ok"] for one in results.values()} - {True} == set(), results
    assert "2 of 2 active keys" in results["keys"]["message"]


def test_view_that_the_daemon_cannot_read_is_a_problem(host):
    run(host, f'REVOKE SELECT ON public.dkim_key_table FROM "{READER}"')
    login = found(host, "login")["login opendkim"]
    assert login["ok"] is False
    assert "dkim_key_table: permission denied" in login["message"]
    assert "dkim.database" in login["remedy"]


def test_reader_that_can_read_the_key_table_is_a_problem(host):
    run(host, f'GRANT SELECT ON public.dkim TO "{READER}"')
    results = found(host, "login", "rights")
    assert "can read the table of keys itself" in results["login opendkim"]["message"]
    assert results["reader's rights"]["ok"] is False


def test_view_that_hides_an_active_key_is_a_problem(host):
    run(
        host,
        "CREATE OR REPLACE VIEW public.dkim_signing_table AS"
        ' SELECT NULL::text COLLATE "C" AS pattern, NULL::text COLLATE "C" AS identifier'
        " WHERE false",
    )
    results = found(host, "login", "tables and views")
    assert "shows nothing for 'example." in results["login opendkim"]["message"]
    assert results["tables and views"]["ok"] is False


def test_account_that_cannot_log_in_is_a_problem(host, server):
    path = server.data / "pg_ident.conf"
    path.write_text(re.sub(f"(?m)^.*{ACCOUNT}.*$", "", path.read_text()))
    run(host, "SELECT pg_reload_conf()")
    results = found(host, "login", "access files")
    assert "no login as vmail-dkim-reader" in results["login opendkim"]["message"]
    assert results["access files"]["ok"] is False
    assert "dkim.database" in results["access files"]["remedy"]


def test_damaged_key_is_reported_without_its_text(host):
    pem = rsa_key(0).pem()
    lines = pem.splitlines()
    damaged = "\n".join([*lines[:5], lines[5][::-1], *lines[6:]]) + "\n"
    run(host, "UPDATE public.dkim SET key = %s WHERE key = %s", (damaged, pem))
    result = found(host, "keys")["keys"]
    assert result["ok"] is False
    assert "example.com, selector 'default'" in result["message"]
    assert lines[7] not in str(result)
    assert "salt-call dkim.records example.com" in result["remedy"]
    commands = re.findall(r"salt-call (dkim\.(?:generate|activate) \S+ \S+)", result["remedy"])
    (_, domain, new), activation = (command.split() for command in commands)
    host.call("dkim.generate", domain, new)
    host.call(*activation, force=True)
    assert found(host, "keys")["keys"]["ok"] is True


def test_record_of_another_key_is_a_problem(host):
    run(
        host,
        "UPDATE public.dkim SET public_key = %s WHERE key = %s",
        (rsa_key(1).public_base64(), rsa_key(0).pem()),
    )
    assert "the record shows another key" in found(host, "keys")["keys"]["message"]


def test_remedy_of_a_missing_key_is_its_generation(host, tmp_path):
    set_pillar(host, tmp_path, {**DOMAINS, "example.com": {"algorithm": ["rsa", "ed25519"]}})
    result = found(host, "domains")["domains"]
    assert (result["ok"], result["remedy"]) == (False, "salt-call dkim.generate_missing")
    assert "example.com (ed25519)" in result["message"]


def test_remedy_of_a_retired_only_key_is_its_activation(host):
    run(host, "UPDATE public.dkim SET state = 'retired' WHERE key = %s", (rsa_key(0).pem(),))
    result = found(host, "unsigned")["unsigned"]
    assert (result["ok"], result["remedy"]) == (
        False,
        "salt-call dkim.activate example.com default",
    )


def test_remedy_of_a_waiting_delegated_domain_shows_its_cnames(host, tmp_path):
    run(host, "UPDATE public.dkim SET state = 'pending' WHERE key = %s", (rsa_key(0).pem(),))
    set_pillar(host, tmp_path, {**DOMAINS, "example.com": {"delegation": {"zone": "example.net"}}})
    remedy = found(host, "unsigned")["unsigned"]["remedy"]
    assert "salt-call dkim.delegations example.com format=text;" in remedy
    assert "salt-call dkim.status example.com" in remedy
    set_pillar(host, tmp_path, rotation={"first_key_waits": True})
    remedy = found(host, "unsigned")["unsigned"]["remedy"]
    assert remedy == "what its key waits for: salt-call dkim.status example.com"


def test_domain_whose_only_key_has_no_daemon_is_unsigned(host):
    run(host, "UPDATE public.dkim SET state = 'retired' WHERE key = %s", (rsa_key(0).pem(),))
    insert(host, "example.com", PrivateKey.generate("ed25519"), "ed")
    results = found(host, "unsigned", "domains")
    assert results["unsigned"]["items"] == ["example.com"]
    assert results["unsigned"]["remedy"] == "salt-call dkim.activate example.com default"
    assert results["domains"]["ok"] is True


def assert_remedy_works(host, check):
    """Run the command of the finding's remedy, and assert that the check is then ok."""
    (one, *_) = found(host, check)[check]["remedy"].split("; ")
    words = shlex.split(one.rpartition("salt-call ")[2])
    assert words[0] == "dkim.generate"
    named = dict(word.split("=") for word in words[3:])
    host.call("dkim.generate", *words[1:3], **named)
    assert found(host, check)[check]["ok"] is True


def test_remedy_of_an_unusable_key_is_another_key(host):
    run(host, "UPDATE public.dkim SET state = 'retired' WHERE key = %s", (rsa_key(0).pem(),))
    run(host, "UPDATE public.dkim SET public_key = NULL WHERE state = 'retired'")
    assert_remedy_works(host, "unsigned")


def test_remedy_of_a_used_selector_is_another_selector(host):
    run(host, "DELETE FROM public.dkim WHERE key = %s", (rsa_key(0).pem(),))
    assert_remedy_works(host, "unsigned")


def test_hosted_domain_that_the_pillar_does_not_name_is_no_problem(host):
    run(host, "INSERT INTO public.domains (domain) VALUES ('another.example')")
    result = found(host, "unsigned")["unsigned not in the pillar"]
    assert result["ok"] is None
    assert "another.example" in result["message"]


def test_missing_pattern_is_a_problem(host):
    run(host, "DELETE FROM public.dkim_pattern")
    result = found(host, "patterns")["patterns"]
    assert result["ok"] is False
    assert "pattern .example.org" in result["message"]


def test_domain_name_that_no_message_matches_is_a_problem(host):
    run(host, "INSERT INTO public.domains (domain) VALUES ('a b.example')")
    result = found(host, "patterns")["names"]
    assert result["ok"] is False
    assert "a b.example" in result["message"]


def test_unreachable_database_is_reported_once(host, tmp_path):
    host.set_pillar(
        database={"port": 1, "manage": False, "reader": {"system_user": ACCOUNT}},
        lookup={"opendkim_user": ACCOUNT, "postfix_chroot": str(tmp_path)},
    )
    results = found(host, "rights", "login", "keys", "unsigned", "domains")
    assert {name for name, one in results.items() if one["ok"] is False} == {"database"}
    assert "systemctl start postgresql" in results["database"]["remedy"]


def test_doctor_writes_nothing(host):
    insert(host, "example.com", PrivateKey.generate("rsa", 1024), "foreign")
    before = rows(host)
    host.call("dkim.doctor")
    assert rows(host) == before
    assert None in [row[-1] for row in before]


def rows(minion):
    """Return the rows of the formula's tables, without the private keys."""
    with db.session(minion.database, setup=True) as connection:
        history = query(connection, "SELECT count(*) FROM public.dkim_history")
        keys = query(
            connection,
            "SELECT id, state, md5(key), xmin::text, public_key FROM public.dkim ORDER BY id",
        )
        return [*history, *keys]


def test_problem_sets_the_return_code(host, loaded):
    context = loaded.functions.pack["__context__"]
    context.pop("retcode", None)
    found(host, "keys")
    assert "retcode" not in context
    run(host, "DELETE FROM public.dkim_pattern")
    found(host, "patterns")
    assert context.pop("retcode") == 1


def test_machine_with_only_the_database_has_no_problem(host, monkeypatch, tmp_path):
    for program in ("OPENDKIM", "POSTCONF"):
        monkeypatch.setattr(model, program, str(tmp_path / "absent"))
    results = host.call("dkim.doctor")
    assert [one for one in results if one["ok"] is False] == []
    absent = {one["check"]: one["message"] for one in results if one["ok"] is None}
    assert {"main.cf", "unit", "service", "socket directory", "login", "signing"} <= absent.keys()
    assert "Postfix is not installed" in absent["main.cf"]


def test_text_format_shows_results_that_are_ok_only_if_verbose(host):
    text = host.call("dkim.doctor", format="text", verbose=True)
    assert re.search(r"^✓ database: PostgreSQL \d+", text, re.MULTILINE)
    assert "database: PostgreSQL" not in host.call("dkim.doctor", format="text")


# --- The self-test --------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path):
    """A function that starts a milter at the daemon's socket, which signs with a key or not."""
    made = []

    def start(key=None, selector="default", domain=None, answer=(b"a", b"")):
        def answering(command, message):
            if command != b"E":
                return accept(command, message)
            if key is None:
                return [answer]
            value = signature(message, key, selector, domain)
            return [(b"i", b"\0\0\0\x01DKIM-Signature\0" + value + b"\0"), answer]

        made.append(Milter(tmp_path / "opendkim" / "opendkim.sock", answering))
        return made[-1]

    yield start
    for milter in made:
        milter.close()


def signature(message, key, selector, domain):
    """Return dkimpy's signature."""
    text = "".join(f"{name}: {value}\r\n" for name, value in message.headers) + "\r\n"
    sender = dict(message.headers)["From"].rpartition("@")[2].rstrip(">")
    pem = serialization.load_pem_private_key(key.pem().encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    signer = (domain or sender.removeprefix("dkim-selftest.")).encode()
    made = dkim.sign(text.encode() + message.body, selector.encode(), signer, pem)
    return made.partition(b":")[2].strip()


@pytest.mark.parametrize(
    ("prefix", "count"), [((), 1), (("unshare", "--pid", "--fork", "--kill-child"), 0)]
)
def test_process_of_a_container_is_not_this_machines_postfix(tmp_path, prefix, count):
    program = shutil.copy("/bin/sh", tmp_path / "own-smtpd")
    # The program prints a line once it runs. A container's processes have a PID namespace.
    command = [*prefix, program, "-c", "echo runs; read line"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        found = list(check_postfix.processes(["own-smtpd"]))
        process.communicate(b"\n")
    assert len(found) == count


def test_good_signature_is_verified(host, daemon):
    daemon(rsa_key(0))
    (result,) = host.call("dkim.selftest", "example.com")
    assert (result["signed"], result["verified_by_database"]) == (True, True)
    assert (result["domain"], result["selector"]) == ("example.com", "default")
    assert result["verified_by_dns"] is None
    assert "DNS: unchecked (no resolver answers" in result["detail"]


def test_unsigned_header_of_a_good_signature_is_advice(host, daemon):
    # dkimpy's default list of headers to sign has neither of these.
    daemon(rsa_key(0))
    (result,) = host.call("dkim.selftest", "example.com")
    assert result["verified_by_database"] is True
    assert {"List-Unsubscribe-Post", "Message-ID"} & set(result["unsigned_headers"])
    assert "dkim:opendkim:settings:SignHeaders" in result["detail"]
    assert selftest.is_ok([result])


SMTP = ["smtp", "inet", "n", "-", "y", "-", "-", "smtpd"]
SUBMISSION = ["submission", "inet", "n", "-", "y", "-", "-", "smtpd"]
SIGNING = {"smtpd_milters": "unix:opendkim/opendkim.sock"}


@pytest.mark.parametrize(
    ("own", "signed"),
    [
        ({}, True),
        ({"submission/inet/smtpd_milters": ""}, False),
        ({"submission/inet/receive_override_options": "no_milters"}, False),
        ({"submission/inet/smtpd_milters": "inet:localhost:8891"}, False),
    ],
)
def test_service_that_bypasses_opendkim_counts_as_unsigned(host, daemon, monkeypatch, own, signed):
    found = Configuration(SIGNING, [SMTP, SUBMISSION], own)
    monkeypatch.setattr(service_milters, "read", lambda: found)
    daemon(rsa_key(0))
    (result,) = host.call("dkim.selftest", "example.com")
    assert result["signed"] is signed
    assert result["ways"] == {"smtp/inet": True, "submission/inet": signed}
    assert ("mail by submission/inet" in result["detail"]) is not signed


def test_service_in_unsigned_services_may_bypass_opendkim(host, daemon, monkeypatch, tmp_path):
    found = Configuration(SIGNING, [SMTP], {"smtp/inet/smtpd_milters": ""})
    monkeypatch.setattr(service_milters, "read", lambda: found)
    set_pillar(host, tmp_path, postfix={"unsigned_services": ["smtp/inet"]})
    daemon(rsa_key(0))
    (result,) = host.call("dkim.selftest", "example.com")
    assert (result["signed"], result["ways"]) == (True, {"smtp/inet": False})


def test_key_of_another_tool_is_verified_and_its_row_not_changed(host, daemon):
    daemon(rsa_key(2), selector="foreign")
    run(host, "UPDATE public.dkim SET state = 'retired' WHERE key = %s", (rsa_key(0).pem(),))
    insert(host, "example.com", rsa_key(2), "foreign")
    before = rows(host)
    (result,) = host.call("dkim.selftest", "example.com")
    assert (result["selector"], result["verified_by_database"]) == ("foreign", True)
    assert rows(host) == before


def test_every_pattern_of_a_domain_is_tested(host, daemon):
    daemon(rsa_key(1))
    results = host.call("dkim.selftest", "example.org")
    assert {(one["kind"], one["verified_by_database"]) for one in results} == {
        ("domain", True),
        ("subdomain", True),
    }


def test_test_message_has_the_macros_of_an_authenticated_client(host, daemon):
    milter = daemon(rsa_key(0))
    host.call("dkim.selftest", "example.com")
    (message,) = milter.messages
    assert message.macros["i"] == "dkim-selftest"
    assert "{auth_authen}" in message.macros


@pytest.mark.parametrize(
    ("options", "signed", "verified", "detail"),
    [
        ({}, False, None, "no signature"),
        ({"key": 1}, True, False, "another key"),
        ({"key": 0, "selector": "old"}, False, None, "s=old"),
        ({"key": 0, "domain": "example.net"}, False, None, "d=example.net"),
        ({"answer": (b"t", b"")}, False, None, "deferred"),
        ({"answer": (b"y", b"451 4.7.0 no\0")}, False, None, "451 4.7.0 no"),
    ],
)
def test_bad_or_missing_signature_is_reported(host, daemon, options, signed, verified, detail):
    if "key" in options:
        options = {**options, "key": rsa_key(options["key"])}
    daemon(**options)
    (result,) = host.call("dkim.selftest", "example.com")
    assert (result["signed"], result["verified_by_database"]) == (signed, verified)
    assert detail in result["detail"]


def test_mail_that_only_a_key_without_a_daemon_signs_is_not_signed(host, daemon):
    daemon(rsa_key(0))
    insert(host, "example.com", PrivateKey.generate("ed25519"), "ed")
    (result,) = host.call("dkim.selftest", "example.com")
    assert (result["algorithm"], result["signed"]) == ("rsa", True)
    run(host, "UPDATE public.dkim SET state = 'retired' WHERE key = %s", (rsa_key(0).pem(),))
    (result,) = host.call("dkim.selftest", "example.com")
    assert (result["selector"], result["signed"], result["verified_by_database"]) == (
        "ed",
        False,
        None,
    )
    assert "add ed25519 to dkim:domains:example.com:algorithm" in result["detail"]
    signing = found(host, "signing")["signing"]
    assert (signing["ok"], "ed25519 keys" in signing["message"]) == (False, True)


def test_remedy_of_a_missing_signature_shows_the_log_of_its_daemon(host, daemon, tmp_path):
    daemon(rsa_key(0))
    run(host, "UPDATE public.dkim SET state = 'retired' WHERE key = %s", (rsa_key(1).pem(),))
    insert(host, "example.com", PrivateKey.generate("ed25519"), "ed")
    set_pillar(host, tmp_path, defaults={"algorithm": ["rsa", "ed25519"]})
    signing = found(host, "signing")["signing"]
    assert "opendkim-ed25519.sock" in signing["message"]
    assert "journalctl -u opendkim-ed25519 -n 50;" in signing["remedy"]


def test_daemon_that_does_not_answer_is_reported_for_each_domain(host):
    results = host.call("dkim.selftest")
    assert len(results) == 3
    assert all("does not answer" in one["detail"] for one in results)


def test_no_test_message_is_sent_to_a_daemon_without_database_access(host, daemon):
    milter = daemon(rsa_key(0))
    run(host, f'REVOKE SELECT ON public.dkim_key_table FROM "{READER}"')
    with pytest.raises(Exception, match="would crash the daemon"):
        host.call("dkim.selftest", "example.com")
    assert milter.messages == []


def test_domain_without_an_active_key_is_refused(host):
    with pytest.raises(Exception, match=r"no key is active for 'example\.net'"):
        host.call("dkim.selftest", "example.net")
