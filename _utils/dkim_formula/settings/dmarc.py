"""The ``dmarc`` setting of a domain. Source: RFC 9989, sections 4.7 and 4.8."""

from collections.abc import Mapping

from ..errors import InvalidValue
from .model import Dmarc
from .validation import Notes, as_text, boolean, is_not, mailbox, read_section, shown, word

_FO = ("0", "1", "d", "s")
_ALIGNMENTS = {"r": "r", "relaxed": "r", "s": "s", "strict": "s"}

_HINTS = {
    # RFC 9989, appendixes A.6 and C.5.2
    "pct": "RFC 9989 removed it; testing: true (t=y) asks receivers not to apply the policy yet",
    "rf": "RFC 9989 removed it; there is one report format, leave it out",
    "ri": "RFC 9989 removed it; receivers report once a day, leave it out",
    "v": "the formula writes it; leave it out",
    "p": "unknown key; did you mean 'policy'?",
    "sp": "unknown key; did you mean 'subdomain_policy'?",
    "np": "unknown key; did you mean 'nonexistent_policy'?",
    "t": "unknown key; did you mean 'testing'?",
}


def addresses(value: object, where: str) -> tuple[str, ...]:
    """Return report addresses without ``mailto:``, from a list or a text with commas."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    if not listed or not all(isinstance(one, str) for one in listed):
        wrong = next((one for one in listed if not isinstance(one, str)), value)
        raise InvalidValue(
            where, shown(wrong), "is not an address", "give an address or a list of addresses"
        )
    parts = (part for one in listed for part in one.split(","))
    return tuple(dict.fromkeys(mailbox(part, where) for part in parts))


def alignment(value: object, where: str) -> str:
    """Return ``r`` or ``s``, also for ``relaxed`` or ``strict``."""
    if not isinstance(value, str) or value.lower() not in _ALIGNMENTS:
        raise InvalidValue(
            where, shown(value), "is not an alignment", "use r (relaxed) or s (strict)"
        )
    return _ALIGNMENTS[value.lower()]


def failure_options(value: object, where: str) -> str:
    """
    Return ``fo``: 0, 1, d and s, from a list or a text with colons. 1 includes 0, and RFC 9989,
    section 4.8, does not allow both, so 0 is left out then.
    """
    given, options = _options(value)
    if not options or len(options) != len(given) or not set(options) <= set(_FO):
        # YAML 1.1 reads 1:0 as a number to the base 60.
        raise InvalidValue(
            where, shown(value), "is not a failure option", "use 0, 1, d, s, or '1:d:s' in quotes"
        )
    return ":".join(one for one in dict.fromkeys(options) if one != "0" or "1" not in options)


def _options(value: object) -> tuple[list[object], list[str]]:
    """Return the items of a list or a text with colons, and those that may be options."""
    given = [*value] if isinstance(value, (list, tuple)) else as_text(value).split(":")
    return given, [as_text(one).strip().lower() for one in given if not isinstance(one, bool)]


def psd(value: object, where: str) -> str:
    """Return ``y``, ``n`` or ``u``. A boolean of YAML means ``y`` or ``n``."""
    if isinstance(value, bool):
        return "y" if value else "n"
    return word("y", "n", "u")(value, where)


# RFC 5234, section 2.3: keywords of a grammar are case-insensitive.
_POLICY = word("none", "quarantine", "reject")

CHECKS = {
    "policy": _POLICY,
    "subdomain_policy": _POLICY,
    "nonexistent_policy": _POLICY,
    "rua": addresses,
    "ruf": addresses,
    "adkim": alignment,
    "aspf": alignment,
    "fo": failure_options,
    "testing": boolean,
    "psd": psd,
}


def read_dmarc(value: object, where: str, notes: Notes) -> dict[str, object] | None:
    """
    Return the valid keys of the section; None for ``false``, which means no record.

    ``true`` means an empty mapping: a record with the defaults.
    """
    if value is False:
        return None
    if value is True:
        return {}
    if not isinstance(value, Mapping):
        notes.problem(is_not(value, where, "a policy", "give a mapping, or false"))
        return {}
    read = read_section(value, where, CHECKS, notes, _HINTS)
    # RFC 7489, section 6.3, allows both.
    if "fo" in read and {"0", "1"} <= {*_options(value["fo"])[1]}:
        notes.advise(
            f"{where}:fo",
            "has both 0 and 1, which RFC 9989, section 4.8, does not allow; the record has "
            f"{read['fo']!r}, since 1 includes 0",
        )
    return read


def make_dmarc(read: Mapping[str, object], where: str, notes: Notes) -> Dmarc:
    """Return the policy of the keys from :func:`read_dmarc`, and note what is unwise."""
    dmarc = Dmarc(**read)
    if dmarc.policy == "reject":
        notes.advise(
            f"{where}:policy",
            "'reject' loses mail that people of the domain send through mailing lists and "
            "forwarders; quarantine is safer (RFC 9989, section 7.4)",
        )
    if dmarc.fo and not dmarc.ruf:
        notes.advise(f"{where}:fo", "has no effect without ruf (RFC 9989, section 4.7)")
    if dmarc.policy != "none" and not dmarc.rua:
        notes.advise(
            f"{where}:rua", "is not set: nobody learns what the policy does to the domain's mail"
        )
    return dmarc
