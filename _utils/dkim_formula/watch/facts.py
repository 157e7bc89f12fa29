"""What was seen, as plain values. Moments are seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

# So many names are kept of what may be a hundred thousand; counts are whole.
MOST_NAMES = 1000


@dataclass(frozen=True)
class Local:
    """Services and milter sockets of this machine: name or path, to whether it is up."""

    at: float
    services: Mapping[str, bool] = field(default_factory=dict)
    sockets: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Late:
    """A key whose next step is late. ``since`` is when it was due, None where nobody knows."""

    name: str
    state: str
    since: float | None


@dataclass(frozen=True)
class Keys:
    """
    What the database says.

    problem
        Why it could not be asked; everything else is empty then.
    counts
        (algorithm, state, number of keys).
    oldest
        (algorithm, when the longest active key began to sign).
    late, late_counts
        Keys whose next step is late, the first ones of them; and (state, number).
    hosted, unsigned, unsigned_count
        How many domains the site's table has; those whose mail leaves unsigned.
    sudden
        Why keys of domains that are gone are not retired; '' where nothing is odd.
    """

    at: float
    problem: str = ""
    counts: tuple[tuple[str, str, int], ...] = ()
    oldest: tuple[tuple[str, float], ...] = ()
    late: tuple[Late, ...] = ()
    late_counts: tuple[tuple[str, int], ...] = ()
    hosted: int = 0
    unsigned: tuple[str, ...] = ()
    unsigned_count: int = 0
    sudden: str = ""

    @classmethod
    def from_plain(cls, plain: Mapping) -> "Keys":
        """What :meth:`as_plain` gave, after a way through JSON. Raises TypeError, KeyError."""
        return replace(
            cls(**plain),
            counts=tuple(map(tuple, plain["counts"])),
            oldest=tuple(map(tuple, plain["oldest"])),
            late=tuple(Late(**one) for one in plain["late"]),
            late_counts=tuple(map(tuple, plain["late_counts"])),
            unsigned=tuple(plain["unsigned"]),
        )

    def as_plain(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Names:
    """
    What DNS says.

    problem
        Why it could not be asked.
    counts
        (verdict, number of records).
    wrong, wrong_count
        Records that are not as they should be, ``NAME TYPE: verdict``, the first ones of them.
    """

    at: float
    problem: str = ""
    counts: tuple[tuple[str, int], ...] = ()
    wrong: tuple[str, ...] = ()
    wrong_count: int = 0

    @classmethod
    def from_plain(cls, plain: Mapping) -> "Names":
        """What :meth:`as_plain` gave, after a way through JSON. Raises TypeError, KeyError."""
        return replace(
            cls(**plain),
            counts=tuple(map(tuple, plain["counts"])),
            wrong=tuple(plain["wrong"]),
        )

    def as_plain(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Facts:
    """All of it; None for what has not been looked at yet, or is not to be."""

    local: Local
    keys: Keys | None = None
    names: Names | None = None
