"""Random zones and servers: no traceback, no long wait, and an own verdict for each name."""

import asyncio
import contextlib

import dns.exception
import dns.rcode
import pytest
from dkim_formula.dns import check as dns_check
from dkim_formula.dns import verdict
from dkim_formula.dns.changes import Publisher
from dkim_formula.dns.planned import Task
from dkim_formula.records import (
    Record,
    delegation_records,
    dmarc_record,
    key_record,
    mta_sts_record,
    spf_record,
    tls_rpt_record,
)
from dkim_formula.settings.model import Delegation, Dmarc, Dns, MtaSts, Zone
from hypothesis import assume, given
from hypothesis import strategies as st
from support.fuzz import examples
from support.nameserver import Nameserver

pytestmark = pytest.mark.one_release

DOMAIN = "example.com"
RECORDS = (
    key_record(DOMAIN, "s1", "rsa", "MIIBkey"),
    key_record(DOMAIN, "s2", "ed25519", "AAAA", revoked=True),
    dmarc_record(DOMAIN, Dmarc(rua=("d@example.com",))),
    spf_record(DOMAIN, "v=spf1 mx -all"),
    tls_rpt_record(DOMAIN, ["mailto:t@example.com"]),
    mta_sts_record(DOMAIN, MtaSts(mx=("mail.example.com",))),
    delegation_records(DOMAIN, Delegation("example.net", ("s3",)))[0],
    key_record(f"sub.{DOMAIN}", "s1", "rsa", "MIIBkey"),
    Record(f"{'a.' * 130}{DOMAIN}", "TXT", 60, "x", "dkim", DOMAIN, "a"),
    Record(f"s1._domainkey.{'a' * 64}.{DOMAIN}", "TXT", 60, "x", "dkim", DOMAIN, "s1"),
)
VERDICTS = {
    *(verdict.OK, verdict.MISSING, verdict.DIFFERENT, verdict.DUPLICATE, verdict.NO_ANSWER),
    *(verdict.INCONSISTENT, verdict.LAME, verdict.NO_ZONE),
}
OWNERS = [one.name for one in RECORDS[:8]]
OWNERS += ["_domainkey.example.com", "sub.example.com", "_tls.example.com", "x.example.com"]


def _quoted(octets: bytes) -> str:
    return '"' + "".join(f"\\{octet:03d}" for octet in octets) + '"'


@st.composite
def line(draw):
    """Draw a line of a zone file, at one of the names or above them, or at a wildcard."""
    owner = draw(st.sampled_from(OWNERS))
    if draw(st.integers(0, 4)) == 0:
        owner = f"*.{owner.partition('.')[2]}"
    targets = st.sampled_from([*OWNERS, "", "ns.example.com", "host.example.net", "a\\.b.example"])
    texts = st.sampled_from([one.value.encode() for one in RECORDS]) | st.binary(max_size=20)
    kind = draw(st.sampled_from(["TXT"] * 6 + ["CNAME", "CNAME", "DNAME", "NS", "A", "MX"]))
    if kind == "TXT":
        strings = draw(texts | texts.map(lambda text: text.replace(b"; ", b";") + b";"))
        parts = [strings[at : at + 200] for at in range(0, len(strings) or 1, 200)]
        value = " ".join(map(_quoted, parts))
    elif kind in ("CNAME", "DNAME", "NS"):
        value = f"{draw(targets)}."
    else:
        value = {"A": "127.0.53.253", "MX": "0 ."}[kind]
    return f"{owner}. 60 {kind} {value}\n"


class Odd(Nameserver):
    """A server with faults and with changed octets in its answers."""

    changes: tuple = ()

    def answer(self, wire, transport):
        answer = super().answer(wire, transport)
        if answer is None or not self.changes:
            return answer
        changed = bytearray(answer)
        for place, octet in self.changes:
            # The id and the question stay, so that the client accepts the answer.
            at = len(wire) + place
            if at < len(changed):
                changed[at] = octet
        return bytes(changed)


@st.composite
def faults(draw):
    """Draw the attributes to set at a server."""
    rcodes = ["REFUSED", "SERVFAIL", "FORMERR", "NOTIMP", "NXDOMAIN", "YXDOMAIN", "BADVERS"]
    octets = st.tuples(st.integers(0, 200), st.integers(0, 255))
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "rcode": st.sampled_from(rcodes[:-1]).map(dns.rcode.from_text),
                "lame": st.booleans(),
                "truncates": st.sampled_from([True, "always"]),
                "refuses_edns": st.booleans(),
                "follows": st.booleans(),
                "changes": st.lists(octets, max_size=4).map(tuple),
            },
        )
    )


@contextlib.contextmanager
def serving(zone, wrong):
    try:
        server = Odd({DOMAIN: "ns 60 A 127.0.53.253\n" + "".join(zone)})
    except (dns.exception.DNSException, ValueError):
        assume(False)
    for name, value in wrong.items():
        setattr(server, name, value)
    with server:
        yield server


def checked(records, settings):
    found = asyncio.run(dns_check.check(records, settings))
    assert {one.verdict for one in found} <= VERDICTS
    for one in found:
        assert one.detail.isprintable()
        assert isinstance(one.to_dict(), dict)
        assert one.detail or one.verdict == verdict.OK
    return [one.verdict for one in found]


@examples(25, deadline=None)
@given(st.lists(line(), max_size=12), faults(), st.lists(line(), max_size=4), faults())
def test_each_name_of_any_zone_gets_its_own_verdict(zone, wrong, other_zone, other_wrong):
    with serving(zone, wrong) as server, serving([*zone, *other_zone], other_wrong) as other:
        settings = Dns(
            zones={DOMAIN: Zone(nameservers=(str(server), str(other)))},
            resolver=(str(other),),
            timeout=2,
        )
        together = checked(RECORDS, settings)
        # dnspython shuffles the records of an answer, so each run changes other octets.
        if server.changes or other.changes:
            return
        assert together == [checked([one], settings)[0] for one in RECORDS]


@examples(25, deadline=None)
@given(st.lists(line(), max_size=12), faults())
def test_each_name_of_any_zone_gets_its_own_plan(zone, wrong):
    tasks = [Task(one.name, one.type, DOMAIN, one, (), DOMAIN) for one in RECORDS]
    tasks += [Task(one.name, one.type, DOMAIN, None, (one.value,), DOMAIN) for one in RECORDS]
    with serving(zone, wrong) as server:
        settings = Dns(server=str(server), timeout=2)
        together = planned_steps(tasks, settings)
        if server.changes:
            return
        assert together == [planned_steps([one], settings)[0] for one in tasks]


def planned_steps(tasks, settings):
    with Publisher(settings) as publisher:
        planned = publisher.plan(tasks)
    assert all(one.problem.isprintable() for one in planned)
    return [(one.step, one.problem) for one in planned]
