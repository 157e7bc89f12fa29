"""
The key that amavisd signs with: the look-up of a sender in its maps, and of a key.

Source: Amavis::DKIM (dkim_make_signatures, get_dkim_key) and make_query_keys, 2.13.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CATCH_ALL = "."
# The options of a sender without a value in the maps.
_DEFAULTS = {"a": "rsa-sha256"}


@dataclass(frozen=True)
class Key:
    """A ``dkim_key`` statement; ``options`` has the tags of the record, which limit the use."""

    domain: str
    selector: str
    path: str
    location: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """
    The options for a sender.

    domain
        The signing domain.
    pattern
        The pattern that sets the domain; empty if the sender's own domain signs.
    options
        The value of each option.
    """

    domain: str
    pattern: str
    options: Mapping[str, str]

    @property
    def is_of_the_catch_all(self) -> bool:
        """Whether the catch-all sets the signing domain."""
        return self.pattern == CATCH_ALL


def choose(maps: Iterable[Mapping[str, Mapping[str, str]]], sender: str) -> Choice:
    """
    Return the options for a sender: an address, a domain, or ``.domain`` for its subdomains.

    The first value that is set counts. In each map the patterns go from specific to general.
    """
    address, _, host = sender.rpartition("@")
    patterns = [sender, f"{address}@"] if address else []
    patterns += _patterns(host)
    found: dict[str, tuple[str, str]] = {}
    for one in maps:
        for pattern in patterns:
            for name, value in one.get(pattern, {}).items():
                found.setdefault(name, (value, pattern))
    domain, pattern = found.get("d", (host.removeprefix("."), ""))
    options = {**_DEFAULTS, **{name: value for name, (value, _) in found.items()}}
    return Choice(domain.lower(), pattern, options)


def _patterns(host: str) -> list[str]:
    found = [] if host.startswith(".") else [host]
    name = host.removeprefix(".")
    while name:
        found.append(f".{name}")
        name = name.partition(".")[2]
    return [*found, CATCH_ALL]


def first_key(keys: Iterable[Key], choice: Choice) -> Key | None:
    """Return the first key that fits the options, or None."""
    selector = choice.options.get("s", "").lower()
    key_type, _, digest = choice.options["a"].lower().partition("-")
    for key in keys:
        services = key.options.get("s", "*").split(":")
        if (
            key.domain.lower() == choice.domain
            and selector in ("", key.selector.lower())
            # dkim_key reads RSA keys only.
            and key_type == "rsa"
            and {"*", "email"} & {*services}
            and (not digest or digest in key.options.get("h", digest).split(":"))
        ):
            return key
    return None
