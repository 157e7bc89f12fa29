"""
Names of the records that stand below a domain, without a trailing dot.

This module alone makes such names, and reads them.
"""

from .errors import InvalidValue
from .names import checked_length, mail_domain, owner_domain, selector_in_dns

KEY_LABEL = "_domainkey"  # RFC 6376, section 3.6.2.1
_REPORT_PREFIX = "_report._dmarc."  # RFC 9990, "Verifying External Destinations"


def key_record_name(selector: str, domain: str) -> str:
    """
    Return where a key record stands: ``selector._domainkey.domain``.

    Raises :class:`InvalidValue` where selector or domain is none that is served, or both together
    are longer than a name can be. Source: RFC 6376, section 3.6.2.1.
    """
    label = selector_in_dns(selector)
    if label is None:
        raise InvalidValue("selector", selector, "is no name in DNS", "use letters and digits")
    return checked_length(key_name(label.lower(), owner_domain(domain)), "selector")


def key_name(selector: str, domain: str) -> str:
    """Return the name by which people know a key, of selector and domain as they are."""
    return f"{selector}.{KEY_LABEL}.{domain}"


def is_key_record(name: str) -> bool:
    """Tell whether a name is one of a key record."""
    return f".{KEY_LABEL}." in name


def has_key_label(text: str) -> bool:
    """Tell whether a text has the label of key records, as no domain and no selector has."""
    return KEY_LABEL in text.lower().split(".")


def dmarc_record_name(domain: str) -> str:
    """
    Return where the DMARC policy record stands: ``_dmarc.domain``. Source: RFC 9989, section 4.5.

    Raises :class:`InvalidValue` where the domain is not one or is too long to have such a record.
    """
    return checked_length(f"_dmarc.{owner_domain(domain)}", "domain")


def report_record_name(domain: str, host: str) -> str:
    """
    Return where ``host`` says that it takes the reports about ``domain``. Source: RFC 9990,
    "Verifying External Destinations".

    Raises :class:`InvalidValue` as the other names do.
    """
    return checked_length(f"{owner_domain(domain)}.{_REPORT_PREFIX}{mail_domain(host)}", "domain")


def is_report_record(name: str) -> bool:
    """Tell whether a name is one that :func:`report_record_name` makes."""
    return f".{_REPORT_PREFIX}" in name


def above_reports(name: str) -> str:
    """Return the host of a name of which the domain in front was cut off."""
    return name.removeprefix(_REPORT_PREFIX)


def tls_rpt_record_name(domain: str, where: str = "domain") -> str:
    """Return where the TLS-RPT record stands: RFC 8460, section 3. Raises :class:`InvalidValue`."""
    return checked_length(f"_smtp._tls.{owner_domain(domain, where)}", where)


def mta_sts_record_name(domain: str, where: str = "domain") -> str:
    """Return where the MTA-STS record stands: RFC 8461, section 3.1. Raises InvalidValue."""
    return checked_length(f"_mta-sts.{owner_domain(domain, where)}", where)
