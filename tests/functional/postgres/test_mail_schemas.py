"""
The formula on the tables of each known mail program, while the program's own tool changes them.

The tables belong to their own role. Each statement of the tool runs as that role, in its own
transaction.
"""

import re
import subprocess

import pytest
import yaml
from dkim_formula.dns import commands as records
from dkim_formula.errors import DatabaseError
from dkim_formula.health import preflight
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hosted
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.settings import read
from dkim_formula.settings.database_presets import PRESETS
from functional.server import (
    as_role,
    execute,
    insert_as_howto,
    private_keys_read_by,
    query,
    set_up,
    traditional_pem,
)
from support.mail_schemas import ROLE, SCHEMAS

pytestmark = pytest.mark.one_release


class MailServer:
    """A program's tables, and the formula's settings for them."""

    def __init__(self, server, database, schema):
        self.server = server
        self.schema = schema
        self.reading = self.reading_with(schema.database, database)
        self.database = self.reading.settings.database
        with db.session(database, setup=True) as connection:
            execute(connection, f"CREATE ROLE {ROLE}; GRANT CREATE ON SCHEMA public TO {ROLE}")
        self.execute_as_tool(schema.sql)
        if schema.is_howto:
            with db.session(database, setup=True) as connection:
                insert_as_howto(connection, "good.example", "default", traditional_pem())

    @property
    def settings(self):
        return self.reading.settings

    @staticmethod
    def reading_with(given, database):
        where = {"manage": False, "name": database.name, "port": database.port}
        return read(
            {
                "database": {**given, **where},
                "domains": {"*": {"algorithm": "rsa", "bits": 1024}},
            }
        )

    def execute_as_tool(self, *statements):
        """Execute statements of the program's own tool, as the role that owns the tables."""
        with db.session(self.database, setup=True, autocommit=True) as connection:
            execute(connection, f"SET search_path TO public; SET SESSION AUTHORIZATION {ROLE}")
            for statement in statements:
                execute(connection, statement)

    def rows(self, statement, arguments=None):
        with db.session(self.database, setup=True) as connection:
            return query(connection, statement, arguments)

    def run(self):
        """Do what a highstate does in the database. Return the changes and notes of the run."""
        set_up(self.database)
        return keys_commands.generate_missing(self.settings)

    def states(self):
        return {key["domain"]: key["state"] for key in keys_commands.list_keys(self.settings)}

    def dump(self):
        """Return the program's tables as pg_dump writes them, without grants."""
        return self._dumped("--no-acl")

    def granted(self):
        """Return the grants on the program's tables, without the grants on languages."""
        return [
            one for one in self._dumped() if re.search("^(GRANT|REVOKE) .* ON (TABLE|SEQ)", one)
        ]

    def _dumped(self, *options):
        tables = [f"--table=public.{name}" for (name,) in self.rows(_OWN_TABLES, (ROLE,))]
        command = [str(self.server.programs / "pg_dump"), "-p", str(self.database.port)]
        command += ["--schema-only", *options, *tables, self.database.name]
        result = subprocess.run(
            ["runuser", "-u", "postgres", "--", *command],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        # Versions 15.14 and later write a random word at the head and at the end.
        lines = (line for line in result.stdout.splitlines() if not line.startswith("\\"))
        return [line for line in lines if line and not line.startswith("--")]


# All of the program's tables except the howto's table of keys, which the formula adopts.
_OWN_TABLES = """
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public' AND c.relkind = 'r' AND pg_get_userbyid(c.relowner) = %s
   AND c.relname <> 'dkim'
 ORDER BY 1
"""


@pytest.fixture(params=SCHEMAS)
def mail(request, server, database, access_files):
    return MailServer(server, database, SCHEMAS[request.param])


@pytest.fixture
def name(mail):
    return next(one for one, schema in SCHEMAS.items() if schema is mail.schema)


@pytest.fixture
def signing(mail):
    """The mail server after the formula's first run."""
    mail.run()
    return mail


def active(mail):
    return {name for name, state in mail.states().items() if state == "active"}


def test_pillar_is_valid_and_the_check_finds_no_problem(mail):
    assert mail.reading.problems == ()
    assert preflight.check(mail.reading)["problems"] == []


# How the error names the tables of programs without a preset: by the settings to use instead.
NAMED = {
    "vimbadmin": "of ViMbAdmin; set domains: {table: domain, name: domain, only: {active: 1, "
    "backupmx: 0}}, no preset",
    "vmm": "of vmm; set domains: {table: domain_name, name: domainname}, no preset",
}


def problems_with(mail, **given):
    return preflight.check(mail.reading_with(given, mail.database))["problems"]


def test_check_names_the_tables_if_the_pillar_has_no_preset(mail, name):
    problems = problems_with(mail)
    if mail.schema.is_howto:
        assert problems == []
        return
    (problem,) = problems
    assert problem.startswith("dkim:database:preset: missing, and the database has the tables of")
    assert NAMED.get(name, f"of {name}; set preset: {name}, or domains") in problem


def test_check_names_the_tables_if_the_pillar_has_another_preset(mail, name):
    for preset in PRESETS:
        if preset == mail.schema.database.get("preset"):
            continue
        (problem,) = problems_with(mail, preset=preset)
        assert problem.startswith(f"dkim:database:preset: {preset!r}, and the database has the")
        assert NAMED.get(name, f"of {name}; set preset: {name}, or domains") in problem


def test_check_names_the_tables_if_the_pillar_describes_other_tables(mail, name):
    (problem,) = problems_with(mail, domains={"table": "mail.nowhere"})
    assert problem.startswith("dkim:database:domains:table: there is no table mail.nowhere, and")
    assert NAMED.get(name, f"of {name}; set preset: {name}, or domains") in problem


def test_settings_that_the_error_names_are_valid(mail, name):
    given = {"preset": name}
    if name in NAMED:
        text = NAMED[name].partition("; set ")[2].removesuffix(", no preset")
        given = yaml.safe_load(text)
    assert problems_with(mail, **given) == []


def test_first_run_generates_keys_only_for_valid_domains(mail):
    mail.run()
    assert mail.states() == dict.fromkeys(mail.schema.hosted, "active")


def test_check_counts_the_rows_that_are_left_out(mail):
    advice = preflight.check(mail.reading)["advice"]
    counted = {
        kind: sum(int(one.rpartition(": ")[2]) for one in advice if kind in one)
        for kind in ("hold no domain name", "leaves out")
    }
    nameless, others = mail.schema.nameless, mail.schema.not_counted
    assert counted == {"hold no domain name": nameless, "leaves out": others}


def test_second_run_changes_nothing(signing):
    before = keys_commands.list_keys(signing.settings)
    assert keys_commands.generate_missing(signing.settings, test=True)["changes"] == {}
    assert signing.run()["changes"] == {}
    assert keys_commands.list_keys(signing.settings) == before


def test_run_adds_only_grants_of_select_to_the_tables(mail):
    before = mail.dump()
    assert mail.granted() == []
    mail.run()
    assert mail.dump() == before
    pattern = r'GRANT SELECT\(\w+\) ON TABLE public\.\w+ TO "vmail-dkim-owner";'
    assert mail.granted()
    assert [one for one in mail.granted() if not re.fullmatch(pattern, one)] == []


def test_tool_can_delete_domains_and_their_keys_are_retired(signing):
    signing.execute_as_tool(*signing.schema.deletes)
    for table, column in signing.schema.columns:
        rows = signing.rows(f"SELECT lower({column}) FROM public.{table}")
        assert not {name for (name,) in rows} & signing.schema.deleted
    assert rotation_commands.advance(signing.settings)["problems"] == []
    gone = dict.fromkeys(signing.schema.deleted, "retired")
    assert signing.states() == {**dict.fromkeys(signing.schema.hosted, "active"), **gone}


def test_tool_can_rename_a_domain_which_then_counts_as_new(signing):
    signing.execute_as_tool(*signing.schema.renames)
    signing.run()
    rotation_commands.advance(signing.settings)
    states = signing.states()
    assert (states["renamed.example"], states["rename.example"]) == ("active", "retired")


@pytest.mark.parametrize(
    "mail", [name for name, one in SCHEMAS.items() if one.switches_off], indirect=True
)
def test_tool_can_switch_a_domain_off_and_on(signing):
    signing.execute_as_tool(*signing.schema.switches_off)
    rotation_commands.advance(signing.settings)
    assert signing.states()["switch.example"] == "retired"
    signing.execute_as_tool(*signing.schema.switches_on)
    assert hosted_names(signing) == signing.schema.hosted


def hosted_names(mail):
    with db.session(mail.database) as connection:
        return set(hosted.hosted(connection, mail.database))


def test_name_columns_can_be_altered(signing):
    for table, column in signing.schema.columns:
        signing.execute_as_tool(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar(300)")
    assert hosted_names(signing) == signing.schema.hosted
    signing.run()
    assert active(signing) == signing.schema.hosted


def test_truncate_of_the_programs_tables_does_not_change_the_keys(signing):
    for table, _ in signing.schema.columns:
        signing.execute_as_tool(f"TRUNCATE {table} CASCADE")
    assert active(signing) == signing.schema.hosted
    (problem,) = rotation_commands.advance(signing.settings)["problems"]
    assert "has no row that counts" in problem
    assert active(signing) == signing.schema.hosted


def test_recreated_tables_are_read_again_after_the_next_run(signing):
    """A restore of the program's own dump does the same. Grants are dropped with their table."""
    for table, _ in signing.schema.columns:
        signing.execute_as_tool(
            f"CREATE TABLE kept AS SELECT * FROM {table}",
            f"DROP TABLE {table} CASCADE",
            f"ALTER TABLE kept RENAME TO {table}",
        )
    for work in (rotation_commands.advance, keys_commands.generate_missing):
        done = work(signing.settings)
        assert (done["changes"], done.get("problems", [])) == ({}, [])
        (note,) = [text for text in done["notes"] if "daily work" in text]
        assert "can't read the tables of domains yet, so 'postgres', a superuser," in note
        assert note.endswith("run salt-call state.apply dkim.database")
    assert preflight.check(signing.reading)["problems"] == []
    assert [text for text in signing.run()["notes"] if "daily work" in text] == []
    assert rotation_commands.advance(signing.settings)["notes"] == []
    assert active(signing) == signing.schema.hosted


def test_formula_creates_no_relation_named_dkim(signing):
    named = signing.rows(
        "SELECT n.nspname::text, c.relkind::text FROM pg_class AS c"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relname = 'dkim'"
    )
    assert named == ([("public", "r")] if signing.schema.is_howto else [])
    # The program can later create a relation of that name.
    if not signing.schema.is_howto:
        signing.execute_as_tool("CREATE TABLE dkim (id serial)")
    assert active(signing) == signing.schema.hosted


def test_reader_finds_every_hosted_domain(signing):
    where, reader = signing.database.schema, signing.database.reader.name
    with db.session(signing.database, setup=True) as connection, as_role(connection, reader):
        found = query(connection, f"SELECT pattern FROM {where}.dkim_signing_table ORDER BY 1")
    assert {pattern for (pattern,) in found} == signing.schema.hosted


def test_role_of_the_program_cannot_read_private_keys(signing):
    assert private_keys_read_by(signing.database, ROLE) == []


def test_writer_is_not_a_superuser_and_does_all_daily_work(signing, monkeypatch):
    def refuse(*_):
        raise DatabaseError("a superuser's session")

    writer = signing.database.writer.name
    attributes = "rolsuper, rolcreaterole, rolcreatedb, rolbypassrls"
    ((*has, memberships),) = signing.rows(
        f"SELECT {attributes}, (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)"
        " FROM pg_roles AS r WHERE rolname = %s",
        (writer,),
    )
    assert (has, memberships) == ([False] * 4, 0)
    signing.execute_as_tool(*signing.schema.deletes, *signing.schema.renames)
    # Every session except the writer's uses this function.
    monkeypatch.setattr(db, "_connect", refuse)
    settings = signing.settings
    made = keys_commands.generate_missing(settings)
    assert [*made["changes"]] == ["key default._domainkey.renamed.example"]
    assert [text for text in made["notes"] if "daily work" in text] == []
    assert rotation_commands.advance(settings)["problems"] == []
    assert rotation_commands.status(settings)
    assert records.records(settings, None, "bind", False)
    assert keys_commands.delete(settings, "renamed.example", "default", force=True)
