"""The role that does the daily work: all that this needs, and nothing beyond."""

from dataclasses import replace

import pytest
from dkim_formula.database import connection as db
from dkim_formula.database import objects, published, rights, roles, worker
from dkim_formula.errors import DatabaseError
from dkim_formula.operations import check, keys, records, rotation, setup, transfer
from dkim_formula.postgres import hosted
from dkim_formula.settings import Reading, read
from functional.postgres import execute, query, rsa_key

KEEPER = "vmail-dkim-keeper"


@pytest.fixture
def access_files(server):
    kept = {path: path.read_bytes() for path in server.data.glob("pg_*.conf")}
    yield
    for path, content in kept.items():
        path.write_bytes(content)
    with db.session(server.settings, setup=True) as connection:
        query(connection, "SELECT pg_reload_conf()")


@pytest.fixture
def site(ready, access_files):
    """The settings of two domains, and a database that is set up whole."""
    where = {"name": ready.name, "port": ready.port}
    domains = {"example.com": {"algorithm": "ed25519"}, "example.org": {"algorithm": "ed25519"}}
    settings = read({"database": where, "domains": domains}).settings
    set_up(settings.database)
    return settings


def set_up(database):
    setup.migrate(database)
    setup.manage_role(database, setup.wanted_role(database, database.reader.name, password="keep"))
    setup.manage_worker(database)
    setup.manage_access(database)


def who(database):
    with db.session(database) as connection:
        return query(connection, "SELECT session_user, current_user")


def admin(database, *statements):
    with db.session(database, setup=True) as connection:
        for statement in statements:
            execute(connection, statement)


def test_daily_work_is_the_workers(site):
    assert who(site.database) == [(KEEPER, KEEPER)]


def test_set_up_is_not(site):
    with db.session(site.database, setup=True) as connection:
        assert query(connection, "SELECT session_user") == [("postgres",)]


def test_all_of_the_daily_work_can_be_done(site, tmp_path):
    generated = keys.generate_missing(site)
    assert len(generated["changes"]) == 2
    assert keys.generate(site, "example.com", "later")["state"] == "pending"
    assert keys.list_keys(site)
    assert keys.public_key(site, "example.com")
    assert records.shown(site, None, "bind", False)
    transfer.export_key(site, "example.com", "later", str(tmp_path / "out"))
    (tmp_path / "in").write_text(rsa_key().pem())
    (tmp_path / "in").chmod(0o600)
    transfer.import_key(site, "example.org", "imported", str(tmp_path / "in"))
    keys.delete(site, "example.com", "later")
    with db.session(site.database, setup=True) as connection:
        found = query(connection, "SELECT DISTINCT who FROM public.dkim_history")
    assert found == [(f"{KEEPER} by dkim-formula",)]


def test_published_records_can_be_remembered_and_forgotten(site):
    row = published.Published("example.com", "example.com", "TXT", "v=spf1 -all")
    with db.session(site.database) as connection:
        published.remember(connection, site.database, [row])
        published.remember(connection, site.database, [row])
        published.forget(connection, site.database, [row])
        assert published.published(connection, site.database) == []


def test_worker_reads_hosted_domains_by_the_function_alone(site):
    with db.session(site.database) as connection:
        assert hosted.hosted(connection, site.database) == ["example.com", "example.org"]


def test_second_set_up_changes_nothing(site):
    assert not setup.worker_changes(site.database)["changes"]
    assert not setup.access_changes(site.database)["changes"]


def test_set_up_under_test_announces_what_it_does(ready, access_files):
    announced = setup.worker_changes(ready)["changes"]
    assert announced
    assert setup.manage_worker(ready)["changes"] == announced


def test_what_is_announced_before_there_is_a_database_is_what_the_run_does(database):
    announced = roles.plan(
        roles.ABSENT,
        roles.Wanted(KEEPER, "absent", grants=rights.wanted(None, database)),
        database.name,
    )
    setup.migrate(database)
    assert setup.manage_worker(database)["changes"] == announced.changes


def test_every_table_of_ours_is_the_workers(site):
    with db.session(site.database, setup=True) as connection:
        tables = query(
            connection,
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relname LIKE 'dkim%%' AND relkind = 'r' AND nspname = 'public'",
        )
        with connection.cursor() as cursor:
            cursor.execute(f'SET ROLE "{KEEPER}"')
            assert worker.sufficient(cursor, site.database)
    known = {objects.names(site.database)[table][1] for table in worker.TABLES}
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
def test_worker_can_do_nothing_beyond(site, statement):
    admin(
        site.database,
        "CREATE TABLE public.users (password text)",
        "ALTER TABLE public.domains ADD COLUMN note text",
    )
    assert who(site.database) == [(KEEPER, KEEPER)]
    with pytest.raises(DatabaseError) as refused, db.session(site.database) as connection:
        execute(connection, statement)
    assert "SQLSTATE 42501" in str(refused.value) or "trigger functions" in str(refused.value)


@pytest.mark.parametrize("stranger", ["nobody", "games", "postgres"])
def test_another_system_user_is_refused_the_role(server, site, stranger):
    found = server.psql(site.database.name, "-c", "SELECT 1", user=KEEPER, as_user=stranger)
    assert found.returncode != 0
    assert "authentication failed" in found.stderr


