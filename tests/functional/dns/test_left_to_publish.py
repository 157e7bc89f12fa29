"""Records that the end of a run asks a person to publish: servers do not show them."""

import pytest
from dkim_formula.dns import commands as dns_commands
from dkim_formula.dns import published
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands

pytestmark = pytest.mark.one_release

NAME = "default._domainkey.example.com"
NOTHING = "DNS needs no record from you"


def left(site):
    return dns_commands.records_summary(site.settings)


def test_record_is_listed_until_every_server_shows_it(site):
    site.make_keys()
    assert f"{NAME}. 3600 IN TXT" in left(site)
    site.publish("default", site.servers[:1])
    assert f"{NAME}. 3600 IN TXT" in left(site)
    site.publish("default")
    assert left(site) == NOTHING


def test_right_records_are_left_out(site):
    site.make_keys()
    site.publish("default")
    keys_commands.generate(site.settings, "example.com", "next")
    text = left(site)
    assert "next._domainkey.example.com. 3600 IN TXT" in text
    assert "; the key of next._domainkey.example.com signs once the record is visible" in text
    assert NAME not in text


def test_wrong_record_is_listed(site):
    site.make_keys()
    site.put(NAME, "v=DKIM1; k=ed25519; p=AAAA")
    assert f"{NAME}. 3600 IN TXT" in left(site)


def test_missing_record_of_a_revoked_key_is_right(site):
    site.make_keys()
    site.publish("default")
    keys_commands.generate(site.settings, "example.com", "next")
    rotation_commands.revoke(site.settings, "example.com", "next", force=True)
    assert left(site) == NOTHING


def unreachable(site):
    """Stop the answers of the zone's servers."""
    for zone in site.pillar["dns"]["zones"].values():
        zone["nameservers"] = ["127.0.0.1@1"]


def test_record_without_an_answer_is_listed_unless_the_formula_published_it(site):
    site.make_keys()
    unreachable(site)
    text = left(site)
    assert f"{NAME}. 3600 IN TXT" in text
    assert f"; DNS check failed for 1 record: {NAME} TXT" in text
    value = dns_commands.records(site.settings, "example.com")[0]["value"]
    with db.session(site.database) as connection:
        row = published.Published("example.com", NAME, "TXT", value)
        published.add(connection, site.database, [row])
        connection.commit()
    assert left(site).startswith("DNS check failed for 1 record")


def test_records_of_manual_zones_are_listed_even_if_published_before(site):
    site.make_keys()
    value = dns_commands.records(site.settings, "example.com")[0]["value"]
    with db.session(site.database) as connection:
        row = published.Published("example.com", NAME, "TXT", value)
        published.add(connection, site.database, [row])
        connection.commit()
    site.pillar["dns"]["zones"]["example.com"]["publish"] = "none"
    assert f"{NAME}. 3600 IN TXT" in left(site)


def test_many_domains_are_one_line_and_no_server_is_asked(site):
    site.pillar["domains"] = {
        f"d{number}.example.com": {"algorithm": "ed25519"} for number in range(101)
    }
    text = left(site)
    assert "\n" not in text
    assert "salt-call dkim.check_dns" in text
    assert site.servers[0].asked == []
