"""Zones with many other records: a change by the formula leaves all of them as they are."""

import contextlib
import itertools

import dns.query
import dns.rdatatype
import dns.zone
import pytest
from dkim_formula.dns.changes import Publisher
from dkim_formula.dns.planned import Task
from dkim_formula.records import dmarc_record, key_record, spf_record
from dkim_formula.secret import Secret
from dkim_formula.settings.model import ApiProvider, Dmarc, Dns, TsigKey
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind, PowerDns

pytestmark = pytest.mark.one_release

ZONE = "example.com"
OURS = (
    key_record(ZONE, "s1", "rsa", "MIIB" * 98),
    key_record(ZONE, "s2", "rsa", "MIIC" * 184),
    key_record(f"sub.{ZONE}", "s1", "rsa", "MIIB"),
    spf_record(ZONE, "v=spf1 mx -all"),
    dmarc_record(ZONE, Dmarc()),
)
NAMES = ["@", "www", "a.b", "sub", "_dmarc.www", "x._domainkey", "*.wild", "_sip._tcp", "s3"]
# Content of a TXT value in a zone file: quotes, backslashes, octets of any kind.
TEXT = st.text(alphabet="abc ;=.,'{}\"\\é\t", max_size=40)


def quoted(text):
    plain = text.encode()
    return (
        '"'
        + "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\{c:03d}" for c in plain)
        + '"'
    )


RECORDS = st.one_of(
    st.tuples(
        st.just("TXT"),
        st.lists(TEXT, min_size=1, max_size=3).map(lambda t: " ".join(map(quoted, t))),
    ),
    st.tuples(st.just("A"), st.integers(1, 250).map(lambda n: f"192.0.2.{n}")),
    st.tuples(st.just("AAAA"), st.integers(1, 250).map(lambda n: f"2001:db8::{n:x}")),
    st.tuples(st.just("MX"), st.integers(0, 65535).map(lambda n: f"{n} mail.example.net.")),
    st.tuples(
        st.just("CAA"), st.sampled_from(['0 issue "ca.example"', '128 iodef "mailto:x@y.example"'])
    ),
    st.tuples(st.just("SRV"), st.integers(0, 9).map(lambda n: f"{n} 1 5060 sip.example.net.")),
    st.tuples(st.just("SSHFP"), st.just("1 1 123456789abcdef67890123456789abcdef67890")),
    st.tuples(st.just("TLSA"), st.just("3 1 1 " + "ab" * 32)),
)
ZONES = st.lists(st.tuples(st.sampled_from(NAMES), RECORDS), min_size=3, max_size=14)

_addresses = itertools.count(1)


def body(lines):
    """Return a zone's lines, one TTL per type. BIND accepts host records only at host names."""
    return "".join(
        f"{name} {300 + len(rtype)} {rtype} {value}\n"
        for name, (rtype, value) in dict.fromkeys(lines)
        if "_" not in name or rtype not in ("A", "AAAA", "MX")
    )


class ByUpdate:
    """BIND, by dynamic updates."""

    server = Bind

    def settings(self, server):
        key = TsigKey(KEY_NAME.rstrip("."), ALGORITHM, Secret(SECRET))
        return Dns(publish="rfc2136", server=server.address, key=key, timeout=2)

    def provider(self, server, class_path, **arguments):
        return Dns(
            publish="octodns",
            providers={"p": ApiProvider("p", class_path, arguments)},
            provider="p",
            # octodns-bind does not list its zones: the resolver finds them.
            resolver=(server.address,),
        )

    def all(self, server):
        zone = dns.zone.from_xfr(
            dns.query.xfr(server.address, ZONE, relativize=False, timeout=5, lifetime=20),
            relativize=False,
        )
        return {
            (name.to_text(omit_final_dot=True), dns.rdatatype.to_text(found.rdtype)): (
                found.ttl,
                sorted(rdata.to_text() for rdata in found),
            )
            for name, found in zone.iterate_rdatasets()
            if found.rdtype != dns.rdatatype.SOA
        }


class ByTransfer(ByUpdate):
    """BIND, by octoDNS, which transfers the zone and sends updates."""

    def settings(self, server):
        return self.provider(
            server,
            "octodns_bind.Rfc2136Provider",
            host=server.address,
            key_name=Secret(KEY_NAME),
            key_secret=Secret(SECRET),
            key_algorithm=Secret(ALGORITHM),
        )


class ByApi(ByUpdate):
    """PowerDNS, by octoDNS."""

    server = PowerDns

    def settings(self, server):
        arguments = {**server.arguments(), "api_key": Secret(server.api_key)}
        return self.provider(server, "octodns_powerdns.PowerDnsProvider", **arguments)

    def all(self, server):
        return server.rrsets(ZONE)


def task(record):
    return Task(record.name, record.type, ZONE, record, (), record.domain)


def publish(dns_settings, tasks):
    with Publisher(dns_settings) as publisher:
        done = list(publisher.apply(publisher.plan(tasks)))
    assert [one.problem for one in done if one.problem] == []
    return {one.task.name: one.step is not None for one in done}


@pytest.mark.parametrize(
    "way", [ByUpdate(), ByTransfer(), ByApi()], ids=lambda way: type(way).__name__
)
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Each example starts a server, so shrinking a failure would take minutes.
    phases=(Phase.generate,),
)
@given(lines=ZONES)
def test_all_other_records_stay_unchanged(way, lines, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        address = f"127.0.55.{next(_addresses)}"
        folder = tmp_path_factory.mktemp("zone")
        server = stack.enter_context(way.server(folder, {ZONE: body(lines)}, address))
        dns_settings = way.settings(server)
        before = way.all(server)
        tasks = [task(record) for record in OURS]
        assert publish(dns_settings, tasks) == {record.name: True for record in OURS}
        for record in OURS:
            assert record.value.encode() in server.texts(record.name)
        after = way.all(server)
        apex = (ZONE, "TXT")
        assert without_ours(after) == without_ours(before)
        ttl, texts = joined(after.pop(apex))
        assert (ttl, texts - {OURS[3].value.encode()}) == joined(before.get(apex), OURS[3].ttl)
        assert not any(publish(dns_settings, tasks).values())
        gone = [Task(one.name, "TXT", ZONE, None, (one.value,), one.domain) for one in OURS]
        assert all(publish(dns_settings, gone).values())
        assert without_ours(way.all(server)) == without_ours(before)
        assert joined(way.all(server).get(apex)) == joined(before.get(apex))


def without_ours(zone):
    names = {(record.name, "TXT") for record in OURS}
    return {key: value for key, value in zone.items() if key not in names}


def joined(rrset, ttl=None):
    """
    Return the TTL, and the octets of each text. The cuts between its strings may move
    (docs/dns-cases.md).

    ttl
        The TTL to return for no rrset.
    """
    if rrset is None:
        return ttl, set()
    texts = [one if isinstance(one, str) else one[0] for one in rrset[1]]
    rdatas = (dns.rdata.from_text("IN", "TXT", text) for text in texts)
    return rrset[0], {b"".join(rdata.strings) for rdata in rdatas}
