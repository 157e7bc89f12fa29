"""SPF, TLS-RPT, MTA-STS, delegation and DNS settings are checked before anything is changed."""

import pytest
from dkim_formula.records import mta_sts_policy, mta_sts_record
from dkim_formula.settings import read
from dkim_formula.settings.model import Delegation, MtaSts


def reading(domain=None, **sections):
    return read({"domains": {"example.com": domain or {}}, **sections})


def problems(domain=None, **sections):
    return "\n".join(reading(domain, **sections).problems)


def advice(domain):
    found = reading(domain)
    assert found.problems == ()
    return "\n".join(found.advice)


def example(domain):
    found = reading(domain)
    assert found.problems == ()
    return found.settings.domains["example.com"]


@pytest.mark.parametrize(
    "given",
    [
        "v=spf1 mx -all",
        "mx -all",
        ["mx", "-all"],
        ["v=spf1", "mx", "-all"],
    ],
)
def test_spf_is_a_whole_record_or_a_list_of_terms(given):
    assert example({"spf": given}).spf == "v=spf1 mx -all"


@pytest.mark.parametrize(
    "term",
    [
        "a/24",
        "a:mail.example.com/24//64",
        "mx//64",
        "ip4:192.0.2.0/24",
        "ip6:2001:db8::/32",
        "include:_spf.example.net",
        "exists:%{ir}.%{v}._spf.%{d2}",
        "redirect=_spf.example.com",
        "exp=explain._spf.%{d}",
        "unknown=modifier",
        "?all",
        "ptr",
    ],
)
def test_terms_of_rfc_7208_are_accepted(term):
    assert example({"spf": term}).spf == f"v=spf1 {term}"


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("ipv4:192.0.2.1", "is not a mechanism"),
        ("ip4:192.0.2.300", "has no IPv4 address"),
        ("ip6:192.0.2.1", "has no IPv6 address"),
        ("include:", "lacks its domain"),
        ("include", "lacks its domain"),
        ("a/33", "prefix length"),
        ("-all:x", "takes no argument"),
        ("v=spf1", "is a second version"),
        ("a:%{z}.example", "has a domain that is not one"),
        ("a\u00fc", "is not a term"),
    ],
)
def test_malformed_terms_are_named(term, said):
    found = problems({"spf": f"v=spf1 mx {term} -all"})
    assert said in found
    assert "dkim:domains:example.com:spf" in found


@pytest.mark.parametrize(
    ("spf", "said"),
    [
        ("mx +all", "lets everybody send"),
        ("-all mx", "never read"),
        ("mx", "neither 'all' nor 'redirect='"),
        ("mx -all redirect=_spf.example.com", "redirect= is ignored"),
        ("mx op=auth default=deny -all", "default=, op= is no modifier that receivers know"),
        ("ptr -all", "'ptr' is slow"),
        (" ".join(f"ip4:192.0.2.{n}" for n in range(40)) + " -all", "may be truncated"),
    ],
)
def test_unwise_spf_is_advised_against(spf, said):
    assert said in advice({"spf": spf})


def test_ten_terms_that_ask_dns_are_accepted_and_terms_after_all_are_not_counted():
    spf = " ".join(f"include:a{n}.example" for n in range(10)) + " -all mx"
    assert "ask DNS" not in advice({"spf": spf})


def test_testing_is_advised_against():
    assert "as if it were unsigned" in advice({"testing": True})


def test_false_removes_an_inherited_policy():
    found = read(
        {
            "defaults": {"spf": "-all", "tls_rpt": "a@example.com", "mta_sts": {"mx": "m.example"}},
            "domains": {
                "a.example": {},
                "b.example": {"spf": False, "tls_rpt": False, "mta_sts": False},
            },
        }
    )
    assert found.problems == ()
    inherits, lacks = found.settings.domains.values()
    assert (inherits.spf, inherits.tls_rpt) == ("v=spf1 -all", ("mailto:a@example.com",))
    assert inherits.mta_sts == MtaSts(mx=("m.example",))
    assert (lacks.spf, lacks.tls_rpt, lacks.mta_sts) == (None, (), None)


def test_report_uris_are_encoded():
    uris = example({"tls_rpt": ["mailto:a!b@example.com", "https://r.example/a,b;c"]}).tls_rpt
    assert uris == ("mailto:a%21b@example.com", "https://r.example/a%2Cb%3Bc")


