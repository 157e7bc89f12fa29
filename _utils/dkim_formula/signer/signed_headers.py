"""
The headers that a signature covers: the defaults of opendkim.conf, and a check of a signature.

docs/signed-headers.md has the reasons for each list, and the measurements.
"""

from collections import Counter
from collections.abc import Iterable

from .verify import tags

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
