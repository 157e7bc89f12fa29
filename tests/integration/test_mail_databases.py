"""
The formula with the databases of the real PostfixAdmin and Modoboa.

These programs create their tables themselves, and add, disable, rename and delete domains.
"""

import re
from collections.abc import Iterator

import pytest
from support import mail_panels, salt
from support.machine import Machine, panels
from support.mail_panels import Modoboa, PostfixAdmin, psql
from support.progress import to_stderr

# The programs are the same on each release, so one release is enough.
pytestmark = pytest.mark.one_release(panels.RELEASE)
SIGNED = {"alias.example", "good.example"}


def pillar(program: str) -> dict:
    database = {"name": program, "manage": False, "preset": program}
    return {"dkim": {"database": database, "domains": {"*": {}}}}


def machine_with(program: str) -> Iterator[Machine]:
    with Machine(panels.RELEASE, layers=panels.layers(to_stderr()), warm_salt=True) as machine:
        machine.run("systemctl start postgresql")
        mail_panels.make_database(machine, program)
        yield machine


def own_tables(machine: Machine, database: str) -> str:
    """Return the dump of the program's own tables and their dependent objects, without grants."""
    command = ["pg_dump", "--schema-only", "--schema=public", "--no-acl", database]
    dump = machine.run(command, user="postgres").stdout
    # pg_dump 15.14 and later writes a random word at the start and at the end.
    return re.sub(r"^\\(un)?restrict .*$", "", dump, flags=re.MULTILINE)


def grants(machine: Machine, database: str) -> set[str]:
    """Return the privileges of all other roles on the program's tables."""
    statement = f"""
        SELECT DISTINCT acl.privilege_type
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'public'
          LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid
         CROSS JOIN LATERAL (
               SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)
               ) AS acl
         WHERE acl.grantee <> '{database}'::regrole
    """
    return set(psql(machine, database, statement).split())


def key_states(machine: Machine) -> dict[str, str]:
    return {key["domain"]: key["state"] for key in salt.call(machine, "dkim.list_keys")}


def apply(machine: Machine, program: str) -> salt.Run:
    run = salt.apply(machine, pillar=pillar(program))
    assert run.succeeded, str(run)
    return run


def assert_database_works_unchanged(machine: Machine, program: str) -> None:
    """
    Assert that hosted domains get keys, that the program's tables stay unchanged, and that a second
    run changes nothing.
    """
    before = own_tables(machine, program)
    salt.install_formula(machine, pillar(program))
    apply(machine, program)
    assert key_states(machine) == dict.fromkeys(SIGNED, "active")
    assert own_tables(machine, program) == before
    assert grants(machine, program) <= {"SELECT"}
    second = apply(machine, program)
    assert second.changed == [], str(second)


@pytest.fixture(scope="module")
def postfixadmin() -> Iterator[PostfixAdmin]:
    for machine in machine_with("postfixadmin"):
        program = PostfixAdmin(machine, 3)
        program.set_up()
        for name in ("good", "alias", "off", "relay", "gone"):
            program.add_domain(f"{name}.example")
        program.cli("domain", "update", "off.example", "--active", "0")
        program.cli("domain", "update", "relay.example", "--backupmx", "1")
        program.add_alias("alias.example", "good.example")
        # PostfixAdmin's setup.php adds this row.
        psql(machine, "postfixadmin", "INSERT INTO domain (domain, active) VALUES ('ALL', true)")
        program.cli("domain", "delete", "gone.example")
        yield program


def test_formula_works_with_an_unchanged_postfixadmin(postfixadmin: PostfixAdmin) -> None:
    assert_database_works_unchanged(postfixadmin.machine, "postfixadmin")


def test_role_of_postfixadmin_reads_no_private_key(postfixadmin: PostfixAdmin) -> None:
    statement = """
        SELECT count(*) FROM information_schema.columns AS c
         WHERE c.table_schema = 'dkim' AND c.column_name = 'key'
           AND has_column_privilege('postfixadmin', format('%I.%I', table_schema, table_name),
                                    column_name, 'SELECT')
    """
    assert psql(postfixadmin.machine, "postfixadmin", statement) == "0"


def test_writer_role_and_no_superuser_generates_keys_and_shows_status(
    postfixadmin: PostfixAdmin,
) -> None:
    machine = postfixadmin.machine
    machine.run("truncate -s 0 /var/log/postgresql/*.log")
    psql(machine, "postgres", "ALTER SYSTEM SET log_connections = on")
    psql(machine, "postgres", "SELECT pg_reload_conf()")
    salt.call(machine, "dkim.generate_missing")
    salt.call(machine, "dkim.status")
    log = machine.run("cat /var/log/postgresql/*.log").stdout
    assert "user=vmail-dkim-writer database=postfixadmin" in log
    assert "user=postgres database=postfixadmin" not in log


