"""The rows of the database, read by a separate session without the formula's code."""

from dataclasses import dataclass

from functional.server import execute, query

_KEYS = """
SELECT k.id, d.domain, k.address, k.algorithm, k.selector, k.state, k.key IS NULL, k.public_key
  FROM public.dkim AS k JOIN public.domains AS d ON d.id = k.domain_id ORDER BY k.id
"""
_HISTORY = """
SELECT dkim_id, domain, selector, from_state, to_state FROM public.dkim_history ORDER BY id
"""
_PATTERNS = """
SELECT 'rsa', pattern, count(*) FROM public.dkim_signing_table GROUP BY 2
UNION ALL
SELECT 'ed25519', pattern, count(*) FROM public.dkim_signing_table_ed25519 GROUP BY 2
"""
_TIMES = """
SELECT c.relname, array_agg(a.attname::text)
  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'dkim%'
   AND a.atttypid = 'timestamptz'::regtype AND NOT a.attisdropped
 GROUP BY 1
"""


@dataclass(frozen=True)
class Row:
    """A key's row, without its private half."""

    id: int
    domain: str
    address: str
    algorithm: str
    selector: str
    state: str
    erased: bool
    public: str | None

    @property
    def slot(self) -> tuple[str, str, str]:
        return self.domain, self.address, self.algorithm


@dataclass(frozen=True)
class Facts:
    """All rows at one time."""

    keys: dict[int, Row]
    history: tuple[tuple, ...]
    patterns: tuple[tuple[str, str, int], ...]

    def active(self, slot: tuple[str, str, str]) -> Row | None:
        return next((k for k in self.keys.values() if k.slot == slot and k.state == "active"), None)


class Watcher:
    """A session that lasts for one history. The commands have sessions of their own."""

    def __init__(self, connection):
        self._connection = connection
        connection.autocommit = True

    def read(self) -> Facts:
        """Read the present facts."""
        rows = [Row(*row) for row in query(self._connection, _KEYS)]
        return Facts(
            {row.id: row for row in rows},
            tuple(query(self._connection, _HISTORY)),
            tuple(query(self._connection, _PATTERNS)),
        )

    def let_pass(self, seconds: float) -> None:
        """
        Let time pass: move every time in the formula's tables back by so many seconds.

        A negative number sets the clock back.
        """
        moved = [
            f"UPDATE public.{table} SET "
            + ", ".join(f"{name} = {name} - make_interval(secs => {seconds})" for name in columns)
            for table, columns in query(self._connection, _TIMES)
        ]
        # Otherwise the triggers would treat the update as a change of a key's state.
        execute(
            self._connection,
            "; ".join(["BEGIN", "SET LOCAL session_replication_role = replica", *moved, "COMMIT"]),
        )
