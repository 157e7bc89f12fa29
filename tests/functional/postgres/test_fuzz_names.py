"""Generated names of a site's own objects, and generated rows of another tool."""

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
from functional.server import execute, query, traditional_pem
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
    """A table that an injection would change or drop."""
    with db.session(database, setup=True) as connection:
        execute(connection, "CREATE TABLE public.domains AS SELECT 'untouched' AS told")
    yield
    with db.session(database, setup=True) as connection:
        assert query(connection, "SELECT told FROM public.domains") == [("untouched",)]


def named(given_, database):
    """Return the settings of a pillar with these names, or None if the pillar is refused."""
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
    """Create the site's own table under its names."""
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
    """Generate names that the pillar accepts. ``what`` keeps names of different objects apart."""

    def fit(text):
        kept = [one for one in text if one.isprintable() and one not in f".%{not_in_it}"]
        return f"{what}{''.join(kept)[:12]}".replace("$$", "$")

    return odd_text().map(fit)


@examples(4, **KEPT)
@given(
    st.fixed_dictionaries(
        {what: name_of(what) for what in ("schema", "table", "name")}
        | {what: name_of(what, ":/@+?='\"\\ ,#") for what in ("reader", "password")}
    )
)
def test_names_of_any_form_are_quoted_as_names(database, sentinel, names):
    names["schema"] += str(next(NUMBERS))
    desired = named(names, database)
    assume(desired is not None)
    with db.session(desired, setup=True) as connection:
        try:
            make_site(connection, desired.domains)
        except Error:
            # Two of the names are the same, or PostgreSQL reserves one.
            assume(False)
        schema.apply(connection, desired)
        assert hosted.hosted(connection, desired) == ["example.com"]
        key_changes.store(
            connection, desired, [(DesiredKey("example.com", "s"), KEY)], names["table"]
        )
        relations = objects.reader_relations(desired)
        role = roles.DesiredRole(
            desired.reader.name, password=desired.reader.password, relations=relations
        )
        roles.apply(connection, role)
        assert not roles.apply(connection, role).changes
        execute(connection, compose("SET ROLE {role}", role=desired.reader.name))
        seen = [query(connection, compose("SELECT * FROM {view}", view=view)) for view in relations]
        assert KEY.pem() in str(seen).replace("\\n", "\n")
        execute(connection, "RESET ROLE")
        key_changes.delete(connection, desired, "example.com", "s", names["name"], force=True)


ROWS = st.fixed_dictionaries(
    {
        "domain": odd_text() | st.sampled_from(["example.com", "Example.COM", "example.com."]),
        "selector": odd_text() | st.sampled_from(["default", "s"]),
        "key": odd_text() | st.sampled_from([traditional_pem(), "-----BEGIN PRIVATE KEY-----\n"]),
    }
)


@examples(6, **KEPT)
@given(st.lists(ROWS, max_size=3), st.booleans())
def test_rows_of_another_tool_are_accepted_or_refused(mailhost, rows, every):
    database = mailhost.database
    mailhost.set_pillar(domains={"*": {}} if every else ["example.com"], defaults=ED25519)
    for row in rows:
        # One session for each row: a row that PostgreSQL or a trigger refuses is left out.
        try:
            with db.session(database, setup=True) as connection:
                add(connection, {name: text.replace("\0", "") for name, text in row.items()})
        except (FormulaError, UnicodeEncodeError):
            continue
    for function in ("check", "generate_missing", "list_keys", "records", "status"):
        for format_ in ("bind", "nsupdate", "octodns") if function == "records" else (None,):
            given_ = {} if format_ is None else {"format": format_}
            call_or_refuse(mailhost, f"dkim.{function}", **given_)
    # The key texts of these rows are not secret, and may be a single letter.
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


def call_or_refuse(mailhost, function, **arguments):
    """Call a function. Any exception but Salt's two own exceptions is a fault."""
    with contextlib.suppress(SaltInvocationError, CommandExecutionError):
        mailhost.call(function, **arguments)
