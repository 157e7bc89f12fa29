"""Who changed what state when, and why."""

from ..connection import compose
from ..objects import names

NUMBER = 4
TITLE = "history of the keys' states"

# No reference to the key or its domain: a line outlives both.
_CREATE = """
CREATE TABLE {history} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dkim_id bigint NOT NULL,
    domain text,
    selector text NOT NULL,
    algorithm text NOT NULL,
    address text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    from_state text,
    to_state text,
    why text
);
CREATE INDEX dkim_history_selector ON {history} (domain, selector);
COMMENT ON TABLE {history} IS
    'A line for each new, moved and deleted key; from_state is empty for a new one, to_state for '
    'a deleted one'
"""

_ADOPTED = """
INSERT INTO {history}
       (dkim_id, domain, selector, algorithm, address, who, to_state, why)
SELECT k.id, d.{domain_name}, k.selector, k.algorithm, k.address, session_user, k.state, 'adopted'
  FROM {dkim} AS k
  LEFT JOIN {domains} AS d ON d.{domain_id} = k.domain_id
 ORDER BY k.id
"""


def run(cursor, database, snapshot):
    """Makes the table, with a first line for each key that is there already."""
    known = names(database)
    cursor.execute(compose(_CREATE, **known))
    cursor.execute(compose(_ADOPTED, **known))
