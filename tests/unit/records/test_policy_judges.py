"""Independent parsers read the policies of the pillar with the meaning that the formula has."""

import checkdmarc.dmarc
import checkdmarc.mta_sts
import checkdmarc.smtp_tls_reporting
import pytest
import yaml
from dkim_formula.records import dmarc_record, mta_sts_policy, mta_sts_record, tls_rpt_record
from dkim_formula.settings import read
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import ROOT, examples, odd_text, odd_value

pytestmark = pytest.mark.one_release

NAME = "example.com"


def reading(settings):
    return read({"domains": {NAME: settings}})


def domain(settings):
    found = reading(settings)
    assert found.problems == ()
    return found.settings.domains[NAME]


def case(name):
    text = (ROOT / "tests" / "cases" / "records" / name).read_text()
    found = read(yaml.safe_load(text)["dkim"])
    assert found.problems == ()
    return found.settings.domains[NAME]


def uris_of(record):
    parsed = checkdmarc.smtp_tls_reporting.parse_smtp_tls_reporting_record(record.value)
    return parsed["tags"]["rua"]["value"]


@pytest.fixture(autouse=True)
def no_look_ups(monkeypatch):
    """Replace checkdmarc's question whether a receiver accepts reports: no query is sent."""
    monkeypatch.setattr(checkdmarc.dmarc, "verify_dmarc_report_destination", lambda *_, **__: None)
    hosts = [{"hostname": "mx", "preference": 10}]
    monkeypatch.setattr(checkdmarc.dmarc, "get_mx_records", lambda *_, **__: hosts)


def test_case_30_policy_with_mode_none_needs_no_hosts():
    policy = case("30-mta-sts-none.yaml").mta_sts
    text = mta_sts_policy(policy)
    assert "mx:" not in text
    parsed = checkdmarc.mta_sts.parse_mta_sts_policy(text)["policy"]
    assert parsed == {"version": "STSv1", "mode": "none", "max_age": 86400, "mx": []}


def test_case_31_comma_separated_addresses_are_two():
    found = case("31-tls-rpt-list.yaml")
    assert found.dmarc.rua == ("d@example.com", "d@example.net")
    assert uris_of(tls_rpt_record(NAME, found.tls_rpt)) == [
        "mailto:tls@example.com",
        "mailto:tls@example.net",
    ]


@pytest.mark.parametrize("mode", ["enforce", "testing", None])
def test_policy_in_force_needs_hosts(mode):
    (said,) = reading({"mta_sts": {"mode": mode}}).problems
    assert said == (
        "dkim:domains:example.com:mta_sts:mx: is missing; name the hosts that take the "
        "domain's mail"
    )


def test_hosts_of_a_policy_with_mode_none_are_checked():
    (said,) = reading({"mta_sts": {"mode": "none", "mx": "a b"}}).problems
    assert said.startswith("dkim:domains:example.com:mta_sts:mx: 'a b'")


@pytest.mark.parametrize(
    "uri",
    [
        "https://[",
        "https://example.com:port/",
        "https://user:pass@example.com/",
        "https://example.com/a b",
        "https://example.com/%zz",
        "https:///x",
        "https://192.0.2.1/",
        "https://r.example/a,b",
        "a@example.com!10m",
        {"a": 1},
        ["a@example.com", None],
    ],
)
def test_wrong_report_uri_is_refused(uri):
    found = reading({"tls_rpt": uri}).problems
    assert found
    assert all(text.startswith("dkim:domains:example.com:tls_rpt: ") for text in found)


@pytest.mark.parametrize(
    ("dmarc", "said"),
    [
        ({"fo": "0:2"}, "is not a failure option"),
        ({"rua": "d@example.com!10m"}, "has the size limit '!10m', which RFC 9989 removed"),
        ({"rua": ["d@example.com", 5]}, "5 is not an address"),
        ({"rua": {"d@example.com": 1}}, "a mapping is not an address"),
        ({"policy": "rejekt"}, "did you mean 'reject'?"),
        ({"policy": False}, "false is not a choice"),
    ],
)
def test_wrong_dmarc_is_refused_in_words(dmarc, said):
    (problem,) = reading({"dmarc": dmarc}).problems
    assert said in problem


@pytest.mark.parametrize("fo", ["0:1:d:s", ["d", 0, 1]])
def test_failure_options_of_rfc_7489_become_those_of_rfc_9989_with_advice(fo):
    found = reading({"dmarc": {"fo": fo, "ruf": "a@example.com"}})
    assert found.problems == ()
    assert any("has both 0 and 1" in advice for advice in found.advice)
    assert "0" not in found.settings.domains[NAME].dmarc.fo


