"""
Who signs for what, in one flat table that a message's look-ups are answered from.

OpenDBX prepares no statement, so each look-up is planned anew, and over a join the planning is the
most of it (measured: 0.3 ms a look-up, 0.06 ms over one table). The table holds nothing of its
own: triggers draw it from ``dkim``, ``dkim_pattern`` and the site's names. A domain that the site
renames is followed by PostgreSQL itself, through a foreign key ``ON UPDATE CASCADE``, so that no
trigger has to stand on the site's table. Where the name column allows no such key, the views join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .connection import compose
from .objects import names

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_FOREIGN_KEY = "dkim_signing_domain_name_fkey"

# Every pattern that signs. A domain's own key comes before an extra pattern of the same name: the
# triggers refuse the two beside each other, but the site can rename a domain to an alias.
_ROWS = """
    SELECT d.{domain_name}::text AS pattern, k.algorithm, k.id::text AS identifier,
           d.{domain_name}::text AS domain_name
      FROM {dkim} AS k
      JOIN {domains} AS d ON d.{domain_id} = k.domain_id
     WHERE k.state = 'active' AND k.address = ''
    UNION ALL
    SELECT p.pattern, k.algorithm, k.id::text, NULL
      FROM {pattern} AS p
      JOIN {dkim} AS k ON k.domain_id = p.domain_id AND k.address = p.address
     WHERE k.state = 'active'
"""

_UPSERT = """
    INSERT INTO {signing} AS s (pattern, algorithm, identifier, domain_name)
    SELECT DISTINCT ON (r.pattern, r.algorithm) r.*
      FROM (%(rows)s) AS r
     WHERE %(which)s
     ORDER BY r.pattern, r.algorithm, r.domain_name IS NULL
    ON CONFLICT (pattern, algorithm) DO UPDATE
       SET identifier = excluded.identifier, domain_name = excluded.domain_name
     WHERE (s.identifier, s.domain_name)
           IS DISTINCT FROM (excluded.identifier, excluded.domain_name)
"""

# One pattern a call: by an equality the plan that fits any of them is as good as one of its own,
# so that PostgreSQL keeps it. Planning both statements takes ten times their run (measured).
_SET = (
    """
CREATE OR REPLACE FUNCTION {signing_set} (the_pattern text) RETURNS void %(rights)s AS $$
BEGIN
    DELETE FROM {signing} AS s
     WHERE s.pattern = the_pattern
       AND NOT EXISTS (
           SELECT FROM (%(rows)s) AS r
            WHERE r.pattern = the_pattern AND r.algorithm = s.algorithm);
"""
    + _UPSERT
    + """;
END
$$
"""
)

# On the table of keys: what the key signs for, where it begins or ends to. The locks: see
# dkim_conflict; a pattern that is being deleted is waited for.
_OF_KEYS = """
    FOR slot IN
        SELECT DISTINCT i.domain_id, i.address
          FROM unnest(ARRAY[it_was, it_is]) AS i
         WHERE i.state = 'active'
    LOOP
        PERFORM pg_advisory_xact_lock_shared(%(lock_class)s, %(lock_patterns)s);
        FOR one IN
            SELECT p.pattern FROM {pattern} AS p
             WHERE p.domain_id = slot.domain_id AND p.address = slot.address
               FOR KEY SHARE
        LOOP
            PERFORM {signing_set}(one.pattern);
        END LOOP;
        IF slot.address = '' THEN
            PERFORM {signing_set}(d.{domain_name}::text)
               FROM {domains} AS d WHERE d.{domain_id} = slot.domain_id;
        END IF;
    END LOOP;
"""

_KEPT = (
    """
