"""
Names of the records below a domain, without a trailing dot.

No other module makes or parses such names.
"""

from .errors import InvalidValue
from .names import checked_length, mail_domain, owner_domain, selector_in_dns

KEY_LABEL = "_domainkey"  # RFC 6376, section 3.6.2.1
_REPORT_PREFIX = "_report._dmarc."  # RFC 9990, "Verifying External Destinations"


def key_record_name(selector: str, domain: str) -> str:
    """
    Return the name of a key record: ``selector._domainkey.domain``.

    Raises :class:`InvalidValue` for a selector or domain that is not served, and for a name that
    is too long. Source: RFC 6376, section 3.6.2.1.
    """
    label = selector_in_dns(selector)
    if label is None:
        raise InvalidValue("selector", selector, "is no name in DNS", "use letters and digits")
    return checked_length(key_name(label.lower(), owner_domain(domain)), "selector")


def key_name(selector: str, domain: str) -> str:
    """Return the name of a key for people, from selector and domain as they are stored."""
    return f"{selector}.{KEY_LABEL}.{domain}"


def selector_in_record(selector: str) -> str:
    """
    Return a stored selector as it is in the name of its record. DNS ignores case, and verifiers
    ignore blanks around the selector (RFC 6376, section 3.2).
    """
    return selector.strip(" ").lower()


def is_key_record(name: str) -> bool:
    """Return whether a name is the name of a key record."""
    return f".{KEY_LABEL}." in name


def without_delegation(name: str, domain: str) -> str:
    """Return the name that a key record of a domain has without a delegation."""
    selector, found, _ = name.partition(f".{KEY_LABEL}.{domain}")
    return selector + found


def has_key_label(text: str) -> bool:
    """Return whether a text has the label of key records, which no domain or selector has."""
    return KEY_LABEL in text.lower().split(".")


def dmarc_record_name(domain: str) -> str:
    """
    Return the name of the DMARC policy record: ``_dmarc.domain``. Source: RFC 9989, section 4.5.

    Raises :class:`InvalidValue` for an invalid domain, and for one that is too long for the record.
    """
    return checked_length(f"_dmarc.{owner_domain(domain)}", "domain")


def report_record_name(domain: str, host: str) -> str:
    """
    Return the name of the record by which ``host`` accepts the reports about ``domain``. Source:
    RFC 9990, "Verifying External Destinations".

    Raises :class:`InvalidValue` as :func:`dmarc_record_name` does.
    """
    return checked_length(f"{owner_domain(domain)}.{_REPORT_PREFIX}{mail_domain(host)}", "domain")


def is_report_record(name: str) -> bool:
    """Return whether a name is one that :func:`report_record_name` makes."""
    return f".{_REPORT_PREFIX}" in name


def above_reports(name: str) -> str:
    """Return the host of a report record's name from which the leading domain was removed."""
    return name.removeprefix(_REPORT_PREFIX)


def tls_rpt_record_name(domain: str, where: str = "domain") -> str:
    """Return the name of the TLS-RPT record: RFC 8460, section 3. Raises :class:`InvalidValue`."""
    return checked_length(f"_smtp._tls.{owner_domain(domain, where)}", where)


def mta_sts_record_name(domain: str, where: str = "domain") -> str:
    """Return the name of the MTA-STS record: RFC 8461, section 3.1. Raises InvalidValue."""
    return checked_length(f"_mta-sts.{owner_domain(domain, where)}", where)
