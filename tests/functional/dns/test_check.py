"""Checks of many domains, or of many customers' CNAMEs, cost the same for each as checks of few."""

import time
from collections import Counter
from collections.abc import Coroutine, Sequence

import pytest
from dkim_formula.dns import check, delegations
from dkim_formula.dns.query import run
from dkim_formula.records import delegation_records, key_record, render
from dkim_formula.settings.model import Delegation, Dns
from support.dns_daemons import Bind
from support.share import short_form

pytestmark = pytest.mark.one_release
FEW = 100
# Processor time for each of many, over the time for each of few in the same process.
MOST_TIMES = 2
DEADLINE = 600  # seconds


def processor_seconds(question: Coroutine) -> tuple[float, Sequence]:
    """Return the processor time that a check takes, and what it finds."""
    begin = time.process_time()
    found = run(question)
    return time.process_time() - begin, found


@pytest.mark.parametrize("domains", short_form([500, 10_000]))
def test_each_of_ten_thousand_domains_costs_as_much_as_each_of_a_hundred(tmp_path, domains):
    records = [
        key_record(f"d{number}.example.com", "s1", "rsa", "A" * 392) for number in range(domains)
    ]
    settings = Dns(resolver=("127.0.53.103",), deadline=DEADLINE)
    with Bind(tmp_path, {"example.com": render(records, "bind")}, "127.0.53.103"):
        few, _ = processor_seconds(check.check(records[:FEW], settings))
        many, found = processor_seconds(check.check(records, settings))
    assert Counter(one.verdict for one in found) == {"ok": domains}
    assert many / domains < MOST_TIMES * few / FEW


@pytest.mark.parametrize("customers", short_form([300, 10_000]))
def test_each_of_ten_thousand_customers_costs_as_much_as_each_of_a_hundred(tmp_path, customers):
    delegation = Delegation("dkim.example.net", ("s1", "s2"))
    of_customers = [
        delegation_records(f"d{number}.example.com", delegation) for number in range(customers)
    ]
    records = [record for several in of_customers for record in several]
    shorter = [record for several in of_customers[:FEW] for record in several]
    zone = render([one for number, one in enumerate(records) if number % 3], "bind")
    settings = Dns(resolver=("127.0.53.104",))
    with Bind(tmp_path, {"example.com": zone}, "127.0.53.104"):
        few, _ = processor_seconds(delegations.observe(shorter, settings, DEADLINE))
        many, found = processor_seconds(delegations.observe(records, settings, DEADLINE))
    missing = len(records[::3])
    states = {"ok": len(records) - missing, "missing": missing}
    assert Counter(one.state for one in found) == states
    assert many / customers < MOST_TIMES * few / FEW
