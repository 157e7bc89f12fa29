"""DMARC policy records (RFC 9989) and the consent of report receivers (RFC 9990)."""

from collections.abc import Iterable
from urllib.parse import quote

from .. import names
from ..record_names import dmarc_record_name, report_record_name
from ..settings.model import Dmarc
from .record import Record

# RFC 6068, section 2: these characters of a dot-atom need no encoding in a mailto URI. "!" is left
# out: in a DMARC URI it began the size limit (RFC 7489, section 6.2).
_PLAIN_IN_MAILTO = "$'*+-._~"


def dmarc_record(domain: str, policy: Dmarc, ttl: int = 3600) -> Record:
    """
    Return the policy record of a domain.

    domain
        The mail domain, which is converted to its stored form.
    policy
        The content of the record. Tags that are not set are left out.
    ttl
        Seconds.

    Raises :class:`dkim_formula.errors.InvalidValue` for an invalid domain.
    Source: RFC 9989, section 4.7.
    """
    tags = [
        ("v", "DMARC1"),
        # The second tag, as RFC 7489 required: verifiers of that time are still in use.
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
    Return the records by which other organisations agree to receive reports about ``domain``.

    The records are in the receivers' zones, one for each host of ``rua`` and ``ruf`` in another
    organisation. The formula has no list of public suffixes: two names count as one organisation if
    they are equal or one is below the other. A record too many does no harm.

    domain, policy, ttl
        The arguments of :func:`dmarc_record`.

    Raises :class:`dkim_formula.errors.InvalidValue` for an invalid or too long name.
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
