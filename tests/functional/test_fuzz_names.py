"""Generated names of a site's own objects, and rows that another tool wrote."""

import contextlib
import itertools
from dataclasses import replace

import pytest
from dkim_formula import settings
from dkim_formula.errors import FormulaError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hosted, objects, roles, schema
from dkim_formula.postgres.sql import compose
from dkim_formula.private_key import PrivateKey
from functional.postgres import execute, query, traditional_pem
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from psycopg2 import Error
from salt.exceptions import CommandExecutionError, SaltInvocationError
from support.fuzz import examples, odd_text

pytestmark = pytest.mark.one_release

KEY = PrivateKey.generate("ed25519")
NUMBERS = itertools.count()
KEPT = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.fixture
def sentinel(database):
    """What an injection would take away."""
    with db.session(database, setup=True) as connection:
        execute(connection, "CREATE TABLE public.domains AS SELECT 'untouched' AS told")
    yield
    with db.session(database, setup=True) as connection:
        assert query(connection, "SELECT told FROM public.domains") == [("untouched",)]


def named(given_, database):
    """The settings of a pillar with these names; None where it is refused."""
    reading = settings.read(
        {
            "database": {
                "domains": {key: given_[key] for key in ("schema", "table", "name")},
                "reader": {"name": given_["reader"], "password": given_["password"]},
            },
            "domains": ["example.com"],
        }
    )
    if reading.problems:
        return None
    read = reading.settings.database
    return replace(
        database,
        preset=read.preset,
        schema=read.schema,
        domains=read.domains,
        assumed=read.assumed,
        described=read.described,
        reader=read.reader,
    )


def make_site(connection, site):
    """The site's own table, under its names."""
    execute(connection, compose("CREATE SCHEMA {schema}", schema=site.schema))
    execute(
        connection,
        compose(
            "CREATE TABLE {table} ({name} text NOT NULL)",
            table=(site.schema, site.table),
            name=site.name,
        ),
    )
    insert = compose(
        "INSERT INTO {table} ({name}) VALUES ('example.com')",
        table=(site.schema, site.table),
        name=site.name,
    )
    execute(connection, insert)


def name_of(what, not_in_it=""):
    """A name that the pillar takes, different from those of other things."""

    def fit(text):
        kept = [one for one in text if one.isprintable() and one not in f".%{not_in_it}"]
        return f"{what}{''.join(kept)[:12]}".replace("$$", "$")

    return odd_text().map(fit)


@examples(8, **KEPT)
@given(
    st.fixed_dictionaries(
        {what: name_of(what) for what in ("schema", "table", "name")}
        | {what: name_of(what, ":/@+?='\"\\ ,#") for what in ("reader", "password")}
    )
)
def test_names_of_any_form_are_names_and_nothing_else(database, sentinel, names):
    names["schema"] += str(next(NUMBERS))
    wanted = named(names, database)
    assume(wanted is not None)
    with db.session(wanted, setup=True) as connection:
        try:
            make_site(connection, wanted.domains)
        except Error:
            # Two of the names are the same, or PostgreSQL keeps one for itself.
            assume(False)
        schema.apply(connection, wanted)
        assert hosted.hosted(connection, wanted) == ["example.com"]
        key_changes.store(
            connection, wanted, [(DesiredKey("example.com", "s"), KEY)], names["table"]
        )
        relations = objects.reader_relations(wanted)
        role = roles.DesiredRole(
            wanted.reader.name, password=wanted.reader.password, relations=relations
        )
        roles.apply(connection, role)
        assert not roles.apply(connection, role).changes
        execute(connection, compose("SET ROLE {role}", role=wanted.reader.name))
        seen = [query(connection, compose("SELECT * FROM {view}", view=view)) for view in relations]
        assert KEY.pem() in str(seen).replace("\\n", "\n")
        execute(connection, "RESET ROLE")
        key_changes.delete(connection, wanted, "example.com", "s", names["name"], force=True)


ROWS = st.fixed_dictionaries(
    {
        "domain": odd_text() | st.sampled_from(["example.com", "Example.COM", "example.com."]),
        "selector": odd_text() | st.sampled_from(["default", "s"]),
        "key": odd_text() | st.sampled_from([traditional_pem(), "-----BEGIN PRIVATE KEY-----\n"]),
    }
)


@examples(12, **KEPT)
@given(st.lists(ROWS, max_size=3), st.booleans())
def test_rows_of_another_tool_are_taken_or_told(mailhost, rows, every):
    database = mailhost.database
    mailhost.set_pillar(domains={"*": {}} if every else ["example.com"], defaults=ED25519)
    for row in rows:
        # A session each: what PostgreSQL or a trigger refuses is not there.
        try:
            with db.session(database, setup=True) as connection:
                add(connection, {name: text.replace("\0", "") for name, text in row.items()})
        except (FormulaError, UnicodeEncodeError):
            continue
    for function in ("check", "generate_missing", "list_keys", "records", "status"):
        for format_ in ("bind", "nsupdate", "octodns") if function == "records" else (None,):
            given_ = {} if format_ is None else {"format": format_}
            told(mailhost, f"dkim.{function}", **given_)
    # What the rows have for keys is no secret, and may be a single letter.
    mailhost.secrets.clear()
    with db.session(database, setup=True) as connection:
        execute(connection, "TRUNCATE public.dkim, public.domains, public.dkim_pattern CASCADE")


ED25519 = {"algorithm": "ed25519"}


def add(connection, row):
    execute(
        connection,
        "WITH added AS (INSERT INTO public.domains (domain) VALUES (%(domain)s)"
        " ON CONFLICT (domain) DO UPDATE SET domain = excluded.domain RETURNING id)"
        " INSERT INTO public.dkim (domain_id, selector, key)"
        " SELECT id, %(selector)s, %(key)s FROM added",
        row,
    )


def told(mailhost, function, **arguments):
    """Calls it; any other exception than Salt's own two is a fault."""
    with contextlib.suppress(SaltInvocationError, CommandExecutionError):
        mailhost.call(function, **arguments)
