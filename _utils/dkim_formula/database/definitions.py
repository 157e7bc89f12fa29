"""
Views, functions and triggers: what may be defined anew at any time, unlike tables.

Their text follows the pillar's names of the site's table. A fingerprint of it, and one of what
PostgreSQL made of the views, stands in a comment on the first view, so that a run sees when
either has changed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..private_key import PLAIN_PEM
from ..settings.model import Database
from . import signing
from .connection import compose, driver
from .objects import (
    ALGORITHMS,
    LOCK_CLASS,
    LOCK_CLASS_PATTERN,
    LOCK_PATTERNS,
    VIEWS,
    key_view,
    names,
    signing_view,
    view_name,
)

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# PKCS#8 of an Ed25519 key begins with the same twelve octets always (RFC 8410, section 7), so
# with the same sixteen characters of base64.
ED25519_PEM = "^-----BEGIN PRIVATE KEY-----\\sMC4CAQAwBQYDK2Vw"

# The daemon asks for every row of its SigningTable when it starts and looks each one's key up
# (measured, log_statement=all: the very text below). Nothing needs the answer, and with a hundred
# thousand domains it takes half a minute, so this one query finds the view empty. As a sub-select
# it is a one-time filter, which spares the reading: current_query() by itself is volatile.
_SIGNING_VIEW = """
CREATE OR REPLACE VIEW {{view}} (pattern, identifier) AS
SELECT s.pattern, s.identifier
  FROM {{signing}} AS s
 WHERE s.algorithm = '{algorithm}' AND (SELECT current_query() NOT IN ({walks}))
"""

# Where the site's names can't be followed (signing.can_follow). The triggers refuse an extra
# pattern beside a hosted domain's own key of the same name. A domain that the site renames meets no
# trigger of ours; then its own key comes first, by the order of the two halves, and the daemon
# takes the first row alone (measured).
_JOINED_VIEW = """
CREATE OR REPLACE VIEW {{view}} (pattern, identifier) AS
SELECT s.pattern, s.identifier
  FROM (
        SELECT d.{{domain_name}}::text AS pattern, k.id::text AS identifier
          FROM {{dkim}} AS k
          JOIN {{domains}} AS d ON d.{{domain_id}} = k.domain_id
         WHERE k.state = 'active' AND k.algorithm = '{algorithm}' AND k.address = ''
        UNION ALL
        SELECT p.pattern, k.id::text
          FROM {{pattern}} AS p
          JOIN {{dkim}} AS k ON k.domain_id = p.domain_id AND k.address = p.address
         WHERE k.state = 'active' AND k.algorithm = '{algorithm}'
       ) AS s
 WHERE (SELECT current_query() NOT IN ({walks}))
"""

# security_barrier: without it, a function of the reader's own in a WHERE could be shown the rows
# that the view leaves out, retired and pending keys among them (CREATE VIEW, notes).
#
# A join for the domain's name would be planned twice as long as all of this (measured).
_KEY_VIEW = """
CREATE OR REPLACE VIEW {{view}} (identifier, domain, selector, key) WITH (security_barrier) AS
SELECT k.id::text,
       (SELECT d.{{domain_name}}::text FROM {{domains}} AS d WHERE d.{{domain_id}} = k.domain_id),
       k.selector::text, k.key::text
  FROM {{dkim}} AS k
 WHERE k.state = 'active' AND k.algorithm = '{algorithm}'
"""

# Every function runs with its owner's rights, so that the site's own tool needs none on our
# tables, and with a search_path that nobody else can put anything in.
_RIGHTS = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

# The shared lock keeps patterns from changing while a key is being made active; where a pattern
# has two possible keys, its own lock lets one transaction at a time decide.
_CONFLICT = """
CREATE OR REPLACE FUNCTION {conflict} (its_domain %(id_type)s, its_address text, its_algorithm text)
RETURNS text %(rights)s AS $$
DECLARE
    rival record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(%(lock_class)s, %(lock_patterns)s);
    FOR rival IN
        SELECT p.pattern, p.domain_id, p.address
          FROM {domains} AS d
          JOIN {pattern} AS p ON p.pattern = d.{domain_name}::text
         WHERE d.{domain_id} = its_domain AND its_address = ''
        UNION ALL
        SELECT p.pattern, d.{domain_id}, ''
          FROM {pattern} AS p
          JOIN {domains} AS d ON d.{domain_name}::text = p.pattern
         WHERE p.domain_id = its_domain AND p.address = its_address
         ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(%(lock_class_pattern)s, hashtext(rival.pattern));
        PERFORM FROM {dkim} AS k
          WHERE k.domain_id = rival.domain_id AND k.address = rival.address
            AND k.algorithm = its_algorithm AND k.state = 'active';
        IF FOUND THEN
            RETURN rival.pattern;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""

