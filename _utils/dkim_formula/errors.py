"""The errors of the library. Each has a text for the administrator; no text holds a secret."""

import contextlib
import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping

from .secret import is_secret_text, without_url_password

# The value of an InvalidValue for a missing value; the text then shows no value.
MISSING = object()


class FormulaError(Exception):
    """The base class of every error that this library raises on purpose."""


def done_before(error: BaseException) -> dict[str, object]:
    """
    Return the permanent changes that were made before an operation failed, as a state shows them.
    They are an attribute of the error, or of the library's error that caused a Salt exception.
    """
    for one in (error, error.__cause__):
        done = getattr(one, "done", None)
        if done:
            return dict(done)
    return {}


@contextlib.contextmanager
def keeping_what_was_done(changes: Callable[[], Mapping[str, object]]) -> Iterator[None]:
    """
    Record the changes made so far in an error that ends the block.

    changes
        Called at an error; returns the permanent changes, which the error does not undo.
    """
    try:
        yield
    except Exception as error:
        error.done = {**changes(), **done_before(error)}
        raise


class InvalidValue(FormulaError, ValueError):
    """
    A value from outside (pillar, argument, database row, file) that can't be used.

    where
        The pillar key (``dkim:domains:example.com:selector``) or the argument's name.
    value
        The value as it was given. The text shows it by :func:`as_yaml`, shortened, without secrets.
    problem
        What is wrong with it.
    expected
        What to do, or which value is valid.
    """

    def __init__(self, where: str, value: object, problem: str, expected: str = ""):
        # The value is not kept: it may be a secret in the wrong pillar key.
        self.where = where
        self.problem = problem
        self.expected = expected
        shown = without_url_password(as_yaml(value))
        if isinstance(value, str) and is_secret_text(value):
            shown = "<secret>"
        if len(shown) > 100:
            shown = f"{shown[:97]}..."
        text = f"{where}: {problem}" if value is MISSING else f"{where}: {shown} {problem}"
        if expected:
            text = f"{text}; {expected}"
        super().__init__(text)


def as_yaml(value: object) -> str:
    """Return a value as a person types it in YAML; strings are always quoted."""
    if isinstance(value, Mapping):
        pairs = (f"{as_yaml(key)}: {as_yaml(below)}" for key, below in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{', '.join(map(as_yaml, value))}]"
    return _scalar_as_yaml(value)


def _scalar_as_yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return "binary data"
    try:
        return repr(value)
    except ValueError:
        # Python converts no number of more than 4,300 digits (sys.set_int_max_str_digits).
        return "a number of thousands of digits"


class SeveralProblems(FormulaError):
    """Several problems found in one pass, one line each; ``problems`` holds the lines."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DatabaseError(FormulaError):
    """A statement that PostgreSQL refused, or content that the formula can't work with."""


class NewerSchema(DatabaseError):
    """Tables made by a newer formula, which this version does not change."""


class DatabaseUnavailable(DatabaseError):
    """
    A session that could not be opened.

    reason
        ``no_driver`` (psycopg2 is not installed), ``no_server`` (no server listens),
        ``no_database`` (the server runs, the database is missing) or ``refused`` (the server
        refused the login).
    """

    def __init__(self, reason: str, text: str):
        self.reason = reason
        super().__init__(text)


class AccessFileError(FormulaError):
    """An invalid ``pg_hba.conf`` or ``pg_ident.conf``, or one that the change would make so."""


class KeyNotFound(FormulaError, LookupError):
    """A key that the database does not have."""


class StepRefused(FormulaError):
    """A move that is not allowed from the present state of a key."""


class OpenDKIMError(FormulaError):
    """An OpenDKIM daemon that does not start, or does not sign."""


class PostfixError(FormulaError):
    """A failure of ``postconf``, or its absence."""


class DnsError(FormulaError):
    """A problem with a zone, a server, a record or an update."""


class NoLibrary(DnsError):
    """The absence of dnspython from the Python that runs Salt."""

    def __init__(self):
        super().__init__(
            "the Python package dnspython is not installed in the Python that runs Salt; apply the "
            "state dkim.python, or run: salt-pip install dnspython"
        )


class NoResolver(DnsError):
    """A question that none of this machine's resolvers answers, so that a zone is unknown."""


class NoAddress(DnsError):
    """A server's name without an address in DNS."""


class NoSuchDomain(DnsError):
    """
    A domain that does not exist in DNS, by a resolver's answer.

    name
        The domain.
    parent
        The zone without a delegation of the domain; '' is the root.
    """

    def __init__(self, name: str, parent: str):
        self.name, self.parent = name, parent
        super().__init__(f"{name} does not exist in DNS (NXDOMAIN) and has no zone")


class RecordConflict(DnsError):
    """A record at the formula's name that the formula does not manage."""


class ConcurrentChange(DnsError):
    """An update that the server refused, because the records changed after they were read."""


class UncertainUpdate(DnsError):
    """
    An update without a usable answer, which the server may have applied.

    has_conflict
        Whether the update was sent twice and the server refused the second: the first may have
        changed the name.
    """

    def __init__(self, text: str, has_conflict: bool = False):
        self.has_conflict = has_conflict
        super().__init__(text)


class NoAnswer(DnsError):
    """
    A question without a usable answer.

    kind
        ``silent`` (no answer in time), ``closed`` (the port is closed), ``unreachable`` (this
        machine has no route), ``broken`` (the reply does not answer the question).
    """

    def __init__(self, kind: str, text: str):
        self.kind = kind
        super().__init__(text)
