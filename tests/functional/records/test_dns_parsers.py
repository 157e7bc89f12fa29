"""The formula's records, as other programs read them."""

import os
import subprocess
from pathlib import Path

import checkdmarc.dmarc
import checkdmarc.mta_sts
import checkdmarc.smtp_tls_reporting
import checkdmarc.spf
import pytest
import yaml
from dkim_formula.private_key import PrivateKey
from dkim_formula.records import (
    delegated,
    delegation_records,
    dmarc_record,
    key_record,
    mta_sts_policy,
    mta_sts_record,
    render,
    report_authorisation_records,
    spf_record,
    tls_rpt_record,
)
from dkim_formula.settings import read
from dkim_formula.settings.model import Delegation, Dmarc, MtaSts
from octodns.provider.yaml import YamlProvider
from octodns.zone import Zone as OctoZone
from support.dns_daemons import ALGORITHM, KEY_NAME, SECRET, Bind, Knot

import dkim

pytestmark = pytest.mark.one_release

CASES = Path(__file__).resolve().parents[2] / "cases" / "records"
POLICY = Dmarc(
    policy="quarantine",
    subdomain_policy="none",
    nonexistent_policy="reject",
    rua=("a!b,c;d@example.com", "reports@example.net"),
    ruf=("ruf@example.com",),
    adkim="s",
    aspf="r",
    fo="1:d",
    testing=True,
)
MTA_STS = MtaSts(mx=("mail.example.com", "*.mx.example.com"), mode="enforce")
SPF = "v=spf1 mx ip4:192.0.2.0/24 ip6:2001:db8::/32 a:mail.example.com/28 -all"
URIS = ("mailto:tls@example.com", "https://tls.example.com/in")
RSA_4096 = PrivateKey.generate("rsa", 4096)
ED25519 = PrivateKey.generate("ed25519")
# A label has at most 63 octets. With the record's own labels the name has 253.
LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 36, "example"])


def record_set(domain="example.com"):
    return [
        key_record(domain, "large", "rsa", RSA_4096.public_base64()),
        key_record(domain, "e2.s10", "ed25519", ED25519.public_base64()),
        key_record(domain, "s2", "rsa", "MIIB", revoked=True),
        dmarc_record(domain, POLICY),
        spf_record(domain, SPF),
        tls_rpt_record(domain, URIS),
        mta_sts_record(domain, MTA_STS),
        *delegation_records(domain, Delegation("example.net", ("s7", "s8"))),
    ]


def zone_text(domain, relative=False):
    head = f"$ORIGIN {domain}.\n@ 60 SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n"
    return (
        head
        + "host_with_underscore 60 TXT x\n"
        + render(record_set(domain), "bind", relative=relative)
    )


