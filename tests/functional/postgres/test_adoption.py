"""Adoption of the howto's database: no key is lost, and every domain keeps signing."""

import base64
import threading
from dataclasses import replace

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import table as keys_table
from dkim_formula.keys.comparison import EveryHosted, compare
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import safe_errors, schema
from dkim_formula.postgres.adoption import decide
from dkim_formula.private_key import PrivateKey
from dkim_formula.settings.model import HostedTable, KeyPlan
from functional.server import (
    HOWTO,
    OWNER,
    execute,
    insert_as_howto,
    query,
    rsa_key,
    traditional_pem,
)


def digests(connection):
    return query(connection, "SELECT id, md5(key) FROM public.dkim ORDER BY id")


def states(connection):
    return dict(query(connection, "SELECT selector, state FROM public.dkim"))


def test_ids_and_keys_stay_untouched(howto):
    with db.session(howto) as connection:
        before = digests(connection)
        schema.apply(connection, howto)
        assert digests(connection) == before
        assert len(before) == 2


def test_adopted_keys_are_active_and_have_size_and_public_half(howto):
    with db.session(howto) as connection:
        schema.apply(connection, howto)
        keys = keys_table.list_keys(connection, howto)
    assert [(key.state, key.algorithm, key.bits) for key in keys] == [("active", "rsa", 2048)] * 2
    assert [key.public for key in keys] == [rsa_key(0).public_base64(), rsa_key(1).public_base64()]


def test_age_of_a_key_counts_from_the_adoption(howto):
    with db.session(howto) as connection:
        schema.apply(connection, howto)
        key = keys_table.find(connection, howto, "example.com", "default")
        assert key.created is None
        assert query(connection, "SELECT now() - %s < '1 minute'", (key.activated,)) == [(True,)]


def test_plan_equals_the_changes_of_the_run(howto):
    with db.session(howto) as connection:
        insert_as_howto(connection, "example.com", "second", traditional_pem(2))
        insert_as_howto(connection, "example.org", "broken", "no key at all")
        announced = schema.plan(schema.read(connection, howto), howto)
        assert schema.apply(connection, howto) == announced
        assert announced.changes[schema.ADOPTED] == {
            "old": {"keys": 4},
            "new": {"active": 2, "retired": 1, "pending": 1},
        }


def test_second_run_changes_nothing(howto):
    with db.session(howto) as connection:
        schema.apply(connection, howto)
        assert not schema.apply(connection, howto)


def test_table_of_keys_keeps_its_owner_and_other_relations_get_the_keys_owner(howto):
    with db.session(howto) as connection:
        execute(connection, "CREATE ROLE mailadm")
        for table in ("domains", "dkim", "dkim_signing_table", "dkim_key_table"):
            execute(connection, f"ALTER TABLE public.{table} OWNER TO mailadm")
        schema.apply(connection, howto)
        owners = dict(
            query(
                connection,
                "SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')",
            )
        )
    assert {owners.pop("domains"), owners.pop("dkim")} == {"mailadm"}
    assert set(owners.values()) == {howto.keys_owner}


def test_grants_on_the_views_stay(howto):
    with db.session(howto) as connection:
        execute(connection, "CREATE ROLE auditor")
        execute(
            connection,
            "GRANT SELECT ON public.dkim_key_table TO auditor WITH GRANT OPTION;"
            "GRANT SELECT (pattern) ON public.dkim_signing_table TO PUBLIC",
        )
        schema.apply(connection, howto)
        assert query(
            connection,
            "SELECT"
            " has_table_privilege('vmail-dkim-reader', 'public.dkim_signing_table', 'SELECT'),"
            " has_table_privilege('vmail-dkim-reader', 'public.dkim_key_table', 'SELECT'),"
            " has_table_privilege('auditor', 'public.dkim_key_table', 'SELECT WITH GRANT OPTION'),"
            " has_column_privilege('auditor', 'public.dkim_signing_table', 'pattern', 'SELECT'),"
            " has_table_privilege('auditor', 'public.dkim_signing_table', 'SELECT')",
        ) == [(True, True, True, True, False)]


