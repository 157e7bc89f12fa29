"""
Mail leaves signed from the databases of iRedMail, vexim and ISPmail, with one line of pillar each,
and from the howto's with its keys closed to the role that owns the tables.

Their tables are written by the tests; what PostfixAdmin and Modoboa make themselves is tried by
test_mail_databases.py.
"""

from collections.abc import Mapping

import pytest
from support import mail, salt
from support.machine import CommandFailed, Machine
from support.mail_panels import psql
from support.mail_schemas import ROLE, SCHEMAS

pytestmark = pytest.mark.one_release("bookworm")
EQUIPPED = True


@pytest.fixture(scope="module")
def box(machine: Machine) -> mail.Mailbox:
    salt.install_formula(machine)
    machine.run("systemctl start postgresql")
    psql(machine, "postgres", f"CREATE ROLE {ROLE} LOGIN")
    return mail.Mailbox(machine)


@pytest.fixture(params=["iredmail", "vexim", "ispmail", "howto"])
def program(request: pytest.FixtureRequest, box: mail.Mailbox) -> str:
    """A program whose database, of the name that the formula assumes, is all that there is."""
    machine = box.machine
    machine.run("systemctl stop opendkim", check=False)
    psql(machine, "postgres", "DROP DATABASE IF EXISTS vmail WITH (FORCE)")
    psql(machine, "postgres", f"CREATE DATABASE vmail OWNER {ROLE} TEMPLATE template0")
    psql(machine, "vmail", f"GRANT CREATE ON SCHEMA public TO {ROLE}")
    psql(machine, "vmail", SCHEMAS[request.param].sql, role=ROLE)
    return request.param


def applied(machine: Machine, program: str) -> salt.Run:
    pillar = {"database": SCHEMAS[program].database, "domains": {"*": {}}}
    run = salt.apply(machine, pillar={"dkim": pillar})
    assert run.succeeded, str(run)
    return run


def signing_domains(box: mail.Mailbox, sender: str, known: Mapping[str, str]) -> list[str]:
    """Whose signatures a new message bears; each of them verifies by the known records."""
    found = mail.signatures(box.machine, mail.sent_by_smtp(box, sender), known)
    assert all(signature.valid for signature in found), found
    return [signature.domain for signature in found]


def test_mail_of_good_domains_and_alias_domains_is_signed_and_no_other(
    box: mail.Mailbox, program: str
) -> None:
    schema = SCHEMAS[program]
    run = applied(box.machine, program)
    assert "daily work" not in run["Every domain has its keys"].comment
    table = "public.dkim" if schema.is_howto else "dkim.dkim_keys"
    with pytest.raises(CommandFailed, match="permission denied"):
        psql(box.machine, "vmail", f"SELECT key FROM {table}", role=ROLE)
    lines = salt.call(box.machine, "dkim.records", format="bind")
    known = {name.rstrip("."): text for name, text in mail.zone_records(box.machine, lines).items()}
    for domain in ("good.example", "mixed.example", "alias.example"):
        assert signing_domains(box, f"user@{domain}", known) == [domain]
    for domain in ("off.example", "relay.example", "admin", "off-alias.example"):
        assert signing_domains(box, f"user@{domain}", known) == []
    second = applied(box.machine, program)
    assert second.changed == [], str(second)
    # The program's own tool does its work in front of a running daemon.
    for statement in (*schema.deletes, *schema.renames, *schema.switches_off):
        psql(box.machine, "vmail", statement, role=ROLE)
    applied(box.machine, program)
    states = {key["domain"]: key["state"] for key in salt.call(box.machine, "dkim.list_keys")}
    assert (states["delete.example"], states["rename.example"]) == ("retired", "retired")
    assert signing_domains(box, "user@delete.example", known) == []
    assert len(signing_domains(box, "user@good.example", known)) == 1
