"""pyspf as an independent judge of SPF records, with a resolver that answers in this process."""

from collections.abc import Iterator
from unittest import mock

import spf

DOMAIN = "example.com"
# One client of each family: some errors show to one of them alone.
CLIENTS = ("203.0.113.250", "2001:db8:ffff::250")
# Of what every other name has: nothing there matches the client, or asks for more.
OTHER_RECORD = b"v=spf1 -all"


def is_permanent_error(record: str) -> bool:
    """Tell whether pyspf takes the record of DOMAIN for a permanent error."""
    return any(result == "permerror" for result in results(record))


def results(record: str) -> Iterator[str]:
    """Return pyspf's result for each client."""

    def lookup(name, kind, *_):
        if kind == "TXT":
            yield (name, kind), [record.encode() if name == DOMAIN else OTHER_RECORD]
        if kind == "MX":
            yield (name, kind), (10, f"mx.{DOMAIN}")

    # No name has an address, so that every term is come to; how many such answers are too many
    # is no matter of the record's text (RFC 7208, section 4.6.4).
    with (
        mock.patch.object(spf, "DNSLookup", lookup),
        mock.patch.object(spf, "MAX_VOID_LOOKUPS", 1000),
    ):
        for client in CLIENTS:
            yield spf.query(i=client, s=f"sender@{DOMAIN}", h=f"mail.{DOMAIN}").check()[0]