# The checks of the table's constraints come first here, with texts of our own: PostgreSQL's text
# on a violated CHECK or NOT NULL shows the whole row, private key and all.
_CHECKED = """
CREATE OR REPLACE FUNCTION {checked} () RETURNS trigger %(rights)s AS $$
DECLARE
    whole boolean;
    as_new boolean;
BEGIN
    IF NEW.domain_id IS NULL OR NEW.selector IS NULL THEN
        RAISE 'dkim: a key needs a domain_id and a selector' USING ERRCODE = 'not_null_violation';
    END IF;
    NEW.address := coalesce(NEW.address, '');
    as_new := TG_OP = 'INSERT';
    IF NOT as_new THEN
        IF NEW.key IS DISTINCT FROM OLD.key AND NEW.key IS NOT NULL
           AND NEW.public_key IS NOT DISTINCT FROM OLD.public_key THEN
            NEW.algorithm := NULL;
            NEW.bits := NULL;
            NEW.public_key := NULL;
        END IF;
    END IF;
    IF NEW.state = 'revoked' THEN
        NEW.key := NULL;
    ELSIF NEW.key IS NULL THEN
        RAISE 'dkim: only a revoked key goes without its private key (selector %%)', NEW.selector
            USING ERRCODE = 'check_violation';
    END IF;
    whole := coalesce(NEW.key ~ '%(whole)s', false);
    IF NEW.algorithm IS NULL THEN
        NEW.algorithm := CASE WHEN NEW.key ~ '%(ed25519)s' THEN 'ed25519' ELSE 'rsa' END;
    ELSIF NEW.algorithm NOT IN ('rsa', 'ed25519') THEN
        RAISE 'dkim: %% is not an algorithm; use rsa or ed25519', NEW.algorithm
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IS NULL THEN
        NEW.state := 'pending';
        IF whole AND {conflict}(NEW.domain_id, NEW.address, NEW.algorithm) IS NULL THEN
            PERFORM FROM {dkim} AS k
              WHERE k.domain_id = NEW.domain_id AND k.address = NEW.address
                AND k.algorithm = NEW.algorithm AND k.state = 'active';
            IF NOT FOUND THEN
                NEW.state := 'active';
            END IF;
        END IF;
    ELSIF NEW.state NOT IN ('pending', 'active', 'retired', 'revoked') THEN
        RAISE 'dkim: %% is not a state; use pending, active, retired or revoked', NEW.state
            USING ERRCODE = 'check_violation';
    ELSIF NEW.state = 'active' AND NOT whole THEN
        RAISE 'dkim: no whole private key in PEM form, so it can not be active (selector %%)',
            NEW.selector USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.bits <= 0 THEN
        RAISE 'dkim: a key of %% bits', NEW.bits USING ERRCODE = 'check_violation';
    END IF;
    IF as_new THEN
        NEW.created_at := coalesce(NEW.created_at, now());
    ELSE
        as_new := NEW.state <> OLD.state;
        IF as_new AND NEW.state = 'active' THEN
            NEW.activated_at := NULL;
            NEW.retired_at := NULL;
        END IF;
    END IF;
    IF as_new THEN
        CASE NEW.state
            WHEN 'active' THEN NEW.activated_at := coalesce(NEW.activated_at, now());
            WHEN 'retired' THEN NEW.retired_at := coalesce(NEW.retired_at, now());
            WHEN 'revoked' THEN NEW.revoked_at := coalesce(NEW.revoked_at, now());
            ELSE NEW.retired_at := NULL;
        END CASE;
    END IF;
    RETURN NEW;
END
$$
"""

_RECORDED = """
CREATE OR REPLACE FUNCTION {recorded} () RETURNS trigger %(rights)s AS $$
DECLARE
    it record;
    from_state text;
    to_state text;
    rival text;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        it := OLD;
        from_state := OLD.state;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        it := NEW;
        to_state := NEW.state;
        IF NEW.state = 'active' THEN
            rival := {conflict}(NEW.domain_id, NEW.address, NEW.algorithm);
            IF rival IS NOT NULL THEN
                RAISE 'dkim: the pattern %% has an active %% key already', rival, NEW.algorithm
                    USING ERRCODE = 'unique_violation';
            END IF;
        END IF;
    END IF;
    IF from_state IS DISTINCT FROM to_state THEN
        INSERT INTO {history}
               (dkim_id, domain, selector, algorithm, address, who, from_state, to_state, why)
        VALUES (
            it.id,
            (SELECT d.{domain_name} FROM {domains} AS d WHERE d.{domain_id} = it.domain_id),
            it.selector, it.algorithm, it.address,
            concat_ws(' by ', session_user, nullif(current_setting('application_name'), '')),
            from_state, to_state, nullif(current_setting('dkim.why', true), '')
        );
    END IF;
    RETURN NULL;
END
$$
"""

