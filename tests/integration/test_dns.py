"""Publication, check and change of records by Salt, with BIND and a Knot that lags behind."""

import base64
import shlex

import pytest
from support import salt

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

SECRET = base64.b64encode(b"the-canary-secret-of-the-dns-test").decode()
PRIMARY, SECONDARY = "127.0.0.1", "127.0.53.2"

NAMED = f"""
options {{ directory "/var/cache/bind"; listen-on {{ {PRIMARY}; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; notify no; allow-transfer {{ any; }}; }};
key "dkim." {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "example.com" {{ type primary; file "example.com.zone"; allow-update {{ key "dkim."; }}; }};
zone "example.org" {{ type primary; file "example.org.zone"; allow-update {{ none; }}; }};
zone "example.net" {{ type primary; file "example.net.zone"; allow-update {{ key "dkim."; }}; }};
"""
KNOT = f"""
server:
  rundir: /run/knot
  user: knot:knot
  listen: {SECONDARY}@53
database:
  storage: /var/lib/knot
remote:
  - id: primary
    address: {PRIMARY}
zone:
  - domain: example.com
    master: primary
    file: example.com.zone
"""
HEAD = "$TTL 300\n@ 60 SOA ns h 1 3600 3600 86400 30\n@ 60 NS ns\nns 60 A 127.0.0.1\n"
ZONES = {
    "example.com": f"@ 60 NS ns2\nns2 60 A {SECONDARY}\n"
    '@ TXT "google-site-verification=foreign"\nother._domainkey TXT "v=DKIM1; p=foreign"\n',
    "example.org": "",
    "example.net": '_dmarc TXT "v=DMARC1; p=none; rua=mailto:foreign@example.net"\n',
}


def pillar(**example_com):
    policies = {"bits": 1024, "dmarc": {"policy": "none"}, "spf": "v=spf1 mx -all", **example_com}
    return {
        "dkim": {
            "domains": {
                "example.com": policies,
                "example.org": {"bits": 1024},
                "foreign.test": {"bits": 1024, "delegation": "example.net"},
            },
            "dns": {
                "publish": "rfc2136",
                "resolver": PRIMARY,
                "timeout": 1,
                "key": {"name": "dkim.", "algorithm": "hmac-sha256", "secret": SECRET},
            },
        }
    }


@pytest.fixture(scope="module")
def site(machine):
    """A machine with keys, BIND as primary, and a Knot that polls BIND once an hour."""
    machine.install("bind9", "bind9-dnsutils", "knot")
    machine.run(f"ip address replace {SECONDARY}/32 dev lo")
    for origin, text in ZONES.items():
        machine.write(f"/var/cache/bind/{origin}.zone", HEAD + text, owner="bind:bind")
    machine.write("/etc/bind/named.conf", NAMED)
    machine.write("/etc/knot/knot.conf", KNOT, owner="knot:knot")
    machine.run("systemctl restart named && systemctl restart knot")
    machine.wait_for(f"dig +short @{SECONDARY} example.com SOA | grep -q .")
    salt.install_formula(machine, pillar())
    for state in ("dkim.database", "dkim.keys"):
        run = salt.apply(machine, state)
        assert run.succeeded, run
    return machine


def texts(machine, name, server=PRIMARY):
    """Return a server's TXT records at a name, each with its strings joined."""
    shown = machine.run(["dig", "+short", f"@{server}", name, "TXT"]).stdout
    return {"".join(shlex.split(line)) for line in shown.splitlines()}


def published(machine, test=False):
    return salt.apply(machine, "dkim.dns", test=test)["The records are published"]


def refresh_secondary(machine):
    machine.run("knotc zone-refresh example.com")
    serial = machine.run(f"dig +short @{PRIMARY} example.com SOA").stdout
    machine.wait_for(
        lambda: machine.run(f"dig +short @{SECONDARY} example.com SOA").stdout == serial
    )


def verdicts(machine, domain):
    found = salt.call(machine, "dkim.check_dns", domain)
    return {(one["purpose"], one["verdict"]) for one in found["records"]}, found


def test_records_are_published_checked_changed_and_removed(site):
    announced = published(site, test=True)
    assert announced.result is None
    assert texts(site, "default._domainkey.example.com") == set()

    done = published(site)
    # Only the update itself shows whether a server accepts updates.
    refused = announced.changes.pop("default._domainkey.example.org TXT")
    assert refused["new"].startswith("v=DKIM1")
    assert done.changes == announced.changes
    assert set(done.changes) == {
        "default._domainkey.example.com TXT",
        "_dmarc.example.com TXT",
        "example.com TXT",
        "default._domainkey.foreign.test.example.net TXT",
    }
    # The zone that accepts no updates makes the state fail. All other zones are published.
    assert done.result is False
    assert "default._domainkey.example.org TXT: server 127.0.0.1" in done.comment
    assert "REFUSED" in done.comment
    assert "default._domainkey.foreign.test CNAME" in done.comment
    assert published(site).changes == {}
    assert SECRET not in str(done)

    shown = {
        record["name"]: record["value"] for record in salt.call(site, "dkim.records", "example.com")
    }
    for name, value in shown.items():
        assert value in texts(site, name)
    assert texts(site, "example.com") == {
        "google-site-verification=foreign",
        shown["example.com"],
    }

    lagging, found = verdicts(site, "example.com")
    assert lagging == {("dkim", "inconsistent"), ("dmarc", "inconsistent"), ("spf", "inconsistent")}
    assert "the server lags behind: its serial is" in found["records"][0]["detail"]
    refresh_secondary(site)
    current, found = verdicts(site, "example.com")
    assert current == {("dkim", "ok"), ("dmarc", "ok"), ("spf", "ok")}
    assert found["ok"] is True
    assert verdicts(site, "example.org")[0] == {("dkim", "missing")}

    salt.set_pillar(site, pillar(dmarc={"policy": "quarantine"}, spf=False))
    changed = published(site)
    assert set(changed.changes) == {"_dmarc.example.com TXT", "example.com TXT"}
    assert texts(site, "_dmarc.example.com") == {"v=DMARC1; p=quarantine"}
    assert texts(site, "example.com") == {"google-site-verification=foreign"}

    salt.call(site, "dkim.delete", "example.com", "default", force=True)
    assert "default._domainkey.example.com TXT" in published(site).changes
    assert texts(site, "default._domainkey.example.com") == set()
    assert texts(site, "other._domainkey.example.com") == {"v=DKIM1; p=foreign"}


def test_unmanaged_policy_stays_where_the_pillar_has_none(site):
    published(site)
    assert texts(site, "_dmarc.example.net") == {"v=DMARC1; p=none; rua=mailto:foreign@example.net"}


def test_error_of_a_wrong_tsig_key_does_not_show_the_secret(site):
    wrong = pillar()
    wrong["dkim"]["dns"]["key"]["name"] = "nobody."
    salt.set_pillar(site, wrong)
    done = published(site)
    salt.set_pillar(site, pillar())
    assert done.result is False
    assert "BADKEY" in done.comment
    assert SECRET not in str(done)


def test_mta_sts_policy_has_its_url_and_text(site):
    salt.set_pillar(site, pillar(mta_sts={"mx": ["mail.example.com"]}))
    policy = salt.call(site, "dkim.mta_sts_policy", "example.com")
    salt.set_pillar(site, pillar())
    assert policy["url"] == "https://mta-sts.example.com/.well-known/mta-sts.txt"
    assert "mx: mail.example.com\r\n" in policy["text"]
