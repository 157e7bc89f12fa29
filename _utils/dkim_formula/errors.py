"""What can go wrong, each with a text for the administrator. No text ever holds a secret."""

import contextlib
import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

# Secrets where none is expected: a key's text in place of its path, a TSIG secret in place of its
# key's name, a URL in place of a host. The shortest key, Ed25519 as PKCS#8, has 64 characters of
# base64, a secret of 160 bits has 28; no domain or selector has so many and nothing else, and a
# path begins with a slash.
_BASE64 = re.compile(r"(?!/)([A-Za-z0-9+/\n]{27,}={1,2}\n*|[A-Za-z0-9+/\n]{40,})")
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*:)[^/@\s]*@")


# Stands for a value that is not given, which no error shows.
MISSING = object()


class FormulaError(Exception):
    """The base of every error that this library raises on purpose."""


def done_before(error: BaseException) -> dict[str, object]:
    """
    Return the changes that were made for good before an operation failed, as a state shows them.
    Salt's exception for an error of this library has them from its cause.
    """
    for one in (error, error.__cause__):
        done = getattr(one, "done", None)
        if done:
            return dict(done)
    return {}


@contextlib.contextmanager
def keeping_what_was_done(changes: Callable[[], Mapping[str, object]]) -> Iterator[None]:
    """
    Give an error that ends the block what had been done by then.

    changes
        Called at an error: what was done for good, and is not undone by it.
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
        The value as it was given; shown as :func:`as_yaml` has it, cut when long. Never a secret.
    problem
        What is wrong with it.
    expected
        What would be right.
    """

    def __init__(self, where: str, value: object, problem: str, expected: str = ""):
        # The value is not kept: it may be a secret in a wrong place.
        self.where = where
        self.problem = problem
        self.expected = expected
        shown = _URL_PASSWORD.sub(r"\1<secret>@", as_yaml(value))
        if isinstance(value, str) and _is_key_text(value):
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
        # Python writes no number of more than 4,300 digits (sys.set_int_max_str_digits).
        return "a number of thousands of digits"


def without_secrets(text: str) -> str:
    """Return a text of another program, without what looks like a key or a URL's password."""
    return _BASE64.sub("<secret>", _URL_PASSWORD.sub(r"\1<secret>@", text))


def _is_key_text(value: str) -> bool:
    return "PRIVATE KEY-----" in value or bool(_BASE64.fullmatch(value))


class SeveralProblems(FormulaError):
    """Several problems found in one pass, a line each; ``problems`` holds the lines."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DatabaseError(FormulaError):
    """PostgreSQL refused a statement, or holds something that the formula can't work with."""


class NewerSchema(DatabaseError):
    """A newer formula made the tables; this one does not touch them."""


class DatabaseUnavailable(DatabaseError):
    """
    No session could be had.

    reason
        ``no_driver`` (psycopg2 is not installed), ``no_server`` (nothing listens there),
        ``no_database`` (the server is there, the database is not) or ``refused`` (the server
        answered and did not let us in).
    """

    def __init__(self, reason: str, text: str):
        self.reason = reason
        super().__init__(text)


class AccessFileError(FormulaError):
    """``pg_hba.conf`` or ``pg_ident.conf`` is broken, or would be by our change."""


class KeyNotFound(FormulaError, LookupError):
    """The database has no such key."""


class StepRefused(FormulaError):
    """A key can't be moved to that state from the one that it is in."""


class OpenDKIMError(FormulaError):
    """OpenDKIM did not come up, or does not sign."""


class PostfixError(FormulaError):
    """``postconf`` failed or is not there."""


class DnsError(FormulaError):
    """A problem with a zone, a server, a record or an update."""


class NoLibrary(DnsError):
    """The Python that runs Salt has no dnspython."""

    def __init__(self):
        super().__init__(
            "the Python package dnspython is not installed in the Python that runs Salt; apply the "
            "state dkim.python, or run: salt-pip install dnspython"
        )


class NoAddress(DnsError):
    """A server's name without an address in DNS."""


class NoSuchDomain(DnsError):
    """
    A domain that nobody has registered, as a resolver says.

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
    """An update that the server refused: the records at the name changed after they were read."""


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
        machine has no route), ``broken`` (what came answers no question).
    """

    def __init__(self, kind: str, text: str):
        self.kind = kind
        super().__init__(text)
