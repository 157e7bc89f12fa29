"""Domain names, selectors and addresses, checked and brought to the one form that is stored."""

import datetime
import re

import idna

from .errors import InvalidValue

# RFC 1035, section 2.3.4: 255 octets on the wire are 253 characters of text without the root's dot.
MAX_NAME = 253
MAX_LABEL = 63
# RFC 5321, section 4.5.3.1.1
MAX_LOCAL_PART = 64

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_PLAIN_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
# RFC 5322, section 3.2.3: dot-atom. A quoted local part can't be looked up: OpenDKIM splits at "@".
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def domain_name(value: object, where: str = "domain") -> str:
    """
    The lower-case A-label form of a mail domain, without a trailing dot.

    OpenDKIM lower-cases the sender's domain before it looks it up, so no other form would be found.
    A domain of one label is legal (a site's internal one); an IP address is not a domain.

    value
        The name as given: A-labels, or Unicode, which is taken as IDNA 2008 after the mapping of
        UTS 46. A trailing dot is dropped.
    where
        The pillar key or the argument that the value came from, for the error.

    Raises :class:`InvalidValue` for anything that is not a host name: RFC 1123, section 2.1,
    RFC 1035, section 2.3.4, RFC 5891, section 5.4.
    """
    name = _text(value, where, "a domain name such as example.com")
    if not name.isascii():
        name = _to_a_labels(name, value, where)
    name = name.lower().removesuffix(".")
    _check_labels(name, value, where)
    labels = name.split(".")
    if labels[-1].isdigit():
        # RFC 3696, section 2: no top-level name is all digits, so that addresses can be told.
        raise InvalidValue(
            where, value, "ends in a number", "give a domain name, not an IP address"
        )
    for label in labels:
        if label.startswith("xn--"):
            _check_a_label(label, value, where)
    return name


def is_stored_form(text: str) -> bool:
    """
    Whether ``text`` is a domain name as :func:`domain_name` gives it. Most are told by one look,
    which is five times as fast: a database may host a hundred thousand.
    """
    if len(text) <= MAX_NAME and "xn--" not in text and _PLAIN_NAME.fullmatch(text):
        return True
    try:
        return domain_name(text) == text
    except InvalidValue:
        return False


def selector(value: object, where: str = "selector") -> str:
    """
    The lower-case form of a selector: labels of letters, digits and hyphens, joined by dots.

    Raises :class:`InvalidValue` for anything else. Source: RFC 6376, section 3.1.
    """
    name = _text(value, where, "letters, digits and hyphens, such as s2026")
    if not name.isascii():
        raise InvalidValue(
            where, value, "has characters outside ASCII", "use letters, digits, hyphens and dots"
        )
    name = name.lower()
    _check_labels(name, value, where)
    return name


def key_record_name(selector_: str, domain: str) -> str:
    """
    Where the key record stands: ``selector._domainkey.domain``, without a trailing dot.

    Raises :class:`InvalidValue` where selector or domain is not one, or both together are longer
    than a name can be. Source: RFC 6376, section 3.6.2.1.
    """
    name = f"{selector(selector_)}._domainkey.{domain_name(domain)}"
    return _checked_length(name, "selector")


def dmarc_record_name(domain: str) -> str:
    """
    Where the DMARC policy record stands: ``_dmarc.domain``. Source: RFC 9989, section 4.5.

    Raises :class:`InvalidValue` where the domain is not one or is too long to have such a record.
    """
    return _checked_length(f"_dmarc.{domain_name(domain)}", "domain")


def report_record_name(domain: str, host: str) -> str:
    """
    Where ``host`` says that it takes the reports about ``domain``. Source: RFC 9990,
    "Verifying External Destinations".

    Raises :class:`InvalidValue` as the other names do.
    """
    name = f"{domain_name(domain)}._report._dmarc.{domain_name(host)}"
    return _checked_length(name, "domain")


def email_address(value: object, where: str = "address") -> str:
    """
    ``local@domain`` with the domain as :func:`domain_name` gives it and the local part untouched.

    The local part's case is kept: it belongs to the receiving host (RFC 5321, section 2.4), and
    OpenDKIM lower-cases the domain alone.

    Raises :class:`InvalidValue` for what is not a plain address: quoted local parts, wildcards,
    local parts outside ASCII, display names.
    """
    address = _text(value, where, "an address such as postmaster@example.com")
    local, at, domain = address.rpartition("@")
    if not at or not local:
        raise InvalidValue(
            where, value, "is not an address", "give one such as postmaster@example.com"
        )
    if local == "*":
        raise InvalidValue(where, value, "is a pattern", "give one address")
    if not _DOT_ATOM.fullmatch(local):
        raise InvalidValue(
            where,
            value,
            "has a local part that is not a dot-atom",
            "before the @ use letters, digits and !#$%&'*+/=?^_`{|}~- with single dots between",
        )
    if len(local) > MAX_LOCAL_PART:
        raise InvalidValue(where, value, f"has a local part over {MAX_LOCAL_PART} characters")
    return f"{local}@{domain_name(domain, where)}"


def _text(value: object, where: str, expected: str) -> str:
    if not isinstance(value, str):
        # YAML makes a number of 2026 and a boolean of no; taken as text it might be another name.
        is_plain = isinstance(value, (int, float, datetime.date))
        remedy = f"quote it, or give {expected}" if is_plain else f"give {expected}"
        raise InvalidValue(where, value, "is not a string", remedy)
    if not value:
        raise InvalidValue(where, value, "is empty", f"give {expected}")
    return value


def _to_a_labels(name: str, value: object, where: str) -> str:
    # Encoding takes time with the square of the length (RFC 3492): bound it first.
    if len(name) > MAX_NAME:
        raise InvalidValue(where, value, f"is longer than {MAX_NAME} characters")
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise InvalidValue(
            where, value, f"is not an internationalised name ({error})", "give its A-label form"
        ) from None


def _check_a_label(label: str, value: object, where: str) -> None:
    try:
        idna.ulabel(label)
    except UnicodeError as error:
        raise InvalidValue(
            where, value, f"has the A-label {label} that does not decode ({error})"
        ) from None


def _check_labels(name: str, value: object, where: str) -> None:
    for label in name.split("."):
        if not label:
            raise InvalidValue(
                where, value, "has an empty label", "put no dot at the start and no two together"
            )
        if len(label) > MAX_LABEL:
            raise InvalidValue(where, value, f"has a label longer than {MAX_LABEL} characters")
        if not _LABEL.fullmatch(label):
            raise InvalidValue(
                where,
                value,
                f"has the malformed label {label!r}",
                "use letters, digits and inner hyphens",
            )
    _checked_length(name, where)


def _checked_length(name: str, where: str) -> str:
    if len(name) > MAX_NAME:
        raise InvalidValue(
            where, name, f"is {len(name)} characters long", f"a name has {MAX_NAME} at most"
        )
    return name
