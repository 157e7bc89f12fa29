"""``dkim:dns``: the method of publication of each zone, and the settings of providers."""

import pytest
from dkim_formula.dns.zones import has_manual_zone, publish_method
from dkim_formula.settings import read
from hypothesis import given
from hypothesis import strategies as st

PDNS = {"class": "octodns_powerdns.PowerDnsProvider", "host": "127.0.0.1", "api_key": "k3y-of-pdns"}
CLOUDFLARE = {"class": "octodns_cloudflare.CloudflareProvider", "token": "t0ken"}


def dns(**given):
    reading = read({"dns": given})
    assert reading.problems == ()
    return reading.settings.dns


def problems(**given):
    return list(read({"dns": given}).problems)


def test_the_only_provider_serves_every_zone():
    found = dns(publish="octodns", providers={"pdns": PDNS})
    assert found.provider == "pdns"
    assert found.providers["pdns"].class_path == PDNS["class"]
    assert found.packages == ("octodns", "octodns-powerdns")


def test_each_zone_has_its_own_method_of_publication():
    found = dns(
        publish="octodns",
        command="/usr/local/sbin/x",
        providers={"pdns": PDNS, "cf": CLOUDFLARE},
        provider="cf",
        zones={
            "a.example": {"provider": "pdns"},
            "b.example": {"publish": "rfc2136", "server": "192.0.2.53"},
            "c.example": {"publish": "none"},
            "d.example": {"publish": "command"},
        },
    )
    names = ["x.a.example", "b.example", "x.y.c.example", "d.example", "other.example"]
    ways = ["octodns", "rfc2136", "none", "command", "octodns"]
    assert [publish_method(found, name) for name in names] == ways
    assert [has_manual_zone(found, name) for name in names] == [way == "none" for way in ways]
    assert found.is_published


def test_zone_with_a_provider_is_published_by_octodns():
    zones = {"a.example": {"provider": "pdns"}}
    found = dns(
        publish="rfc2136",
        key={"name": "k", "secret": "YWJj"},
        providers={"pdns": PDNS},
        zones=zones,
    )
    assert publish_method(found, "a.example") == "octodns"
    assert publish_method(found, "b.example") == "rfc2136"


def test_formula_publishes_nothing_without_a_method():
    found = dns(zones={"a.example": {"server": "192.0.2.53"}})
    assert not found.is_published
    assert not has_manual_zone(found, "a.example")
    assert found.packages == ()
    assert has_manual_zone(dns(zones={"a.example": {"publish": "none"}}), "a.example")


def test_class_outside_octodns_needs_no_package():
    found = dns(publish="octodns", providers={"own": {"class": "mine.dns.Provider"}})
    assert found.packages == ("octodns",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"publish": "octodns"}, "dkim:dns:provider: is missing"),
        (
            {"publish": "octodns", "providers": {"a": PDNS, "b": PDNS}},
            "name one of dkim:dns:providers: a, b",
        ),
        ({"providers": {"pdns": PDNS}, "provider": "pdsn"}, "did you mean 'pdns'?"),
        (
            {"zones": {"a.example": {"provider": "x"}}},
            "dkim:dns:zones:a.example:provider: 'x' is not a provider",
        ),
        (
            {
                "providers": {"pdns": PDNS},
                "zones": {"a.example": {"provider": "pdns", "publish": "rfc2136"}},
            },
            "is for publish: octodns, and the zone's is rfc2136",
        ),
        ({"publish": "command"}, "dkim:dns:command: is missing"),
        ({"command": "sbin/x"}, "is not an absolute path"),
        ({"publish": "octodsn"}, "did you mean 'octodns'?"),
        ({"providers": [PDNS]}, "a list is not providers"),
        ({"providers": {"a": "octodns_powerdns"}}, "is not settings"),
        ({"providers": {"a": {"host": "h"}}}, "dkim:dns:providers:a:class: is missing"),
        ({"providers": {"a": {"class": "PowerDnsProvider"}}}, "is not a class"),
        ({"providers": {"a": {**PDNS, "id": "x"}}}, "is not the name of an argument"),
        ({"providers": {"a": {**PDNS, "api-key": "x"}}}, "is not the name of an argument"),
        ({"providers": {3: PDNS}}, "the name of a provider is a string"),
        (
            {"providers": {"a": {**PDNS, "api_key": "env/PDNS_KEY"}}},
            "names an environment variable",
        ),
        ({"providers": {"a": {**PDNS, "api_key": 12345678}}}, "is a number; quote it"),
        ({"providers": {"a": {**PDNS, "api_key": " \n"}}}, "is empty"),
        ({"providers": {"a": {**PDNS, "api_key": "a\nb"}}}, "has a control character"),
    ],
)
def test_wrong_setting_is_reported(given, said):
    assert any(said in one for one in problems(**given))


def test_settings_without_effect_are_advice():
    zones = {"a.example": {"server": "192.0.2.53"}}
    reading = read({"dns": {"publish": "octodns", "providers": {"p": PDNS}, "zones": zones}})
    assert reading.problems == ()
    assert "server and key have no effect with publish: octodns" in reading.advice[0]


@given(
    st.text(min_size=6).filter(lambda text: len(text.strip()) > 5), st.sampled_from(["s", "l", "m"])
)
def test_no_argument_is_ever_shown(text, shape):
    value = {"s": text, "l": [text], "m": {"x": text}}[shape]
    reading = read(
        {"dns": {"publish": "octodns", "providers": {"p": {**CLOUDFLARE, "token": value}}}}
    )
    assert repr(text.strip())[1:-1] not in repr(reading)


def test_newline_at_the_end_of_a_secret_is_removed():
    found = dns(publish="octodns", providers={"p": {**CLOUDFLARE, "token": "t0ken\n"}})
    assert found.providers["p"].arguments["token"].reveal() == "t0ken"
