"""Measurements for metrics: expiry of certificates, restarts, records by domain."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID
from dkim_formula.dns import verdict
from dkim_formula.dns.checked import Checked
from dkim_formula.health import expiry, samples
from dkim_formula.health.model import Host
from dkim_formula.records.record import Record
from dkim_formula.settings import read
from dkim_formula.version import VERSION

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def certificate(days):
    """Return a certificate that expires some days after the start."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=days))
        .sign(key, None)
    )
    return made.public_bytes(serialization.Encoding.PEM)


def days(samples):
    """Return the days from the start to the expiry of each certificate, by its use."""
    return {one.labels["use"]: (one.value - START.timestamp()) / 86400 for one in samples}


def test_first_certificate_of_a_holder_and_last_expiry_of_authorities_count(tmp_path):
    file = tmp_path / "bundle.pem"
    file.write_bytes(b"text before\n" + certificate(30) + certificate(10) + certificate(90))
    found = expiry.certificates([("reader", str(file)), ("authorities", str(file))])
    assert days(found) == {"reader": 30, "authorities": 90}


@pytest.mark.parametrize("text", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA"])
def test_file_without_a_certificate_has_no_sample(tmp_path, text):
    file = tmp_path / "file.pem"
    if text is not None:
        file.write_bytes(text)
    assert list(expiry.certificates([("reader", str(file))])) == []


def test_damaged_certificate_has_no_sample(tmp_path):
    file = tmp_path / "file.pem"
    file.write_bytes(certificate(30).replace(b"M", b"A"))
    assert list(expiry.certificates([("reader", str(file))])) == []


def of_machine(pillar):
    reading = read({"domains": ["example.com"], **pillar})
    assert reading.problems == ()
    return list(samples.of_machine(Host(reading.settings)))


def test_certificates_of_a_remote_database_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SYSTEMCTL", "/none")
    for name, end in (("reader", 10), ("salt", 20), ("root", 30)):
        (tmp_path / name).write_bytes(certificate(end))
    database = {
        "host": "db.example.com",
        "manage": False,
        "user": "writer",
        "sslcert": f"{tmp_path}/salt",
        "sslkey": "/key",
        "sslrootcert": f"{tmp_path}/root",
        "reader": {"auth": "cert", "sslcert": f"{tmp_path}/reader", "sslkey": "/key"},
    }
    version, *found = of_machine({"database": database})
    assert version.labels == {"version": VERSION}
    assert days(found) == {"reader": 10, "salt": 20, "authorities": 30}


def test_restarts_of_each_loaded_daemon_are_measured(tmp_path, monkeypatch):
    systemctl = tmp_path / "systemctl"
    # systemctl(1) separates units by an empty line, and orders properties by itself.
    systemctl.write_text(
        "#!/bin/sh\n"
        "printf 'NRestarts=7\\nLoadState=loaded\\n\\nNRestarts=0\\nLoadState=not-found\\n'\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setattr(samples, "SYSTEMCTL", str(systemctl))
    _, *found = of_machine({"defaults": {"algorithm": ["rsa", "ed25519"]}})
    assert [(one.value, one.labels) for one in found] == [(7, {"service": "opendkim"})]


def checked(domain, verdict_, selector=None):
    purpose = "dkim" if selector else "dmarc"
    record = Record(f"{selector}.{domain}", "TXT", 3600, "v", purpose, domain, selector)
    return Checked(record, verdict_)


def of_records(every, states):
    differing = [one for one in every if one.verdict != verdict.OK]
    found = samples.of_records(every, differing, states)
    return {(one.metric, *one.labels.values()): one.value for one in found if one.value}


def test_records_are_counted_by_key_state_and_domains_by_their_worst_verdict():
    every = [
        checked("a.example", verdict.MISSING, "now"),
        checked("a.example", verdict.NO_ANSWER, "next"),
        checked("a.example", verdict.OK),
        checked("b.example", verdict.DIFFERENT),
        checked("c.example", verdict.OK, "now"),
    ]
    states = {("a.example", "now"): "active", ("a.example", "next"): "pending"}
    assert of_records(every, states) == {
        ("dkim_dns_records", "missing"): 1,
        ("dkim_dns_records", "no answer"): 1,
        ("dkim_dns_records", "different"): 1,
        ("dkim_dns_records", "ok"): 2,
        ("dkim_dns_records_wrong", "missing", "active"): 1,
        ("dkim_dns_records_wrong", "no answer", "pending"): 1,
        ("dkim_dns_records_wrong", "different", "policy"): 1,
        ("dkim_dns_domains", "missing"): 1,
        ("dkim_dns_domains", "different"): 1,
        ("dkim_dns_domains", "ok"): 1,
        ("dkim_domain_dns_records_wrong", "a.example"): 2,
        ("dkim_domain_dns_records_wrong", "b.example"): 1,
    }


def test_a_hundred_domains_at_most_have_a_series_the_worst_first():
    every = [checked(f"d{number:04}.example", verdict.OK) for number in range(500)]
    every.append(checked("z.example", verdict.BOGUS))
    found = list(samples.of_records(every, every[-1:], {}))
    domains = [one for one in found if one.metric == "dkim_domain_dns_records_wrong"]
    assert len(domains) == 100
    assert domains[0] == samples.Sample("dkim_domain_dns_records_wrong", 1, {"domain": "z.example"})


def test_every_verdict_has_a_rank():
    texts = [
        value for name, value in vars(verdict).items() if name.isupper() and isinstance(value, str)
    ]
    inner = {verdict.REFERRED, verdict.ALIAS, verdict.TRUNCATED}
    assert set(samples.VERDICTS) == set(texts) - inner - {verdict.OK}


@pytest.mark.parametrize(
    ("pillar", "expected"),
    [
        ({}, {"metrics": 300, "dns": 3600}),
        (
            {"monitoring": {"textfile_every": "1h", "dns_every": "6h"}},
            {"metrics": 3600, "dns": 21600},
        ),
        ({"monitoring": {"dns_every": False}}, {"metrics": 300}),
        ({"database": {"host": "db", "reader": {"auth": "cert"}}}, {"metrics": 300}),
    ],
)
def test_intervals_are_those_of_the_pillar(pillar, expected):
    found = samples.intervals(Host(read({"domains": ["a.example"], **pillar}).settings))
    assert {one.metric.split("_")[1]: one.value for one in found} == expected
