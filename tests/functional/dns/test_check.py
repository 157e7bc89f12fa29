"""Ten thousand domains, or customers' CNAMEs, are checked in a minute of the processor's time."""

import time
from collections import Counter

import pytest
from dkim_formula.dns import check, delegations
from dkim_formula.dns.query import run
from dkim_formula.records import delegation_records, key_record, render
from dkim_formula.settings.model import Delegation, Dns
from support.dns_daemons import Bind
from support.share import short_form

pytestmark = pytest.mark.one_release

# Of the processor's time, not of the clock's: the machine may have other work to do.
MOST_SECONDS_A_DOMAIN = 60 / 10_000


@pytest.mark.parametrize("domains", short_form([1000, 10_000]))
def test_ten_thousand_domains_are_checked_in_a_minute(tmp_path, domains):
    records = [
        key_record(f"d{number}.example.com", "s1", "rsa", "A" * 392) for number in range(domains)
    ]
    zone = render(records, "bind")
    with Bind(tmp_path, {"example.com": zone}, "127.0.53.103") as server:
        begin = time.process_time()
        found = run(check.check(records, Dns(resolver=(server.address,), deadline=600)))
        used = time.process_time() - begin
    assert Counter(one.verdict for one in found) == {"ok": domains}
    assert used < MOST_SECONDS_A_DOMAIN * domains


@pytest.mark.parametrize("customers", short_form([300, 10_000]))
def test_cnames_of_ten_thousand_customers_are_checked_in_a_minute(tmp_path, customers):
    delegation = Delegation("dkim.example.net", ("s1", "s2"))
    records = [
        record
        for number in range(customers)
        for record in delegation_records(f"d{number}.example.com", delegation)
    ]
    zone = render([one for number, one in enumerate(records) if number % 3], "bind")
    with Bind(tmp_path, {"example.com": zone}, "127.0.53.104") as server:
        begin = time.process_time()
        found = run(delegations.observe(records, Dns(resolver=(server.address,)), 600))
        used = time.process_time() - begin
    absent = len(records[::3])
    states = {delegations.RIGHT: len(records) - absent, delegations.ABSENT: absent}
    assert Counter(one.state for one in found) == states
    assert used < MOST_SECONDS_A_DOMAIN * customers
