"""DNS: whether the records of a sample of domains are there."""

from collections.abc import Sequence

from ..database import keystore
from ..database.connection import session
from ..dns import check as dns_check
from ..dns import verdict
from ..dns.check import Checked
from ..dns.failure import NoLibrary
from ..dns.loop import run
from ..postgres import hosted as hosted_domains
from ..records import Record
from ..settings.model import Settings
from ..wanted import chosen_domains, records
from .finding import Finding, applied, judged, right, shortened, unknown
from .site import Site

SAMPLE = 50  # domains
# What says more of this machine's view than of the records.
_NOT_SEEN = (verdict.NO_ZONE, verdict.UNCHECKED)


def check(site: Site) -> list[Finding]:
    """The authoritative servers hold the records of a sample of domains, keys and policies."""
    name = "DNS"
    wanted, total = _records(site.settings)
    try:
        checked = run(dns_check.check(wanted, site.settings.dns))
    except NoLibrary as error:
        return [unknown(name, str(error), applied("dkim.python"))]
    differing = [one for one in dns_check.wrong(checked) if one.verdict not in _NOT_SEEN]
    looked = f"the records of {min(SAMPLE, total)} of {total} domains were asked for"
    if differing:
        do = "salt-call dkim.check_dns; " + _how_to_publish(site.settings)
        return [judged(name, [shortened([_told(one) for one in differing]), looked], "", do)]
    unseen = dns_check.wrong(checked)
    if unseen:
        text = f"{shortened([_told(one) for one in unseen])}; {looked}"
        return [unknown(name, text, "salt-call dkim.check_dns, where DNS can be asked")]
    advice = [f"{one.record.name} {one.record.type}: {one.detail}" for one in checked if one.detail]
    said = f"; advice: {shortened(advice)}" if advice else ""
    return [right(name, f"{looked}, each of {len(wanted)} is right{said}")]


def _records(settings: Settings) -> tuple[list[Record], int]:
    """Of a sample of domains, and how many domains there are. Writes nothing."""
    with session(settings.database) as connection:
        hosted = hosted_domains.hosted(connection, settings.database)
        keys = keystore.list_keys(connection, settings.database)
    chosen = chosen_domains(settings, hosted)
    some = evenly([*chosen.values()], SAMPLE)
    return records(settings, some, keys), len(chosen)


def evenly(of: Sequence, most: int) -> list:
    """At most so many, evenly from all."""
    step = max(1, -(-len(of) // most))
    return list(of[::step])


def _told(one: Checked) -> str:
    return f"{one.record.name} {one.record.type}: {one.verdict}"


def _how_to_publish(settings: Settings) -> str:
    if settings.dns.publish == "rfc2136":
        return "salt-call dkim.publish"
    return "publish what this shows: salt-call --out=txt dkim.records format=bind"
