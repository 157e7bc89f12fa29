"""The writer role: all rights that the daily work needs, and no others."""

from dataclasses import replace

import pytest
from dkim_formula.dns import commands as records
from dkim_formula.dns import publish, published
from dkim_formula.errors import DatabaseError
from dkim_formula.health import check_database as doctor_database
from dkim_formula.health import preflight
from dkim_formula.health.model import Host
from dkim_formula.importing import commands as importing_commands
from dkim_formula.importing import export
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import commands as keys_commands
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hosted, objects, roles, writer_rights
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.settings import Reading, read
from functional.server import execute, query, rsa_key, set_up

pytestmark = pytest.mark.one_release

WRITER = "vmail-dkim-writer"


@pytest.fixture
def site(ready, access_files):
    """Settings with two domains and a completely set-up database."""
    where = {"name": ready.name, "port": ready.port}
    domains = {"example.com": {"algorithm": "ed25519"}, "example.org": {"algorithm": "ed25519"}}
    settings = read({"database": where, "domains": domains}).settings
    set_up(settings.database)
    return settings


def who(database):
    with db.session(database) as connection:
        return query(connection, "SELECT session_user, current_user")


def admin(database, *statements):
    with db.session(database, setup=True) as connection:
        for statement in statements:
            execute(connection, statement)


def test_daily_work_runs_as_the_writer(site):
    assert who(site.database) == [(WRITER, WRITER)]


def test_set_up_runs_as_the_superuser(site):
    with db.session(site.database, setup=True) as connection:
        assert query(connection, "SELECT session_user") == [("postgres",)]


def test_writer_can_do_all_of_the_daily_work(site, tmp_path):
    generated = keys_commands.generate_missing(site)
    assert len(generated["changes"]) == 2
    assert keys_commands.generate(site, "example.com", "later")["state"] == "pending"
    assert keys_commands.list_keys(site)
    assert keys_commands.public_key(site, "example.com")
    assert records.records(site, None, "bind", False)
    export.export_key(site, "example.com", "later", str(tmp_path / "out"))
    (tmp_path / "in").write_text(rsa_key().pem())
    (tmp_path / "in").chmod(0o600)
    importing_commands.import_key(site, "example.org", "imported", str(tmp_path / "in"))
    keys_commands.delete(site, "example.com", "later")
    with db.session(site.database, setup=True) as connection:
        found = query(connection, "SELECT DISTINCT who FROM public.dkim_history")
    assert found == [(f"{WRITER} by dkim-formula",)]


def test_published_values_can_be_added_and_removed(site):
    row = published.Published("example.com", "example.com", "TXT", "v=spf1 -all")
    with db.session(site.database) as connection:
        published.add(connection, site.database, [row])
        published.add(connection, site.database, [row])
        published.remove(connection, site.database, [row])
        assert published.read(connection, site.database) == []


def test_writer_reads_hosted_domains_through_the_function(site):
    with db.session(site.database) as connection:
        assert hosted.hosted(connection, site.database) == ["example.com", "example.org"]


def test_second_set_up_changes_nothing(site):
    assert not postgres_commands.manage_writer(site.database, test=True)["changes"]
    assert not postgres_commands.manage_access(site.database, test=True)["changes"]


def test_test_run_of_set_up_shows_its_changes(ready, access_files):
    planned = postgres_commands.manage_writer(ready, test=True)["changes"]
    assert planned
    assert postgres_commands.manage_writer(ready)["changes"] == planned


def test_plan_without_a_database_equals_the_changes_of_the_run(database):
    planned = roles.plan(
        roles.ABSENT,
        roles.DesiredRole(WRITER, "absent", grants=writer_rights.desired(None, database)),
        database.name,
    )
    postgres_commands.manage_schema(database)
    assert postgres_commands.manage_writer(database)["changes"] == planned.changes


def test_writer_has_rights_on_every_table_of_the_formula(site):
    with db.session(site.database, setup=True) as connection:
        tables = query(
            connection,
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relname LIKE 'dkim%%' AND relkind = 'r' AND nspname = 'public'",
        )
        with connection.cursor() as cursor:
            cursor.execute(f'SET ROLE "{WRITER}"')
            assert writer_rights.sufficient(cursor, site.database)
    known = {objects.names(site.database)[table][1] for table in writer_rights.TABLES}
    assert {name for (name,) in tables} == known


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.users",
        "SELECT note FROM public.domains",
        "SELECT * FROM public.dkim_key_table",
        "DELETE FROM public.domains",
        "UPDATE public.domains SET domain = 'x'",
        "UPDATE public.dkim_history SET why = ''",
        "DELETE FROM public.dkim_history",
        "INSERT INTO public.dkim_migration (number, title) VALUES (99, 'x')",
        "TRUNCATE public.dkim",
        "ALTER TABLE public.dkim DISABLE TRIGGER ALL",
        "CREATE TRIGGER t AFTER INSERT ON public.dkim EXECUTE FUNCTION public.dkim_recorded()",
        "DROP VIEW public.dkim_key_table",
        "CREATE OR REPLACE VIEW public.dkim_key_table AS SELECT 1",
        "CREATE TABLE public.mine (n integer)",
        "CREATE SCHEMA mine",
        "CREATE ROLE another",
        "ALTER ROLE \"vmail-dkim-reader\" PASSWORD 'x'",
        "SET ROLE postgres",
        "SELECT * FROM pg_authid",
        "SELECT pg_read_file('pg_hba.conf')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT pg_reload_conf()",
        "SET log_statement = 'none'",
        "SELECT public.dkim_recorded()",
    ],
)
def test_statement_beyond_the_daily_work_is_refused(site, statement):
    admin(
        site.database,
        "CREATE TABLE public.users (password text)",
        "ALTER TABLE public.domains ADD COLUMN note text",
    )
    assert who(site.database) == [(WRITER, WRITER)]
    with pytest.raises(DatabaseError) as refused, db.session(site.database) as connection:
        execute(connection, statement)
    assert "SQLSTATE 42501" in str(refused.value) or "trigger functions" in str(refused.value)


