"""``dkim:defaults`` and ``dkim:domains``: the desired state of each domain."""

import pytest
from dkim_formula.settings import read
from dkim_formula.settings.model import Address, Dmarc, Domain, KeyPlan


def settings_of(domains, defaults=None, **others):
    reading = read({"domains": domains, "defaults": defaults, **others})
    assert reading.problems == ()
    return reading.settings


def domain(settings=None, defaults=None):
    return settings_of({"example.com": settings}, defaults).domains["example.com"]


def problems(domains, defaults=None):
    return read({"domains": domains, "defaults": defaults}).problems


def only_problem(settings, defaults=None, name="example.com"):
    found = problems({name: settings}, defaults)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("value", [None, {}, True])
def test_domain_without_settings_has_the_defaults(value):
    assert domain(value) == Domain("example.com")


def test_domain_inherits_and_overrides_the_defaults():
    defaults = {"selector": "s1", "bits": 3072, "testing": True}
    found = domain({"bits": 4096}, defaults)
    assert found.keys == (KeyPlan("rsa", "s1", 4096),)
    assert found.testing is True


def test_defaults_are_read_as_a_template():
    found = settings_of({}, {"selector": "s1", "strict": False}).defaults
    assert found == Domain("*", keys=(KeyPlan("rsa", "s1"),), strict=False)


def test_names_of_domains_are_stored_as_a_labels():
    found = settings_of({"Bücher.Example": None, "example.com.": None})
    assert [*found.domains] == ["xn--bcher-kva.example", "example.com"]


def test_list_of_names_and_mappings_is_accepted():
    found = settings_of(["a.example", {"b.example": {"selector": "x"}}, {"c.example": False}, "*"])
    assert [*found.domains] == ["a.example", "b.example"]
    assert found.domains["b.example"].keys[0].selector == "x"
    assert found.excluded == {"c.example"}
    assert found.every_hosted == Domain("*")


def test_false_excludes_a_domain():
    found = settings_of({"*": {"bits": 4096}, "Skip.example": False})
    assert found.excluded == {"skip.example"}
    assert found.domains == {}
    assert found.every_hosted.keys == (KeyPlan(bits=4096),)


def test_without_a_star_there_are_no_other_domains():
    assert settings_of({"example.com": None}).every_hosted is None


@pytest.mark.parametrize(
    "domains",
    [
        {"Example.com": None, "example.com": None},
        {"bücher.example": None, "xn--bcher-kva.example": False},
        ["example.com", "example.com."],
        ["*", {"*": {}}],
    ],
)
def test_two_spellings_of_one_domain_are_a_problem(domains):
    (problem,) = problems(domains)
    assert "is the same domain as" in problem


@pytest.mark.parametrize(
    "name", ["", "a b", "-a.example", "a/b.example", 3, None, True, "192.0.2.1"]
)
def test_malformed_domain_is_a_problem(name):
    (problem,) = problems({name: None})
    assert problem.startswith("dkim:domains:")


def test_domain_with_an_underscore_can_be_named():
    # Tables of domains hold such names. A hosted domain must be named to be excluded.
    assert not problems({"my_host.example": None})


def test_problem_of_a_pattern_names_subdomains():
    (problem,) = problems({"*.example.com": None})
    assert "give 'example.com' with subdomains: true" in problem


@pytest.mark.parametrize("value", ["yes", 3, ["selector"]])
def test_settings_that_are_no_mapping_are_a_problem(value):
    assert only_problem(value).startswith("dkim:domains:example.com: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("selector", "a b"),
        ("selector", 2026),
        ("selector", ["a"]),
        ("selector", {"dsa": "x"}),
        ("selector", {"rsa": "a_b"}),
        ("selector", {"ed25519": "only"}),
        ("algorithm", "dsa"),
        ("algorithm", []),
        ("algorithm", ["rsa", "rsa"]),
        ("algorithm", ["rsa", 3]),
        ("algorithm", {"rsa": 1}),
        ("bits", 512),
        ("bits", "big"),
        ("bits", True),
        ("bits", [2048]),
        ("strict", "perhaps"),
        ("testing", 1),
        ("ttl", -1),
        ("ttl", 2**31),
        ("subdomains", "all"),
        ("alias_of", "a b"),
        ("alias_of", "example.com"),
        ("addresses", ["a@example.com"]),
        ("dmarc", "none"),
        ("dmarc", 3),
    ],
)
def test_bad_setting_is_a_problem_of_its_pillar_key(key, value):
    assert only_problem({key: value}).startswith(f"dkim:domains:example.com:{key}")


def test_problem_of_the_defaults_is_reported_once():
    found = problems({"a.example": None, "b.example": None, "*": None}, {"selector": "a_b"})
    assert [problem.split(": ")[0] for problem in found] == ["dkim:defaults:selector"]


