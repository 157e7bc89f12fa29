"""A check of the headers that a signature covers. docs/signed-headers.md has the reasons."""

from collections import Counter
from collections.abc import Iterable

from .verify import tags


def unsigned(signature: str, names: Iterable[str]) -> list[str]:
    """
    Return the headers of a message that its signature does not cover, in the message's order.

    signature
        The value of a DKIM-Signature header.
    names
        The names of the message's headers; a name that occurs twice has to be signed twice.

    Raises NotVerified if the signature is not a tag-list.
    """
    signed = Counter(name.strip().lower() for name in tags(signature).get("h", "").split(":"))
    left = []
    for name in names:
        if signed[name.lower()] > 0:
            signed[name.lower()] -= 1
        elif name not in left:
            left.append(name)
    return left
