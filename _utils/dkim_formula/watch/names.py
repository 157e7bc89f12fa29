"""What DNS says of the records, in few words."""

from collections import Counter
from collections.abc import Sequence

from ..dns import check, verdict
from ..dns.check import Checked
from .facts import MOST_NAMES, Names


def summed_up(checked: Sequence[Checked], at: float) -> Names:
    """
    What a check of every record found.

    at
        The moment when it began.
    """
    wrong = [
        f"{one.record.name} {one.record.type}: {one.verdict}"
        for one in check.wrong(checked)
        if not _is_gone_for_good(one)
    ]
    return Names(
        at,
        counts=tuple(sorted(Counter(one.verdict for one in checked).items())),
        wrong=tuple(wrong[:MOST_NAMES]),
        wrong_count=len(wrong),
    )


def _is_gone_for_good(one: Checked) -> bool:
    # No record and one with an empty p= say the same of a key: RFC 6376, section 6.1.2.
    revoked = one.record.purpose == "dkim" and one.record.value.endswith("p=")
    return revoked and one.verdict == verdict.ABSENT