def test_views_of_another_owner_still_show_the_keys(howto):
    with db.session(howto) as connection:
        execute(connection, "CREATE ROLE viewer")
        execute(connection, "GRANT SELECT ON public.dkim, public.domains TO viewer")
        for view in ("dkim_signing_table", "dkim_key_table"):
            execute(connection, f"ALTER VIEW public.{view} OWNER TO viewer")
        schema.apply(connection, howto)
        assert len(query(connection, "SELECT * FROM public.dkim_signing_table")) == 2
        assert len(query(connection, "SELECT * FROM public.dkim_key_table")) == 2


def test_view_that_another_view_uses_is_an_error_and_nothing_changes(howto):
    with db.session(howto) as connection:
        execute(
            connection, "CREATE VIEW public.mine AS SELECT pattern FROM public.dkim_signing_table"
        )
        connection.commit()
        with pytest.raises(
            DatabaseError, match=r"mine.*dkim_signing_table.*drop view public\.mine"
        ):
            schema.apply(connection, howto)
        connection.rollback()
        assert query(connection, "SELECT to_regclass('public.dkim_pattern')") == [(None,)]
        assert len(query(connection, "SELECT * FROM public.mine")) == 2


def test_domain_with_several_keys_signs_with_the_key_that_the_daemon_reads_today(howto):
    with db.session(howto) as connection:
        insert_as_howto(connection, "example.com", "second", traditional_pem(2))
        # An update moves the first key's row behind the second's, so a scan returns the second.
        execute(connection, "UPDATE public.dkim SET selector = selector WHERE id = 1")
        execute(connection, "SET search_path TO public")
        (today,) = query(
            connection,
            "SELECT selector FROM dkim_key_table WHERE identifier ="
            " (SELECT identifier FROM dkim_signing_table WHERE pattern = 'example.com' LIMIT 1)",
        )[0]
        execute(connection, "SET search_path TO pg_catalog, pg_temp")
        planned = schema.apply(connection, howto)
        chosen = {
            key.selector: key.state
            for key in keys_table.list_keys(connection, howto, "example.com")
        }
    other = {"default": "second", "second": "default"}[today]
    assert chosen == {today: "active", other: "retired"}
    (_, note) = planned.notes
    assert f"{today!r} signs" in note
    assert f"{other!r} retired" in note


def test_key_with_the_lowest_id_signs_if_there_are_no_views(howto):
    with db.session(howto) as connection:
        insert_as_howto(connection, "example.com", "second", traditional_pem(2))
        execute(connection, "DROP VIEW public.dkim_signing_table, public.dkim_key_table")
        rows = decide(connection, howto, "id")
    chosen = {row.selector: row.state for row in rows if row.domain == "example.com"}
    assert chosen == {"default": "active", "second": "retired"}


def test_retired_key_keeps_its_private_half(howto):
    with db.session(howto) as connection:
        insert_as_howto(connection, "example.com", "second", traditional_pem(2))
        before = digests(connection)
        schema.apply(connection, howto)
        assert digests(connection) == before


@pytest.mark.parametrize(
    "key_text",
    [
        "no key at all",
        "",
        traditional_pem(2)[:400],
        traditional_pem(2).replace(
            "-----BEGIN RSA PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\nAAAA"
        ),
        base64.b64encode(b"raw DER").decode(),
    ],
    ids=["words", "empty", "cut", "garbled", "not PEM"],
)
def test_row_without_a_valid_key_is_kept_and_reported(howto, key_text):
    with db.session(howto) as connection:
        insert_as_howto(connection, "example.org", "broken", key_text)
        planned = schema.apply(connection, howto)
        assert states(connection)["broken"] == "pending"
        assert query(connection, "SELECT key FROM public.dkim WHERE selector = 'broken'") == [
            (key_text,)
        ]
        (_, note) = planned.notes
        assert "example.org" in note
        assert "'broken'" in note
        assert len(query(connection, "SELECT * FROM public.dkim_key_table")) == 2


