"""
Headers that a signature covers: the defaults of opendkim.conf, and what a signature leaves out.

docs/signed-headers.md has the reasons for each list, and what was measured.
"""

from collections import Counter
from collections.abc import Iterable

from .verify import tags

# OpenDKIM's own list (``*``) has the headers of RFC 6376, section 5.4.1. Debian's build leaves out
# what decides how a message is shown, and one of the two headers that RFC 8058, section 3.1, wants
# under the signature (measured, 2.11.0~beta2).
SIGNED = (
    "*",
    "+Message-ID",
    "+MIME-Version",
    "+Content-Type",
    "+Content-Transfer-Encoding",
    "+Sender",
    "+List-Unsubscribe-Post",
)

# Named once more than they are there, so that none can be added (RFC 6376, sections 5.4.2 and
# 8.15). Left out is what mailing lists and relays add to other people's mail: Sender, Message-ID,
# Resent-*, List-*.
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
    Return the headers of a message that its signature leaves open, in the message's order.

    signature
        The value of a DKIM-Signature header. Raises NotVerified for what is no tag-list.
    names
        The names of the message's headers; a name that stands there twice has to be signed twice.
    """
    signed = Counter(name.strip().lower() for name in tags(signature).get("h", "").split(":"))
    left = []
    for name in names:
        if signed[name.lower()] > 0:
            signed[name.lower()] -= 1
        elif name not in left:
            left.append(name)
    return left
