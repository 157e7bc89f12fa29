"""What can go wrong in asking and updating."""

from ..errors import FormulaError


class DnsError(FormulaError):
    """A zone, a server or an update that is not as it should be."""


class NoLibrary(DnsError):
    """dnspython is not installed."""


class NoAddress(DnsError):
    """A server's name that DNS has no address for."""


class NoSuchDomain(DnsError):
    """A domain that DNS says nobody has registered, and so nothing below it."""


class Overtaken(DnsError):
    """An update came too late: somebody else has changed the name since it was looked at."""


class Uncertain(DnsError):
    """
    An update that the server may have taken, since no answer came that could be used.

    overtaken
        It was sent a second time, and refused since the name had changed: perhaps by the first.
    """

    def __init__(self, text: str, overtaken: bool = False):
        self.overtaken = overtaken
        super().__init__(text)


class NoAnswer(DnsError):
    """
    A server gave no answer that could be used.

    kind
        ``silent`` (nothing came in time), ``closed`` (nothing listens there), ``unreachable`` (no
        way from here), ``broken`` (what came is no answer to the question).
    """

    def __init__(self, kind: str, text: str):
        self.kind = kind
        super().__init__(text)


def no_library() -> NoLibrary:
    """The error for a Python without dnspython."""
    return NoLibrary(
        "the Python package dnspython is not installed in the Python that runs Salt; the state "
        "dkim.python installs it, or: salt-pip install dnspython"
    )