def test_too_wide_rights_are_taken_back(site):
    admin(
        site.database,
        f'ALTER ROLE "{KEEPER}" SUPERUSER',
        f'GRANT pg_read_all_data TO "{KEEPER}"',
        f'GRANT ALL ON public.domains TO "{KEEPER}" WITH GRANT OPTION',
        f'GRANT UPDATE ON public.dkim_history TO "{KEEPER}"',
        f"ALTER ROLE \"{KEEPER}\" PASSWORD 'by hand'",
    )
    made = setup.manage_worker(site.database)["changes"]
    assert {"super", "member of pg_read_all_data", "password"} <= made.keys()
    assert not setup.worker_changes(site.database)["changes"]
    assert who(site.database) == [(KEEPER, KEEPER)]


@pytest.mark.parametrize(
    "loss",
    [
        f'REVOKE INSERT ON public.dkim FROM "{KEEPER}"',
        f'REVOKE EXECUTE ON FUNCTION public.dkim_hosted () FROM "{KEEPER}"',
        f'ALTER ROLE "{KEEPER}" NOLOGIN',
    ],
)
def test_work_goes_on_with_set_ups_account_until_set_up_gives_rights_back(site, loss):
    admin(site.database, loss)
    assert who(site.database) == [("postgres", "postgres")]
    assert keys.generate_missing(site)["changes"]
    assert setup.manage_worker(site.database)["changes"]
    assert who(site.database) == [(KEEPER, KEEPER)]


def test_work_goes_on_where_the_line_is_lost_until_set_up_puts_it_back(site, server):
    setup.manage_access(site.database, present=False)
    assert who(site.database) == [("postgres", "postgres")]
    assert set(setup.manage_access(site.database)["changes"]) == {"pg_hba.conf", "pg_ident.conf"}
    assert who(site.database) == [(KEEPER, KEEPER)]


def test_table_that_numbers_by_a_sequence_takes_keys(howto, access_files):
    """The howto's ``serial``: its sequence is an object with rights of its own."""
    given = {"name": howto.name, "port": howto.port}
    domains = {name: {"algorithm": "ed25519"} for name in ("example.com", "new.example")}
    settings = read({"database": given, "domains": domains}).settings
    set_up(settings.database)
    assert who(settings.database) == [(KEEPER, KEEPER)]
    keys.generate_missing(settings)
    assert {key["domain"] for key in keys.list_keys(settings)} >= set(domains)


def test_site_that_closed_its_database_to_public_is_served(site, server):
    admin(
        site.database,
        f"REVOKE ALL ON DATABASE {site.database.name} FROM PUBLIC",
        "REVOKE ALL ON LANGUAGE plpgsql FROM PUBLIC",
    )
    assert who(site.database) == [(KEEPER, KEEPER)]
    assert keys.generate_missing(site)["changes"]
    reader = site.database.reader.name
    with db.session(site.database, setup=True) as connection:
        can = "SELECT has_database_privilege(%s, current_database(), 'CONNECT')"
        assert query(connection, can, (reader,)) == [(True,)]


def test_failing_work_shows_no_key_in_the_log(site, server):
    admin(site.database, "ALTER TABLE public.dkim ADD CHECK (selector <> 'unwanted')")
    before = len(server.log())
    pem = rsa_key().pem()
    pair = (keys.Wanted("example.com", "unwanted"), rsa_key())
    assert who(site.database) == [(KEEPER, KEEPER)]
    with pytest.raises(DatabaseError), db.session(site.database) as connection:
        keys.keystore.store(connection, site.database, [pair], "test")
    log = server.log()[before:]
    assert "violates check constraint" in log
    assert [line for line in pem.splitlines()[1:-1] if line[:24] in log] == []


def test_refused_right_says_what_gives_it_back(site):
    database = replace(site.database, user=KEEPER)
    admin(site.database, f'REVOKE DELETE ON public.dkim FROM "{KEEPER}"')
    keys.generate_missing(site)
    with pytest.raises(DatabaseError, match=f'GRANT DELETE ON "public"."dkim" TO "{KEEPER}"'):
        keys.delete(replace(site, database=database), "example.com", "default", force=True)


def test_user_that_the_site_names_is_never_replaced(site):
    stranger = replace(site.database, user="nobody-known")
    with pytest.raises(DatabaseError), db.session(stranger):
        pass


def test_root_alone_is_mapped_to_the_worker(site, server):
    text = (server.data / "pg_ident.conf").read_text()
    assert [line.split()[:3] for line in text.splitlines() if KEEPER in line] == [
        ["maildkim-keeper", "root", f'"{KEEPER}"']
    ]


def test_check_says_that_another_account_does_the_workers_work(site):
    def said():
        advice = check.check(Reading(site, (), ()))["advice"]
        return [text for text in advice if "daily work" in text]

    assert said() == []
    admin(site.database, f'REVOKE SELECT ON public.dkim FROM "{KEEPER}"')
    (advice,) = said()
    assert "'postgres', a superuser, does the daily work" in advice
    assert "state.apply dkim.database" in advice
    set_up(site.database)
    assert said() == []


def test_worker_retires_the_key_of_a_domain_that_is_gone(site):
    keys.generate_missing(site)
    left = replace(site, domains={"example.org": site.domains["example.org"]})
    admin(site.database, "DELETE FROM public.domains WHERE domain = 'example.com'")
    done = rotation.advance(left)
    assert done["problems"] == []
    assert [*done["changes"]] == ["default._domainkey.example.com"]
    admin(site.database, "DROP TABLE public.domains CASCADE")
    (problem,) = rotation.advance(replace(left, domains={}))["problems"]
    assert "there is no table public.domains" in problem
