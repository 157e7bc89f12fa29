"""Comparison of SPF records by meaning. Source: RFC 7208."""

from __future__ import annotations

import ipaddress
import re

from .comparison import QUOTES, Comparison, cut

# RFC 7208, section 4.6.1: a qualifier, the name of a mechanism, and its argument.
_MECHANISM = re.compile(
    r"([-+?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?=[:/]|$)(.*)", re.IGNORECASE
)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)")
# RFC 7208, section 7.1: the letter of a macro, its digits, its "r" and its delimiters.
_MACRO = re.compile(r"(%\{[A-Za-z])([0-9]*[rR]?)([-.+,/_=]*\}|$)|%[%_-]")
# RFC 7208, section 5.6: the lengths after a domain or an address.
_LENGTHS = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?$")
_WITH_DOMAIN = ("redirect", "exp")
_NETWORKS = {"ip4": ipaddress.IPv4Network, "ip6": ipaddress.IPv6Network}
_NETWORK = re.compile(r":[0-9A-Fa-f:.]+(?:/(?:0|[1-9][0-9]{0,2}))?")


def compare_spf(desired: str, found: bytes) -> Comparison:
    """Return how an SPF record differs from the desired text."""
    shown = found.decode("utf-8", "backslashreplace")
    if '"' in shown:
        return Comparison(QUOTES)
    if _terms(shown) != _terms(desired):
        return Comparison(f"it is {cut(shown)}")
    return Comparison(
        advice="written differently: spaces, capitals, + signs, or other spellings of names and "
        "addresses"
    )


def _terms(text: str) -> list[str]:
    """
    Return the version, the mechanisms in order, and the modifiers, whose place has no meaning
    (RFC 7208, section 6).
    """
    version, *terms = [one for one in text.split(" ") if one] or [""]
    mechanisms = [_mechanism(term) for term in terms if not _MODIFIER.fullmatch(term)]
    modifiers = [_modifier(term) for term in terms if _MODIFIER.fullmatch(term)]
    return [version.lower(), *mechanisms, *sorted(modifiers)]


def _mechanism(term: str) -> str:
    match = _MECHANISM.fullmatch(term)
    if match is None:
        return term
    name, argument = match[2].lower(), match[3]
    if name in _NETWORKS:
        argument = _network(name, argument)
    elif name in ("a", "mx"):
        at = _LENGTHS.search(argument).start()
        argument = _domain(argument[:at]) + _lengths(argument[at:])
    else:
        argument = _domain(argument)
    return f"{match[1].replace('+', '')}{name}{argument}"


def _modifier(term: str) -> str:
    name, _, value = term.partition("=")
    name = name.lower()
    return f"{name}={_domain(value) if name in _WITH_DOMAIN else value}"


def _network(name: str, argument: str) -> str:
    """Return an address or network in its shortest spelling; an invalid one as it is."""
    if not _NETWORK.fullmatch(argument):
        return argument
    try:
        # Receivers compare only the bits of the prefix: RFC 7208, section 5.6.
        return f":{_NETWORKS[name](argument[1:], strict=False)}"
    except ValueError:
        return argument


def _lengths(text: str) -> str:
    """Return prefix lengths without those that are the default (RFC 7208, section 5.6)."""
    four, six = _LENGTHS.fullmatch(text).groups()
    shown = "" if four in (None, "32") else f"/{four}"
    return shown + ("" if six in (None, "128") else f"//{six}")


def _domain(text: str) -> str:
    """
    Return a domain-spec in lower case and without the last dot.

    The letter of a macro stays: a capital has its value URL-escaped (RFC 7208, section 7.3).
    """
    result, at = "", 0
    for macro in _MACRO.finditer(text):
        result += text[at : macro.start()].lower()
        result += f"{macro[1]}{macro[2].lower()}{macro[3]}" if macro[1] else macro[0]
        at = macro.end()
    return (result + text[at:].lower()).removesuffix(".")
