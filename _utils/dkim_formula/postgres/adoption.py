"""The states that keys get when the formula takes over a table that was made with the howto."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..names import is_served, row_name
from ..secret import Secret
from ..settings.model import Database
from . import tables
from .catalog import columns, relation_kind
from .objects import names
from .sql import compose
from .stored_row import is_row_found, read_row, row_problem

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# For how many domains with several keys the daemon's choice is queried. Over the howto's views
# each query is a scan, which takes 120 ms at 100,000 domains (measured).
_MOST_QUERIES = 200

_ROWS = """
SELECT k.id::text, d.{name}::text, coalesce(k.selector::text, ''), k.key::text, md5(k.key)
  FROM {dkim} AS k
  LEFT JOIN {domains} AS d ON d.{id} = k.domain_id
 ORDER BY k.id
"""

FREED = (
    "{table}: the foreign key of domain_id is dropped, so that a domain with a key can be deleted; "
    "the column stays, and a row that is inserted by domain_id gets the domain's name"
)


@dataclass(frozen=True)
class Adopted:
    """
    A row of the howto's table, and the state and name that the row gets.

    problem
        What is wrong with the row, and what to do.
    digest
        The key's md5, which shows later whether the key is unchanged.
    signs
        Whether OpenDKIM can sign with the key. Other rows become ``pending`` or ``revoked``.
    text
        The new text of a key whose present text OpenDKIM can't read, or which contains more than
        one key. None: the present text stays.
    stored
        The domain's name in the new column: in lower case if OpenDKIM finds that name. None if no
        name is possible.
    """

    id: str
    domain: str
    selector: str
    algorithm: str
    bits: int | None
    public: str | None
    state: str
    problem: str
    digest: str | None
    signs: bool = True
    text: Secret | None = field(default=None, repr=False, compare=False)
    stored: str | None = None


def site_id(cursor: pg.cursor, database: Database) -> str | None:
    """
    Return the column of the table of domains that ``domain_id`` of the table of keys refers to.

    The foreign key names it, or the record of the foreign key that was dropped. Returns None if
    no such column exists.
    """
    if "domain_id" not in columns(cursor, database.schema, database.keys_table):
        return None
    domains = database.domains
    present = columns(cursor, domains.schema, domains.table)
    found = [column for _, column in tables.references(cursor, database)]
    if relation_kind(cursor, database.schema, "dkim_migration"):
        cursor.execute(
            compose("SELECT site_id FROM {migration} WHERE site_id IS NOT NULL", **names(database))
        )
        found += [column for (column,) in cursor]
    return next((column for column in (*found, "id") if column in present), None)


def decide(
    connection: pg.connection,
    database: Database,
    site_id: str | None,
    known: tuple[Adopted, ...] = (),
) -> tuple[Adopted, ...]:
    """
    Read every key and choose its state, in the order of the ids.

    One key of a domain and an algorithm becomes ``active``: the key that the daemon's own query
    returns at this time, else the key with the lowest id. The other keys become ``retired``. A
    retired key keeps its record, so mail that it signed still verifies. The other keys do not
    become ``pending``, because a rotation would take a pending key for a new one. A row that names
    a file stays unchanged, because OpenDKIM reads the file. A row whose text is no key becomes
    ``pending``. A row without a text becomes ``revoked``.

    site_id
        The column of the table of domains that ``domain_id`` refers to.
    known
        An earlier decision. Its unchanged keys are not parsed again.
    """
    domains = database.domains
    columns_of_domains = {
        "domains": (domains.schema, domains.table),
        "name": domains.name,
        "id": site_id,
    }
    parsed = {(row.id, row.domain, row.digest): row for row in known}
    taken: set[tuple[str, str]] = set()
    rows = []
    # A named cursor fetches in batches, so that not all keys are in memory at once.
    with connection.cursor("dkim_adoption") as cursor:
        cursor.itersize = 1000
        cursor.execute(compose(_ROWS, **names(database), **columns_of_domains))
        for row_id, given, selector, key, digest in cursor:
            domain = _served_name(given or "")
            before = parsed.get((row_id, domain, digest))
            row = before or _read(row_id, domain, selector, key, digest)
            rows.append(_with_stored_name(row, given, taken))
    with connection.cursor() as cursor:
        return _with_states(cursor, database, rows)


def notes(adopted: tuple[Adopted, ...]) -> tuple[str, ...]:
    """Return a sentence for each domain with several keys, and for each row with a problem."""
    signing = {(row.domain, row.algorithm): row for row in adopted if row.state == "active"}
    retired: dict[tuple[str, str], list[str]] = {}
    for row in adopted:
        if row.state == "retired":
            retired.setdefault((row.domain, row.algorithm), []).append(row.selector)
    texts = [
        f"{domain} has several {algorithm} keys: {signing[domain, algorithm].selector!r} signs, "
        f"{', '.join(map(repr, others))} retired (the key and its record stay)"
        for (domain, algorithm), others in retired.items()
    ]
    texts += [_note(row) for row in adopted if row.problem or row.text]
    return tuple(texts)


def _note(row: Adopted) -> str:
    kept = f"; kept as {row.state}" if row.problem and not row.signs else ""
    if row.problem:
        return f"{row.problem}{kept}"
    return (
        f"{row_name(row.domain, row.selector)}: the key's text is not exactly one PEM block; the "
        "key is stored anew as one PEM block"
    )


def _read(row_id: str, domain: str, selector: str, key: str | None, digest) -> Adopted:
    found = read_row(domain, selector, key, "active")
    problem = row_problem(domain, selector, found)
    private = found.private
    signs = found.signs and is_row_found(domain, selector)
    state = "active" if signs else "pending" if key is not None else "revoked"
    return Adopted(
        row_id,
        domain,
        selector,
        # With the howto's table the daemon signs with RSA, whatever file a row names.
        "rsa" if private is None else private.algorithm,
        private and private.bits,
        private and private.public_base64(),
        state,
        problem,
        digest,
        signs,
        None if private is None or found.is_plain else Secret(private.pem()),
    )


def _served_name(domain: str) -> str:
    """Return the name in lower case if OpenDKIM finds that name, else the name unchanged."""
    return domain.lower() if is_served(domain.lower()) else domain


def _with_stored_name(row: Adopted, given: str | None, taken: set[tuple[str, str]]) -> Adopted:
    """
    Return the row with the name that the new column gets.

    If two rows have the same lower-case name and selector, the second keeps its own spelling or
    gets no name, and does not sign.
    """
    stored = row.domain or None
    if stored is not None and (stored, row.selector) in taken:
        twin = f"{row_name(given, row.selector)}: another row has this selector for {stored}"
        state = "pending" if row.signs else row.state
        row = replace(row, signs=False, state=state, problem=f"{twin}; delete one of them")
        stored = given if (given, row.selector) not in taken else None
    if stored is not None:
        taken.add((stored, row.selector))
    return replace(row, stored=stored)


def _with_states(cursor: pg.cursor, database: Database, rows: list[Adopted]) -> tuple[Adopted, ...]:
    groups: dict[tuple[str | None, str], list[Adopted]] = {}
    for row in rows:
        if row.signs:
            groups.setdefault((row.stored, row.algorithm), []).append(row)
    queries = 0
    signing = set()
    for (domain, _algorithm), group in groups.items():
        # A key that the daemon reads unchanged comes before a key that gets a new text.
        chosen = next((row for row in group if row.text is None), group[0])
        if len(group) > 1 and queries < _MOST_QUERIES:
            queries += 1
            selector = _daemons_choice(cursor, database, domain)
            chosen = next((row for row in group if row.selector == selector), chosen)
        signing.add(chosen.id)
    return tuple(
        _in_state(row, "active" if row.id in signing else "retired") if row.signs else row
        for row in rows
    )


def _in_state(row: Adopted, state: str) -> Adopted:
    return row if row.state == state else replace(row, state=state)


def _daemons_choice(cursor: pg.cursor, database: Database, domain: str) -> str | None:
    """
    Return the selector that OpenDKIM signs with today, or None if the howto's views are missing.

    OpenDKIM takes the first row of each of the two queries below (measured, log_statement=all).
    """
    schema = database.schema
    cursor.execute(
        """
        SELECT count(*) FROM information_schema.columns
         WHERE table_schema = %s AND (table_name, column_name) IN (
             ('dkim_signing_table', 'pattern'), ('dkim_signing_table', 'identifier'),
             ('dkim_key_table', 'identifier'), ('dkim_key_table', 'selector'))
        """,
        (schema,),
    )
    if cursor.fetchone()[0] != 4:
        return None
    cursor.execute(
        compose(
            "SELECT identifier FROM {view} WHERE pattern = %s",
            view=(schema, "dkim_signing_table"),
        ),
        (domain,),
    )
    first = cursor.fetchone()
    if first is None:
        return None
    cursor.execute(
        compose(
            "SELECT selector FROM {view} WHERE identifier = %s", view=(schema, "dkim_key_table")
        ),
        first,
    )
    first = cursor.fetchone()
    return None if first is None else first[0]