@pytest.mark.parametrize("uri", ["http://r.example/", "https://", "nobody", 5, []])
def test_invalid_report_uri_is_refused(uri):
    assert "dkim:domains:example.com:tls_rpt" in problems({"tls_rpt": uri})


def test_mta_sts_id_changes_exactly_with_the_policy():
    one, other = MtaSts(mx=("a.example",)), MtaSts(mx=("a.example",), mode="enforce")
    ids = [mta_sts_record("example.com", policy).value for policy in (one, one, other)]
    assert ids[0] == ids[1] != ids[2]
    assert mta_sts_policy(one) == (
        "version: STSv1\r\nmode: testing\r\nmx: a.example\r\nmax_age: 604800\r\n"
    )


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({}, "mta_sts:mx: is missing"),
        ({"mx": []}, "is empty"),
        ({"mx": "*.*.example"}, "mta_sts:mx"),
        ({"mx": "m.example", "mode": "enforced"}, "did you mean 'enforce'"),
        ({"mx": "m.example", "max_age": 31557601}, "out of range"),
        ({"mx": "m.example", "id": 1}, "the formula makes it"),
        ("m.example", "is not a policy"),
    ],
)
def test_wrong_mta_sts_is_refused(policy, said):
    assert said in problems({"mta_sts": policy})


def test_delegation_has_a_second_selector_for_each_key():
    domain = example({"delegation": "keys.example.net", "algorithm": ["rsa", "ed25519"]})
    assert domain.delegation == Delegation(
        "keys.example.net", ("default", "default-ed25519", "default-2", "default-ed25519-2")
    )


def test_delegations_own_selectors_are_kept_beside_the_keys():
    domain = example({"delegation": {"zone": "keys.example.net", "selectors": ["a", "b"]}})
    assert domain.delegation.selectors == ("default", "a", "b")


@pytest.mark.parametrize(
    ("delegation", "said"),
    [
        ({"zone": "x.example.com"}, "itself or below"),
        ({"zone": "example.com"}, "itself or below"),
        ({"zone": ".".join(["a" * 60] * 4)}, "a name has 253"),
        ({"zone": "k.example.net", "selectors": ["default"]}, "no selector to rotate to"),
        ({"selectors": ["a"]}, "delegation:zone: is missing"),
        (["k.example.net"], "is not a delegation"),
    ],
)
def test_wrong_delegation_is_refused(delegation, said):
    assert said in problems({"delegation": delegation})


def dns_problems(**dns):
    return problems(dns=dns)


def test_servers_may_have_ports():
    dns = reading(
        dns={
            "server": "192.0.2.53@5353",
            "resolver": ["2001:DB8::1", "192.0.2.1@53"],
            "zones": {"_domainkey.Example.com.": {"nameservers": "ns.example.com@5353"}},
        }
    ).settings.dns
    assert dns.server == "192.0.2.53@5353"
    assert dns.resolver == ("2001:db8::1", "192.0.2.1")
    assert dns.zones["_domainkey.example.com"].nameservers == ("ns.example.com@5353",)


@pytest.mark.parametrize(
    ("dns", "said"),
    [
        ({"server": "192.0.2.1@"}, "no port after the @"),
        ({"server": "192.0.2.1@70000"}, "no port after the @"),
        ({"resolver": "ns.example.com"}, "is not an IP address"),
        ({"validator": "ns.example.com"}, "is not an IP address"),
        ({"concurrency": 0}, "out of range"),
        ({"zones": ["example.com"]}, "a list is not zones"),
        ({"zones": {"exa mple": {}}}, "is not the name of a zone"),
        ({"zones": {"a.example": {}, "A.example.": {}}}, "is the same zone"),
        ({"zones": {"a.example": {"key": {"name": "k"}}}}, "zones:a.example:key:secret"),
        ({"zones": {"a.example": {"primary": "x"}}}, "unknown key"),
    ],
)
def test_wrong_dns_settings_are_refused(dns, said):
    assert said in dns_problems(**dns)


def test_secret_of_a_zone_is_never_shown():
    canary = "Y2FuYXJ5LXNlY3JldA=="
    found = reading(dns={"zones": {"a.example": {"key": {"name": "-", "secret": canary}}}})
    assert found.problems
    assert canary not in "\n".join(found.problems)
    assert canary not in repr(found.settings)