def test_advice_on_the_defaults_is_reported_once():
    reading = read({"defaults": {"bits": 1024}, "domains": ["a.example", "b.example"]})
    assert reading.problems == ()
    assert [advice.split(": ")[0] for advice in reading.advice] == ["dkim:defaults:bits"]


@pytest.mark.parametrize("algorithm", [["rsa", "ed25519"], ["ed25519", "rsa"]])
def test_second_algorithm_has_a_selector_of_its_own(algorithm):
    assert domain({"algorithm": algorithm, "selector": "s1"}).keys == (
        KeyPlan("rsa", "s1"),
        KeyPlan("ed25519", "s1-ed25519"),
    )


def test_ed25519_alone_has_the_selector_without_a_suffix():
    reading = read({"domains": {"example.com": {"algorithm": "ed25519", "selector": "s1"}}})
    assert reading.settings.domains["example.com"].keys == (KeyPlan("ed25519", "s1"),)
    assert "[rsa, ed25519]" in reading.advice[0]


def test_each_algorithm_may_have_its_selector():
    selector = {"rsa": "R1", "ed25519": "e1"}
    assert domain({"algorithm": ["rsa", "ed25519"], "selector": selector}).keys == (
        KeyPlan("rsa", "r1"),
        KeyPlan("ed25519", "e1"),
    )


def test_two_keys_with_one_selector_are_a_problem():
    selector = {"rsa": "same", "ed25519": "Same"}
    problem = only_problem({"algorithm": ["rsa", "ed25519"], "selector": selector})
    assert "is the selector of two keys" in problem


def test_selector_too_long_for_its_second_algorithm_is_a_problem():
    problem = only_problem({"algorithm": ["rsa", "ed25519"], "selector": "s" * 60})
    assert problem.startswith("dkim:domains:example.com:selector: ")


def test_selector_too_long_for_the_domain_is_a_problem():
    name = ".".join(["a" * 60] * 4)
    assert problems({name: None})[0].startswith(f"dkim:domains:{name}:selector: ")


def test_subdomains_turn_strict_off():
    found = domain({"subdomains": True})
    assert (found.subdomains, found.strict) == (True, False)


def test_subdomains_win_over_inherited_strictness():
    assert domain({"subdomains": True}, {"strict": True}).strict is False


def test_strict_with_subdomains_is_a_problem():
    assert "does not go with subdomains" in only_problem({"subdomains": True, "strict": True})


def test_ttl_defaults_to_that_of_dns():
    found = settings_of({"a.example": None, "b.example": {"ttl": 5}}, dns={"ttl": 77}).domains
    assert (found["a.example"].ttl, found["b.example"].ttl) == (77, 5)


def test_useless_ttl_is_unwise_and_legal():
    reading = read({"domains": {"example.com": {"ttl": 0}}})
    assert reading.problems == ()
    assert reading.advice[0].startswith("dkim:domains:example.com:ttl: ")


def test_alias_signs_with_the_keys_of_its_target():
    found = settings_of({"example.com": None, "alias.example": {"alias_of": "Example.com"}})
    assert found.domains["alias.example"].alias_of == "example.com"
    assert found.domains["alias.example"].keys == ()


@pytest.mark.parametrize("key", [{"selector": "x"}, {"bits": 2048}, {"algorithm": "rsa"}])
def test_alias_with_key_settings_is_a_problem(key):
    (problem,) = problems({"example.com": None, "alias.example": {"alias_of": "example.com"} | key})
    assert "an alias has no key of its own" in problem


@pytest.mark.parametrize(
    "others",
    [
        {"example.com": False},
        {"example.com": {"alias_of": "third.example"}, "third.example": None},
    ],
)
def test_alias_of_a_domain_without_keys_is_a_problem(others):
    (problem,) = problems({"alias.example": {"alias_of": "example.com"}, **others})
    assert problem.startswith("dkim:domains:alias.example:alias_of: ")


def test_alias_of_a_domain_outside_the_pillar_is_unwise_and_legal():
    reading = read({"domains": {"alias.example": {"alias_of": "example.com"}}})
    assert reading.problems == ()
    assert "no key is generated for it" in reading.advice[0]


@pytest.mark.parametrize("place", ["*", "defaults"])
@pytest.mark.parametrize("key", ["alias_of", "addresses"])
def test_settings_of_one_domain_are_refused_in_templates(place, key):
    pillar = {"defaults": {key: None}} if place == "defaults" else {"domains": {"*": {key: None}}}
    (problem,) = read(pillar).problems
    assert "belongs to one domain" in problem


def test_address_has_a_key_of_its_own():
    found = domain(
        {
            "bits": 3072,
            "addresses": {
                "News@Example.com": None,
                "billing@example.com": {"selector": "bill", "bits": 4096},
            },
        }
    )
    assert found.addresses == (
        Address("News@example.com", (KeyPlan("rsa", "news", 3072),)),
        Address("billing@example.com", (KeyPlan("rsa", "bill", 4096),)),
    )


