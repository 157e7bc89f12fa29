"""Rotations whose records are published by octoDNS, through the API of PowerDNS."""

import pytest
from dkim_formula.dns import publish
from functional.rotation.test_rotation_publish import run_whole_rotation
from functional.rotations import Site
from support.dns_api import DnsApi
from support.dns_daemons import PowerDns

pytestmark = pytest.mark.one_release


def published_at(database, servers, **arguments):
    """Return a site that publishes its records through octoDNS and has a first key."""
    site = Site(database, servers)
    provider = {"class": "octodns_powerdns.PowerDnsProvider", **arguments}
    site.pillar["dns"] |= {"publish": "octodns", "providers": {"pdns": provider}}
    site.make_keys()
    return site


@pytest.fixture
def pdns(tmp_path):
    with PowerDns(tmp_path / "pdns", {"example.com": ""}, "127.0.54.150") as running:
        yield running


def test_rotation_runs_to_its_end_without_manual_work(ready, pdns):
    site = published_at(ready, (pdns.address,), **pdns.arguments())
    planned = publish.publish(site.settings, test=True)
    done = publish.publish(site.settings)
    assert planned["changes"] == done["changes"] != {}
    run_whole_rotation(site, pdns)


def test_database_keeps_the_record_as_the_provider_changed_it(ready):
    with DnsApi("example.com") as api:
        api.rewrite = lambda rrset: {**rrset, "ttl": max(rrset["ttl"], 7200)}
        site = published_at(
            ready, ("127.0.0.1",), host="127.0.0.1", port=api.port, api_key="k3y-of-the-api"
        )
        site.pillar["dns"].pop("zones")
        first = publish.publish(site.settings)
        assert (len(first["changes"]), first["problems"]) == (1, [])
        before = api.changes()
        for test in (True, False):
            again = publish.publish(site.settings, test=test)
            assert (again["changes"], again["problems"], again["unchanged"]) == ({}, [], 1)
        assert api.changes() == before
        # The provider no longer raises the TTL, so its record differs from the stored one.
        api.rewrite = lambda rrset: rrset
        (rrset,) = api.zones["example.com"].values()
        rrset["ttl"] = 60
        assert len(publish.publish(site.settings)["changes"]) == 1
        again = publish.publish(site.settings)
        assert (again["changes"], again["problems"]) == ({}, [])


def test_manual_zone_stays_manual_beside_a_zone_with_an_api(ready):
    with DnsApi("example.com") as api:
        site = published_at(
            ready, ("127.0.0.1",), host="127.0.0.1", port=api.port, api_key="k3y-of-the-api"
        )
        site.pillar["domains"]["example.org"] = {"algorithm": "ed25519"}
        site.pillar["dns"]["zones"] = {"example.org": {"publish": "none"}}
        site.make_keys()
        done = publish.publish(site.settings)
        assert [name.split()[0] for name in done["changes"]] == ["default._domainkey.example.com"]
        assert done["manual"] == ["default._domainkey.example.org TXT"]
        assert done["problems"] == []
