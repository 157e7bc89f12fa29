"""The DNS check: every authoritative server is asked, and each problem has its own verdict."""

import asyncio
from dataclasses import replace

import dns.rcode
import pytest
from dkim_formula.dns import check as dns_check
from dkim_formula.dns import zones
from dkim_formula.records import Record, delegation_records, key_record, spf_record
from dkim_formula.settings.model import Delegation, Dns, Zone
from support.nameserver import Nameserver, closed_port

KEY = key_record("example.com", "s1", "rsa", "MIIBkey")
HELD = f's1._domainkey 60 TXT "{KEY.value[:9]}" "{KEY.value[9:]}"\n'


def dns_of(*servers, zone="example.com", **settings):
    zones = {zone: Zone(nameservers=tuple(str(server) for server in servers))}
    zones |= settings.pop("zones", {})
    return Dns(zones=zones, timeout=settings.pop("timeout", 3), **settings)


def check(records, dns):
    return asyncio.run(dns_check.check(records, dns))


def verdict(dns, record=KEY):
    (found,) = check([record], dns)
    return found.verdict, found.detail


@pytest.fixture
def server():
    with Nameserver({"example.com": HELD}) as running:
        yield running


@pytest.fixture
def other():
    with Nameserver({"example.com": HELD}) as running:
        yield running


def test_desired_record_at_every_server_is_ok(server, other):
    (found,) = check([KEY], dns_of(server, other))
    assert found.verdict == "ok"
    assert found.detail == ""
    assert [answer.finding.verdict for answer in found.servers] == ["ok", "ok"]
    assert [answer.finding.ttl for answer in found.servers] == [60, 60]


def test_each_server_is_asked_over_udp_and_tcp(server, other):
    check([KEY], dns_of(server, other))
    for asked in (server, other):
        assert sorted(asked.asked) == [("tcp", KEY.name, "TXT"), ("udp", KEY.name, "TXT")]


@pytest.mark.parametrize(
    ("zone", "detail", "negative"),
    [
        ("", "the name does not exist", 30),
        ("x.s1._domainkey 60 TXT x", "the name has no TXT record", 30),
    ],
)
def test_missing_record_has_its_negative_ttl(zone, detail, negative):
    with Nameserver({"example.com": zone}) as server:
        (found,) = check([KEY], dns_of(server))
    assert found.verdict == "missing"
    assert detail in found.detail
    assert found.negative_ttl == negative


BELOW = key_record("mail.example.com", "s1", "rsa", "MIIBkey")
SPF = spf_record("example.com", "v=spf1 -all")


@pytest.mark.parametrize(
    ("record", "zone", "detail"),
    [
        (
            KEY,
            HELD.replace("_domainkey", "_domainkey.example.com"),
            "s1._domainkey.example.com.example.com: enter the name without .example.com",
        ),
        (
            BELOW,
            HELD.replace("_domainkey", "_domainkey.mail.example.com"),
            "s1._domainkey.mail.example.com.example.com: enter the name without .example.com",
        ),
        (SPF, 'example.com 60 TXT "v=spf1 -all"\n', "example.com.example.com: enter @ as the name"),
    ],
)
def test_record_at_the_doubled_name_of_a_panel_is_named(record, zone, detail):
    with Nameserver({"example.com": zone}) as server, Nameserver({"example.com": zone}) as other:
        (found,) = check([record], dns_of(server, other))
    assert found.verdict == "missing"
    for answer in found.servers:
        assert answer.finding.detail.endswith(f"; the record is at {detail}")


@pytest.mark.parametrize(
    ("record", "zone"),
    [
        (KEY, 's1._domainkey.example.com 60 TXT "v=DKIM1; k=rsa; t=s; p=MIIBother"\n'),
        (SPF, '* 60 TXT "v=spf1 -all"\n'),
    ],
    ids=["another key", "a wildcard"],
)
def test_other_record_at_the_doubled_name_is_not_named(record, zone):
    with Nameserver({"example.com": zone}) as server:
        result, detail = verdict(dns_of(server), record)
    assert result == "missing"
    assert "the record is at" not in detail