@pytest.mark.parametrize("mode", ["none", "None"])
@pytest.mark.parametrize("hosts", [[], None])
def test_empty_list_of_hosts_is_as_absent_with_mode_none(mode, hosts):
    assert domain({"mta_sts": {"mode": mode, "mx": hosts}}).mta_sts.mx == ()


@pytest.mark.parametrize("mode", ["enforce", None])
def test_empty_list_of_hosts_is_refused_with_a_policy_in_force(mode):
    assert reading({"mta_sts": {"mode": mode, "mx": []}}).problems


def test_keywords_of_a_policy_are_case_insensitive():
    found = domain(
        {"dmarc": {"policy": "Quarantine", "psd": "N", "fo": "D:S", "ruf": "a@b.example"}}
    )
    assert (found.dmarc.policy, found.dmarc.psd, found.dmarc.fo) == ("quarantine", "n", "d:s")
    assert domain({"mta_sts": {"mode": "NONE"}}).mta_sts.mode == "none"


def test_mailto_uri_is_read_as_one():
    assert domain({"tls_rpt": "mailto:a%2Bb@example.com"}).tls_rpt == ("mailto:a+b@example.com",)
    assert domain({"dmarc": {"rua": "MAILTO:a%21b@example.com"}}).dmarc.rua == ("a!b@example.com",)


LOCAL = st.text(st.sampled_from("aB9!#$%&'*+-/=?^_`{|}~"), min_size=1, max_size=8)
ADDRESSES = st.builds("{}@{}".format, LOCAL, st.sampled_from(["example.com", "Sub.Example.NET."]))
HTTPS = st.builds("https://r.example/{}".format, st.text(st.sampled_from("a/?,;!%&=~"), max_size=6))
PIECES = ADDRESSES | HTTPS | ADDRESSES.map("mailto:{}".format) | odd_text() | odd_value()
LISTS = st.lists(PIECES, max_size=4)
TEXTS = LISTS.map(lambda given_: ", ".join(one for one in given_ if isinstance(one, str)))


@examples(200)
@given(LISTS | TEXTS | PIECES)
def test_judge_reads_every_accepted_report_address(value):
    found = reading({"tls_rpt": value})
    uris = found.settings.domains[NAME].tls_rpt
    assert bool(found.problems) <= (not uris)
    if uris:
        assert uris_of(tls_rpt_record(NAME, uris)) == [*uris]


DMARC_VALUES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ("policy", "subdomain_policy", "nonexistent_policy"),
            st.sampled_from(["none", "Reject", "quarantine", "no", False]) | odd_value(),
        ),
        "rua": LISTS | TEXTS,
        "ruf": LISTS | TEXTS,
        "adkim": st.sampled_from(["r", "S", "strict"]) | odd_value(),
        "fo": st.sampled_from(["0", "1:d:s", "d:S", 1, [0, "s"], "0:1", ["1", "1"]]) | odd_value(),
        "psd": st.sampled_from(["y", "N", "u", True]) | odd_value(),
        "testing": st.sampled_from(["y", "off", True]) | odd_value(),
    },
)


@examples(200)
@given(DMARC_VALUES)
def test_judge_reads_every_accepted_dmarc_policy(value):
    found = reading({"dmarc": value})
    policy = found.settings.domains[NAME].dmarc
    tags = checkdmarc.dmarc.parse_dmarc_record(dmarc_record(NAME, policy).value, NAME)["tags"]
    assert tags["p"]["value"] == policy.policy
    assert tags["t"]["value"] == ("y" if policy.testing else "n")
    if policy.fo:
        assert tags["fo"]["value"] in (policy.fo, policy.fo.split(":"))
    assert len(tags.get("rua", {"value": ()})["value"]) == len(policy.rua)


@examples(200)
@given(
    st.sampled_from(["enforce", "testing", "none", "None"]) | odd_value(),
    LISTS | st.sampled_from(["mx.example.com", "*.Example.com.", "*", "192.0.2.1"]) | odd_text(),
    st.integers(-1, 31557601) | odd_value(),
)
def test_judge_reads_every_accepted_mta_sts_policy(mode, hosts, max_age):
    found = reading({"mta_sts": {"mode": mode, "mx": hosts, "max_age": max_age}})
    policy = found.settings.domains[NAME].mta_sts
    if policy is None:
        assert found.problems
        return
    parsed = checkdmarc.mta_sts.parse_mta_sts_policy(mta_sts_policy(policy))["policy"]
    assert (parsed["mode"], parsed["mx"]) == (policy.mode, [*policy.mx])
    checkdmarc.mta_sts.parse_mta_sts_record(mta_sts_record(NAME, policy).value)
