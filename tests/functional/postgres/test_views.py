"""The views that OpenDKIM reads: their rows, who can read them, and the cost of a look-up."""

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import patterns
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import objects, roles, safe_errors, signing_table_triggers
from dkim_formula.private_key import PrivateKey
from functional.server import as_role, execute, move, query, rsa_key, session_as

READER = "vmail-dkim-reader"
MANY = 100_000

# The daemon's statements (log_statement=all, with opendkim 2.11.0~beta2).
STARTUP_SCAN = "SELECT pattern,identifier FROM {}"
SIGNER = "SELECT identifier FROM {} WHERE pattern = '{}'"
KEY = "SELECT domain,selector,key FROM {} WHERE identifier = '{}'"


@pytest.fixture
def signing(ready):
    """Two domains and the reader. The first domain has two active keys and a retired one."""
    with db.session(ready) as connection:
        pairs = [
            (DesiredKey("example.com", "old"), rsa_key(1)),
            (DesiredKey("example.org", "mail"), rsa_key(2)),
            (DesiredKey("example.com", "ed", "ed25519"), PrivateKey.generate("ed25519")),
        ]
        key_changes.store(connection, ready, pairs, "test")
        move(connection, ready, "old", "retired")
        key_changes.store(
            connection, ready, [(DesiredKey("example.com", "new"), rsa_key(0))], "test"
        )
        relations = objects.reader_relations(ready)
        roles.apply(connection, roles.DesiredRole(READER, relations=relations))
    return ready


def reader_session(settings):
    return session_as(settings, READER)


def test_daemon_finds_a_domains_active_key(signing):
    with db.session(signing) as connection:
        execute(connection, "SET search_path TO public")
        ((identifier,),) = query(connection, SIGNER.format("dkim_signing_table", "example.com"))
        found = query(connection, KEY.format("dkim_key_table", identifier))
    assert found == [("example.com", "new", rsa_key(0).pem())]


def test_each_algorithm_has_its_own_views(signing):
    with db.session(signing) as connection:
        rsa = query(connection, "SELECT selector FROM public.dkim_key_table ORDER BY 1")
        ed25519 = query(connection, "SELECT selector FROM public.dkim_key_table_ed25519")
        assert rsa == [("mail",), ("new",)]
        assert ed25519 == [("ed",)]
        assert query(connection, "SELECT pattern FROM public.dkim_signing_table_ed25519") == [
            ("example.com",)
        ]


@pytest.mark.parametrize("state", ["pending", "retired", "revoked"])
def test_views_have_only_active_keys(signing, state):
    with db.session(signing) as connection:
        steps = {"pending": ("retired", "pending")}.get(state, (state,))
        for step in steps:
            move(connection, signing, "mail", step, "example.org")
        assert query(connection, "SELECT pattern FROM public.dkim_signing_table") == [
            ("example.com",)
        ]
        assert query(connection, "SELECT domain FROM public.dkim_key_table") == [("example.com",)]


@pytest.mark.parametrize("view", ["dkim_signing_table", "dkim_signing_table_ed25519"])
def test_startup_scan_of_the_daemon_finds_no_rows(signing, view):
    with db.session(signing) as connection:
        execute(connection, "SET search_path TO public")
        assert query(connection, STARTUP_SCAN.format(view)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM dkim_signing_table",
        "SELECT pattern, identifier FROM dkim_signing_table",
        "SELECT pattern,identifier FROM dkim_signing_table;",
        "SELECT pattern FROM dkim_signing_table",
    ],
)
def test_other_statements_of_the_reader_find_rows(signing, statement):
    with reader_session(signing) as connection:
        execute(connection, "SET search_path TO public")
        assert len(query(connection, statement)) == 2


@pytest.mark.parametrize(
    "relation",
    ["dkim", "domains", "dkim_history", "dkim_pattern", "dkim_signing", "dkim_migration"],
)
def test_reader_cannot_read_the_tables(signing, relation):
    with reader_session(signing) as connection:
        with pytest.raises(DatabaseError, match="42501"), safe_errors.errors_translated():
            query(connection, f"SELECT * FROM public.{relation}")
        connection.rollback()


@pytest.mark.parametrize("view", objects.VIEWS)
def test_reader_may_only_read_a_view(signing, view):
    with reader_session(signing) as connection:
        query(connection, f"SELECT * FROM public.{view}")
        rights = "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, SELECT WITH GRANT OPTION"
        other = query(connection, "SELECT has_table_privilege(%s, %s)", (f"public.{view}", rights))
        assert other == [(False,)]