def test_server_that_lags_behind_is_not_asked_for_the_doubled_name(server):
    with Nameserver({"example.com": ""}) as late:
        assert verdict(dns_of(server, late))[0] == "inconsistent"
    assert {name for _, name, rtype in late.asked if rtype == "TXT"} == {KEY.name}


def test_missing_record_of_the_longest_name_has_no_doubled_name():
    domain = ".".join(["a" * 60] * 3 + ["b" * 44, "example.com"])
    record = key_record(domain, "s", "rsa", "MIIBkey")
    with Nameserver({"example.com": ""}) as server:
        assert verdict(dns_of(server), record)[0] == "missing"


@pytest.mark.parametrize(
    ("there", "how"),
    [
        ("v=DKIM1; k=rsa; t=s; p=MIIBother", "p= is another key"),
        ("v=DKIM1; k=rsa; t=s; p=", "p= is empty: the key is revoked there"),
        ("v=DKIM1; k=rsa; t=s; p=MIIB", "p= is cut off after 4 of 7 characters"),
        ("v=DKIM1; k=rsa; t=y; p=MIIBkey", "t= has y"),
        ("v=DKIM1; k=rsa; h=sha1; t=s; p=MIIBkey", "h= is sha1, without sha256"),
        ("google-site-verification", "it is google-site-verification"),
    ],
)
def test_different_record_has_the_difference_as_detail(there, how):
    with Nameserver({"example.com": f's1._domainkey 60 TXT "{there}"\n'}) as server:
        result, detail = verdict(dns_of(server))
    assert result == "different"
    assert how in detail


@pytest.mark.parametrize(
    ("there", "how"),
    [
        ("v=DKIM1; k=rsa; t=s; p=MIIB key", "white space in p="),
        ("v=DKIM1; k=rsa; p=MIIBkey", "t=s is missing"),
        ("v=DKIM1; k=rsa; t=s; n=x; p=MIIBkey", "n=x is there"),
        ("v=DKIM1;k=rsa;t=s;p=MIIBkey", "blanks"),
    ],
)
def test_record_with_the_same_meaning_is_ok_with_its_spelling_as_advice(there, how):
    with (
        Nameserver({"example.com": f's1._domainkey 60 TXT "{there}"\n'}) as server,
        Nameserver({"example.com": f's1._domainkey 60 TXT "{there}"\n'}) as other,
    ):
        result, detail = verdict(dns_of(server, other))
    assert result == "ok"
    assert detail.startswith("written differently: ")
    assert how in detail


def test_two_records_at_a_key_are_duplicate():
    with Nameserver({"example.com": f"{HELD}s1._domainkey 60 TXT x\n"}) as server:
        result, detail = verdict(dns_of(server))
    assert result == "duplicate"
    assert "one of them as desired" in detail


def test_other_texts_beside_spf_do_not_matter():
    spf = spf_record("example.com", "v=spf1 -all")
    zone = '@ 60 TXT "v=spf1 -all"\n@ 60 TXT "v=spf10 other"\n'
    with Nameserver({"example.com": zone}) as server:
        assert verdict(dns_of(server), spf) == ("ok", "")


def test_second_spf_record_is_duplicate():
    spf = spf_record("example.com", "v=spf1 -all")
    with Nameserver({"example.com": '@ 60 TXT "v=spf1 -all"\n@ 60 TXT "v=spf1 mx"\n'}) as server:
        assert verdict(dns_of(server), spf)[0] == "duplicate"


def test_server_that_never_answers_is_no_answer(server, other):
    other.silent = {"udp", "tcp"}
    (found,) = check([KEY], dns_of(server, other, timeout=0.3))
    assert found.verdict == "no answer"
    assert [answer.finding.verdict for answer in found.servers] == ["ok", "no answer"]
    assert "no answer over UDP within 0.3 s" in found.detail


def test_silence_over_udp_is_no_answer(server):
    server.silent = {"udp"}
    result, detail = verdict(dns_of(server, timeout=0.3))
    assert result == "no answer"
    assert "over UDP: no answer" in detail
    assert ": ok" in detail


