"""What an update has to do at one name, so that nothing of others is touched. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ..records.kind import meant_as, purpose_of
from ..records.meaning import compare, cut, public_key
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
        raise Foreign(_beside_alias(record, present.alias))
    if _is_said_otherwise(record, present, remembered):
        return None
    of_ours = [value for value in present.values if _is_ours(record, value, remembered)]
    foreign = [v for v in meant_as(record.purpose, present.values) if v not in of_ours]
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


def _beside_alias(record: Record, target: str) -> str:
    # RFC 1034, section 3.6.2: nothing else stands at an alias; who asks for a record follows it.
    todo = "remove it, or set a delegation"
    if record.purpose != "dkim":
        todo = f"publish {cut(record.value)} at that name, or remove the CNAME"
    return f"there is a CNAME to {target}; {todo}"


def to_remove(name: str, rtype: str, present: Present, remembered: Iterable[str]) -> Step | None:
    """
    The step that removes what we published at a name, None where it is gone; a panel may have
    written it anew since.
    """
    ours = [Record(name, rtype, 0, value, purpose_of(name, value), "") for value in remembered]
    there = tuple(value for value in present.values if any(_means(one, value) for one in ours))
    return Step(name, rtype, there) if there else None


def is_there(record_value: bytes, step: Step, present: Present) -> bool:
    """Whether a name holds a value after the step that added it, in whatever form."""
    text = record_value.decode()
    record = Record(step.name, step.type, 0, text, purpose_of(step.name, text), "")
    return any(_means(record, value) for value in present.values)


def _is_said_otherwise(record: Record, present: Present, remembered: Collection[str]) -> bool:
    """
    Whether the name's one record of the kind says the same in another form, and that form is to
    stay: ours has come back from a panel that would write it anew again, or it is the site's own
    policy. The TTL is theirs then too.
    """
    meant = meant_as(record.purpose, present.values)
    if len(meant) != 1 or meant[0] == record.value.encode() or not _means(record, meant[0]):
        return False
    return record.value in remembered or record.purpose != "dkim"


def _is_ours(record: Record, value: bytes, remembered: Collection[str]) -> bool:
    known = (record.value, *remembered, *record.replaces)
    if value.decode("utf-8", "replace") in known:
        return True
    if any(_means(replace(record, value=one), value) for one in known):
        return True
    if record.purpose != "dkim":
        return False
    # Nobody else has our key: its record is ours however its other tags are written. An empty p=
    # may be anybody's, except where our own key is revoked.
    key = public_key(value)
    return key is not None and key == public_key(record.value.encode())


def _means(record: Record, value: bytes) -> bool:
    return not compare(record, value).problem


def _ttl(record: Record, present: Present, own: Collection[bytes]) -> int:
    # RFC 2181, section 5.2: the records of one name and type have one TTL. Where others are among
    # them, it is theirs.
    others = [value for value in present.values if value not in own]
    return present.ttl if others and present.ttl is not None else record.ttl
