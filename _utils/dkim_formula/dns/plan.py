"""What an update has to do at one name, so that nothing of others is touched. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..records.kind import cut, of_kind, public_key
from ..records.record import Record
from .failure import DnsError


class Foreign(DnsError):
    """Something that is not ours stands where our record should be."""


@dataclass(frozen=True)
class Present:
    """
    What a name holds of one type.

    values
        Each record's octets, joined; of a CNAME its target.
    ttl
        Seconds; None where there is nothing.
    alias
        The target of a CNAME that stands there in place of the type that was asked for.
    """

    values: tuple[bytes, ...] = ()
    ttl: int | None = None
    alias: str | None = None


@dataclass(frozen=True)
class Step:
    """
    One change at one name.

    delete
        The values that go, all of them ours or adopted.
    add
        The value that comes, or None.
    ttl
        Seconds, of what comes.
    """

    name: str
    type: str
    delete: tuple[bytes, ...] = ()
    add: bytes | None = None
    ttl: int = 0


def to_publish(
    record: Record, present: Present, remembered: Collection[str] = (), adopt: bool = False
) -> Step | None:
    """
    The step that brings a record to its name, None where it is there.

    remembered
        Values that we have published there before.
    adopt
        Take the place of a foreign record of the same kind.

    Raises Foreign where a record of that kind, or an alias, is not ours.
    """
    wanted = record.value.encode()
    if present.alias is not None:
        raise Foreign(f"there is a CNAME to {present.alias}; remove it, or set a delegation")
    of_ours = [value for value in present.values if _is_ours(record, value, remembered)]
    foreign = [v for v in of_kind(record.purpose, present.values) if v not in of_ours]
    if foreign and not adopt:
        shown = foreign[0].decode("utf-8", "backslashreplace")
        raise Foreign(
            f"a {record.type} record that is not ours is there: {cut(shown, 100)}; remove it, or "
            "give adopt=True to have it replaced"
        )
    gone = tuple(value for value in (*of_ours, *foreign) if value != wanted)
    ttl = _ttl(record, present, (*of_ours, *foreign))
    if wanted in present.values and not gone and ttl == present.ttl:
        return None
    # With another TTL the value itself goes and comes back, in one update.
    delete = gone if ttl == present.ttl else tuple(dict.fromkeys((*of_ours, *foreign)))
    return Step(record.name, record.type, delete, wanted, ttl)


def to_remove(name: str, rtype: str, present: Present, remembered: Iterable[str]) -> Step | None:
    """The step that removes exactly what we published at a name, None where it is gone."""
    ours = {value.encode() for value in remembered}
    there = tuple(value for value in present.values if value in ours)
    return Step(name, rtype, there) if there else None


def _is_ours(record: Record, value: bytes, remembered: Collection[str]) -> bool:
    if value == record.value.encode():
        return True
    text = value.decode("utf-8", "replace")
    if text in remembered or text in record.replaces:
        return True
    if record.purpose != "dkim":
        return False
    # Nobody else has our key: its record is ours however its other tags are written. An empty p=
    # may be anybody's, except where our own key is revoked.
    key = public_key(value)
    return key is not None and key == public_key(record.value.encode())


def _ttl(record: Record, present: Present, own: Collection[bytes]) -> int:
    # RFC 2181, section 5.2: the records of one name and type have one TTL. Where others are among
    # them, it is theirs.
    others = [value for value in present.values if value not in own]
    return present.ttl if others and present.ttl is not None else record.ttl