def test_case_34_server_that_refuses_tcp_is_advice(server):
    with Nameserver({"example.com": HELD}, closed={"tcp"}) as udp_only:
        result, detail = verdict(dns_of(server, udp_only))
    assert result == "ok"
    assert f"{udp_only}: ok: over TCP: no answer (the port is closed (TCP))" in detail
    assert "RFC 7766" in detail


def test_server_that_is_silent_over_tcp_is_advice(server):
    server.silent = {"tcp"}
    result, detail = verdict(dns_of(server, timeout=0.3))
    assert result == "ok"
    assert "over TCP: no answer" in detail


def test_truncated_answer_without_tcp_is_no_answer(server):
    server.truncates = True
    server.silent = {"tcp"}
    result, detail = verdict(dns_of(server, timeout=0.3))
    assert result == "no answer"
    assert "truncated" in detail


def test_closed_port_is_no_answer_at_once():
    with closed_port() as port:
        result, detail = verdict(dns_of(f"127.0.0.1@{port}", timeout=20))
    assert result == "no answer"
    assert "the port is closed (TCP)" in detail


def test_silent_server_is_given_up_after_five_questions(server):
    server.silent = {"udp"}
    records = [replace(KEY, name=f"s{number}.example.com") for number in range(40)]
    dns = dns_of(server, timeout=0.2, concurrency=2)
    found = check(records, dns)
    assert "no answer over UDP to 5 questions" in found[-1].detail
    assert sum(asked[0] == "udp" for asked in server.asked) < 20


@pytest.mark.parametrize("rcode", [dns.rcode.REFUSED, dns.rcode.SERVFAIL, dns.rcode.NOTAUTH])
def test_server_that_does_not_serve_the_zone_is_lame(server, rcode):
    server.rcode = rcode
    assert verdict(dns_of(server)) == (
        "lame",
        f"{server}: lame: the server is not authoritative for example.com: it answers "
        + dns.rcode.to_text(rcode),
    )


def test_answer_without_authority_is_lame(server):
    server.lame = True
    result, detail = verdict(dns_of(server))
    assert result == "lame"
    assert "its answer has no AA flag" in detail


def test_truncated_answer_over_udp_is_taken_from_tcp(server):
    server.truncates = True
    assert verdict(dns_of(server)) == ("ok", "")


@pytest.mark.parametrize("truncates", [False, True])
def test_server_that_lags_behind_is_named(truncates):
    with (
        Nameserver({"example.com": HELD}, serial=7) as server,
        Nameserver({"example.com": ""}, serial=5) as old,
    ):
        server.truncates = old.truncates = truncates
        (found,) = check([KEY], dns_of(server, old))
    assert found.verdict == "inconsistent"
    assert "its serial is 5, the newest 7" in found.detail
    assert [answer.serial for answer in found.servers] == [7, 5]


def test_serial_that_was_not_raised_is_named():
    with (
        Nameserver({"example.com": HELD}, serial=7) as server,
        Nameserver({"example.com": ""}, serial=7) as old,
    ):
        result, detail = verdict(dns_of(server, old))
    assert result == "inconsistent"
    assert "the same serial 7 has the record: the serial of example.com was not raised" in detail
    assert "pdnsutil set-meta example.com SOA-EDIT-API DEFAULT" in detail


def test_serials_that_wrapped_around_are_compared_as_rfc_1982_does():
    with (
        Nameserver({"example.com": HELD}, serial=3) as server,
        Nameserver({"example.com": ""}, serial=4294967290) as old,
    ):
        assert "the newest 3" in verdict(dns_of(server, old))[1]


def test_alias_within_the_zone_is_followed():
    zone = HELD.replace("s1._domainkey", "there") + "s1._domainkey 60 CNAME there\n"
    with Nameserver({"example.com": zone}) as server:
        assert verdict(dns_of(server)) == ("ok", "CNAME to there.example.com")


def test_alias_into_another_zone_is_followed_to_its_servers():
    with (
        Nameserver({"example.com": "s1._domainkey 60 CNAME k.example.net.\n"}) as server,
        Nameserver({"example.net": f'k 60 TXT "{KEY.value}"\n'}) as target,
    ):
        (found,) = check(
            [KEY], dns_of(server, zones={"example.net": Zone(nameservers=(str(target),))})
        )
    assert found.verdict == "ok"
    assert [answer.address for answer in found.servers] == [str(server), str(target)]


