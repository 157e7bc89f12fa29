"""Runs asynchronous work from code that knows nothing of it."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def run(work: Coroutine[None, None, T]) -> T:
    """
    What the work gives. It runs in a thread of its own: Salt's own may have a loop already, and
    ``asyncio.run`` refuses to start another there.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
