"""pyspf as an independent judge of SPF records, with a resolver in this process."""

from collections.abc import Iterator, Mapping
from unittest import mock

import spf

DOMAIN = "example.com"
# One client per address family: some errors affect only one family.
CLIENTS = ("203.0.113.250", "2001:db8:ffff::250")
# The record of every other name: it matches no client and causes no further look-up.
OTHER_RECORD = b"v=spf1 -all"


def is_permanent_error(record: str, others: Mapping[str, str] | None = None) -> bool:
    """Return whether pyspf reports a permanent error for the record of DOMAIN."""
    return any(result == "permerror" for result in results(record, others))


def results(record: str, others: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield pyspf's result for each client. ``others`` are records of other names."""
    records = {name: text.encode() for name, text in {**(others or {}), DOMAIN: record}.items()}

    def lookup(name, kind, *_):
        if kind == "TXT":
            yield (name, kind), [records.get(name, OTHER_RECORD)]
        if kind == "MX":
            yield (name, kind), (10, f"mx.{DOMAIN}")

    # No name has an address, so that pyspf evaluates every term. The limit of void look-ups does
    # not depend on the record's text alone, so it is raised (RFC 7208, section 4.6.4).
    with (
        mock.patch.object(spf, "DNSLookup", lookup),
        mock.patch.object(spf, "MAX_VOID_LOOKUPS", 1000),
    ):
        for client in CLIENTS:
            yield spf.query(i=client, s=f"sender@{DOMAIN}", h=f"mail.{DOMAIN}").check()[0]