def test_function_of_the_reader_gets_no_retired_key(signing):
    """The view's security_barrier hides retired private keys from the function."""
    retired = rsa_key(1).pem().splitlines()[1]
    with db.session(signing) as connection:
        with as_role(connection, READER):
            execute(
                connection,
                "CREATE FUNCTION pg_temp.look(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001"
                " AS $$ BEGIN RAISE WARNING '%', $1; RETURN true; END $$",
            )
            shown = query(
                connection, "SELECT selector FROM public.dkim_key_table WHERE pg_temp.look(key)"
            )
        assert sorted(shown) == [("mail",), ("new",)]
        assert not any(retired in notice for notice in connection.notices)
        assert any(rsa_key(0).pem().splitlines()[1] in notice for notice in connection.notices)


def test_extra_patterns_have_the_domains_key(signing):
    with db.session(signing) as connection:
        patterns.apply(
            connection,
            signing,
            {".example.com": ("example.com", ""), "alias.example": ("example.com", "")},
        )
        own = query(connection, SIGNER.format("public.dkim_signing_table", "example.com"))
        for pattern in (".example.com", "alias.example"):
            found = query(connection, SIGNER.format("public.dkim_signing_table", pattern))
            assert found == own


def test_address_with_its_own_key_has_that_key(signing):
    with db.session(signing) as connection:
        one = DesiredKey("example.com", "ceo", address="ceo@example.com")
        key_changes.store(connection, signing, [(one, rsa_key(3))], "test")
        patterns.apply(connection, signing, {"ceo@example.com": ("example.com", "ceo@example.com")})
        ((own,),) = query(connection, SIGNER.format("public.dkim_signing_table", "ceo@example.com"))
        ((domains,),) = query(connection, SIGNER.format("public.dkim_signing_table", "example.com"))
        selector = "SELECT selector FROM public.dkim_key_table WHERE identifier = %s"
        assert query(connection, selector, (own,)) == [("ceo",)]
        assert query(connection, selector, (domains,)) == [("new",)]


def fill(connection, settings, count):
    """Insert rows with short keys, without triggers and references. Only their number matters."""
    execute(connection, "SET session_replication_role = replica")
    execute(
        connection,
        "INSERT INTO public.dkim (domain, algorithm, state, key)"
        " SELECT 'd' || n || '.example', 'rsa', 'active',"
        r" E'-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'"
        " FROM generate_series(1, %s) AS n",
        (count,),
    )
    execute(
        connection,
        "INSERT INTO public.dkim_pattern (pattern, domain)"
        " SELECT '.' || domain, domain FROM public.dkim",
    )
    execute(connection, "RESET session_replication_role")
    with connection.cursor() as cursor:
        signing_table_triggers.fill(cursor, settings)


def scans(connection, statement):
    """Return the type and the table of each node of a plan that reads a table."""
    ((plan,),) = query(connection, f"EXPLAIN (FORMAT json) {statement}")
    found, nodes = set(), [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Relation Name" in node:
            found.add((node["Node Type"], node["Relation Name"]))
    return found


def test_look_ups_and_the_startup_scan_cost_the_same_at_any_size(ready):
    with db.session(ready) as connection:
        fill(connection, ready, MANY)
        for statistics in ("none", "fresh"):
            if statistics == "fresh":
                execute(connection, "ANALYZE")
            for statement in (
                SIGNER.format("public.dkim_signing_table", "d77.example"),
                SIGNER.format("public.dkim_signing_table", ".d77.example"),
                KEY.format("public.dkim_key_table", "77"),
            ):
                kinds = {kind for kind, _ in scans(connection, statement)}
                assert kinds <= {"Index Scan", "Index Only Scan"}, (statement, statistics)
                assert len(query(connection, statement)) == 1
        execute(connection, "SET search_path TO public")
        read = (
            "SELECT sum(pg_stat_get_xact_numscans(oid)) FROM pg_class"
            " WHERE relname IN ('dkim_signing', 'dkim_one_signer')"
        )
        before = query(connection, read)
        assert query(connection, STARTUP_SCAN.format("dkim_signing_table")) == []
        assert query(connection, read) == before
        assert len(query(connection, "SELECT * FROM dkim_signing_table")) == 2 * MANY
        assert query(connection, read) != before
