"""SPF values are refused if receivers would refuse them; pyspf is the judge."""

import pytest
from dkim_formula.settings import read
from hypothesis import example, given
from hypothesis import strategies as st
from support import spf_judge
from support.fuzz import ROOT, examples

pytestmark = pytest.mark.one_release

CASES = [
    line.split("\t", 1)
    for line in (ROOT / "tests" / "cases" / "records" / "spf.txt").read_text().splitlines()
]


def reading(value):
    return read({"domains": {spf_judge.DOMAIN: {"spf": value}}})


def problems(value):
    return reading(value).problems


def record(value):
    return reading(value).settings.domains[spf_judge.DOMAIN].spf


def values(number):
    return [value for case, value in CASES if case == str(number)]


def named(number, *terms):
    """Assert that the only value of a case is refused and each of these terms is named."""
    (value,) = values(number)
    found = problems(value)
    assert [term for term in terms if any(f": '{term}' " in text for text in found)] == [*terms]
    assert len(found) == len(terms)
    assert all(text.startswith("dkim:domains:example.com:spf: ") for text in found)
    return "\n".join(found)


def test_case_24_address_instead_of_a_name_is_refused():
    assert "an address as ip4:" in named(24, "a:192.0.2.1")


def test_case_25_netmask_instead_of_a_length_is_refused():
    assert "'255.255.255.0'" in named(25, "ip4:192.0.2.0/255.255.255.0")


def test_case_26_macro_for_explanations_is_refused_in_terms():
    assert "section 7.2" in named(26, "exists:%{c}.example.net")


def test_case_27_comma_between_terms_is_refused():
    said = named(27, "include:_spf.example.net,include:spf.example.org")
    assert "put a blank between two terms" in said


def test_case_28_more_than_ten_terms_that_ask_dns_are_refused():
    (value,) = values(28)
    (said,) = problems(value)
    assert "12 terms that ask DNS" in said
    assert "section 4.6.4" in said


@pytest.mark.parametrize(("value", "advice"), list(zip(values(29), ("5.1", "6.1"), strict=True)))
def test_case_29_terms_without_effect_are_accepted_with_advice(value, advice):
    found = reading(value)
    assert found.problems == ()
    assert record(value) == value
    assert any(f"(RFC 7208, section {advice})" in text for text in found.advice)


def test_case_63_length_with_a_leading_zero_is_refused():
    assert "without a leading zero" in named(63, "ip4:192.0.2.1/024")


def test_case_64_address_of_a_mail_host_is_refused():
    assert "ip4:" in named(64, "mx:192.0.2.1/24")


def test_case_54_mapping_is_refused_in_words():
    (said,) = problems({"mx": True})
    assert said == (
        "dkim:domains:example.com:spf: a mapping is not an SPF record; give its text, such as "
        "'v=spf1 mx -all', a list of its terms, or false for none"
    )


@pytest.mark.parametrize("number", sorted({case for case, _ in CASES}))
def test_judge_agrees_on_the_cases(number):
    for value in values(number):
        # Case 27 is an error only for a missing name, and the judge's resolver has every name.
        refused_by_the_judge = spf_judge.is_permanent_error(value) or number == "27"
        assert bool(problems(value)) == refused_by_the_judge


def test_every_wrong_term_is_named_at_once():
    assert len(problems("v=spf1 foo a/33 ip4:x all:y redirect= -all")) == 5


@pytest.mark.parametrize(
    "value", ["include:example.com -all", "redirect=Example.COM.", "mx include:%{d} ~all"]
)
def test_record_that_names_itself_is_refused(value):
    (said,) = problems(value)
    assert "names the record of example.com itself" in said
    assert spf_judge.is_permanent_error(f"v=spf1 {value}")


def of_domains(defaults=None, **domains):
    """Read a pillar with some domains below ``example``, each with its SPF or the default."""
    named = {
        f"{name}.example": {} if spf is None else {"spf": spf} for name, spf in domains.items()
    }
    return read({"defaults": {} if defaults is None else {"spf": defaults}, "domains": named})


RECURSION = "receivers treat that as a permanent error (RFC 7208, section 4.6.4)"


@pytest.mark.parametrize("second", ["include:a.example -all", "mx redirect=A.example."])
def test_records_that_include_each_other_are_refused(second):
    (said,) = of_domains(a="mx ?include:b.example -all", b=second).problems
    assert said == (
        "dkim:domains:a.example:spf: '?include:b.example' leads back to the record of a.example, "
        f"by b.example: {RECURSION}; remove the term, or one in the spf of b.example"
    )
    record = "v=spf1 mx ?include:b.example -all"
    others = {"b.example": f"v=spf1 {second.lower()}".replace("a.example", spf_judge.DOMAIN)}
    assert spf_judge.is_permanent_error(record, others)


def test_each_circle_of_records_is_named_once_at_a_record_of_its_own():
    found = of_domains(
        "include:d.example -all",
        a="include:b.example -all",
        b="include:c.example -all",
        c="include:a.example include:d.example -all",
        d="include:e.example -all",
        e=None,
        f=None,
    )
    assert sorted(said.partition(": rec")[0] for said in found.problems) == [
        "dkim:domains:a.example:spf: 'include:b.example' leads back to the record of a.example, by "
        "b.example, then c.example",
        "dkim:domains:d.example:spf: 'include:e.example' leads back to the record of d.example, by "
        "e.example",
    ]