@pytest.mark.parametrize(
    ("addresses", "problem"),
    [
        ({"a@example.org": None}, "is not an address of example.com"),
        ({"a": None}, "is not an address"),
        ({"*@example.com": None}, "is a pattern"),
        ({3: None}, "is not a string"),
        ({"a@example.com": None, "a@Example.com": {"selector": "b"}}, "is given twice"),
        ({"a@example.com": {"selector": "default"}}, "is the selector of example.com's key"),
        ({"a@example.com": None, "A@example.com": None}, "is the selector of a@example.com's key"),
        ({"a@example.com": {"strict": True}}, "unknown key"),
        ({"a@example.com": "rsa"}, "a string is not settings"),
    ],
)
def test_bad_address_is_a_problem(addresses, problem):
    assert problem in only_problem({"addresses": addresses})


def test_dmarc_is_merged_key_by_key():
    defaults = {"dmarc": {"policy": "quarantine", "rua": "a@example.net"}}
    assert domain({"dmarc": {"rua": "b@example.net"}}, defaults).dmarc == Dmarc(
        policy="quarantine", rua=("b@example.net",)
    )


def test_dmarc_is_inherited_unchanged():
    defaults = {"dmarc": {"policy": "none"}}
    assert domain(None, defaults).dmarc == domain({"dmarc": None}, defaults).dmarc == Dmarc()


def test_false_removes_an_inherited_dmarc():
    assert domain({"dmarc": False}, {"dmarc": {"policy": "none"}}).dmarc is None


def test_dmarc_after_a_false_default_inherits_nothing():
    assert domain({"dmarc": {"adkim": "s"}}, {"dmarc": False}).dmarc == Dmarc(adkim="s")


def test_every_tag_of_dmarc_has_a_key():
    assert domain(
        {
            "dmarc": {
                "policy": "quarantine",
                "subdomain_policy": "reject",
                "nonexistent_policy": "none",
                "rua": ["mailto:a@example.com", "b@Example.NET"],
                "ruf": "MAILTO:c@example.com, d@example.com",
                "adkim": "strict",
                "aspf": "R",
                "fo": [1, "d"],
                "testing": "yes",
                "psd": False,
            }
        }
    ).dmarc == Dmarc(
        policy="quarantine",
        subdomain_policy="reject",
        nonexistent_policy="none",
        rua=("a@example.com", "b@example.net"),
        ruf=("c@example.com", "d@example.com"),
        adkim="s",
        aspf="r",
        fo="1:d",
        testing=True,
        psd="n",
    )


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("pct", "testing: true (t=y)"),
        ("rf", "RFC 9989 removed it"),
        ("ri", "RFC 9989 removed it"),
        ("p", "did you mean 'policy'?"),
        ("sp", "did you mean 'subdomain_policy'?"),
        ("np", "did you mean 'nonexistent_policy'?"),
        ("t", "did you mean 'testing'?"),
        ("polcy", "did you mean 'policy'?"),
    ],
)
def test_problem_of_a_dmarc_tag_names_its_key(key, hint):
    problem = only_problem({"dmarc": {key: "x"}})
    assert problem.startswith(f"dkim:domains:example.com:dmarc:{key}: ")
    assert hint in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("policy", "rejct"),
        ("policy", True),
        ("subdomain_policy", ["none"]),
        ("rua", []),
        ("rua", "https://example.com/"),
        ("rua", ["a@example.com", 3]),
        ("rua", "a@example.com!10m"),
        ("ruf", {"a@example.com": None}),
        ("adkim", "x"),
        ("aspf", True),
        ("fo", "2"),
        ("fo", True),
        ("fo", 60),
        ("fo", []),
        ("testing", "perhaps"),
        ("psd", "x"),
    ],
)
def test_bad_dmarc_is_a_problem_of_its_pillar_key(key, value):
    problem = only_problem({"dmarc": {key: value}})
    assert problem.startswith(f"dkim:domains:example.com:dmarc:{key}: ")


@pytest.mark.parametrize(
    ("dmarc", "place"),
    [
        ({"policy": "reject", "rua": "a@example.com"}, "policy"),
        ({"policy": "quarantine"}, "rua"),
        ({"fo": "1"}, "fo"),
    ],
)
def test_unwise_dmarc_is_legal(dmarc, place):
    reading = read({"domains": {"example.com": {"dmarc": dmarc}}})
    assert reading.problems == ()
    assert [advice.split(": ")[0] for advice in reading.advice] == [
        f"dkim:domains:example.com:dmarc:{place}"
    ]


def test_dmarc_of_a_domain_too_long_for_its_record_is_a_problem():
    name = ".".join(["a" * 57] * 4)
    (problem,) = problems({name: {"selector": "s", "dmarc": {"rua": f"a@{'b' * 20}.example"}}})
    assert "has no room for a record's name" in problem