def test_ed25519_key_is_in_the_views_of_its_algorithm(howto):
    with db.session(howto) as connection:
        insert_as_howto(connection, "example.com", "ed", PrivateKey.generate("ed25519").pem())
        schema.apply(connection, howto)
        rsa = query(connection, "SELECT selector FROM public.dkim_key_table")
        ed25519 = query(connection, "SELECT selector FROM public.dkim_key_table_ed25519")
    assert rsa == [("default",), ("default",)]
    assert ed25519 == [("ed",)]


def test_table_without_the_unique_constraint_gets_it(howto):
    with db.session(howto) as connection:
        execute(connection, "ALTER TABLE public.dkim DROP CONSTRAINT dkim_domain_id_selector_key")
        schema.apply(connection, howto)
        with pytest.raises(DatabaseError, match="23505"), safe_errors.errors_translated():
            insert_as_howto(connection, "example.com", "default", traditional_pem(2))


def test_columns_and_names_of_the_site_stay(database, connection):
    settings = replace(database, domains=HostedTable(table="vdomains", name="fqdn"))
    execute(connection, 'CREATE ROLE "vmail-dkim-reader"')
    own = HOWTO.replace("public.domains (id SERIAL", "public.domains (nr SERIAL")
    own = own.replace("domains.domain", "domains.fqdn").replace("domain TEXT", "fqdn TEXT")
    own = own.replace("domains.id", "domains.nr").replace("domains(id)", "domains(nr)")
    execute(connection, own.replace("domains", "vdomains"))
    execute(connection, "ALTER TABLE public.dkim ADD COLUMN remark text DEFAULT 'ours'")
    execute(connection, "INSERT INTO public.vdomains (fqdn) VALUES ('example.com')")
    execute(
        connection,
        "INSERT INTO public.dkim (domain_id, key) SELECT nr, %s FROM public.vdomains",
        (traditional_pem(0),),
    )
    schema.apply(connection, settings)
    assert query(connection, "SELECT remark, state FROM public.dkim") == [("ours", "active")]
    assert query(connection, "SELECT pattern FROM public.dkim_signing_table") == [("example.com",)]


def test_readers_see_the_old_or_the_new_views_at_every_time(howto):
    """Two sessions repeat the daemon's lookup while the migration runs."""
    failures, answers, over = [], set(), threading.Event()

    def read(connection):
        while not over.is_set():
            try:
                with safe_errors.errors_translated():
                    found = query(
                        connection,
                        "SELECT identifier FROM public.dkim_signing_table"
                        " WHERE pattern = 'example.com'",
                    )
                    key = query(
                        connection,
                        "SELECT key FROM public.dkim_key_table WHERE identifier LIKE %s",
                        ("%",),
                    )
            except DatabaseError as error:
                failures.append(str(error))
                return
            answers.add((tuple(found), len(key)))

    with db.session(howto, autocommit=True) as one, db.session(howto, autocommit=True) as two:
        threads = [threading.Thread(target=read, args=(reader,)) for reader in (one, two)]
        for thread in threads:
            thread.start()
        with db.session(howto) as connection:
            schema.apply(connection, howto)
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert {found for found, _ in answers} <= {(("default.example.com",),), (("1",),)}
    assert {count for _, count in answers} == {2}


def test_tool_that_writes_during_the_adoption_waits_and_then_succeeds(howto):
    with db.session(howto) as connection, db.session(howto) as other:
        execute(connection, "LOCK TABLE public.dkim IN SHARE ROW EXCLUSIVE MODE")
        writer = threading.Thread(
            target=lambda: (
                insert_as_howto(other, "example.com", "later", traditional_pem(2)),
                other.commit(),
            )
        )
        writer.start()
        schema.apply(connection, howto)
        writer.join()
        assert states(connection)["later"] == "pending"


