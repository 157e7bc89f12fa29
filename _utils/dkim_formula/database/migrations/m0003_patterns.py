"""Patterns that are signed for beside the domains' own names."""

from ..connection import compose
from ..objects import names

NUMBER = 3
TITLE = "table of extra patterns: subdomains, addresses, aliases"

# OpenDKIM looks the sender's domain up in lower case and the local part as it is (measured).
_CREATE = """
CREATE TABLE {pattern} (
    pattern text PRIMARY KEY,
    domain_id %s NOT NULL REFERENCES {domains} ({domain_id}) ON DELETE CASCADE,
    address text NOT NULL DEFAULT '',
    CONSTRAINT dkim_pattern_form CHECK (
        pattern ~ '^([^@\\s]+@)?[^@\\s]+$'
        AND substring(pattern from '[^@]*$') = lower(substring(pattern from '[^@]*$'))
    )
);
CREATE INDEX dkim_pattern_target ON {pattern} (domain_id, address);
COMMENT ON TABLE {pattern} IS
    'What is signed for beside the domains'' own names: .example.com, user@example.com, an alias'
"""


def run(cursor, database, snapshot):
    """Makes the table. Its rows go with the site's domain, which they must not keep from going."""
    cursor.execute(compose(_CREATE % snapshot.domain_id_type, **names(database)))
