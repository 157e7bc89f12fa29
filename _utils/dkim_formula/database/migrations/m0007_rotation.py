"""What was seen of the keys in DNS, and private keys that wait for their disclosure."""

from .. import inspection
from ..connection import compose
from ..objects import names

NUMBER = 7
TITLE = "what DNS was seen to show, and revoked keys to be disclosed"

_UNIQUE_ID = "ALTER TABLE {dkim} ADD CONSTRAINT dkim_id_unique UNIQUE (id)"

_CREATE = """
CREATE TABLE {seen} (
    dkim_id %(id_type)s PRIMARY KEY REFERENCES {dkim} (id) ON DELETE CASCADE,
    value text NOT NULL,
    verdict text NOT NULL,
    detail text NOT NULL,
    looked_at timestamptz NOT NULL,
    seen_since timestamptz,
    negative_ttl integer,
    ttl integer,
    other_ttl integer
);
COMMENT ON TABLE {seen} IS
    'What the authoritative servers showed of each key''s record when it was last looked for, and '
    'since when every one of them has shown it';
CREATE TABLE {disclosure} (
    dkim_id %(id_type)s PRIMARY KEY,
    domain text NOT NULL,
    selector text NOT NULL,
    algorithm text NOT NULL,
    public_key text NOT NULL,
    key text NOT NULL,
    ttl integer,
    seen_since timestamptz
);
COMMENT ON TABLE {disclosure} IS
    'Private keys of revoked keys (rotation:publish_private), until DNS shows that nobody can '
    'verify with them any more and they are made public';
CREATE INDEX dkim_unfinished ON {dkim} (domain_id) WHERE state <> 'active'
"""


def run(cursor, database, snapshot):
    """Makes the tables. A table of a site's own may have ids without a constraint to refer to."""
    known = names(database)
    schema = database.domains.schema
    id_type = inspection.columns(cursor, schema, "dkim")["id"]
    if not inspection.has_index(cursor, schema, "dkim", "id", unique=True):
        cursor.execute(compose(_UNIQUE_ID, **known))
    cursor.execute(compose(_CREATE % {"id_type": id_type}, **known))
