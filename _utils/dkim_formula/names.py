"""
Domain names, selectors and addresses, checked and converted to the one form that is stored.

A name that the formula makes follows RFC 1123 and RFC 6376. A name that already exists is served
if OpenDKIM finds it and DNS can hold its record. Such a name may have underscores, with which
signatures verify (measured), and a key keeps its selector.
"""

import datetime
import fnmatch
import re

import idna

from .errors import InvalidValue
from .text import octets_meant

# RFC 1035, section 2.3.4: 255 octets on the wire are 253 characters of text without the root's dot.
MAX_NAME = 253
MAX_LABEL = 63
# RFC 5321, section 4.5.3.1.1
MAX_LOCAL_PART = 64

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_MAIL_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
# PostgreSQL uses the same expressions.
SERVED_DOMAIN = r"^([a-z0-9_-]{1,63}\.)*(?![0-9]+$)[a-z0-9_-]{1,63}$"
SERVED_SELECTOR = r"^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}$"
_SERVED_DOMAIN = re.compile(SERVED_DOMAIN)
_SERVED_SELECTOR = re.compile(SERVED_SELECTOR)
# The shortest name of a key record (record_names.py) has 13 characters before the domain: a
# selector of one character, a dot, the label of key records, and a dot.
_LONGEST_DOMAIN = MAX_NAME - 13
# RFC 5322, section 3.2.3: dot-atom. A quoted local part can't be looked up: OpenDKIM splits at "@".
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def domain_name(value: object, where: str = "domain") -> str:
    """
    Return the lower-case A-label form of a mail domain, without a trailing dot.

    OpenDKIM looks the sender's domain up in lower case, so it finds no other form. A domain of one
    label is valid (an internal domain); an IP address is not a domain.

    value
        The name as given: A-labels, or Unicode, which is read as IDNA 2008 after the mapping of
        UTS 46. A trailing dot is removed.
    where
        The pillar key or the argument that the value comes from, for the error.

    Raises :class:`InvalidValue` for anything that is not a host name: RFC 1123, section 2.1,
    RFC 1035, section 2.3.4, RFC 5891, section 5.4.
    """
    return _domain(value, where, _LABEL, "use letters, digits and inner hyphens")


def mail_domain(value: object, where: str = "domain") -> str:
    """
    Return a domain that mail is sent from, as :func:`domain_name` does. Its labels may have
    underscores: tables of domains hold such names, and OpenDKIM signs for them (measured).

    Raises :class:`InvalidValue`.
    """
    return _domain(value, where, _MAIL_LABEL, "use letters, digits, hyphens and underscores")


def stored_domain(value: object, where: str = "domain") -> str:
    """
    Return the domain of existing rows: as :func:`mail_domain` returns it, or the text as it is if
    it is no domain. So a row with any name, or with an empty name, can be shown and deleted.

    Raises :class:`InvalidValue` for a value that is not a text.
    """
    if value == "":
        return value
    name = octets_meant(_text(value, where, "a domain name such as example.com"))
    try:
        return name if is_served(name) else mail_domain(name, where)
    except InvalidValue:
        return name


def row_spellings(value: object, where: str = "domain") -> tuple[str, ...]:
    """
    Return the names that the rows of a domain may have, given as a person gives it: the text as it
    is, then the form of :func:`stored_domain` if that differs. ``=NAME`` is only the row with
    exactly this name.

    Raises :class:`InvalidValue` for a value that is not a text.
    """
    normal = stored_domain(value, where)
    exact = octets_meant(value)
    if exact.startswith("="):
        return (exact[1:],)
    return (normal,) if exact == normal else (exact, normal)


def served_selector(value: object, where: str = "selector") -> str:
    """
    Return the selector of an imported key, which keeps its selector: signatures under selectors
    with upper case and underscores verify (measured).

    Raises :class:`InvalidValue`.
    """
    name = _text(value, where, "letters, digits and hyphens, such as s2026")
    if not _SERVED_SELECTOR.fullmatch(name) or len(name) > MAX_NAME:
        raise InvalidValue(
            where, value, "is no selector", "use letters, digits, hyphens, underscores and dots"
        )
    return name


