"""
Functions and triggers on the formula's own tables: the checks of a row, and the history.

The tables of the mail database get no trigger. Where possible a trigger handles all rows of a
statement at once, by transition tables. Triggers for each row took two thirds of the time of a bulk
load, and their cached plan, from when the table was small, was quadratic (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..key_text import KEY_PATH, PLAIN_PEM
from ..settings.model import Database
from . import signing_table_triggers
from .conditions import served_domain, served_selector
from .objects import names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# PKCS#8 of an Ed25519 key always begins with the same twelve octets (RFC 8410, section 7), so with
# the same sixteen characters of base64.
_ED25519_PEM = "^-----BEGIN PRIVATE KEY-----\\sMC4CAQAwBQYDK2Vw"

# Every function runs with its owner's rights, so that another program needs no rights on tables to
# which it does not write. No other role can create objects in the search_path.
RIGHTS = "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

# The trigger makes the checks of the table's constraints first, with the formula's own texts.
# PostgreSQL's text on a violated CHECK or NOT NULL shows the whole row, including the private key.
# A session caches the plan for all rows, so an index is used even with an empty table's statistics.
_CHECKED = """
CREATE OR REPLACE FUNCTION {checked} () RETURNS trigger %(rights)s SET enable_seqscan = off AS $$
DECLARE
    may_sign boolean;
    as_new boolean;
BEGIN
    as_new := TG_OP = 'INSERT';
%(named)s
    IF NEW.selector IS NULL AND (as_new OR OLD.selector IS NOT NULL) THEN
        RAISE 'dkim: a key needs a selector' USING ERRCODE = 'not_null_violation';
    END IF;
    IF NEW.domain IS NULL AND (as_new OR OLD.domain IS NOT NULL) THEN
        RAISE 'dkim: a key needs a domain (selector %%)', NEW.selector
            USING ERRCODE = 'not_null_violation';
    END IF;
    NEW.address := coalesce(NEW.address, '');
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
    IF NEW.algorithm IS NULL THEN
        NEW.algorithm := CASE
            WHEN NEW.key COLLATE "C" ~ '%(ed25519)s' THEN 'ed25519'
            ELSE 'rsa'
        END;
    ELSIF NEW.algorithm NOT IN ('rsa', 'ed25519') THEN
        RAISE 'dkim: %% is not an algorithm; use rsa or ed25519', NEW.algorithm
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IS NULL OR NEW.state = 'active' THEN
        may_sign := coalesce(NEW.key COLLATE "C" ~ '%(pem)s', false);
        IF TG_OP = 'UPDATE' AND NEW.state = 'active' AND NEW.key = OLD.key THEN
            -- The path of a file from before the adoption. A new path is refused.
            may_sign := may_sign OR NEW.key COLLATE "C" ~ '%(path)s';
        END IF;
        IF NEW.state = 'active' AND NOT may_sign THEN
            RAISE 'dkim: no whole private key in PEM form, so it can not be active (selector %%)',
                NEW.selector USING ERRCODE = 'check_violation';
        END IF;
        may_sign := may_sign AND NEW.domain IS NOT NULL AND %(name)s
            AND length(NEW.domain) <= 253;
        IF NEW.state = 'active' AND NOT may_sign THEN
            RAISE 'dkim: %% is no domain name in lower case, so its key can not be active',
                coalesce(NEW.domain, 'NULL') USING ERRCODE = 'check_violation';
        END IF;
        may_sign := may_sign AND coalesce(%(selector)s, false);
        IF NEW.state = 'active' AND NOT may_sign THEN
            RAISE 'dkim: %% is no selector, so its key can not be active',
                quote_nullable(NEW.selector) USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.state NOT IN ('standby', 'pending', 'retired', 'revoked') THEN
        RAISE 'dkim: %% is not a state; use standby, pending, active, retired or revoked', NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IS NULL THEN
        NEW.state := CASE
            WHEN NOT may_sign THEN 'pending'
            WHEN EXISTS (
                SELECT FROM {dkim} AS k
                 WHERE k.domain = NEW.domain AND k.address = NEW.address
                   AND k.algorithm = NEW.algorithm AND k.state = 'active') THEN 'pending'
            WHEN NEW.address = '' AND EXISTS (
                SELECT FROM {signing} AS s
                 WHERE s.pattern = NEW.domain AND s.algorithm = NEW.algorithm) THEN 'pending'
            WHEN EXISTS (
                SELECT FROM {pattern} AS p
                  JOIN {signing} AS s ON s.pattern = p.pattern AND s.algorithm = NEW.algorithm
                 WHERE p.domain = NEW.domain AND p.address = NEW.address) THEN 'pending'
            ELSE 'active'
        END;
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

