"""Errors of a provider of octoDNS as texts for the administrator, without secrets."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence

# The most characters of an API's answer in an error.
_SHOWN = 300
_SHORTEST_SECRET = 4


class Refused(Exception):
    """A request that can't be carried out, with a text for the administrator."""


class NotInstalled(Refused):
    """A missing package of a provider. The state dkim.python installs the package."""


class Redactor:
    """A filter that removes a provider's arguments from texts, except the ``plain`` ones."""

    def __init__(self, arguments: Mapping[str, object], plain: Sequence[str]):
        secrets = {
            text
            for name, value in arguments.items()
            if name not in plain
            for text in _texts(value)
            if len(text) >= _SHORTEST_SECRET
        }
        # The longest secret first, because one secret may be a part of another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return text


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif not isinstance(value, bool) and value is not None:
        text = str(value)
        yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1])


class Log(logging.Handler):
    """The last warnings of a provider. Some give the reason of a refusal only there (deSEC's)."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Store one message."""
        with contextlib.suppress(Exception):
            self.lines = [*self.lines[-4:], " ".join(record.getMessage().split())]


def reason(error: BaseException, logged: Sequence[str], redact: Redactor) -> str:
    """Return why a request failed, as far as the provider's library shows."""
    text = redact(" ".join(str(error).split())) or type(error).__name__
    if isinstance(error, Refused):
        return text
    answer = getattr(getattr(error, "response", None), "text", "")
    more = " ".join(answer.split()) if isinstance(answer, str) else ""
    more = redact(more or "; ".join(logged))
    kind = type(error).__name__
    if kind != "Exception" and kind not in text:
        text = f"{kind}: {text}"
    parts = [text, more] if more and more not in text else [text]
    # Cut after redaction: a cut secret would not be found.
    return "; ".join(part[:_SHOWN] for part in parts)
