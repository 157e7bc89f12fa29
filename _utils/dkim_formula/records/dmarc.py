"""DMARC policy records (RFC 9989) and the consent of report receivers (RFC 9990)."""

from collections.abc import Iterable
from urllib.parse import quote

from .. import names
from ..record_names import dmarc_record_name, report_record_name
from ..settings.model import Dmarc
from .record import Record

# RFC 6068, section 2, lets these of a dot-atom stand in a mailto URI as they are. "!" does not
# stand with them: in a DMARC URI it began the size limit (RFC 7489, section 6.2).
_PLAIN_IN_MAILTO = "$'*+-._~"


def dmarc_record(domain: str, policy: Dmarc, ttl: int = 3600) -> Record:
    """
    The policy record of a domain.

    domain
        The mail domain; brought to its stored form.
    policy
        What the record says. Tags that are not set are left out.
    ttl
        Seconds.

    Raises :class:`dkim_formula.errors.InvalidValue` where the domain is not one.
    Source: RFC 9989, section 4.7.
    """
    tags = [
        ("v", "DMARC1"),
        # Second, where RFC 7489 demanded it: verifiers of that age are still there.
        ("p", policy.policy),
        ("sp", policy.subdomain_policy),
        ("np", policy.nonexistent_policy),
        ("adkim", policy.adkim),
        ("aspf", policy.aspf),
        ("fo", policy.fo),
        ("psd", policy.psd),
        ("t", "y" if policy.testing else None),
        ("rua", _uris(policy.rua)),
        ("ruf", _uris(policy.ruf)),
    ]
    return Record(
        name=dmarc_record_name(domain),
        type="TXT",
        ttl=ttl,
        value="; ".join(f"{tag}={value}" for tag, value in tags if value),
        purpose="dmarc",
        domain=names.owner_domain(domain),
    )


def report_authorisation_records(domain: str, policy: Dmarc, ttl: int = 3600) -> list[Record]:
    """
    The records by which other organisations agree to take the reports about ``domain``.

    They stand in the receivers' zones, one for each host of ``rua`` and ``ruf`` that is of another
    organisation. No list of public suffixes is at hand, so two names are taken as of one
    organisation where they are equal or one is below the other; a record too many does no harm.

    domain, policy, ttl
        As for :func:`dmarc_record`.

    Raises :class:`dkim_formula.errors.InvalidValue` where a name is not one or grows too long.
    Source: RFC 9990, "Verifying External Destinations".
    """
    domain = names.owner_domain(domain)
    hosts = dict.fromkeys(
        names.mail_domain(address.rpartition("@")[2]) for address in (*policy.rua, *policy.ruf)
    )
    return [
        Record(
            name=report_record_name(domain, host),
            type="TXT",
            ttl=ttl,
            value="v=DMARC1;",
            purpose="dmarc-report",
            domain=domain,
            zone=host,
        )
        for host in hosts
        if not _same_organisation(domain, host)
    ]


def _uris(addresses: Iterable[str]) -> str:
    return ",".join(_uri(address) for address in addresses)


def _uri(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"mailto:{quote(local, safe=_PLAIN_IN_MAILTO)}@{domain}"


def _same_organisation(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
