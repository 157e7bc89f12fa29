"""What a message's sender is looked up in: one row a pattern and algorithm, one index."""

from ..connection import compose
from ..objects import names

NUMBER = 6
TITLE = "table that a message's look-ups are answered from"

# A row of a 2048-bit key is a little longer than the 2 kB from which PostgreSQL moves the key to
# the table behind (measured), which would cost each message a look-up more.
_CREATE = """
CREATE TABLE {signing} (
    pattern text NOT NULL,
    algorithm text NOT NULL,
    identifier text NOT NULL,
    domain_name text,
    PRIMARY KEY (pattern, algorithm) INCLUDE (identifier)
);
CREATE INDEX dkim_signing_domain_name ON {signing} (domain_name);
COMMENT ON TABLE {signing} IS
    'Who signs for what, drawn from dkim, dkim_pattern and the table of domains by triggers; '
    'domain_name follows a renamed domain';
ALTER TABLE {dkim} SET (toast_tuple_target = 8160)
"""


def run(cursor, database, snapshot):
    """Makes the table, empty: it is filled where the views are defined to read it."""
    cursor.execute(compose(_CREATE, **names(database)))
