"""What becomes of the keys in a table that the howto made."""

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

# Beyond this many domains with several keys the daemon's choice is not asked for each of them:
# over the howto's views an answer is a scan, 120 ms at a hundred thousand domains (measured).
_ASK_AT_MOST = 200

_ROWS = """
SELECT k.id::text, d.{name}::text, coalesce(k.selector::text, ''), k.key::text, md5(k.key)
  FROM {dkim} AS k
  LEFT JOIN {domains} AS d ON d.{id} = k.domain_id
 ORDER BY k.id
"""

FREED = (
    "{table}: the foreign key of domain_id is dropped, so that a domain can be deleted while a key "
    "is there; the column stays, and a row that is inserted by domain_id gets the domain's name"
)


@dataclass(frozen=True)
class Adopted:
    """
    A row of the howto's table and what it becomes.

    ``signs`` tells whether the key can be used; a row that can't becomes ``pending`` or
    ``revoked``. ``problem`` is what is wrong with the row and what to do. ``digest`` is the key's
    md5, to know it again. ``text`` takes the place of a key's text that OpenDKIM can't read as it
    is, or that has more in it than one key. ``stored`` is the name that the row gets: in lower
    case where OpenDKIM finds it so, and None where there is none for it.
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
    The column of the table of domains that ``domain_id`` of a table of keys refers to: as its
    foreign key says, or said before that was dropped; None where there is no such column.
    """
    if "domain_id" not in columns(cursor, database.schema, database.keys_table):
        return None
    site = database.domains
    there = columns(cursor, site.schema, site.table)
    found = [column for _, column in tables.references(cursor, database)]
    if relation_kind(cursor, database.schema, "dkim_migration"):
        cursor.execute(
            compose("SELECT site_id FROM {migration} WHERE site_id IS NOT NULL", **names(database))
        )
        found += [column for (column,) in cursor]
    return next((column for column in (*found, "id") if column in there), None)


def decide(
    connection: pg.connection,
    database: Database,
    site_id: str | None,
    known: tuple[Adopted, ...] = (),
) -> tuple[Adopted, ...]:
    """
    Reads every key and settles its state, by id.

    One key of a domain and algorithm becomes ``active``: the one that the daemon's own look-up
    gives at this moment, or else that with the lowest id. Others become ``retired``: that keeps
    key and record, so that mail which they signed still verifies, and no rotation takes an old key
    for a new one, as it would a pending one. A row with the path of a file goes on as it is, since
    OpenDKIM reads the file. What is not a key is kept as ``pending``; a row without any, as
    ``revoked``.

    site_id
        The column of the table of domains that ``domain_id`` refers to.
    known
        An earlier decision: keys that are in it unchanged are not parsed again.
    """
    site = database.domains
    site_names = {"domains": (site.schema, site.table), "name": site.name, "id": site_id}
    parsed = {(row.id, row.domain, row.digest): row for row in known}
    taken: set[tuple[str, str]] = set()
    rows = []
    # A named cursor: the keys pass through, and are not all in memory at once.
    with connection.cursor("dkim_adoption") as cursor:
        cursor.itersize = 1000
        cursor.execute(compose(_ROWS, **names(database), **site_names))
        for row_id, given, selector, key, digest in cursor:
            domain = _folded(given or "")
            before = parsed.get((row_id, domain, digest))
            row = before or _read(row_id, domain, selector, key, digest)
            rows.append(_placed(row, given, taken))
    with connection.cursor() as cursor:
        return _with_states(cursor, database, rows)


def notes(adopted: tuple[Adopted, ...]) -> tuple[str, ...]:
    """A sentence for each domain with a choice to be made, and for each row that is no key."""
    signing = {(row.domain, row.algorithm): row for row in adopted if row.state == "active"}
    retired: dict[tuple[str, str], list[str]] = {}
    for row in adopted:
        if row.state == "retired":
            retired.setdefault((row.domain, row.algorithm), []).append(row.selector)
    said = [
        f"{domain} has several {algorithm} keys: {signing[domain, algorithm].selector!r} signs, "
        f"{', '.join(map(repr, others))} retired (the key and its record stay)"
        for (domain, algorithm), others in retired.items()
    ]
    said += [_note(row) for row in adopted if row.problem or row.text]
    return tuple(said)


def _note(row: Adopted) -> str:
    kept = f"; kept as {row.state}" if row.problem and not row.signs else ""
    if row.problem:
        return f"{row.problem}{kept}"
    return (
        f"{row_name(row.domain, row.selector)}: the key's text is not one PEM block with its lines "
        "and nothing else; it is stored anew as one"
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
        # The daemon of a table that is adopted signs with RSA, whatever file it reads.
        "rsa" if private is None else private.algorithm,
        private and private.bits,
        private and private.public_base64(),
        state,
        problem,
        digest,
        signs,
        None if private is None or found.is_plain else Secret(private.pem()),
    )


def _folded(domain: str) -> str:
    """The name in lower case, where OpenDKIM finds it so; else as it stands."""
    return domain.lower() if is_served(domain.lower()) else domain


def _placed(row: Adopted, given: str | None, taken: set[tuple[str, str]]) -> Adopted:
    """
    The row with the name that it is stored under. Of two rows that come to one name and selector
    the second keeps its own spelling, or has no name, and does not sign.
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
    asked = 0
    signing = set()
    for (domain, _algorithm), group in groups.items():
        # One that the daemon reads as it stands comes before one that is mended.
        chosen = next((row for row in group if row.text is None), group[0])
        if len(group) > 1 and asked < _ASK_AT_MOST:
            asked += 1
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
    The selector that OpenDKIM signs with today: it takes the first row of this very query and of
    the next (measured, log_statement=all). None where the howto's views are not there.
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
