"""Zones and servers from real cases: each name gets its own verdict."""

import asyncio
from dataclasses import replace
from pathlib import Path

import dns.zone
import pytest
from dkim_formula.dns import check as dns_check
from dkim_formula.dns import zones
from dkim_formula.records import Record, dmarc_record, key_record, tls_rpt_record
from dkim_formula.settings.model import Dmarc, Dns, Zone
from support.nameserver import Nameserver, closed_port

CASES = Path(__file__).resolve().parents[2] / "cases" / "records" / "zones"
HERE = "192.0.2.53"
KEY = key_record("example.com", "s1", "rsa", "MIIBkey")
HELD = f's1._domainkey 60 TXT "{KEY.value}"\n'


def check(records, dns):
    return asyncio.run(dns_check.check(records, dns))


def of_case(name, **changes):
    """Return a case's zone by its origin, without its SOA and NS records."""
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    origin = lines[0].split()[1].removesuffix(".")
    text = "\n".join(line for line in lines[1:] if " SOA " not in line and " NS ns1" not in line)
    for there, other in {HERE: "127.0.0.1", **changes}.items():
        text = text.replace(there, other)
    return {origin: text + "\n"}


@pytest.fixture
def ported(monkeypatch):
    """Map addresses to ports: NS records imply port 53, where the fake servers do not listen."""
    ports = {}
    original = zones._reachable

    def with_ports(name, endpoints):
        moved = [
            replace(endpoint, port=ports.get(endpoint.address, endpoint.port))
            for endpoint in endpoints
        ]
        return original(name, moved)

    monkeypatch.setattr(zones, "_reachable", with_ports)
    return ports


def test_case_32_answer_of_a_wildcard_is_missing_with_a_hint():
    records = [
        dmarc_record("wild.example", Dmarc(rua=("d@wild.example",))),
        tls_rpt_record("wild.example", ["mailto:t@wild.example"]),
        key_record("wild.example", "default", "rsa", "MIIB"),
    ]
    with Nameserver(of_case("32-wildcard.zone")) as server:
        found = check(records, Dns(zones={"wild.example": Zone(nameservers=(str(server),))}))
    assert [one.verdict for one in found] == ["missing"] * 3
    for one in found:
        assert "a wildcard of the zone answers (v=spf1 -all)" in one.detail
        assert [answer.finding.ttl for answer in one.servers] == [300]


def test_alias_of_a_wildcard_is_missing_with_a_hint_unless_its_target_is_ok():
    zone = "* 60 CNAME there\nthere 60 TXT x\n"
    with Nameserver({"example.com": zone}) as server:
        dns = Dns(zones={"example.com": Zone(nameservers=(str(server),))})
        (missing,) = check([KEY], dns)
        server.zones.update(
            Nameserver({"example.com": zone.replace("TXT x", f'TXT "{KEY.value}"')}).zones
        )
        (ok,) = check([KEY], dns)
    assert missing.verdict == "missing"
    assert "a wildcard of the zone answers (there.example.com)" in missing.detail
    assert ok.verdict == "ok"


def test_case_33_domain_that_is_an_alias_is_in_the_parent_zone(ported):
    record = key_record("shop.example.net", "default", "rsa", "MIIBkey")
    zone = of_case("33-cname-domain.zone", **{"v=DKIM1; k=rsa; p=…": record.value})
    resolved = {**zone, "host.example": "shop 60 A 192.0.2.80\n"}
    with Nameserver(zone, ns="ns1") as server, Nameserver(resolved, ns="ns1") as resolver:
        resolver.follows = True
        ported["127.0.0.1"] = server.port
        (found,) = check([record], Dns(resolver=(str(resolver),), timeout=1))
    assert (found.verdict, found.zone, found.detail) == ("ok", "example.net", "")


def test_case_65_server_without_an_address_is_advice(ported):
    record = key_record("dead.example", "s1", "rsa", "MIIBkey")
    (zone,) = of_case("65-dead-server.zone").values()
    zones_of = {"dead.example": f'{zone}s1._domainkey 60 TXT "{record.value}"\n'}
    with (
        Nameserver(zones_of, ns="ns1") as server,
        Nameserver({**zones_of, "example": ""}, ns="ns1") as resolver,
    ):
        ported["127.0.0.1"] = server.port
        (found,) = check([record], Dns(resolver=(str(resolver),), timeout=1))
    assert found.verdict == "ok"
    assert found.detail == (
        "ns9.nowhere.example: lame: the server's name ns9.nowhere.example has no address; remove "
        "it from the zone's NS records, or add its address"
    )