def test_domain_that_postfixadmin_adds_gets_its_key(postfixadmin: PostfixAdmin) -> None:
    postfixadmin.add_domain("new.example")
    salt.call(postfixadmin.machine, "dkim.generate_missing")
    assert key_states(postfixadmin.machine)["new.example"] == "active"


def test_postfixadmin_can_disable_and_delete_domains(postfixadmin: PostfixAdmin) -> None:
    machine = postfixadmin.machine
    postfixadmin.cli("domain", "update", "good.example", "--active", "0")
    output = postfixadmin.cli("domain", "delete", "new.example")
    assert "ERROR" not in output
    rows = psql(machine, "postfixadmin", "SELECT domain FROM domain WHERE domain = 'new.example'")
    assert rows == ""
    postfixadmin.cli("domain", "update", "good.example", "--active", "1")
    apply(machine, "postfixadmin")
    states = key_states(machine)
    assert (states["good.example"], states["new.example"]) == ("active", "retired")


def test_postfixadmin_can_alter_its_name_column(postfixadmin: PostfixAdmin) -> None:
    psql(
        postfixadmin.machine,
        "postfixadmin",
        "ALTER TABLE domain ALTER COLUMN domain TYPE varchar(250)",
        role="postfixadmin",
    )


@pytest.mark.soak
def test_postfixadmin_can_be_upgraded_from_3_to_4(postfixadmin: PostfixAdmin) -> None:
    machine = postfixadmin.machine
    PostfixAdmin(machine, 4).set_up()
    tables = psql(
        machine,
        "postfixadmin",
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = relnamespace AND nspname = 'public'"
        " WHERE relkind = 'r' AND relname LIKE 'dkim%'",
    )
    assert tables == "dkim dkim_signing"
    assert key_states(machine)["good.example"] == "active"
    run = apply(machine, "postfixadmin")
    assert run.changed == [], str(run)


@pytest.mark.soak
def test_formula_works_with_an_unchanged_postfixadmin_4() -> None:
    for machine in machine_with("postfixadmin"):
        program = PostfixAdmin(machine, 4)
        program.set_up()
        for name in ("good", "alias"):
            program.add_domain(f"{name}.example")
        program.add_alias("alias.example", "good.example")
        assert_database_works_unchanged(machine, "postfixadmin")
        assert psql(machine, "postfixadmin", "SELECT count(*) FROM public.dkim") == "0"


@pytest.fixture(scope="module")
def modoboa() -> Iterator[Modoboa]:
    for machine in machine_with("modoboa"):
        program = Modoboa(machine)
        program.set_up()
        program.run(
            "good = Domain.objects.create(name='good.example', type='domain')\n"
            "Domain.objects.create(name='off.example', type='domain', enabled=False)\n"
            "Domain.objects.create(name='relay.example', type='relaydomain')\n"
            "DomainAlias.objects.create(name='alias.example', target=good)\n"
            "DomainAlias.objects.create(name='off-alias.example', target=good, enabled=False)"
        )
        # Modoboa's installer creates this view for its own OpenDKIM.
        psql(
            machine,
            "modoboa",
            "CREATE VIEW dkim AS SELECT id, name AS domain_name, dkim_private_key_path AS"
            " private_key_path, dkim_key_selector AS selector FROM admin_domain WHERE enable_dkim",
            role="modoboa",
        )
        yield program


@pytest.mark.soak
def test_formula_works_with_an_unchanged_modoboa(modoboa: Modoboa) -> None:
    assert_database_works_unchanged(modoboa.machine, "modoboa")


@pytest.mark.soak
def test_modoboa_can_rename_and_delete_domains(modoboa: Modoboa) -> None:
    modoboa.run(
        "Domain.objects.filter(name='good.example').update(name='renamed.example')\n"
        "Domain.objects.filter(name='off.example').delete()"
    )
    salt.call(modoboa.machine, "dkim.generate_missing")
    assert key_states(modoboa.machine)["renamed.example"] == "active"


@pytest.mark.soak
def test_modoboa_can_migrate_its_table(modoboa: Modoboa) -> None:
    psql(modoboa.machine, "modoboa", "DROP VIEW dkim", role="modoboa")
    psql(
        modoboa.machine,
        "modoboa",
        "ALTER TABLE admin_domain ALTER COLUMN name TYPE varchar(254)",
        role="modoboa",
    )
