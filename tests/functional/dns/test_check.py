"""Ten thousand domains are checked in a minute."""

import time
from collections import Counter

import pytest
from dkim_formula.dns import check
from dkim_formula.dns.query import run
from dkim_formula.records import key_record, render
from dkim_formula.settings.model import Dns
from support.dns_daemons import Bind

pytestmark = pytest.mark.one_release

DOMAINS = 10_000
# Of the processor's time, not of the clock's: the machine may have other work to do.
MOST_SECONDS = 60


def test_ten_thousand_domains_are_checked_in_a_minute(tmp_path):
    records = [
        key_record(f"d{number}.example.com", "s1", "rsa", "A" * 392) for number in range(DOMAINS)
    ]
    zone = render(records, "bind")
    with Bind(tmp_path, {"example.com": zone}, "127.0.53.103") as server:
        begin = time.process_time()
        found = run(check.check(records, Dns(resolver=(server.address,), deadline=600)))
        used = time.process_time() - begin
    assert Counter(one.verdict for one in found) == {"ok": DOMAINS}
    assert used < MOST_SECONDS
