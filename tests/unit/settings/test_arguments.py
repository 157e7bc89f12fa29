"""Arguments from a command line are converted to the intended type or refused with their name."""

import inspect

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.settings.arguments import check_arguments, milter
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples, odd_value


def function(domain=None, selector=None, algorithm=None, force=False, format=None, path=None):  # noqa: A002
    """Take the arguments that most execution functions take."""


def checked(typed=(), **given_):
    signature = inspect.signature(function)
    return check_arguments(signature, signature.bind(**given_), typed).arguments


def refusal(typed=(), **given_):
    with pytest.raises(InvalidValue) as caught:
        checked(typed, **given_)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"selector": 20261124}, {"selector": "20261124"}),
        ({"selector": " s2026 "}, {"selector": "s2026"}),
        ({"domain": " Example.COM. "}, {"domain": "Example.COM."}),
        ({"algorithm": " RSA"}, {"algorithm": "rsa"}),
        ({"force": "yes"}, {"force": True}),
        ({"force": "off"}, {"force": False}),
        ({"selector": None}, {"selector": None}),
        ({"path": 5}, {"path": 5}),
    ],
)
def test_argument_is_converted_to_its_type(given_, expected):
    assert checked(**given_) == expected


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"selector": 2026.1}, "selector: 2026.1 is what YAML makes of a text"),
        ({"selector": True}, "selector: true is not a selector"),
        ({"selector": -5}, "selector: -5 is not a selector"),
        ({"selector": ["s"]}, "selector: a list is not a selector"),
        ({"selector": " "}, "selector: ' ' is empty"),
        ({"selector": "s._domainkey.example.com"}, "give the part before ._domainkey"),
        ({"domain": "s._domainkey.example.com"}, "give the part after ._domainkey."),
        ({"domain": 1.5}, "domain: 1.5 is not a domain name"),
        ({"domain": {"a": 1}}, "domain: a mapping is not a domain name"),
        ({"domain": "a@example.com"}, "domain: 'a@example.com' is an address"),
        ({"domain": "https://example.com"}, "is a URL"),
        ({"force": "perhaps"}, "force: 'perhaps' is not a boolean; use true or false"),
        ({"force": 1}, "force: 1 is not a boolean"),
        ({"algorithm": 25519}, "algorithm: 25519 is not a word; use rsa or ed25519"),
        ({"format": ["bind"]}, "format: a list is not a word"),
    ],
)
def test_wrong_argument_is_refused_with_its_name(given_, message):
    assert message in refusal(**given_)


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        (83, "0123"),
        (31, "0x1f"),
        (2026.1, "2026.10"),
        (1000.0, "1e3"),
        (69620, "19:20:20"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "selector={}"])
def test_number_that_yaml_changed_is_refused_with_its_quoted_form(value, typed, form):
    message = refusal(["example.com", form.format(typed)], selector=value)
    assert f"selector=\"'{typed}'\"" in message


@pytest.mark.parametrize("form", ["20261124", "selector=20261124"])
def test_number_that_yaml_did_not_change_becomes_a_text(form):
    assert checked(["example.com", form], selector=20261124) == {"selector": "20261124"}


@examples(200)
@given(odd_value(), st.sampled_from([*inspect.signature(function).parameters]))
def test_any_value_is_accepted_or_refused_in_one_line(value, name):
    try:
        result = checked(**{name: value})[name]
    except InvalidValue as error:
        message = str(error)
        result = None
    else:
        message = f"{name}: "
    assert message.startswith(f"{name}: ")
    assert message.isprintable()
    if name in ("domain", "selector", "algorithm", "format"):
        assert result is None or isinstance(result, str)


@pytest.mark.parametrize(
    "address", ["unix:opendkim/opendkim.sock", "local:/run/opendkim.sock", "inet:[::1]:8891"]
)
def test_address_of_a_milter_is_returned(address):
    assert milter(address, "present") == address


@pytest.mark.parametrize("address", ["inet6:[::1]:8891", "tcp:localhost:8891", "unix:a b", "unix:"])
def test_address_that_postfix_does_not_read_is_refused(address):
    with pytest.raises(InvalidValue, match=r"present: .* is not a milter's address"):
        milter(address, "present")