@pytest.mark.parametrize("stranger", ["nobody", "games", "postgres"])
def test_another_system_user_cannot_log_in_as_the_writer(server, site, stranger):
    found = server.psql(site.database.name, "-c", "SELECT 1", user=WRITER, as_user=stranger)
    assert found.returncode != 0
    assert "authentication failed" in found.stderr


def test_excessive_rights_are_revoked(site):
    admin(
        site.database,
        f'ALTER ROLE "{WRITER}" SUPERUSER',
        f'GRANT pg_read_all_data TO "{WRITER}"',
        f'GRANT ALL ON public.domains TO "{WRITER}" WITH GRANT OPTION',
        f'GRANT UPDATE ON public.dkim_history TO "{WRITER}"',
        f"ALTER ROLE \"{WRITER}\" PASSWORD 'by hand'",
    )
    made = postgres_commands.manage_writer(site.database)["changes"]
    assert {"super", "member of pg_read_all_data", "password"} <= made.keys()
    assert not postgres_commands.manage_writer(site.database, test=True)["changes"]
    assert who(site.database) == [(WRITER, WRITER)]


@pytest.mark.parametrize(
    "loss",
    [
        f'REVOKE INSERT ON public.dkim FROM "{WRITER}"',
        f'REVOKE EXECUTE ON FUNCTION public.dkim_hosted () FROM "{WRITER}"',
        f'ALTER ROLE "{WRITER}" NOLOGIN',
    ],
)
def test_set_up_account_replaces_the_writer_until_set_up_restores_its_rights(site, loss):
    admin(site.database, loss)
    assert who(site.database) == [("postgres", "postgres")]
    assert keys_commands.generate_missing(site)["changes"]
    assert postgres_commands.manage_writer(site.database)["changes"]
    assert who(site.database) == [(WRITER, WRITER)]


def test_set_up_account_replaces_the_writer_until_set_up_restores_its_access_line(site, server):
    postgres_commands.manage_access(site.database, present=False)
    assert who(site.database) == [("postgres", "postgres")]
    assert set(postgres_commands.manage_access(site.database)["changes"]) == {
        "pg_hba.conf",
        "pg_ident.conf",
    }
    assert who(site.database) == [(WRITER, WRITER)]


def test_writer_can_insert_into_a_table_with_a_sequence(howto, access_files):
    """The howto's table has a ``serial`` column, and its sequence has rights of its own."""
    given = {"name": howto.name, "port": howto.port}
    domains = {name: {"algorithm": "ed25519"} for name in ("example.com", "new.example")}
    settings = read({"database": given, "domains": domains}).settings
    set_up(settings.database)
    assert who(settings.database) == [(WRITER, WRITER)]
    keys_commands.generate_missing(settings)
    assert {key["domain"] for key in keys_commands.list_keys(settings)} >= set(domains)


def test_roles_work_in_a_database_that_is_closed_to_public(site, server):
    admin(
        site.database,
        f"REVOKE ALL ON DATABASE {site.database.name} FROM PUBLIC",
        "REVOKE ALL ON LANGUAGE plpgsql FROM PUBLIC",
    )
    assert who(site.database) == [(WRITER, WRITER)]
    assert keys_commands.generate_missing(site)["changes"]
    reader = site.database.reader.name
    with db.session(site.database, setup=True) as connection:
        can = "SELECT has_database_privilege(%s, current_database(), 'CONNECT')"
        assert query(connection, can, (reader,)) == [(True,)]


def test_log_of_a_failed_insert_has_no_key(site, server):
    admin(site.database, "ALTER TABLE public.dkim ADD CHECK (selector <> 'unwanted')")
    logged = server.log_from_now()
    pem = rsa_key().pem()
    pair = (DesiredKey("example.com", "unwanted"), rsa_key())
    assert who(site.database) == [(WRITER, WRITER)]
    with pytest.raises(DatabaseError), db.session(site.database) as connection:
        key_changes.store(connection, site.database, [pair], "test")
    log = logged()
    assert "violates check constraint" in log
    assert [line for line in pem.splitlines()[1:-1] if line[:24] in log] == []