CREATE OR REPLACE FUNCTION {signing_kept} () RETURNS trigger %(rights)s AS $$
DECLARE
    it_was {dkim};
    it_is {dkim};
    slot record;
    one record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {signing} AS s WHERE TG_TABLE_NAME = 'dkim' OR s.domain_name IS NULL;
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'dkim_pattern' THEN
        IF TG_OP <> 'INSERT' THEN
            PERFORM {signing_set}(OLD.pattern);
        END IF;
        IF TG_OP <> 'DELETE' THEN
            PERFORM {signing_set}(NEW.pattern);
        END IF;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        it_was := OLD;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        it_is := NEW;
    END IF;
    IF (it_was.id, it_was.domain_id, it_was.address, it_was.algorithm, it_was.state)
       IS NOT DISTINCT FROM
       (it_is.id, it_is.domain_id, it_is.address, it_is.algorithm, it_is.state) THEN
        RETURN NULL;
    END IF;
    -- What a query of a function is given, auto_explain writes to PostgreSQL's log.
    it_was.key := NULL;
    it_is.key := NULL;
"""
    + _OF_KEYS
    + """
    RETURN NULL;
END
$$
"""
)

# On the flat table: the foreign key has brought a domain's new name, or taken its row away.
_FOLLOWED = """
CREATE OR REPLACE FUNCTION {signing_followed} () RETURNS trigger %(rights)s AS $$
BEGIN
    IF TG_WHEN = 'BEFORE' THEN
        IF NEW.domain_name <> NEW.pattern THEN
            NEW.pattern := NEW.domain_name;
            DELETE FROM {signing} AS s
             WHERE s.pattern = NEW.pattern AND s.algorithm = NEW.algorithm;
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.domain_name IS NOT NULL AND (TG_OP = 'DELETE' OR NEW.pattern <> OLD.pattern) THEN
        PERFORM {signing_set}(OLD.pattern);
    END IF;
    RETURN NULL;
END
$$
"""

_TRIGGERS = """
CREATE OR REPLACE TRIGGER dkim_signing_kept AFTER INSERT OR UPDATE OR DELETE ON {dkim}
    FOR EACH ROW EXECUTE FUNCTION {signing_kept} ();
CREATE OR REPLACE TRIGGER dkim_signing_emptied AFTER TRUNCATE ON {dkim}
    FOR EACH STATEMENT EXECUTE FUNCTION {signing_kept} ();
CREATE OR REPLACE TRIGGER dkim_signing_kept AFTER INSERT OR UPDATE OR DELETE ON {pattern}
    FOR EACH ROW EXECUTE FUNCTION {signing_kept} ();
CREATE OR REPLACE TRIGGER dkim_signing_emptied AFTER TRUNCATE ON {pattern}
    FOR EACH STATEMENT EXECUTE FUNCTION {signing_kept} ();
CREATE OR REPLACE TRIGGER dkim_signing_renamed BEFORE UPDATE ON {signing}
    FOR EACH ROW EXECUTE FUNCTION {signing_followed} ();
CREATE OR REPLACE TRIGGER dkim_signing_left AFTER UPDATE OR DELETE ON {signing}
    FOR EACH ROW EXECUTE FUNCTION {signing_followed} ()
