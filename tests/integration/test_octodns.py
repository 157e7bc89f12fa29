"""Publication by octoDNS through the API of PowerDNS: packages, settings, no key in an output."""

import pytest
from support import salt

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = [pytest.mark.one_release("bookworm"), pytest.mark.soak]

# The packages are installed. This file tests only the installation of octoDNS's packages.
EQUIPPED = True

API_KEY = "the-canary-key-of-the-api"
CONFIGURATION = f"""
launch=gsqlite3
gsqlite3-database=/var/lib/powerdns/pdns.sqlite3
local-address=127.0.0.1
webserver=yes
webserver-address=127.0.0.1
api=yes
api-key={API_KEY}
"""
ZONE = """$ORIGIN example.com.
$TTL 300
@ 60 SOA ns h 1 3600 3600 86400 30
@ 60 NS ns
ns 60 A 127.0.0.1
@ TXT "google-site-verification=foreign"
www A 192.0.2.1
"""
SCHEMA = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"
MAKE_DATABASE = (
    "import sqlite3; "
    f"sqlite3.connect('/var/lib/powerdns/pdns.sqlite3').executescript(open('{SCHEMA}').read())"
)


def pillar(**arguments):
    provider = {"class": "octodns_powerdns.PowerDnsProvider", "host": "127.0.0.1", **arguments}
    return {
        "dkim": {
            "domains": {"example.com": {"bits": 1024, "spf": "v=spf1 -all"}},
            "dns": {"publish": "octodns", "providers": {"pdns": provider}, "timeout": 1},
        }
    }


@pytest.fixture(scope="module")
def site(machine):
    machine.install("bind9-dnsutils", "pdns-server", "pdns-backend-sqlite3")
    machine.run(["python3", "-c", MAKE_DATABASE])
    machine.run("chown -R pdns /var/lib/powerdns")
    machine.write("/etc/powerdns/pdns.conf", CONFIGURATION)
    machine.write("/root/example.com.zone", ZONE)
    machine.run("pdnsutil load-zone example.com /root/example.com.zone")
    machine.run("pdnsutil set-meta example.com SOA-EDIT-API INCREASE")
    machine.run("chown -R pdns /var/lib/powerdns; systemctl restart pdns")
    machine.wait_for("dig +short @127.0.0.1 example.com SOA | grep -q .")
    salt.install_formula(machine, pillar(api_key=API_KEY, prot=8081))
    return machine


def zone(machine):
    return machine.run("pdnsutil list-zone example.com | grep -v SOA | sort").stdout


def test_octodns_publishes_records_and_leaves_others_unchanged(site):
    first = salt.apply(site, "dkim.python")
    assert first["Salt's Python has the PostgreSQL driver"].changes
    message = "dkim:dns:providers:pdns: provider pdns (octodns_powerdns.PowerDnsProvider): "
    message += "PowerDnsProvider has no argument prot; did you mean port?"
    # The check reports the argument once octoDNS is installed: then it can read the class.
    assert message in str(first)
    assert message in salt.call(site, "dkim.check")["problems"]

    salt.set_pillar(site, pillar(api_key=f"{API_KEY}\n"))
    for state in ("dkim.database", "dkim.keys"):
        assert salt.apply(site, state).succeeded
    before = zone(site)
    preview = salt.apply(site, "dkim.dns", test=True)["The records are published"]
    assert zone(site) == before
    done = salt.apply(site, "dkim.dns")["The records are published"]
    assert set(done.changes) == {"default._domainkey.example.com TXT", "example.com TXT"}
    assert (preview.result, preview.changes) == (None, done.changes)
    assert done.result is True
    managed = ("_domainkey", "v=spf1")
    left = [line for line in zone(site).splitlines() if not any(one in line for one in managed)]
    assert "\n".join(left) + "\n" == before
    again = salt.apply(site, "dkim.dns")["The records are published"]
    assert (again.result, again.changes) == (True, {})


def test_error_of_a_wrong_api_key_does_not_show_the_key(site):
    salt.set_pillar(site, pillar(api_key="another-canary-key"))
    shown = site.run(salt.command_line("dkim.publish"), check=False)
    assert "Unauthorized" in shown.stdout
    assert "another-canary-key" not in shown.stdout + shown.stderr