def test_alias_to_nothing_is_missing():
    with Nameserver({"example.com": "s1._domainkey 60 CNAME gone\n"}) as server:
        result, detail = verdict(dns_of(server))
    assert result == "missing"
    assert "CNAME to gone.example.com" in detail


@pytest.mark.parametrize("target", [HELD.replace("s1._domainkey", "there"), ""])
def test_alias_shows_for_how_long_resolvers_keep_it(target):
    with Nameserver({"example.com": f"{target}s1._domainkey 7200 CNAME there\n"}) as server:
        (found,) = check([KEY], dns_of(server))
    assert found.servers[0].finding.ttl == 7200


def test_aliases_in_a_circle_end():
    zone = "s1._domainkey 60 CNAME b\nb 60 CNAME s1._domainkey\n"
    with Nameserver({"example.com": zone}) as server:
        assert verdict(dns_of(server))[0] == "different"


def test_delegations_cname_is_checked_by_itself():
    cname, second = delegation_records("example.com", Delegation("example.net", ("s1", "s2")))
    zone = (
        "s1._domainkey 60 CNAME s1._domainkey.example.com.example.net.\n"
        "s2._domainkey 60 CNAME elsewhere.\n"
    )
    with Nameserver({"example.com": zone}) as server:
        found = check([cname, second], dns_of(server))
    assert [one.verdict for one in found] == ["ok", "different"]
    assert "the CNAME points to elsewhere" in found[1].detail


def test_referral_to_a_zone_below_is_followed(monkeypatch):
    below = {"_domainkey.example.com": HELD.replace("s1._domainkey", "s1")}
    zone = "_domainkey 60 NS ns._domainkey\nns._domainkey 60 A 127.0.0.1\n"
    with Nameserver(below) as child, Nameserver({"example.com": zone}) as server:
        # Glue implies port 53, where the servers of this test do not listen.
        ported = {53: child.port, server.port: server.port}
        monkeypatch.setattr(
            zones,
            "_reachable",
            lambda name, endpoints: zones.Nameserver(
                name, tuple(replace(endpoint, port=ported[endpoint.port]) for endpoint in endpoints)
            ),
        )
        dns = Dns(zones={"example.com": Zone(nameservers=(str(server),))}, timeout=3)
        (found,) = check([KEY], dns)
    assert found.verdict == "ok"
    assert found.zone == "_domainkey.example.com"
    assert child.asked


def test_zone_of_the_settings_is_asked_first():
    below = {"_domainkey.example.com": HELD.replace("s1._domainkey", "s1")}
    with Nameserver(below) as child:
        assert verdict(dns_of(child, zone="_domainkey.example.com")) == ("ok", "")


def test_zone_that_no_resolver_knows_is_reported_and_other_zones_are_checked(server):
    with Nameserver({"example.net": ""}) as resolver:
        lost = key_record("example.org", "s1", "rsa", "MIIB")
        dns = dns_of(server, resolver=(str(resolver),))
        found = check([lost, KEY], dns)
    assert [one.verdict for one in found] == ["no zone", "ok"]
    assert "no resolver answers for the NS of example.org" in found[0].detail
    assert "REFUSED" in found[0].detail


def test_record_is_unchecked_if_no_resolver_answers(server):
    with closed_port() as port:
        dns = dns_of(server, resolver=(f"127.0.0.1@{port}",), timeout=1)
        found = check([key_record("example.org", "s1", "rsa", "MIIB"), KEY], dns)
    assert [one.verdict for one in found] == ["unchecked", "ok"]
    assert "no resolver answers for the NS of example.org" in found[0].detail
    assert "the port is closed" in found[0].detail
    assert "set dkim:dns:resolver" in found[0].detail


def test_resolver_is_asked_for_servers_and_never_for_the_record():
    zone = f"{HELD}ns 60 A 127.0.0.1\n"
    with Nameserver({"example.com": zone}) as resolver:
        dns = Dns(resolver=(str(resolver),), timeout=3)
        (found,) = check([KEY], dns)
        # The NS record implies port 53, where the fake server does not listen.
        assert found.verdict in ("no answer", "lame")
        assert {(name, kind) for _, name, kind in resolver.asked} == {
            ("example.com", "NS"),
            ("ns.example.com", "A"),
            ("ns.example.com", "AAAA"),
        }


