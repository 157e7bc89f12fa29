"""Names are accepted by the rules of DNS and RFC 6376, and stored in one form."""

import pytest
from dkim_formula import names
from dkim_formula.errors import InvalidValue
from hypothesis import example, given, strategies


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("example.com", "example.com"),
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("3com.com", "3com.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("例え。jp", "xn--r8jz45g.jp"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 62] * 4) + ".x", ".".join(["a" * 62] * 4) + ".x"),
    ],
)
def test_domain_is_stored_as_lower_case_a_labels(given, stored):
    assert names.domain_name(given) == stored


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        " ",
        "exa mple.com",
        "example.com\n",
        ".example.com",
        "example..com",
        "example.com..",
        "-example.com",
        "example-.com",
        "exa_mple.com",
        "example.com/x",
        "a" * 64 + ".example",
        "ü" * 62 + ".example",
        ".".join(["a" * 62] * 4) + ".xy",
        "x" * 100_000,
        "ü" * 100_000,
        "192.0.2.1",
        "xn--a.example",
        "xn--zzzzzz.example",
        "☃.example",
        "\ud800.example",
        "*.example.com",
        None,
        True,
        3,
        ["example.com"],
        b"example.com",
    ],
)
def test_invalid_domain_is_refused(given):
    with pytest.raises(InvalidValue, match=r"^here: ") as caught:
        names.domain_name(given, "here")
    assert caught.value.where == "here"


@pytest.mark.parametrize(
    ("given", "stored"),
    [("default", "default"), ("S2026", "s2026"), ("a.b-c.d", "a.b-c.d"), ("1", "1")],
)
def test_selector_is_labels_joined_by_dots(given, stored):
    assert names.selector(given) == stored


@pytest.mark.parametrize(
    "given", ["", "a b", "a_b", "-a", "a-", "a..b", ".a", "a.", "ä", "a" * 64, 2026, True, None]
)
def test_invalid_selector_is_refused(given):
    with pytest.raises(InvalidValue, match=r"^selector: "):
        names.selector(given)


def test_error_of_a_numeric_selector_says_to_quote_it():
    with pytest.raises(InvalidValue, match="quote it"):
        names.selector(2026)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("postmaster@example.com", "postmaster@example.com"),
        ("First.Last+tag@EXAMPLE.com", "First.Last+tag@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
    ],
)
def test_address_keeps_its_local_part(given, stored):
    assert names.email_address(given) == stored


@pytest.mark.parametrize(
    "given",
    [
        "",
        "a",
        "@example.com",
        "a@",
        "a@b@example.com",
        "*@example.com",
        "a b@example.com",
        '"a"@example.com',
        "a..b@example.com",
        ".a@example.com",
        "ä@example.com",
        "a" * 65 + "@example.com",
        "A <a@example.com>",
        None,
        1,
    ],
)
def test_invalid_plain_address_is_refused(given):
    with pytest.raises(InvalidValue, match=r"^address: "):
        names.email_address(given)


@given(
    strategies.one_of(
        strategies.text(max_size=70),
        strategies.from_regex(r"\A[a-zA-Z0-9.-]{1,80}\Z"),
        strategies.from_regex(r"\A([a-z0-9-]{1,64}\.){1,5}(xn--)?[a-z0-9-]{1,64}\Z"),
    )
)
@example("xn--a.example")
@example("xn--bcher-kva.example")
@example("a.1")
@example("a" * 64 + ".example")
@example("a.\n")
@example("a_b.example")
def test_mail_domain_is_served_in_its_stored_form(text):
    try:
        stored = names.mail_domain(text)
    except InvalidValue:
        return
    assert names.is_served(stored) or len(stored) > 240
    assert names.mail_domain(stored) == stored


@given(strategies.text(max_size=70) | strategies.from_regex(r"\A[ A-Za-z0-9._-]{1,80}\Z"))
def test_stored_name_is_served_or_has_a_problem(text):
    problem = names.domain_problem(text)
    assert bool(problem) is not names.is_served(text)
    assert "\n" not in problem


@given(strategies.text(max_size=70) | strategies.from_regex(r"\A[ A-Za-z0-9._-]{1,80}\Z"))
def test_stored_selector_has_a_name_in_dns_or_has_a_problem(text):
    problem = names.selector_problem(text)
    assert problem or names.selector_in_dns(text) == text
    assert "\n" not in problem


@pytest.mark.parametrize("name", ["my_host.example", "_x.example", "a-.example", "xn--a.example"])
def test_existing_name_that_opendkim_finds_is_served(name):
    assert names.is_served(name)
    with pytest.raises(InvalidValue):
        names.domain_name(name)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("*", "delete the row"),
        (".odd.example", "delete the row, or correct the name"),
        (" odd.example", "store it as 'odd.example'"),
        ("b\u00fccher.example", "store it as 'xn--bcher-kva.example'"),
        ("Example.com", "store it as 'example.com'"),
        ("dot.example.", "store it as 'dot.example'"),
        ("ALL", "where mail is sent from it, store it as 'all'"),
        ("192.0.2.1", "ends in a number"),
        ("", "delete the row"),
        ("a\nb.example", "delete the row"),
        (".".join(["a" * 60] * 4), "too long for a key record below it"),
    ],
)
def test_problem_of_a_name_that_opendkim_never_finds_has_a_remedy(name, remedy):
    assert remedy in names.domain_problem(name)


@pytest.mark.parametrize(
    ("glob", "matching", "other"),
    [
        ("*.example.com", "mail.example.com", "example.com"),
        ("MAIL?.example", "mail1.example", "mail12.example"),
        ("mün*", "münchen.example", "xn--mnchen-3ya.example"),
        # The domain of a row that another tool wrote.
        ("[192.0.2.*]", "[192.0.2.1]", "1"),
    ],
)
def test_glob_matches_domains(glob, matching, other):
    found = names.domain_glob(glob)
    assert found.match(matching)
    assert not found.match(other)


@pytest.mark.parametrize(
    ("given", "spellings"),
    [
        ("example.com", ("example.com",)),
        ("example.com.", ("example.com.", "example.com")),
        ("Example.com", ("Example.com", "example.com")),
        ("bücher.example", ("bücher.example", "xn--bcher-kva.example")),
        ("my host", ("my host",)),
        ("", ("",)),
        ("=example.com.", ("example.com.",)),
        ("=bücher.example", ("bücher.example",)),
        ("=", ("",)),
    ],
)
def test_row_of_a_domain_may_have_the_name_as_given(given, spellings):
    assert names.row_spellings(given) == spellings


@pytest.mark.parametrize("value", [None, 5, "a\0b"])
def test_other_value_than_a_text_names_no_row(value):
    with pytest.raises(InvalidValue):
        names.row_spellings(value)


@pytest.mark.parametrize("value", ["example.com", "", None, 5, "[a-z].example"])
def test_text_without_a_wildcard_is_no_glob(value):
    assert names.domain_glob(value) is None


@pytest.mark.parametrize(
    ("domain", "readable"),
    [
        ("xn--mnchen-3ya.example", "münchen.example"),
        ("example.com", "example.com"),
        ("xn--a.example", "xn--a.example"),
        ("xn--\033.example", "xn--\033.example"),
        ("", ""),
    ],
)
def test_domain_is_readable_in_its_own_letters(domain, readable):
    assert names.u_labels(domain) == readable


@given(strategies.text())
def test_every_stored_domain_has_a_readable_form(text):
    assert isinstance(names.u_labels(f"xn--{text}"), str)