@pytest.mark.parametrize("fault", ["REFUSED", "SERVFAIL", "lame"])
def test_lame_server_beside_an_ok_server_is_advice(fault):
    with (
        Nameserver({"example.com": HELD}) as server,
        Nameserver({"example.com": ""}) as lame,
    ):
        lame.lame = fault == "lame"
        lame.rcode = None if lame.lame else dns.rcode.from_text(fault)
        nameservers = (str(server), str(lame))
        (found,) = check([KEY], Dns(zones={"example.com": Zone(nameservers=nameservers)}))
    assert found.verdict == "ok"
    assert f"{lame}: lame: " in found.detail
    assert "resolvers pass over lame servers" in found.detail


def test_server_with_another_record_is_inconsistent_and_not_advice():
    with (
        Nameserver({"example.com": HELD}) as server,
        Nameserver({"example.com": HELD.replace("MIIB", "MIIC")}) as other,
        Nameserver({"example.com": ""}) as lame,
    ):
        lame.lame = True
        nameservers = (str(server), str(lame), str(other))
        (found,) = check([KEY], Dns(zones={"example.com": Zone(nameservers=nameservers)}))
    assert found.verdict == "inconsistent"


def test_zone_whose_servers_are_all_lame_is_lame():
    with Nameserver({"example.com": HELD}) as server:
        server.lame = True
        (found,) = check([KEY], Dns(zones={"example.com": Zone(nameservers=(str(server),))}))
    assert found.verdict == "lame"


def test_server_whose_name_does_not_resolve_is_no_answer(ported):
    zone = {"example.com": f"{HELD}@ 60 NS ns.broken.example.\n"}
    with Nameserver(zone) as server, Nameserver(zone) as resolver:
        zone_text = next(iter(resolver.zones.values()))
        zone_text.replace_rdataset(
            "ns.example.com.", dns.rdataset.from_text("IN", "A", 60, "127.0.0.1")
        )
        ported["127.0.0.1"] = server.port
        (found,) = check([KEY], Dns(resolver=(str(resolver),), timeout=1))
    assert found.verdict == "no answer"
    assert "no resolver answers for the A of ns.broken.example" in found.detail


def test_answer_that_is_truncated_over_udp_and_tcp_is_lame():
    with Nameserver({"example.com": HELD}) as server:
        server.truncates = "always"
        (found,) = check([KEY], Dns(zones={"example.com": Zone(nameservers=(str(server),))}))
    assert found.verdict == "lame"
    assert "truncated, also over TCP" in found.detail


def test_server_that_refuses_edns_is_asked_without_it():
    with Nameserver({"example.com": HELD}) as server:
        server.refuses_edns = True
        (found,) = check([KEY], Dns(zones={"example.com": Zone(nameservers=(str(server),))}))
    assert (found.verdict, found.detail) == ("ok", "")


@pytest.mark.parametrize(
    "name",
    [f"s1._domainkey.{'a' * 64}.example.com", f"{'abcdefgh.' * 30}example.com", "a..example.com"],
)
def test_invalid_name_ends_only_its_own_check(name):
    odd = Record(name, "TXT", 60, KEY.value, "dkim", "example.com", "s1")
    with Nameserver({"example.com": HELD}) as server:
        dns = Dns(zones={"example.com": Zone(nameservers=(str(server),))})
        found = check([odd, KEY, replace(odd, domain=name)], dns)
    assert [one.verdict for one in found] == ["no zone", "ok", "no zone"]
    assert "DNS has no such name" in found[0].detail
    assert len(found[0].detail) < 300


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (".", "no zone"),
        ("gone", "missing"),
        ("*.x.", "unchecked"),
        ("\\000.example.net.", "unchecked"),
        ("a.b.c.invalid.", "unchecked"),
    ],
)
def test_alias_to_an_unusable_target_ends_only_its_own_check(target, expected):
    absent = replace(KEY, name="s2._domainkey.example.com")
    zone = f"s1._domainkey 60 CNAME {target}\ns2._domainkey 60 TXT x\n"
    with Nameserver({"example.com": zone}) as server, closed_port() as port:
        dns = Dns(
            zones={"example.com": Zone(nameservers=(str(server),))},
            resolver=(f"127.0.0.1@{port}",),
            timeout=1,
        )
        found = check([KEY, absent], dns)
    assert found[0].verdict == expected
    assert "CNAME to" in found[0].detail
    assert found[1].verdict == "different"
