"""The settings of docs/dns-cases.md, and wrong ones, as the providers' own classes see them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dkim_formula.dns.providers.octodns import settings_problems
from dkim_formula.secret import Secret
from dkim_formula.settings import read
from dkim_formula.settings.model import ApiProvider, Dns

pytestmark = pytest.mark.one_release

PAGE = Path(__file__).resolve().parents[3] / "docs" / "dns-cases.md"
EXAMPLES = [
    yaml.safe_load(text)["dkim"]
    for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
]
BY_API = [one for one in EXAMPLES if "providers" in one.get("dns", {})]


def classes(pillar):
    return {provider["class"] for provider in pillar["dns"]["providers"].values()}


@pytest.mark.parametrize("pillar", EXAMPLES, ids=lambda pillar: "+".join(pillar.get("dns", {})))
def test_every_example_is_valid(pillar):
    reading = read(pillar)
    assert reading.problems == ()
    assert reading.advice == ()


def test_each_provider_accepts_the_example():
    """All providers are started together, because one process each takes long."""
    together = {}
    for pillar in BY_API:
        for given in pillar["dns"]["providers"].values():
            together[given["class"]] = given
    assert len(together) == 7
    dns = read({"dns": {"publish": "octodns", "provider": given["class"], "providers": together}})
    assert dns.problems == ()
    assert settings_problems(dns.settings.dns) == []


def made(class_path, **arguments):
    given = {name: Secret(one) if isinstance(one, str) else one for name, one in arguments.items()}
    return Dns(providers={"p": ApiProvider("p", class_path, given)})


@pytest.mark.parametrize(
    ("dns", "expected"),
    [
        (
            made("octodns_powerdns.PowerDnsProvider", host="h", api_kye="k"),
            "PowerDnsProvider needs the argument api_key",
        ),
        (
            made("octodns_powerdns.PowerDnsProvider", host="h", api_key="k", prot=80),
            "PowerDnsProvider has no argument prot; did you mean port?",
        ),
        (made("octodns_hetzner.HetznerProvider", token="t", backend="x"), "Invalid backend"),
        (made("octodns_ovh.OvhProvider", token="t"), "OvhProvider needs the argument endpoint and"),
        (made("octodns_powerdns.PowerDns", host="h"), "is not a provider of octoDNS"),
        (made("octodns.zone.Zone", host="h"), "is not a provider of octoDNS"),
    ],
)
def test_wrong_settings_are_reported(dns, expected):
    (problem,) = settings_problems(dns)
    assert problem.startswith("dkim:dns:providers:p: ")
    assert expected in problem


def test_missing_package_is_not_a_problem_of_the_settings():
    assert settings_problems(made("octodns_nowhere.Provider", token="t")) == []


def test_no_argument_is_shown():
    dns = made(
        "octodns_powerdns.PowerDnsProvider", host="h", api_key="k", mode_of_operation="x" * 9
    )
    (problem,) = settings_problems(replace(dns))
    assert "xxxxxxxxx" in problem
    wrong = made("octodns_ovh.OvhProvider", endpoint="ovh", **dict.fromkeys(OVH, "the-secret"))
    (problem,) = settings_problems(wrong)
    assert "the-secret" not in problem


OVH = ("application_key", "application_secret", "consumer_key")