def test_records_that_include_others_without_a_circle_are_accepted():
    found = of_domains(
        "include:a.example include:b.example -all",
        a="include:b.example include:c.example -all",
        b="include:c.example include:elsewhere.example -all",
        c="mx -all",
        **{"f": "include:a.example -all"},
    )
    assert found.problems == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"v=spf1 mx -all"', "has quotes in the value"),
        ("mx\u00a0-all", "has characters outside ASCII"),
        ("include:b\u00fccher.example -all", "has characters outside ASCII"),
        ("include:include:_spf.example.net -all", "no name server has"),
        ("include:https://spf.example.net -all", "no name server has"),
        ("a:mail..example.net -all", "a label or a length"),
        (f"a:{'a' * 64}.example.net -all", "a label or a length"),
        (f"a:{'a.' * 130}example.net -all", "a label or a length"),
        ("ip4:192.0.2.1;-all", "has no IPv4 address"),
        (["mx", {"a": 1}], "with a mapping in it is not an SPF record"),
        (["mx", None], "with null in it is not an SPF record"),
        (True, "true is not an SPF record"),
        (17, "17 is not an SPF record"),
        ("ip4:192.0.2.1 " * 6000, "is 83999 characters long"),
    ],
)
def test_each_wrong_value_has_its_own_message(value, said):
    found = problems(value)
    assert found
    assert all(said in text for text in found)


NAMES = ("all", "include", "exists", "a", "mx", "ptr", "ip4", "ip6", "redirect", "exp", "x", "v")
PIECES = (
    *("a", "mx", "Z9", "-", "_", ".", "..", ",", ";", ":", "/", "//", "=", "@", '"', "0", "24"),
    *("33", "024", "128", "129", "com", ".com", ".com.", "example.net", "_spf.example.net"),
    *("192.0.2.1", "192.0.2.0/24", "2001:db8::1", "::", "::ffff:192.0.2.1", "1::2:3:4:5:6:7:8"),
    *("%{d}", "%{i}", "%{ir}", "%{d2}", "%{l1r-}", "%{s}", "%{c}", "%{T}", "%{p}", "%{v}", "%{h}"),
    *("%{d0}", "%{x}", "%{", "}", "%", "%%", "%_", "%-", "%{d/}", "255.255.255.0", "fe80::1%eth0"),
)


GOOD_ARGUMENTS = (
    *("", "/24", "//64", ":a.example.net", ":b.example.net/24//64", ":%{i}._spf.example.net"),
    *(":192.0.2.0/24", ":2001:db8::/32", "=a.example.net", "=%{d2}.example.org", ":%{d2}/8"),
)


def arguments():
    good = st.sampled_from(GOOD_ARGUMENTS)
    odd = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
    separator = st.sampled_from(["", ":", "=", "/"])
    return good | st.builds(str.__add__, separator, odd)


def terms():
    signs = st.sampled_from(["", "", "+", "-", "~", "?", "=", "--"])
    cases = st.sampled_from([str, str, str.upper, str.title])
    name = st.builds(lambda case, name: case(name), cases, st.sampled_from(NAMES))
    return st.builds(lambda *parts: "".join(parts), signs, name, arguments())


@st.composite
def mutated(draw, value):
    """Return a text with some characters removed, inserted or doubled."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(value)))
        end = min(len(value), at + draw(st.integers(0, 3)))
        put = draw(st.sampled_from([*PIECES, " ", "  ", value[at:end] * 2, ""]))
        value = value[:at] + put + value[end:]
    return value


GOOD = (
    "mx a:mail.example.net/28 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:_spf.example.net -all",
    "exists:%{ir}.%{v}._spf.%{d2} redirect=_spf.example.org exp=explain._spf.%{d}",
    "ptr:example.net ?all",
    " ".join(f"include:s{n}.example.net" for n in range(10)) + " ~all",
    " ".join(f"a:s{n}.example.net" for n in range(9)) + " redirect=_spf.example.net x=%{d}",
)
RECORDS = st.lists(terms(), max_size=14).map(" ".join) | st.sampled_from(GOOD).flatmap(mutated)


@examples(400)
@given(RECORDS)
@example("a=b a=c")
@example("exists:%{d/}.example.net/24.example.net")
@example("a:%{d/}/24 -all")
@example("-all " + "mx " * 20)
@example("mx " * 10 + "-all redirect=a.example.net")
def test_the_same_values_are_refused_as_by_the_judge(value):
    # With the version: blanks have no meaning, and an empty value alone is refused.
    given_ = f"v=spf1 {value}"
    refused = problems(given_)
    if spf_judge.is_permanent_error(given_):
        assert refused
    else:
        # The formula may be stricter by a section of the RFC, or for an impossible name.
        assert all("RFC 7208, section" in text for text in refused)
    if not refused:
        assert record(given_).split() == ["v=spf1", *value.split()]
