"""Which texts at a name are a record of one kind, and how two of a kind differ."""

from collections.abc import Iterable

# Records that share their name with others of their type: a reader takes those that begin so, and
# passes the rest over. RFC 9989 section 4.10, RFC 9990 section 4, RFC 7208 section 4.5, RFC 8460
# section 3, RFC 8461 section 3.1.
_VERSIONS = {
    "dmarc": b"v=DMARC1",
    "dmarc-report": b"v=DMARC1",
    "spf": b"v=spf1",
    "tls-rpt": b"v=TLSRPTv1",
    "mta-sts": b"v=STSv1",
}


def of_kind(purpose: str, values: Iterable[bytes]) -> list[bytes]:
    """
    Those of a name's texts that are taken for a record of a purpose. All are at a key record's
    name: its ``v=`` may be left out (RFC 6376, section 3.6.1).
    """
    version = _VERSIONS.get(purpose)
    return [value for value in values if version is None or _begins(value, version)]


def public_key(value: bytes) -> str | None:
    """The ``p=`` of a key record without white space, which has no meaning in it; None for none."""
    found = tags(value).get("p")
    return None if found is None else "".join(found.split())


def tags(value: bytes) -> dict[str, str]:
    """A tag-list (RFC 6376, section 3.2), as far as it is one."""
    found = {}
    for part in value.decode("utf-8", "replace").split(";"):
        name, equals, text = part.partition("=")
        if equals:
            found[name.strip()] = text.strip()
    return found


def difference(wanted: bytes, found: bytes) -> str:
    """How a text differs from what it should be, in a few words and without long values."""
    if wanted == found:
        return ""
    ours, theirs = tags(wanted), tags(found)
    if wanted.startswith(b"v=spf1") or not ours or not theirs:
        return f"it is {cut(found.decode('utf-8', 'backslashreplace'))}"
    said = [
        _tag_difference(name, ours.get(name), theirs.get(name))
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name)
    ]
    if said:
        return ", ".join(said)
    at = next(
        (at for at, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other),
        min(len(wanted), len(found)),
    )
    return f"the tags are the same and written in another way, from octet {at + 1} on"


def _tag_difference(name: str, ours: str | None, theirs: str | None) -> str:
    if theirs is None:
        return f"{name}= is missing"
    if name == "p":
        return _key_difference(ours or "", theirs)
    if ours is None:
        return f"{cut(name)}={cut(theirs)} should not be there"
    return f"{name}= is {cut(theirs)}, should be {cut(ours)}"


def _key_difference(ours: str, theirs: str) -> str:
    if not theirs:
        return "p= is empty: the key is revoked there"
    if not ours:
        return "p= still holds a key, should be empty"
    if ours.startswith(theirs):
        return f"p= is cut off after {len(theirs)} of {len(ours)} characters"
    if "".join(theirs.split()) == ours:
        return "p= has white space in it"
    return "p= is another key"


def _begins(value: bytes, version: bytes) -> bool:
    # The version is the whole of its tag or term.
    if value[: len(version)].lower() != version.lower():
        return False
    return value[len(version) : len(version) + 1] in (b"", b";", b" ", b"\t")


def cut(text: str, most: int = 80) -> str:
    """A text of somebody else's for people: not long, and nothing in it that moves a cursor."""
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)