def checked(*command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("domain", ["example.com", "xn--bcher-kva.example", LONGEST[64:]])
@pytest.mark.parametrize("relative", [False, True])
def test_zone_checkers_accept_the_lines(tmp_path, domain, relative):
    (tmp_path / "zone").write_text(zone_text(domain, relative))
    checked("named-checkzone", "-i", "local", domain, "zone", folder=tmp_path)
    checked("kzonecheck", "-o", domain, "zone", folder=tmp_path)


def test_zone_checkers_accept_a_name_of_253_octets(tmp_path):
    domain = LONGEST[64:]
    selector = "s" * (253 - len(f"._domainkey.{domain}") - 64) + "." + "t" * 63
    record = key_record(domain, selector, "rsa", "MIIB")
    assert len(record.name) == 253
    (tmp_path / "zone").write_text(zone_text(domain) + render([record], "bind"))
    checked("named-checkzone", "-i", "local", domain, "zone", folder=tmp_path)
    checked("kzonecheck", "-o", domain, "zone", folder=tmp_path)


@pytest.fixture
def bind(tmp_path):
    folder = tmp_path / "bind"
    zones = {"example.com": '_dmarc TXT "v=DMARC1; p=none"\n', "example.net": ""}
    with Bind(folder, zones, "127.0.53.101") as server:
        yield server


def nsupdate(server, text, folder):
    (folder / "key").write_text(
        f'key "{KEY_NAME}" {{ algorithm {ALGORITHM}; secret "{SECRET}"; }};\n'
    )
    return subprocess.run(
        ["nsupdate", "-k", "key"],
        input=f"server {server.address}\n{text}",
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nsupdate_accepts_the_script_and_keeps_existing_records(bind, tmp_path):
    records = [record for record in record_set() if record.type == "TXT"]
    text = render(records, "nsupdate", zones=("example.com",))
    result = nsupdate(bind, text, tmp_path)
    assert result.stderr.count("YXRRSET") == 1
    for record in records:
        expected = b"v=DMARC1; p=none" if record.purpose == "dmarc" else record.value.encode()
        # The script of a revoked key also replaces a published record of the same key.
        assert bind.texts(record.name) == {expected}


def test_second_run_of_nsupdate_changes_nothing(bind, tmp_path):
    text = render(
        [r for r in record_set() if r.purpose != "spf"], "nsupdate", zones=("example.com",)
    )
    nsupdate(bind, text, tmp_path)
    serial = bind.serial("example.com")
    nsupdate(bind, text, tmp_path)
    assert bind.serial("example.com") == serial


def test_nsupdate_revokes_a_key_that_was_published(bind, tmp_path):
    key = key_record("example.com", "s2", "rsa", "MIIB")
    revoked = key_record("example.com", "s2", "rsa", "MIIB", revoked=True)
    nsupdate(bind, render([key], "nsupdate"), tmp_path)
    nsupdate(bind, render([revoked], "nsupdate"), tmp_path)
    assert bind.texts(key.name) == {revoked.value.encode()}


def test_nsupdate_adds_delegated_keys_to_the_zone_of_the_delegation(bind, tmp_path):
    key = key_record("foreign.example", "s1", "rsa", RSA_4096.public_base64())
    moved = delegated(key, Delegation("example.net"))
    result = nsupdate(bind, render([moved], "nsupdate"), tmp_path)
    assert result.returncode == 0, result.stderr
    assert bind.texts("s1._domainkey.foreign.example.example.net") == {key.value.encode()}


def test_zone_line_of_nsupdate_applies_until_the_next_zone_line(bind, tmp_path):
    add = "update add s9.{0}. 60 TXT x\nsend\n"
    result = nsupdate(bind, f"zone example.com.\n{add * 2}".format("example.net"), tmp_path)
    assert result.stderr.count("NOTZONE") == 2
    mixed = f"{add.format('example.net')}zone example.com.\n{add.format('example.com')}"
    assert nsupdate(bind, mixed, tmp_path).returncode == 0


@pytest.mark.parametrize("case", ["37-nsupdate.yaml", "70-nsupdate-delegation.yaml"])
@pytest.mark.parametrize("reverse", [False, True])
def test_case_37_70_each_update_of_a_script_is_for_its_own_zone(tmp_path, case, reverse):
    reading = read(yaml.safe_load((CASES / case).read_text(encoding="ascii"))["dkim"])
    assert reading.problems == ()
    domains = list(reading.settings.domains.values())
    records, zones = [], {domain.name for domain in domains}
    for domain in reversed(domains) if reverse else domains:
        record = key_record(domain.name, "default", "rsa", "MIIB")
        if domain.delegation is not None:
            record = delegated(record, domain.delegation)
            zones.add(domain.delegation.zone)
        records.append(record)
    text = render(records, "nsupdate", zones=reading.settings.dns.zones)
    with Bind(tmp_path / "bind", dict.fromkeys(zones, ""), "127.0.53.102") as server:
        result = nsupdate(server, text, tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        for record in records:
            assert server.texts(record.name) == {record.value.encode()}


def test_octodns_accepts_the_source(tmp_path):
    records = record_set()
    (tmp_path / "example.com.yaml").write_text(render(records, "octodns"))
    provider = YamlProvider("ours", str(tmp_path), strict_supports=True, escaped_semicolons=True)
    zone = OctoZone("example.com.", [])
    provider.populate(zone)
    found = {(record.fqdn, record._type): record for record in zone.records}
    assert len(found) == len(records)
    for record in records:
        read = found[(f"{record.name}.", record.type)]
        assert read.ttl == record.ttl
        if record.type == "CNAME":
            assert read.value == f"{record.value}."
        else:
            assert [value.replace("\\;", ";") for value in read.values] == [record.value]


def test_checkdmarc_reads_the_dmarc_policy():
    value = dmarc_record("example.com", POLICY).value
    tags = checkdmarc.dmarc.parse_dmarc_record(value, "example.com", ignore_unrelated_records=True)[
        "tags"
    ]
    assert tags["p"]["value"] == "quarantine"
    assert tags["sp"]["value"] == "none"
    assert tags["np"]["value"] == "reject"
    assert tags["adkim"]["value"] == "s"
    assert tags["t"]["value"] == "y"


def test_checkdmarc_reads_the_report_authorisation():
    (record,) = report_authorisation_records("example.com", POLICY)
    assert record.name == "example.com._report._dmarc.example.net"
    assert record.value.startswith("v=DMARC1")


def test_checkdmarc_reads_the_mta_sts_record_and_policy():
    value = mta_sts_record("example.com", MTA_STS).value
    tags = checkdmarc.mta_sts.parse_mta_sts_record(value)["tags"]
    assert tags["id"].isalnum()
    policy = checkdmarc.mta_sts.parse_mta_sts_policy(mta_sts_policy(MTA_STS))["policy"]
    assert policy["mode"] == "enforce"
    assert policy["mx"] == ["mail.example.com", "*.mx.example.com"]
    assert policy["max_age"] == 604800


def test_checkdmarc_reads_the_tls_report_record():
    value = tls_rpt_record("example.com", URIS).value
    tags = checkdmarc.smtp_tls_reporting.parse_smtp_tls_reporting_record(value)["tags"]
    assert tags["rua"]["value"] == list(URIS)


def test_checkdmarc_reads_the_spf_record():
    record = spf_record("example.com", "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all")
    parsed = checkdmarc.spf.parse_spf_record(record.value, "example.com")["parsed"]
    assert parsed["all"] == "fail"
    assert [one["mechanism"] for one in parsed["mechanisms"]] == ["ip4", "ip6"]


@pytest.mark.parametrize("kind", [Bind, Knot])
def test_opendkim_and_dkimpy_accept_the_key_that_the_server_returns(tmp_path, kind):
    record = key_record("example.com", "large", "rsa", RSA_4096.public_base64())
    zone = render([record], "bind")
    (tmp_path / "private").write_text(RSA_4096.pem())
    os.chmod(tmp_path / "private", 0o600)
    with kind(tmp_path / "server", {"example.com": zone}, "127.0.53.102") as server:
        (tmp_path / "opendkim.conf").write_text(f"Nameservers {server.address}\n")
        checked(
            *("opendkim-testkey", "-x", "opendkim.conf", "-d", "example.com", "-s", "large"),
            *("-k", "private", "-vv"),
            folder=tmp_path,
        )
        message = b"From: a@example.com\r\nSubject: x\r\n\r\nHello\r\n"
        signature = dkim.sign(message, b"large", b"example.com", RSA_4096.pem().encode())

        def query_server(name, timeout=5):
            (text,) = server.texts(name.decode().rstrip("."))
            return text

        assert dkim.verify(signature + message, dnsfunc=query_server)