def test_adoption_stops_waiting_for_a_lock_after_the_timeout(howto, monkeypatch):
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "200ms")
    with db.session(howto) as other, db.session(howto) as connection:
        execute(other, "LOCK TABLE public.dkim IN ACCESS SHARE MODE")
        before = digests(connection)
        with (
            pytest.raises(DatabaseError, match="another session holds the table"),
            safe_errors.errors_translated(),
        ):
            schema.apply(connection, howto)
        connection.rollback()
        assert digests(connection) == before
        assert query(connection, "SELECT to_regclass('public.dkim_migration')") == [(None,)]


def test_comparison_includes_keys_that_are_not_yet_adopted(howto):
    desired = [
        DesiredKey("example.com", "default"),
        DesiredKey("example.org", "mail"),
        DesiredKey("example.com", "ed", "ed25519"),
        DesiredKey("new.example", "default"),
    ]
    every = EveryHosted((KeyPlan("rsa", "default"), KeyPlan("ed25519", "ed")), str.islower)
    with db.session(howto) as connection:
        before = compare(connection, howto, desired)
        by_every = compare(connection, howto, (), every)
        schema.apply(connection, howto)
        assert compare(connection, howto, desired) == before
        assert compare(connection, howto, (), every) == by_every
    assert before.missing == (desired[2], desired[3])
    assert by_every.missing == (desired[2], DesiredKey("example.org", "ed", "ed25519"))


def test_history_of_a_key_begins_with_its_adoption(howto):
    with db.session(howto) as connection:
        schema.apply(connection, howto)
        assert query(
            connection,
            "SELECT domain, selector, from_state, to_state, why FROM public.dkim_history"
            " ORDER BY id",
        ) == [
            ("example.com", "default", None, "active", "adopted"),
            ("example.org", "default", None, "active", "adopted"),
        ]


ODD = ["*", ".", " lead.example", "a b.example", "dot.example.", "b\u00fccher.example", "A" * 300]


def test_rows_with_odd_names_affect_no_other_row(howto):
    with db.session(howto) as connection:
        for number, name in enumerate(ODD):
            execute(connection, "INSERT INTO public.domains (domain) VALUES (%s)", (name,))
            insert_as_howto(connection, name, f"odd{number}", traditional_pem(2))
        notes = schema.apply(connection, howto).notes
        found = states(connection)
        assert len(query(connection, "SELECT * FROM public.dkim_signing_table")) == 2
    assert {found[f"odd{number}"] for number in range(len(ODD))} == {"pending"}
    assert all(any(f"'odd{number}'" in note for note in notes) for number in range(len(ODD)))


def test_rows_without_a_name_and_with_duplicate_names_are_kept(howto):
    with db.session(howto) as connection:
        execute(connection, "ALTER TABLE public.domains ALTER domain DROP NOT NULL")
        execute(
            connection,
            "INSERT INTO public.domains (domain) VALUES (NULL), (NULL), ('Example.com'),"
            " ('Example.org')",
        )
        execute(
            connection,
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT id, CASE domain WHEN 'Example.org' THEN 'other' ELSE 'default' END, %s"
            "   FROM public.domains WHERE id > 2",
            (traditional_pem(2),),
        )
        before = digests(connection)
        schema.apply(connection, howto)
        assert not schema.apply(connection, howto)
        assert digests(connection) == before
        rows = query(connection, "SELECT domain, selector, state FROM public.dkim ORDER BY id")
    assert rows == [
        ("example.com", "default", "active"),
        ("example.org", "default", "active"),
        (None, "default", "pending"),
        (None, "default", "pending"),
        ("Example.com", "default", "pending"),
        ("example.org", "other", "retired"),
    ]


def test_foreign_keys_of_the_site_to_the_table_of_keys_stay(howto):
    with db.session(howto) as connection:
        execute(connection, "CREATE TABLE public.notes (dkim_id int REFERENCES public.dkim (id))")
        schema.apply(connection, howto)
        kept = "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        kept += " AND conrelid = 'public.notes'::regclass"
        assert query(connection, kept) == [("public.dkim",)]


def test_owner_of_the_howtos_database_is_not_a_superuser(howto):
    with db.session(howto) as connection:
        assert query(connection, f"SELECT rolsuper FROM pg_roles WHERE rolname = '{OWNER}'") == [
            (False,)
        ]
