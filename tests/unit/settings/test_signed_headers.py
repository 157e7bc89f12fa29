"""What SignHeaders, OmitHeaders and OversignHeaders of the pillar make of a signature."""

import pytest
from dkim_formula.settings import read, signed_headers
from dkim_formula.settings.lookup import DEFAULTS
from dkim_formula.settings.opendkim import SETTINGS
from dkim_formula.signer import config_check, config_options, daemons
from hypothesis import given
from hypothesis import strategies as st
from support import libopendkim
from support.fuzz import examples

needs_library = pytest.mark.skipif(
    libopendkim.library() is None, reason="libopendkim is not installed"
)
MESSAGE = {
    "From": "a@example.com",
    "Reply-To": "r@example.com",
    "To": "b@example.net",
    "Cc": "c@example.net",
    "Subject": "News",
    "Date": "Thu, 01 Jan 2026 00:00:00 +0000",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain",
    "Content-Transfer-Encoding": "7bit",
    "List-Id": "<news.example.com>",
    "Autocrypt": "x",
}
HEADERS = [f"{name}: {value}".encode() for name, value in MESSAGE.items()]


def pillar(options):
    return read({"domains": ["example.com"], "opendkim": {"settings": options}})


def oversigned(options):
    reading = pillar(options)
    assert reading.problems == ()
    written = config_options.options(reading.settings, daemons.daemon("rsa", DEFAULTS))
    return written["OversignHeaders"].split(",")


def is_valid(options, oversign):
    sign = signed_headers.entries_of(options.get("SignHeaders", list(signed_headers.SIGNED)))
    omit = signed_headers.entries_of(options.get("OmitHeaders", "*"))
    own, omitted = signed_headers.OWN, signed_headers.OMITTED
    return libopendkim.is_valid(
        HEADERS,
        signed_headers.selected(sign, own),
        oversign,
        signed_headers.selected(omit, omitted),
    )


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, list(signed_headers.OVERSIGNED)),
        ({"SignHeaders": ["From", "To", "Subject", "List-Unsubscribe"]}, "From Subject To"),
        (
            {"SignHeaders": "*,+autocrypt,+content-type"},
            "From Subject To Cc Date Reply-To Content-Type",
        ),
        ({"SignHeaders": ["*", "-Cc", "-TO"]}, "From Subject Date Reply-To"),
        ({"SignHeaders": ["Subject"]}, "From Subject"),
        ({"SignHeaders": "csl:to,SUBJECT"}, "From Subject To"),
        ({"SignHeaders": ["Content-*"]}, "From Content-Type Content-Transfer-Encoding"),
        (
            {"OmitHeaders": ["Reply-To", "M*"]},
            "From Subject To Cc Date Content-Type Content-Transfer-Encoding",
        ),
        ({"SignHeaders": ["To", "Cc"], "OmitHeaders": ["*", "+Cc"]}, "From To"),
        ({"OmitHeaders": "."}, list(signed_headers.OVERSIGNED)),
        ({"SignHeaders": "/etc/opendkim/headers"}, "From"),
        ({"SignHeaders": "file:/etc/opendkim/headers"}, "From"),
        ({"OmitHeaders": "refile:/etc/opendkim/headers"}, "From"),
    ],
)
def test_default_oversigns_only_what_the_options_sign(options, names):
    assert oversigned(options) == (names.split() if isinstance(names, str) else names)


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_headers_to_oversign_of_the_pillar_are_written_as_given(algorithm):
    options = {"SignHeaders": ["From", "To", "X-Own"], "OversignHeaders": ["From", "X-Own"]}
    settings = pillar(options).settings
    written = config_options.options(settings, daemons.daemon(algorithm, DEFAULTS))
    assert written["OversignHeaders"] == "From,X-Own"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (
            {"SignHeaders": ["From", "To"], "OversignHeaders": ["From", "Subject", "Cc"]},
            "Subject, Cc",
        ),
        ({"OversignHeaders": ["From", "X-Own"]}, "X-Own"),
        ({"OversignHeaders": "From,Received"}, "Received"),
        ({"OmitHeaders": ["To"], "OversignHeaders": ["From", "to"]}, "to"),
    ],
)
def test_header_that_is_oversigned_and_not_signed_is_refused(options, names):
    (problem,) = pillar(options).problems
    assert problem.startswith(f"{SETTINGS}:OversignHeaders: ")
    assert f"leave {names} unsigned" in problem


@needs_library
@pytest.mark.parametrize(
    "options", [{"SignHeaders": ["From", "To"]}, {"OmitHeaders": ["Reply-To"]}]
)
def test_signature_is_invalid_with_a_header_that_is_oversigned_and_not_signed(options):
    assert not is_valid(options, list(signed_headers.OVERSIGNED))
    assert is_valid(options, oversigned(options))


@pytest.mark.parametrize("omitted", ["From", ["*", "+from"], ["F*"]])
def test_omission_of_from_is_refused(omitted):
    (problem,) = pillar({"OmitHeaders": omitted}).problems
    assert problem.startswith(f"{SETTINGS}:OmitHeaders: omits From")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"SignHeaders": "From To Subject"}, "'From To Subject' is no header's name"),
        ({"SignHeaders": ["From", "X(", "To"]}, "'X(' is no header's name"),
        ({"SignHeaders": ["From", "+To"]}, "'+To' needs '*' in the same list"),
        ({"OmitHeaders": "-Bcc"}, "'-Bcc' needs '*' in the same list"),
        ({"SignHeaders": "*,autocrypt"}, "'autocrypt' has no effect beside '*'"),
        ({"OversignHeaders": ["*", "From"]}, "'*' is no header's name"),
        ({"OversignHeaders": ["+From"]}, "'+From' is no header's name"),
    ],
)
def test_list_that_the_daemon_would_misread_is_refused(options, message):
    (problem,) = pillar(options).problems
    assert message in problem


NAMES = st.sampled_from([*MESSAGE, "X-Missing", "Message-ID", "Content-*", "Received"])
DELTAS = st.lists(st.tuples(st.sampled_from("+-"), NAMES).map("".join), max_size=5)
LISTS = st.lists(NAMES, min_size=1, max_size=6) | DELTAS.map(lambda names: ["*", *names])


@needs_library
@examples(60, deadline=None)
@given(sign=st.none() | LISTS, omit=st.none() | LISTS)
def test_every_accepted_selection_signs_validly(sign, omit):
    options = {"SignHeaders": sign, "OmitHeaders": omit}
    options = {name: value for name, value in options.items() if value is not None}
    if not pillar(options).problems:
        assert is_valid(options, oversigned(options))


@needs_library
@examples(40, deadline=None)
@given(sign=LISTS, oversign=st.lists(st.sampled_from([*MESSAGE]), min_size=1, unique=True))
def test_refused_headers_to_oversign_are_those_with_invalid_signatures(sign, oversign):
    options = {"SignHeaders": sign, "OversignHeaders": oversign}
    assert is_valid(options, oversign) == (not pillar(options).problems)


def test_file_of_headers_is_compared_before_a_run(tmp_path):
    names = tmp_path / "headers"
    names.write_text("From # always\nTo\n\n")
    options = {"SignHeaders": str(names), "OversignHeaders": ["From", "Subject"]}
    settings = pillar(options).settings
    found = config_check.problems(settings, DEFAULTS)
    assert any(problem.startswith(f"{SETTINGS}:OversignHeaders: ") for problem in found)
    names.write_text("From\nTo\nSubject\n")
    assert not [one for one in config_check.problems(settings, DEFAULTS) if "Oversign" in one]