"""

_NO_TRIGGERS = """
DROP TRIGGER IF EXISTS dkim_signing_kept ON {dkim};
DROP TRIGGER IF EXISTS dkim_signing_emptied ON {dkim};
DROP TRIGGER IF EXISTS dkim_signing_kept ON {pattern};
DROP TRIGGER IF EXISTS dkim_signing_emptied ON {pattern}
"""


def follows(cursor: pg.cursor, database: Database) -> bool:
    """Whether the table's names follow the site's name column, by their foreign key."""
    known = names(database)
    cursor.execute(
        """
        SELECT count(*) > 0
          FROM pg_constraint AS f
          JOIN pg_class AS s ON s.oid = f.conrelid
          JOIN pg_namespace AS n ON n.oid = s.relnamespace
          JOIN pg_class AS d ON d.oid = f.confrelid AND d.relnamespace = n.oid
          JOIN pg_attribute AS a ON a.attrelid = d.oid AND a.attnum = f.confkey[1]
         WHERE f.contype = 'f' AND f.confupdtype = 'c' AND f.convalidated
           AND cardinality(f.confkey) = 1
           AND n.nspname = %s AND s.relname = %s AND d.relname = %s AND a.attname = %s
           AND f.conname = %s
        """,
        (*known["signing"], known["domains"][1], known["domain_name"], _FOREIGN_KEY),
    )
    return cursor.fetchone()[0]


def can_follow(cursor: pg.cursor, database: Database) -> bool:
    """
    Whether a foreign key may refer to the site's name column: text of some length, never NULL,
    unique by an index of its own, equal only to itself; and the session may make one.
    """
    known = names(database)
    cursor.execute(
        """
        SELECT count(*) > 0
          FROM pg_class AS d
          JOIN pg_namespace AS n ON n.oid = d.relnamespace
          JOIN pg_attribute AS a ON a.attrelid = d.oid
          JOIN pg_collation AS l ON l.oid = a.attcollation
          JOIN pg_index AS i ON i.indrelid = d.oid AND i.indkey[0] = a.attnum
         WHERE n.nspname = %(schema)s AND d.relname = %(table)s AND a.attname = %(name)s
           AND a.atttypid IN ('text'::regtype, 'varchar'::regtype)
           AND a.attnotnull AND l.collisdeterministic
           AND i.indisunique AND i.indisvalid AND i.indimmediate
           AND i.indnkeyatts = 1 AND i.indpred IS NULL
           AND has_table_privilege(d.oid, 'REFERENCES')
        """,
        {
            "schema": database.domains.schema,
            "table": known["domains"][1],
            "name": known["domain_name"],
        },
    )
    return cursor.fetchone()[0]


def wanted(cursor: pg.cursor, database: Database) -> bool:
    """Whether the views are to read the flat table: it follows the site's names, or can."""
    return follows(cursor, database) or can_follow(cursor, database)


def functions(values: dict[str, object]) -> list[str]:
    """The templates of functions and triggers, ``values`` as :mod:`definitions` has them."""
    known = {**values, "rows": _ROWS, "which": "r.pattern = the_pattern"}
    return [*(text % known for text in (_SET, _KEPT, _FOLLOWED)), _TRIGGERS]


def without() -> list[str]:
    """The templates of statements for a site whose names can't be followed."""
    return [_NO_TRIGGERS]


def fill(cursor: pg.cursor, database: Database) -> None:
    """
    Makes the table right, whatever is in it, and has it follow the site's names; or empties it
    where they can't be followed. Does not commit.
    """
    known = names(database)
    flat = wanted(cursor, database)
    if not (flat and follows(cursor, database)):
        constraint = compose(
            f"ALTER TABLE {{signing}} DROP CONSTRAINT IF EXISTS {_FOREIGN_KEY}", **known
        )
        cursor.execute(constraint)
        cursor.execute(compose("TRUNCATE {signing}", **known))
    if not flat:
        return
    cursor.execute(
        compose(
            f"""
            DELETE FROM {{signing}} AS s
             WHERE NOT EXISTS (
                   SELECT FROM ({_ROWS}) AS r
                    WHERE r.pattern = s.pattern AND r.algorithm = s.algorithm)
            """,
            **known,
        )
    )
    cursor.execute(compose(_UPSERT % {"rows": _ROWS, "which": "true"}, **known))
    if not follows(cursor, database):
        cursor.execute(
            compose(
                f"""
                ALTER TABLE {{signing}} ADD CONSTRAINT {_FOREIGN_KEY}
                    FOREIGN KEY (domain_name) REFERENCES {{domains}} ({{domain_name}})
                    ON UPDATE CASCADE ON DELETE CASCADE
                """,
                **known,
            )
        )
    # Without statistics the planner takes a bitmap scan for the one row (measured).
    cursor.execute(compose("ANALYZE {signing}", **known))