_PATTERN_CHECKED = """
CREATE OR REPLACE FUNCTION {pattern_checked} () RETURNS trigger %(rights)s AS $$
DECLARE
    rival text;
BEGIN
    PERFORM pg_advisory_xact_lock(%(lock_class)s, %(lock_patterns)s);
    SELECT own.algorithm INTO rival
      FROM {domains} AS d
      JOIN {dkim} AS own ON own.domain_id = d.{domain_id} AND own.address = ''
      JOIN {dkim} AS other ON other.algorithm = own.algorithm
     WHERE d.{domain_name}::text = NEW.pattern AND own.state = 'active'
       AND other.domain_id = NEW.domain_id AND other.address = NEW.address
       AND other.state = 'active';
    IF FOUND THEN
        RAISE 'dkim: the pattern %% has an active %% key already', NEW.pattern, rival
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NULL;
END
$$
"""

_TRIGGERS = """
CREATE OR REPLACE TRIGGER dkim_checked BEFORE INSERT OR UPDATE ON {dkim}
    FOR EACH ROW EXECUTE FUNCTION {checked} ();
CREATE OR REPLACE TRIGGER dkim_recorded AFTER INSERT OR UPDATE OR DELETE ON {dkim}
    FOR EACH ROW EXECUTE FUNCTION {recorded} ();
CREATE OR REPLACE TRIGGER dkim_pattern_checked AFTER INSERT OR UPDATE ON {pattern}
    FOR EACH ROW EXECUTE FUNCTION {pattern_checked} ()
"""

COLUMNS = {
    **{signing_view(algorithm): ("pattern", "identifier") for algorithm in ALGORITHMS},
    **{
        key_view(algorithm): ("identifier", "domain", "selector", "key") for algorithm in ALGORITHMS
    },
}


def functions(cursor: pg.cursor, database: Database, id_type: str, flat: bool) -> list[str]:
    """
    The statements that define functions and triggers, fit to be run again at any time.

    flat
        As :func:`signing.wanted` says: look-ups are answered from the flat table.
    """
    values = {
        "id_type": id_type,
        "rights": _RIGHTS,
        "lock_class": LOCK_CLASS,
        "lock_patterns": LOCK_PATTERNS,
        "lock_class_pattern": LOCK_CLASS_PATTERN,
        "whole": PLAIN_PEM,
        "ed25519": ED25519_PEM,
    }
    templates = [text % values for text in (_CONFLICT, _CHECKED, _RECORDED, _PATTERN_CHECKED)]
    templates += [_TRIGGERS, *(signing.functions(values) if flat else signing.without())]
    return [compose(text, **names(database)).as_string(cursor) for text in templates]


def views(cursor: pg.cursor, database: Database, flat: bool) -> dict[str, str]:
    """The statement for each view. ``OR REPLACE`` leaves owner, grants and dependents be."""
    statements = {}
    known = names(database)
    signers = _SIGNING_VIEW if flat else _JOINED_VIEW
    for algorithm in ALGORITHMS:
        for template, view in ((signers, signing_view), (_KEY_VIEW, key_view)):
            text = template.format(algorithm=algorithm, walks=_walks(cursor, database, algorithm))
            name = view(algorithm)
            composed = compose(text, view=(database.domains.schema, name), **known)
            statements[name] = composed.as_string(cursor)
    return statements


def fingerprint(cursor: pg.cursor, database: Database, id_type: str) -> str:
    """A short hash of all definitions as they should be, given the pillar's names."""
    flat = signing.wanted(cursor, database)
    statements = functions(cursor, database, id_type, flat)
    text = "\n".join([*statements, *views(cursor, database, flat).values()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def views_digest(cursor: pg.cursor, database: Database) -> str | None:
    """A short hash of the views as PostgreSQL has them; None where one is not there."""
    cursor.execute(
        """
        SELECT count(*), left(md5(string_agg(pg_get_viewdef(c.oid), '' ORDER BY c.relname)), 16)
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = ANY (%s) AND c.relkind = 'v'
        """,
        (database.domains.schema, list(VIEWS)),
    )
    count, digest = cursor.fetchone()
    return digest if count == len(VIEWS) else None


def _walks(cursor: pg.cursor, database: Database, algorithm: str) -> str:
    sql = driver().sql
    view = signing_view(algorithm)
    tables = {view, f"{database.domains.schema}.{view}", view_name(database, "signing", algorithm)}
    texts = [f"SELECT pattern,identifier FROM {table}" for table in sorted(tables)]
    literals = (sql.Literal(text).as_string(cursor) for text in texts)
    return ", ".join(text.replace("{", "{{").replace("}", "}}") for text in literals)