def domain_glob(value: object) -> re.Pattern | None:
    """
    Return an expression for the domains that a text with ``*`` or ``?`` matches, by their A-labels
    or their U-labels; None for any other value.
    """
    if not isinstance(value, str) or not {"*", "?"} & set(value):
        return None
    # Brackets are literal characters: a row of another tool may hold an address literal.
    glob = octets_meant(value).lower().replace("[", "[[]")
    return re.compile(fnmatch.translate(glob))


def u_labels(domain: str) -> str:
    """Return a domain with U-labels (RFC 5890, section 2.3.2.1); one without them as it is."""
    if "xn--" not in domain:
        return domain
    try:
        found = idna.decode(domain)
    except UnicodeError:  # IDNAError is a subclass, and punycode raises UnicodeError
        return domain
    return found if found.isprintable() else domain


def stored_selector(value: object, where: str = "selector") -> str:
    """
    Return the selector of an existing key as it is stored. The selector of an imported key may have
    upper case or underscores, and the selector of an unusual row may be empty.

    Raises :class:`InvalidValue` for a value that is not a text.
    """
    if value == "":
        return value
    return octets_meant(_text(value, where, "the selector of a key, such as s2026"))


def owner_domain(domain: object, where: str = "domain") -> str:
    """
    Return the domain in the names of records: a served domain as it is, any other domain as
    :func:`mail_domain` returns it.

    Raises :class:`InvalidValue`.
    """
    is_fine = isinstance(domain, str) and is_served(domain)
    return domain if is_fine else mail_domain(domain, where)


def is_served(domain: str) -> bool:
    """
    Return whether OpenDKIM finds a stored domain, and DNS can hold a key record below the domain.

    OpenDKIM looks a sender up by lower-case A-labels, without a trailing dot (measured).
    """
    return len(domain) <= _LONGEST_DOMAIN and _SERVED_DOMAIN.fullmatch(domain) is not None


def domain_problem(domain: str) -> str:
    """
    Return what is wrong with a stored domain, and what to do; empty for a served domain.
    """
    if is_served(domain):
        return ""
    shown = f"the domain {printable(domain)}"
    if not domain.strip():
        return f"{shown} is empty, so nobody sends mail from it; delete the row, or give it a name"
    try:
        meant = mail_domain(domain.strip())
    except InvalidValue as error:
        return f"{shown} {error.problem}, so it signs nothing; delete the row, or correct the name"
    if meant == domain:
        return (
            f"{shown} is {len(domain)} characters long, too long for a key record below it "
            f"(RFC 1035, section 2.3.4), so it has no key; use one of {_LONGEST_DOMAIN} at most"
        )
    if "." not in meant:
        return (
            f"{shown} is never looked up by OpenDKIM; where mail is sent from it, store it as "
            f"{meant!r}"
        )
    return (
        f"{shown} is never looked up by OpenDKIM, which asks for lower-case A-labels without "
        f"blanks and without a last dot; store it as {meant!r}"
    )


def selector_problem(selector_: str) -> str:
    """
    Return what is wrong with a stored selector, and what to do; empty for a served selector.
    """
    shown, meant = f"the selector {printable(selector_)}", selector_in_dns(selector_)
    if meant is None:
        remedy = "store it as letters, digits, hyphens, underscores and dots"
        return f"{shown} is no name in DNS, so the key signs nothing; {remedy}"
    if meant != selector_:
        return f"{shown} has blanks around it, which verifiers pass over; store it as {meant!r}"
    return ""


def selector_in_dns(selector_: str) -> str | None:
    """
    Return the selector that verifiers look for, for a stored selector; None if DNS can't hold it.

    Blanks around a tag's value have no meaning (RFC 6376, section 3.2). With a tab or a letter
    outside ASCII in the selector, the OpenDKIM process aborts by an assertion in dkim_body()
    (measured, tests/functional/keys/test_key_texts.py). So no view may show such a row to OpenDKIM.
    """
    meant = selector_.strip(" ")
    return meant if _SERVED_SELECTOR.fullmatch(meant) else None


