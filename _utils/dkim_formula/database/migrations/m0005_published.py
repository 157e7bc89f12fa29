"""What the formula has put into DNS, so that it can tell its own from what others put there."""

from ..connection import compose
from ..objects import names

NUMBER = 5
TITLE = "records that were published"

# A value may be longer than an index takes, so its digest stands in the index.
_CREATE = """
CREATE TABLE {published} (
    domain text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    value text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX dkim_published_once ON {published} (name, type, md5(value));
CREATE INDEX dkim_published_domain ON {published} (domain);
COMMENT ON TABLE {published} IS
    'Values of DNS records that the formula has published, or was about to; what is not here and '
    'not a key of ours belongs to somebody else'
"""


def run(cursor, database, snapshot):
    """Makes the table, empty: what was published by hand is nobody's but its publisher's."""
    cursor.execute(compose(_CREATE, **names(database)))
