"""The records at a name that the formula may change, and those that stay without ``adopt``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NoReturn

from ..errors import RecordConflict
from ..records.kind import meant_as, purpose_of
from ..records.meaning import compare, cut, public_key
from ..records.record import Record


def managed_values(
    record: Record, present: Iterable[bytes], published: Collection[str]
) -> list[bytes]:
    """
    Return the present values that the formula manages: a publication may remove them.

    record
        The record to publish.
    published
        Values that the formula published at the name before.
    """
    return [value for value in present if _is_managed(record, value, published)]


def adopted(
    record: Record, present: Collection[bytes], managed: Collection[bytes], adopt: bool
) -> list[bytes]:
    """
    Return the values of the same kind that the formula does not manage, but now replaces.

    Raises RecordConflict if there are any, unless ``adopt``.
    """
    others = [v for v in meant_as(record.purpose, present) if v not in managed]
    if others and not adopt:
        shown = others[0].decode("utf-8", "backslashreplace")
        raise RecordConflict(
            f"another {record.type} record exists at this name: {cut(shown, 100)}; remove it, or "
            "use adopt=True to replace it"
        )
    return others


def published_values(
    name: str, rtype: str, present: Iterable[bytes], published: Iterable[str]
) -> tuple[bytes, ...]:
    """Return the present values that the formula published. A DNS panel may have rewritten them."""
    known = [Record(name, rtype, 0, value, purpose_of(name, value), "") for value in published]
    return tuple(value for value in present if any(has_meaning(one, value) for one in known))


def refuse_alias(record: Record, target: str) -> NoReturn:
    """
    Raise RecordConflict: a CNAME at the name excludes the record.

    RFC 1034, section 3.6.2: an alias has no other records. A query for one follows the alias.
    """
    remedy = "remove it, or set a delegation"
    if record.purpose != "dkim":
        remedy = f"publish {cut(record.value)} at that name, or remove the CNAME"
    raise RecordConflict(f"a CNAME to {target} exists at this name; {remedy}")


def has_meaning(record: Record, value: bytes) -> bool:
    """Return whether a value has the meaning of a record, in any spelling."""
    return not compare(record, value).problem


def _is_managed(record: Record, value: bytes, published: Collection[str]) -> bool:
    known = (record.value, *published, *record.replaces)
    if value.decode("utf-8", "replace") in known:
        return True
    if any(has_meaning(replace(record, value=one), value) for one in known):
        return True
    if record.purpose != "dkim":
        return False
    # Only the formula has this key, so a record of the key is managed, whatever its other tags.
    # An empty p= may have any origin, unless the key itself is revoked.
    key = public_key(value)
    return key is not None and key == public_key(record.value.encode())
