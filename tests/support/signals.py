"""Signals as exceptions, so that an ended program removes what it made."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, as SIGINT is, so that clean-up code runs."""
    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, _leave) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
