"""
The headers that OpenDKIM signs: the formula's defaults, and what the options of a pillar select.

OpenDKIM writes each name of OversignHeaders into ``h=``, also if SignHeaders or OmitHeaders leaves
the header out of the signature. A verifier then hashes a header that the signer did not, so each
message that has the header is signed invalidly (measured with libopendkim and dkimpy). So a default
may only oversign what the pillar's options sign.

docs/signed-headers.md has the reasons for the default lists, and the measurements.
"""

import re
from collections.abc import Callable, Mapping

from ..errors import InvalidValue
from .opendkim_values import Value, data_set, joined, members

# OpenDKIM's own list (``*``) has the headers of RFC 6376, section 5.4.1. Debian's build omits the
# headers that decide how a message is displayed, and one of the two headers that RFC 8058, section
# 3.1, requires in the signature (measured, 2.11.0~beta2).
SIGNED = (
    "*",
    "+Message-ID",
    "+MIME-Version",
    "+Content-Type",
    "+Content-Transfer-Encoding",
    "+Sender",
    "+List-Unsubscribe-Post",
)

# The signature names these headers once more than they occur, so that none can be added (RFC 6376,
# sections 5.4.2 and 8.15). The list omits headers that mailing lists and relays add: Sender,
# Message-ID, Resent-*, List-*.
OVERSIGNED = (
    "From",
    "Subject",
    "To",
    "Cc",
    "Date",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)

# The options that decide together what ``h=`` has.
TOGETHER = ("SignHeaders", "OmitHeaders", "OversignHeaders")

# The lists that ``*`` stands for: dkim_should_signhdrs and dkim_should_not_signhdrs in dkim.c.
OWN = (
    *("from", "reply-to", "subject", "date", "to", "cc", "resent-date", "resent-from"),
    *("resent-sender", "resent-to", "resent-cc", "in-reply-to", "references", "list-id"),
    *("list-help", "list-unsubscribe", "list-subscribe", "list-post", "list-owner"),
    "list-archive",
)
OMITTED = ("return-path", "received", "comments", "keywords")

# A name, in which * stands for any text (dkim_hdrlist in util.c). OpenDKIM makes one regular
# expression of all names, and escapes only the dot.
_ENTRY = re.compile(r"[+-]?[A-Za-z0-9_.*-]+")
_NAME = re.compile(r"[A-Za-z0-9_-]+")

Read = Callable[[str], str | None]


def _read_nothing(path: str) -> None:
    """Return None: the files of a pillar are not read while the pillar is."""


def selection(value: object, where: str) -> Value:
    """Check SignHeaders or OmitHeaders: names, or ``*`` with ``+name`` and ``-name``."""
    given = data_set(value, where)
    entries = entries_of(given) or []
    for entry in entries:
        if not _ENTRY.fullmatch(entry):
            raise _no_name(where, entry)
        if entry[0] in "+-" and "*" not in entries:
            # OpenDKIM does not start with a +, and takes the - for a part of the name (measured).
            raise InvalidValue(
                where, entry, "needs '*' in the same list", f"add '*', or write {entry[1:]}"
            )
    if "*" in entries:
        for entry in entries:
            if entry != "*" and entry[0] not in "+-":
                # dkimf_db_mkarray_base in opendkim-db.c
                raise InvalidValue(
                    where, entry, "has no effect beside '*'", f"write +{entry} or -{entry}"
                )
    return given


def oversigning(value: object, where: str) -> Value:
    """Check OversignHeaders: names, which OpenDKIM copies to ``h=`` as they are."""
    given = data_set(value, where)
    for entry in entries_of(given) or []:
        if not _NAME.fullmatch(entry) or entry[0] in "+-":
            raise _no_name(where, entry)
    return given


def _no_name(where: str, entry: str) -> InvalidValue:
    remedy = "give a list of names, such as [From, Subject]"
    return InvalidValue(where, entry, "is no header's name", remedy)


def entries_of(value: Value, read: Read = _read_nothing) -> list[str] | None:
    """
    Return the entries of a data set of headers, or None if only the daemon can read the data set.

    read
        Returns the text of a file, or None.
    """
    found = members(value)
    if found is not None:
        return [entry.partition("=")[0].strip() for entry in found]
    path = re.sub("(?i)^file:", "", joined(value))
    text = read(path) if path.startswith("/") and not path.endswith(".db") else None
    if text is None:
        return None
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    # With an empty file OpenDKIM signs every header.
    return [words[0] for words in lines if words] or None


def signs(options: Mapping[str, Value], read: Read = _read_nothing) -> Callable[[str], bool] | None:
    """
    Return whether OpenDKIM signs a header, as a function of the header's name.

    The result is None if the options name a data set that only the daemon can read.

    options
        The pillar's options. The formula's default stands for a missing one.
    """
    signed = entries_of(options.get("SignHeaders", list(SIGNED)), read)
    omitted = entries_of(options.get("OmitHeaders", "*"), read)
    if signed is None or omitted is None:
        return None
    to_sign = _expression(["from", *selected(signed, OWN)])
    to_omit = _expression(selected(omitted, OMITTED))

    def is_signed(name: str) -> bool:
        return bool(to_sign.fullmatch(name)) and not to_omit.fullmatch(name)

    return is_signed


def selected(entries: list[str], own: tuple[str, ...]) -> list[str]:
    """Return the names that a list of entries selects: dkimf_db_mkarray_base in opendkim-db.c."""
    if "*" not in entries:
        return entries
    without = {entry[1:].lower() for entry in entries if entry.startswith("-")}
    kept = [name for name in own if name not in without]
    return kept + [entry[1:] for entry in entries if entry.startswith("+")]


def _expression(names: list[str]) -> re.Pattern:
    parts = (re.escape(name).replace(r"\*", ".*") for name in names)
    return re.compile("|".join(parts), re.IGNORECASE)


def oversigned(options: Mapping[str, Value]) -> list[str]:
    """
    Return the default of OversignHeaders: the headers of ``OVERSIGNED`` that the options sign.

    OpenDKIM always signs From, so From is left where the options name a file or a database.
    """
    is_signed = signs(options)
    return [name for name in OVERSIGNED if (is_signed(name) if is_signed else name == "From")]


def problems(
    options: Mapping[str, Value], where: str, read: Read = _read_nothing
) -> dict[str, str]:
    """
    Return what is wrong with the options together, by the name of an option.

    where
        The pillar key of the options.
    """
    is_signed = signs(options, read)
    if is_signed is None:
        return {}
    if not is_signed("From"):
        # dkim_eoh: «required header "from" not found» (measured with OmitHeaders From).
        return {
            "OmitHeaders": f"{where}:OmitHeaders: omits From, without which OpenDKIM signs no "
            "message; remove From"
        }
    if "OversignHeaders" not in options:
        return {}
    named = entries_of(options["OversignHeaders"], read) or []
    unsigned = [name for name in named if not is_signed(name)]
    if not unsigned:
        return {}
    listed = ", ".join(unsigned)
    return {
        "OversignHeaders": f"{where}:OversignHeaders: SignHeaders and OmitHeaders leave {listed} "
        "unsigned, so each message with such a header would have an invalid signature; remove "
        f"{listed} here, or have SignHeaders sign it"
    }
