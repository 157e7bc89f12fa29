"""The check that has the daemons sign test messages and verifies the signatures."""

from collections.abc import Iterator

from ..text import listed
from .model import NAMED, NO_OPENDKIM, Finding, Host, applied, right, unknown, wrong
from .trial_messages import LEFT_OPEN, attempt, cases, sample, with_records


def check(host: Host) -> Iterator[Finding]:
    """Check that the daemons sign messages of a sample of senders with valid signatures."""
    name = "signing"
    if not host.has_opendkim:
        yield unknown(name, NO_OPENDKIM)
        return
    every = cases(host.settings)
    chosen = with_records(host.settings, sample(every))
    if not chosen:
        yield unknown(name, "there is no active key", "salt-call dkim.generate_missing")
        return
    results = list(attempt(host.daemons, chosen))
    failed = [
        f"{one.case.sender} ({one.case.key.algorithm}): {one.detail}"
        for one in results
        if not one.verified
    ]
    tried = f"{len(results)} of {len(every)} kinds of mail were tried"
    if failed:
        algorithms = {one.case.key.algorithm for one in results if not one.verified}
        services = [one.service for one in host.daemons if one.algorithm in algorithms]
        log = f"journalctl -u {' -u '.join(services)} -n 50; " if services else ""
        remedy = f"salt-call dkim.selftest; {log}{applied('dkim.opendkim')}"
        yield wrong(name, f"{listed(failed, NAMED)}; {tried}", remedy, count=len(failed))
        return
    left_open = list(dict.fromkeys(header for one in results for header in one.unsigned))
    advice = f"; {LEFT_OPEN}: {', '.join(left_open)}" if left_open else ""
    yield right(name, f"{tried}, each was signed and verified{advice}")
