"""
Signed mail with the databases of iRedMail, vexim and ISPmail, each set by one line of the pillar,
and with the howto's database, where the role that owns the tables can't read the keys.

The tests create the tables of these programs. test_mail_databases.py tests PostfixAdmin and
Modoboa, which create their tables themselves.
"""

from collections.abc import Mapping

import pytest
from support import mail, salt
from support.machine import CommandFailed, Machine
from support.mail_panels import psql
from support.mail_schemas import ROLE, SCHEMAS
from support.share import short_form

pytestmark = pytest.mark.one_release("bookworm")
EQUIPPED = True


@pytest.fixture(scope="module")
def box(machine: Machine) -> mail.Mailbox:
    salt.install_formula(machine)
    machine.run("systemctl start postgresql")
    psql(machine, "postgres", f"CREATE ROLE {ROLE} LOGIN")
    return mail.Mailbox(machine)


@pytest.fixture(params=short_form(["iredmail", "howto", "vexim", "ispmail"]))
def program(request: pytest.FixtureRequest, box: mail.Mailbox) -> str:
    """A program whose database is the only one on the server. It has the default name."""
    machine = box.machine
    machine.run("systemctl stop opendkim", check=False)
    psql(machine, "postgres", "DROP DATABASE IF EXISTS vmail WITH (FORCE)")
    psql(machine, "postgres", f"CREATE DATABASE vmail OWNER {ROLE} TEMPLATE template0")
    psql(machine, "vmail", f"GRANT CREATE ON SCHEMA public TO {ROLE}")
    psql(machine, "vmail", SCHEMAS[request.param].sql, role=ROLE)
    return request.param


def apply(machine: Machine, program: str) -> salt.Run:
    pillar = {"database": SCHEMAS[program].database, "domains": {"*": {}}}
    run = salt.apply(machine, pillar={"dkim": pillar})
    assert run.succeeded, str(run)
    return run


def signing_domains(box: mail.Mailbox, sender: str, known: Mapping[str, str]) -> list[str]:
    """Return the domains that sign a new message. Assert that the known records verify them."""
    found = mail.signatures(box.machine, mail.sent_by_smtp(box, sender), known)
    assert all(signature.valid for signature in found), found
    return [signature.domain for signature in found]


def test_only_mail_of_active_domains_and_alias_domains_is_signed(
    box: mail.Mailbox, program: str
) -> None:
    schema = SCHEMAS[program]
    run = apply(box.machine, program)
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
    second = apply(box.machine, program)
    assert second.changed == [], str(second)
    # The program's own tool can change its tables while the daemon runs.
    for statement in (*schema.deletes, *schema.renames, *schema.switches_off):
        psql(box.machine, "vmail", statement, role=ROLE)
    apply(box.machine, program)
    states = {key["domain"]: key["state"] for key in salt.call(box.machine, "dkim.list_keys")}
    assert (states["delete.example"], states["rename.example"]) == ("retired", "retired")
    assert signing_domains(box, "user@delete.example", known) == []
    assert len(signing_domains(box, "user@good.example", known)) == 1
