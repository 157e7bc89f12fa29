"""Records hold exactly what RFC 6376, 9989 and 9990 require."""

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.records import dmarc_record, key_record, report_authorisation_records
from dkim_formula.settings.model import Dmarc


def test_key_record_is_that_of_the_howto():
    record = key_record("Example.com", "Mail", "rsa", "MIIB")
    assert record.to_dict() == {
        "name": "mail._domainkey.example.com",
        "type": "TXT",
        "ttl": 3600,
        "value": "v=DKIM1; k=rsa; t=s; p=MIIB",
        "purpose": "dkim",
        "domain": "example.com",
        "selector": "Mail",
    }


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        ({"strict": False}, "v=DKIM1; k=rsa; p=MIIB"),
        ({"testing": True}, "v=DKIM1; k=rsa; t=y:s; p=MIIB"),
        ({"testing": True, "strict": False}, "v=DKIM1; k=rsa; t=y; p=MIIB"),
        ({"revoked": True}, "v=DKIM1; k=rsa; t=s; p="),
    ],
)
def test_flags_of_the_key_record(flags, value):
    assert key_record("example.com", "mail", "rsa", "MIIB", **flags).value == value


def test_ed25519_key_record_is_that_of_rfc_8463():
    public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    record = key_record("football.example.com", "brisbane", "ed25519", public, strict=False)
    assert record.name == "brisbane._domainkey.football.example.com"
    assert record.value == f"v=DKIM1; k=ed25519; p={public}"


def test_key_record_refuses_an_unknown_algorithm():
    with pytest.raises(InvalidValue):
        key_record("example.com", "mail", "dsa", "MIIB")


def test_key_record_has_the_given_ttl():
    assert key_record("example.com", "mail", "rsa", "MIIB", ttl=60).ttl == 60


def test_dmarc_record_leaves_out_what_is_not_set():
    record = dmarc_record("Example.com", Dmarc(), 300)
    assert record.to_dict() == {
        "name": "_dmarc.example.com",
        "type": "TXT",
        "ttl": 300,
        "value": "v=DMARC1; p=none",
        "purpose": "dmarc",
        "domain": "example.com",
        "selector": None,
    }


def test_dmarc_record_holds_everything_that_is_set():
    policy = Dmarc(
        policy="quarantine",
        subdomain_policy="reject",
        nonexistent_policy="none",
        rua=("a@example.com", "b@example.net"),
        ruf=("c@example.com",),
        adkim="s",
        aspf="r",
        fo="1:d",
        testing=True,
        psd="n",
    )
    assert dmarc_record("example.com", policy).value == (
        "v=DMARC1; p=quarantine; sp=reject; np=none; adkim=s; aspf=r; fo=1:d; psd=n; t=y; "
        "rua=mailto:a@example.com,mailto:b@example.net; ruf=mailto:c@example.com"
    )


def test_report_addresses_are_encoded_as_uris():
    # RFC 9989, section 4.6 for "," and "!"; RFC 6068, section 2 for the rest.
    policy = Dmarc(rua=("a!b,c;d%e+f@example.com",))
    assert dmarc_record("example.com", policy).value == (
        "v=DMARC1; p=none; rua=mailto:a%21b%2Cc%3Bd%25e+f@example.com"
    )


def test_receivers_of_other_organisations_agree_once_each():
    policy = Dmarc(
        rua=("a@example.com", "b@reports.example.net", "c@sub.example.com"),
        ruf=("d@reports.example.net", "e@example.org"),
    )
    records = report_authorisation_records("example.com", policy, 60)
    assert [(record.name, record.value, record.purpose, record.ttl) for record in records] == [
        (f"example.com._report._dmarc.{host}", "v=DMARC1;", "dmarc-report", 60)
        for host in ("reports.example.net", "example.org")
    ]


def test_a_parent_domain_is_of_the_same_organisation():
    assert report_authorisation_records("sub.example.com", Dmarc(rua=("a@example.com",))) == []


def test_a_domain_with_the_same_end_alone_is_of_another_organisation():
    records = report_authorisation_records("example.com", Dmarc(rua=("a@notexample.com",)))
    assert [record.name for record in records] == ["example.com._report._dmarc.notexample.com"]


def test_dmarc_of_a_domain_too_long_for_it_is_refused():
    with pytest.raises(InvalidValue, match="characters long"):
        dmarc_record(".".join(["a" * 61] * 4), Dmarc())