# For an adopted table. A program that knows only the howto's columns writes domain_id, and the
# trigger fills in the domain's name. The formula writes the name, and the trigger fills in
# domain_id if the domain has one, for programs that read by domain_id. The formula stores a key
# even if the table of domains can't be read.
_NAMED = """
    IF NEW.domain_id IS NOT NULL AND (
           (as_new AND NEW.domain IS NULL)
           OR (NOT as_new AND NEW.domain_id IS DISTINCT FROM OLD.domain_id
               AND NEW.domain IS NOT DISTINCT FROM OLD.domain)) THEN
        SELECT lower(d.{site_name}::text COLLATE "C") INTO NEW.domain
          FROM {site_table} AS d WHERE d.{site_id} = NEW.domain_id;
        IF NEW.domain IS NULL THEN
            RAISE 'dkim: no domain has the domain_id %%', NEW.domain_id
                USING ERRCODE = 'foreign_key_violation';
        END IF;
    ELSIF as_new AND NEW.domain_id IS NULL THEN
        BEGIN
            SELECT d.{site_id} INTO NEW.domain_id
              FROM {site_table} AS d
             WHERE d.{site_name} = NEW.domain COLLATE "default"
               AND NOT EXISTS (
                   SELECT FROM {dkim} AS k
                    WHERE k.domain_id = d.{site_id} AND k.selector = NEW.selector)
             LIMIT 1;
        EXCEPTION WHEN OTHERS THEN
            NEW.domain_id := NULL;
        END;
    END IF;
"""

# The join of old and new rows is always a hash join, whatever number of rows PostgreSQL assumes.
_RECORDED = """
CREATE OR REPLACE FUNCTION {recorded} () RETURNS trigger %(rights)s SET enable_nestloop = off AS $$
DECLARE
    its_who text;
    its_why text;
BEGIN
    its_who := concat_ws(' by ', session_user, nullif(current_setting('application_name'), ''));
    its_why := nullif(current_setting('dkim.why', true), '');
    IF TG_OP = 'INSERT' THEN
        INSERT INTO {history} (dkim_id, domain, selector, algorithm, address, who, to_state, why)
        SELECT n.id, n.domain, coalesce(n.selector, ''), n.algorithm, n.address, its_who,
               n.state, its_why
          FROM new_rows AS n ORDER BY n.id;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {history} (dkim_id, domain, selector, algorithm, address, who, from_state, why)
        SELECT o.id, o.domain, coalesce(o.selector, ''), o.algorithm, o.address, its_who,
               o.state, its_why
          FROM old_rows AS o ORDER BY o.id;
    ELSE
        INSERT INTO {history}
               (dkim_id, domain, selector, algorithm, address, who, from_state, to_state, why)
        SELECT n.id, n.domain, coalesce(n.selector, ''), n.algorithm, n.address, its_who,
               o.state, n.state, its_why
          FROM new_rows AS n JOIN old_rows AS o ON o.id = n.id
         WHERE o.state <> n.state ORDER BY n.id;
    END IF;
    RETURN NULL;
END
$$
"""

_TRIGGERS = """
CREATE OR REPLACE TRIGGER dkim_checked BEFORE INSERT OR UPDATE ON {dkim}
    FOR EACH ROW EXECUTE FUNCTION {checked} ()
"""
_ON = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
}


def functions(cursor: pg.cursor, database: Database, site_id: str | None = None) -> list[str]:
    """
    Return the statements that define functions and triggers. They can be run again at any time.

    site_id
        The column of the table of domains that ``domain_id`` of an adopted table refers to; None
        without such a column or such a table.
    """
    known = names(database)
    named = ""
    if site_id is not None:
        site = database.domains
        known |= {
            "site_name": site.name,
            "site_id": site_id,
            "site_table": (site.schema, site.table),
        }
        named = _NAMED
    values = {
        "rights": RIGHTS,
        "pem": PLAIN_PEM,
        "path": KEY_PATH,
        "name": served_domain("NEW.domain"),
        # The same condition as names.selector_in_dns. Text after a semicolon would be a tag of
        # its own in each signature ("a;d=b"). With a tab or a letter outside ASCII in a selector
        # the daemon ends (measured).
        "selector": served_selector("trim(NEW.selector)"),
        "ed25519": _ED25519_PEM,
        "named": named % {},
    }
    texts = [text % values for text in (_CHECKED, _RECORDED, *signing_table_triggers.FUNCTIONS)]
    texts.append(_TRIGGERS)
    for event, tables in _ON.items():
        texts.append(_after(event, tables, "recorded", "dkim"))
        texts += [_after(event, tables, "signing_kept", on) for on in ("dkim", "pattern")]
    texts.append(signing_table_triggers.EMPTIED)
    return [compose(text, **known).as_string(cursor) for text in texts]


def _after(event: str, tables: str, function: str, on: str) -> str:
    return (
        f"CREATE OR REPLACE TRIGGER dkim_{function}_{event.lower()} AFTER {event} ON {{{on}}}"
        f" {tables} FOR EACH STATEMENT EXECUTE FUNCTION {{{function}}} ()"
    )
