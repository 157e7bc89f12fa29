"""The TXT records of SPF (RFC 7208), TLS-RPT (RFC 8460) and MTA-STS (RFC 8461)."""

import hashlib
from collections.abc import Sequence

from .. import names
from ..record_names import mta_sts_record_name, tls_rpt_record_name
from ..settings.model import MtaSts
from .record import Record

# RFC 8461, section 3.1: an id is 1 to 32 letters and digits.
_ID_LENGTH = 32


def spf_record(domain: str, text: str, ttl: int = 3600) -> Record:
    """
    Return the SPF record of a domain, which is at the domain itself beside other records.

    domain, ttl
        The mail domain, and the TTL in seconds.
    text
        The record, from ``v=spf1`` on.

    Raises :class:`dkim_formula.errors.InvalidValue` for an invalid domain.
    Source: RFC 7208, section 3.
    """
    name = names.owner_domain(domain)
    return Record(name=name, type="TXT", ttl=ttl, value=text, purpose="spf", domain=name)


def tls_rpt_record(domain: str, uris: Sequence[str], ttl: int = 3600) -> Record:
    """
    Return the record for reports on failed TLS sessions. Source: RFC 8460, section 3.

    uris
        ``mailto:`` and ``https:`` URIs of the receivers, encoded.

    The other arguments and errors are those of :func:`spf_record`.
    """
    return Record(
        name=tls_rpt_record_name(domain),
        type="TXT",
        ttl=ttl,
        value=f"v=TLSRPTv1; rua={','.join(uris)}",
        purpose="tls-rpt",
        domain=names.owner_domain(domain),
    )


def mta_sts_record(domain: str, policy: MtaSts, ttl: int = 3600) -> Record:
    """
    Return the record that announces a domain's MTA-STS policy. Source: RFC 8461, section 3.1.

    The id is made from the policy's text, so it changes exactly when the policy does. The other
    arguments and errors are those of :func:`spf_record`.
    """
    digest = hashlib.sha256(mta_sts_policy(policy).encode()).hexdigest()
    return Record(
        name=mta_sts_record_name(domain),
        type="TXT",
        ttl=ttl,
        value=f"v=STSv1; id={digest[:_ID_LENGTH]};",
        purpose="mta-sts",
        domain=names.owner_domain(domain),
    )


def mta_sts_policy(policy: MtaSts) -> str:
    """Return the text of ``/.well-known/mta-sts.txt``. Source: RFC 8461, section 3.2."""
    lines = ["version: STSv1", f"mode: {policy.mode}"]
    lines += [f"mx: {pattern}" for pattern in policy.mx]
    lines.append(f"max_age: {policy.max_age}")
    return "".join(f"{line}\r\n" for line in lines)


def mta_sts_url(domain: str) -> str:
    """Return the URL of a domain's MTA-STS policy. Source: RFC 8461, section 3.3."""
    return f"https://mta-sts.{names.owner_domain(domain)}/.well-known/mta-sts.txt"