def row_name(domain: str, selector_: str) -> str:
    """Return the name of a row of the table of keys, for people."""
    shown = domain if is_served(domain) else printable(domain)
    return f"{shown}, selector {printable(selector_)}"


def printable(text: str, most: int = 100) -> str:
    """
    Return a stored text in quotes, without control characters, shortened to ``most`` characters.
    Octets that are not UTF-8 are written as :func:`.text.octets_shown` writes them.
    """
    shown = repr(text).replace("\\udc", "\\x")
    return shown if len(shown) <= most else f"{shown[: most - 4]}…{shown[-1]}"


def _domain(value: object, where: str, label_form: re.Pattern, expected: str) -> str:
    name = _text(value, where, "a domain name such as example.com")
    if not name.isascii():
        name = _to_a_labels(name, value, where)
    name = name.lower().removesuffix(".")
    _check_labels(name, value, where, label_form, expected)
    labels = name.split(".")
    if labels[-1].isdigit():
        # RFC 3696, section 2: no top-level domain is all digits; so an IP address is no domain.
        raise InvalidValue(
            where, value, "ends in a number", "give a domain name, not an IP address"
        )
    for label in labels:
        if label.startswith("xn--"):
            _check_a_label(label, value, where)
    return name


def selector(value: object, where: str = "selector") -> str:
    """
    Return the lower-case form of a selector: labels of letters, digits and hyphens, with dots
    between them.

    Raises :class:`InvalidValue` for anything else. Source: RFC 6376, section 3.1.
    """
    name = _text(value, where, "letters, digits and hyphens, such as s2026")
    if not name.isascii():
        raise InvalidValue(
            where, value, "has characters outside ASCII", "use letters, digits, hyphens and dots"
        )
    name = name.lower()
    _check_labels(name, value, where, _LABEL, "use letters, digits and inner hyphens")
    return name


def email_address(value: object, where: str = "address") -> str:
    """
    Return ``local@domain``, with the domain as :func:`mail_domain` returns it and the local part
    unchanged.

    The local part keeps its case: only the receiving host knows its meaning (RFC 5321,
    section 2.4), and OpenDKIM converts only the domain to lower case.

    Raises :class:`InvalidValue` for a quoted local part, a wildcard, a local part outside ASCII and
    a display name.
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
    return f"{local}@{mail_domain(domain, where)}"


def _text(value: object, where: str, expected: str) -> str:
    if not isinstance(value, str):
        # YAML reads 2026 as a number and no as a boolean. Their text may differ from the name that
        # was typed.
        is_plain = isinstance(value, (int, float, datetime.date))
        remedy = f"quote it, or give {expected}" if is_plain else f"give {expected}"
        raise InvalidValue(where, value, "is not a string", remedy)
    if not value:
        raise InvalidValue(where, value, "is empty", f"give {expected}")
    if "\0" in value:
        # No text of PostgreSQL can hold a NUL, so no row has such a name.
        raise InvalidValue(where, value, "has a NUL character", f"give {expected}")
    return value


def _to_a_labels(name: str, value: object, where: str) -> str:
    # The time of the encoding grows with the square of the length (RFC 3492): limit that first.
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


def _check_labels(
    name: str, value: object, where: str, label_form: re.Pattern, expected: str
) -> None:
    for label in name.split("."):
        if not label:
            raise InvalidValue(
                where, value, "has an empty label", "put no dot at the start and no two together"
            )
        if len(label) > MAX_LABEL:
            raise InvalidValue(where, value, f"has a label longer than {MAX_LABEL} characters")
        if not label_form.fullmatch(label):
            raise InvalidValue(where, value, f"has the malformed label {label!r}", expected)
    checked_length(name, where)


def checked_length(name: str, where: str) -> str:
    """Return a name if DNS can hold its length. Raises InvalidValue for a longer name."""
    if len(name) > MAX_NAME:
        raise InvalidValue(
            where, name, f"is {len(name)} characters long", f"a name has {MAX_NAME} at most"
        )
    return name
