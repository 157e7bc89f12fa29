"""What a person types comes to a function as it was meant, or is refused with its name."""

import inspect

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.settings.arguments import as_meant
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples, odd_value


def function(domain=None, selector=None, algorithm=None, force=False, format=None, path=None):  # noqa: A002
    """Has the arguments that most functions have."""


def meant(typed=(), **given_):
    signature = inspect.signature(function)
    return as_meant(signature, signature.bind(**given_), typed).arguments


def refusal(typed=(), **given_):
    with pytest.raises(InvalidValue) as caught:
        meant(typed, **given_)
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
def test_argument_is_taken_as_it_was_meant(given_, expected):
    assert meant(**given_) == expected


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"selector": 2026.1}, "selector: 2026.1 is what YAML makes of a text"),
        ({"selector": True}, "selector: true is not a selector"),
        ({"selector": -5}, "selector: -5 is not a selector"),
        ({"selector": ["s"]}, "selector: a list is not a selector"),
        ({"selector": " "}, "selector: ' ' is empty"),
        ({"selector": "s._domainkey.example.com"}, "give what stands before ._domainkey"),
        ({"domain": "s._domainkey.example.com"}, "give what stands after ._domainkey."),
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
def test_wrong_argument_is_refused_with_its_name(given_, said):
    assert said in refusal(**given_)


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
def test_number_that_was_typed_otherwise_is_refused_with_what_to_quote(value, typed, form):
    said = refusal(["example.com", form.format(typed)], selector=value)
    assert f"selector=\"'{typed}'\"" in said


@pytest.mark.parametrize("form", ["20261124", "selector=20261124"])
def test_number_that_was_typed_so_is_taken(form):
    assert meant(["example.com", form], selector=20261124) == {"selector": "20261124"}


@examples(200)
@given(odd_value(), st.sampled_from([*inspect.signature(function).parameters]))
def test_any_value_is_taken_or_refused_in_a_line(value, name):
    try:
        taken = meant(**{name: value})[name]
    except InvalidValue as error:
        said = str(error)
        taken = None
    else:
        said = f"{name}: "
    assert said.startswith(f"{name}: ")
    assert said.isprintable()
    if name in ("domain", "selector", "algorithm", "format"):
        assert taken is None or isinstance(taken, str)
