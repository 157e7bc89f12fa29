"""Tables of other programs whose columns, or whose database, have an unusual collation."""

import pytest
from dkim_formula.health import preflight
from dkim_formula.keys import commands as keys_commands
from dkim_formula.keys import table as keys_table
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hosted, schema
from dkim_formula.rotation import commands as rotation_commands
from functional.postgres.test_hosted import reading_of, run, signing
from functional.server import HOWTO_TABLES, execute, insert_as_howto, query, traditional_pem

pytestmark = pytest.mark.one_release

# PostgreSQL, "Nondeterministic Collations": such a collation takes no regular expression.
IGNORES_CASE = """
CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)
"""
TYPES = {
    "nondeterministic": (IGNORES_CASE, "text COLLATE public.ci"),
    "citext": ("CREATE EXTENSION citext SCHEMA public", "public.citext"),
    "turkish": ("", 'text COLLATE "tr-x-icu"'),
}
# lower() makes a dotless i of the I in a Turkish collation.
ROWS = "INSERT INTO public.{} (domain) VALUES ('good.example'), ('INFO.EXAMPLE'), ('ALL'), (NULL)"
HOSTED = {"good.example", "info.example"}


def check(reading):
    """Check that the formula reads the table of domains at each place."""
    database = reading.settings.database
    assert preflight.check(reading)["problems"] == []
    assert run(reading.settings) == HOSTED
    found = preflight.check(reading)
    assert found["problems"] == []
    assert any(text.endswith("left out: 2") for text in found["advice"])
    with db.session(database) as connection:
        hosted_domains = query(connection, f"SELECT * FROM {database.schema}.dkim_hosted ()")
        assert {name for (name,) in hosted_domains} == HOSTED
        assert hosted.every_name(connection, database) == (sorted(HOSTED), ["ALL"], [])
        assert hosted.not_hosted(connection, database, ["info.example", "no.example"]) == [
            "no.example"
        ]
        assert hosted.odd_names(connection, database, 100) == ["ALL"]
    assert keys_commands.generate_missing(reading.settings)["changes"] == {}
    assert rotation_commands.rotate_due(reading.settings, test=True)["problems"] == []


@pytest.mark.parametrize("kind", TYPES)
def test_domains_of_any_collation_are_read(database, kind):
    before, text = TYPES[kind]
    with db.session(database, setup=True) as connection:
        execute(connection, before or "SELECT 1")
        execute(connection, f"CREATE TABLE public.domains (id serial, domain {text} UNIQUE)")
        execute(connection, f"CREATE TABLE public.aliases (domain {text})")
        execute(connection, ROWS.format("domains"))
        execute(connection, "INSERT INTO public.aliases VALUES ('INFO.EXAMPLE')")
    check(reading_of(database, domains={"table": "domains", "name": "domain"}))
    aliases = {"table": "aliases", "name": "domain"}
    reading = reading_of(database, domains={"table": "domains", "name": "domain"}, aliases=aliases)
    assert run(reading.settings) == HOSTED


@pytest.mark.parametrize("kind", ["nondeterministic", "turkish"])
def test_table_of_keys_of_any_collation_is_adopted(database, kind):
    before, text = TYPES[kind]
    with db.session(database, setup=True) as connection:
        execute(connection, before or "SELECT 1")
        execute(connection, HOWTO_TABLES.replace("TEXT", text))
        execute(connection, ROWS.replace(", (NULL)", "").format("domains"))
        insert_as_howto(connection, "good.example", "s1", traditional_pem(0))
        schema.apply(connection, database)
        insert_as_howto(connection, "INFO.EXAMPLE", "s2", traditional_pem(1))
    settings = reading_of(database).settings
    assert signing(settings) == HOSTED
    with db.session(database, setup=True) as connection:
        assert keys_table.odd(connection, settings.database, 100) == []
        assert query(connection, "SELECT domain, selector FROM public.dkim_key_table") == [
            ("good.example", "s1"),
            ("info.example", "s2"),
        ]
    assert rotation_commands.rotate_due(settings, test=True)["problems"] == []


def test_domains_of_a_turkish_database_are_read(server, another_database):
    if int(server.programs.parent.name) < 15:
        pytest.skip("a database has no ICU locale before PostgreSQL 15")
    with another_database("template0") as settings:
        with db.session(server.settings, setup=True, autocommit=True) as connection:
            execute(connection, f"DROP DATABASE {settings.name}")
            execute(
                connection,
                f"CREATE DATABASE {settings.name} TEMPLATE template0 LOCALE_PROVIDER icu"
                " ICU_LOCALE 'tr-TR'",
            )
        with db.session(settings, setup=True) as connection:
            assert query(connection, "SELECT lower('INFO')") == [("\u0131nfo",)]
            execute(connection, "CREATE TABLE public.domains (id serial, domain text)")
            execute(connection, ROWS.format("domains"))
        check(reading_of(settings, domains={"table": "domains", "name": "domain"}))