def test_subdomain_without_a_zone_is_in_the_parent_zone():
    record = key_record("mail.example.com", "s1", "rsa", "MIIB")
    with Nameserver({"example.com": "mail 60 MX 1 x\nns 60 A 127.0.0.1\n"}) as resolver:
        (found,) = check([record], Dns(resolver=(str(resolver),), timeout=3))
    assert found.zone == "example.com"
    assert not any(name.startswith("s1.") for _, name, _ in resolver.asked)


def test_record_without_a_result_at_the_deadline_is_unchecked(server):
    server.silent = {"udp", "tcp"}
    dns = replace(dns_of(server, timeout=30), deadline=0.2)
    assert verdict(dns) == ("unchecked", "not within 0.2 s (dkim:dns:deadline)")


class Validator(Nameserver):
    """A resolver whose validation fails."""

    def answer(self, wire, transport):
        checking_disabled = wire[3] & 0x10
        self.rcode = None if checking_disabled else dns.rcode.SERVFAIL
        return super().answer(wire, transport)


def test_dnssec_failure_at_the_validating_resolver_is_bogus(server):
    with Validator({"example.com": HELD}) as validator:
        result, detail = verdict(dns_of(server, validator=str(validator)))
    assert result == "bogus"
    assert "returns it without validation" in detail


def test_dnssec_failure_at_the_resolver_is_reported():
    with Validator({"example.com": ""}) as resolver:
        result, detail = verdict(Dns(resolver=(str(resolver),), timeout=1))
    assert result == "no zone"
    assert "SERVFAIL, and an answer without validation: the zone's DNSSEC is bogus" in detail


def test_validator_is_asked_only_if_every_server_has_the_record(server):
    with (
        Nameserver({"example.com": ""}) as old,
        Nameserver({"example.com": HELD}) as validator,
    ):
        assert verdict(dns_of(server, old, validator=str(validator)))[0] == "inconsistent"
        assert validator.asked == []


def test_refusal_of_the_validator_is_reported(server):
    with Nameserver({"example.com": HELD}) as validator:
        validator.rcode = dns.rcode.REFUSED
        (found,) = check([KEY], dns_of(server, validator=str(validator)))
    assert (found.verdict, found.validator) == ("ok", "REFUSED")


def test_order_of_the_records_is_kept(server):
    absent = Record("a.example.com", "TXT", 1, "x", "dkim", "example.com", "a")
    found = check([absent, KEY, absent], dns_of(server))
    assert [one.verdict for one in found] == ["missing", "ok", "missing"]


def test_check_without_records_returns_nothing():
    assert check([], Dns()) == []


def test_negative_ttl_of_a_zone_is_read_once_for_all_records():
    others = [key_record("example.com", f"x{number}", "rsa", "MIIB") for number in range(5)]
    names = "".join(f'{one.selector}._domainkey 60 TXT "{one.value}"\n' for one in others)
    with Nameserver({"example.com": HELD + names}) as server:
        found = asyncio.run(dns_check.check([KEY, *others], dns_of(server), zone_times=True))
    assert {(one.verdict, one.negative_ttl) for one in found} == {("ok", 30)}
    assert [asked for asked in server.asked if asked[2] == "SOA"] == [("udp", "example.com", "SOA")]


def test_negative_ttl_without_an_answer_is_unknown():
    with closed_port() as port:
        silent = dns_of(f"127.0.0.1@{port}")
        (found,) = asyncio.run(dns_check.check([KEY], silent, zone_times=True))
    assert (found.verdict, found.negative_ttl) == ("no answer", None)


def test_ttl_of_a_wrong_record_is_reported():
    with Nameserver({"example.com": "s1._domainkey 77 TXT x\ns1._domainkey 77 TXT y\n"}) as server:
        (found,) = check([KEY], dns_of(server))
    assert [answer.finding.ttl for answer in found.servers] == [77]