def test_error_of_a_missing_right_has_the_grant_statement(site):
    database = replace(site.database, user=WRITER)
    admin(site.database, f'REVOKE DELETE ON public.dkim FROM "{WRITER}"')
    keys_commands.generate_missing(site)
    with pytest.raises(DatabaseError, match=f'GRANT DELETE ON "public"."dkim" TO "{WRITER}"'):
        keys_commands.delete(replace(site, database=database), "example.com", "default", force=True)


def test_configured_user_is_never_replaced(site):
    stranger = replace(site.database, user="nobody-known")
    with pytest.raises(DatabaseError), db.session(stranger):
        pass


def test_only_root_is_mapped_to_the_writer(site, server):
    text = (server.data / "pg_ident.conf").read_text()
    assert [line.split()[:3] for line in text.splitlines() if WRITER in line] == [
        ["maildkim-writer", "root", f'"{WRITER}"']
    ]


LOSSES = {
    "rights": (
        f'REVOKE SELECT, INSERT ON public.dkim FROM "{WRITER}"',
        'lacks SELECT ON "public"."dkim", INSERT ON "public"."dkim",',
    ),
    "login": (f'ALTER ROLE "{WRITER}" NOLOGIN', "can't log in ("),
    "function": (
        f'REVOKE EXECUTE ON FUNCTION public.dkim_hosted () FROM "{WRITER}"',
        'lacks EXECUTE ON FUNCTION "public"."dkim_hosted"(),',
    ),
}

WORK = {
    "keys_managed": keys_commands.generate_missing,
    "keys_managed, test": lambda site: keys_commands.generate_missing(site, test=True),
    "key_present": lambda site: keys_commands.generate(site, "example.com", test=True),
    "key_absent": lambda site: keys_commands.delete(site, "example.com", "none", test=True),
    "rotated": rotation_commands.rotate_due,
    "rotated, test": lambda site: rotation_commands.rotate_due(site, test=True),
    "rotations_advanced": rotation_commands.advance,
    "rotate": lambda site: rotation_commands.rotate(site, "example.com", test=True),
    "retire": lambda site: rotation_commands.retire(
        site, "example.com", "default", True, test=True
    ),
    "records_published": lambda site: publish.publish(site, test=True),
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("loss", LOSSES)
def test_run_reports_why_a_superuser_does_the_daily_work_and_the_remedy(site, work, loss):
    keys_commands.generate_missing(site)
    statement, why = LOSSES[loss]
    site = replace(site, dns=replace(site.dns, timeout=1))
    assert substitute_notes(WORK[work](site)) == []
    admin(site.database, statement)
    (note,) = substitute_notes(WORK[work](site))
    assert note.startswith(f"dkim:database:writer: {WRITER!r} {why}")
    assert "so 'postgres', a superuser, does the daily work; run salt-call state.apply" in note
    set_up(site.database)
    assert substitute_notes(WORK[work](site)) == []


def substitute_notes(found):
    return [text for text in found.get("notes", ()) if "daily work" in text]


def test_run_reports_that_a_superuser_reads_new_tables_of_the_pillar(site):
    admin(site.database, "CREATE TABLE public.others (name text)")
    changed = read(
        {
            "database": {
                "name": site.database.name,
                "port": site.database.port,
                "preset": "howto",
                "domains": {"table": "others", "name": "name"},
            },
            "domains": {"*": {"algorithm": "ed25519"}},
        }
    ).settings
    (note,) = substitute_notes(keys_commands.generate_missing(changed, test=True))
    assert "can't read the tables of domains yet, so 'postgres'" in note
    set_up(changed.database)
    assert substitute_notes(keys_commands.generate_missing(changed, test=True)) == []


def test_no_note_before_the_first_set_up(database):
    settings = read(
        {
            "database": {"name": database.name, "port": database.port},
            "domains": {"example.com": {}},
        }
    ).settings
    assert substitute_notes(keys_commands.generate_missing(settings, test=True)) == []


def test_check_and_doctor_report_that_another_account_does_the_writers_work(site):
    def reported():
        advice = preflight.check(Reading(site, (), ()))["advice"]
        finding = list(doctor_database.reachable(Host(site)))[-1]
        assert finding.ok
        return [text for text in (*advice, finding.message) if "daily work" in text]

    assert reported() == []
    statement, why = LOSSES["rights"]
    admin(site.database, statement)
    assert len(reported()) == 2
    for text in reported():
        assert why in text
        assert "'postgres', a superuser, does the daily work" in text
        assert "state.apply dkim.database" in text
    set_up(site.database)
    assert reported() == []


def test_writer_retires_the_key_of_a_removed_domain(site):
    keys_commands.generate_missing(site)
    left = replace(site, domains={"example.org": site.domains["example.org"]})
    admin(site.database, "DELETE FROM public.domains WHERE domain = 'example.com'")
    done = rotation_commands.advance(left)
    assert done["problems"] == []
    assert [*done["changes"]] == ["default._domainkey.example.com"]
    admin(site.database, "DROP TABLE public.domains CASCADE")
    (problem,) = rotation_commands.advance(replace(left, domains={}))["problems"]
    assert "there is no table public.domains" in problem
