"""
Bulk generation into the database, over bare key generation on all cores, and opendkim-genkey.

Method: the code of dkim.generate_missing makes RSA-2048 keys for domains without a key, with its
comparison, batches and COPY. The limit is the generation of as many keys by `cryptography`, in as
many threads and without anything else. Rounds alternate. The peer is a loop of opendkim-genkey(8).
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import rsa
from dkim_formula.keys import commands as keys_commands

from . import site
from .table import Figure, rounds


def run(short: bool) -> Iterator[Figure]:
    """Yield the figures as they are measured."""
    many, count = (32, 1) if short else (600, 5)
    settings = site.settings()

    def formula() -> float:
        site.fill(many)
        site.sql("DELETE FROM dkim; TRUNCATE dkim_history;")
        begin = time.monotonic()
        keys_commands.generate_missing(settings)
        took = time.monotonic() - begin
        made = int(site.sql("SELECT count(*) FROM dkim WHERE state = 'active';"))
        if made != many:
            raise RuntimeError(f"{made} keys were made instead of {many}")
        return many / took

    def bare() -> float:
        begin = time.monotonic()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(lambda _: rsa.generate_private_key(65537, 2048), range(many)))
        return many / (time.monotonic() - begin)

    yield rounds(
        "bulk generation, keys/s, over bare generation", formula, bare, (">=", 0.95), count
    )
    few = 4 if short else 20
    yield rounds(
        "bulk generation, keys/s, over a loop of opendkim-genkey",
        formula,
        lambda: _genkey(few),
        count=1 if short else 2,
    )


def _genkey(many: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        begin = time.monotonic()
        for number in range(many):
            subprocess.run(
                ["opendkim-genkey", "-D", directory, "-b", "2048", "-d", f"d{number}.example"],
                check=True,
            )
        return many / (time.monotonic() - begin)
