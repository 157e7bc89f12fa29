"""Steps: the change that one name needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..errors import DnsError
from ..records.kind import meant_as, purpose_of
from ..records.meaning import cut
from ..records.record import Record
from . import managed_records
from .managed_records import has_meaning


@dataclass(frozen=True)
class Present:
    """
    The records of one type at a name.

    values
        The joined octets of each record; the target of a CNAME.
    ttl
        Seconds; None without a record.
    ttl_matters
        Whether a TTL that differs from the desired one requires a change.
    alias
        The target of a CNAME at the name, if the question was for another type.
    """

    values: tuple[bytes, ...] = ()
    ttl: int | None = None
    ttl_matters: bool = True
    alias: str | None = None


@dataclass(frozen=True)
class Step:
    """
    One change at one name.

    delete
        The values to remove. Each is managed by the formula or adopted.
    add
        The value to add, or None.
    ttl
        The TTL of the added value, in seconds.
    """

    name: str
    type: str
    delete: tuple[bytes, ...] = ()
    add: bytes | None = None
    ttl: int = 0


@dataclass(frozen=True)
class Rewritten:
    """
    A published record in the form in which a provider rewrote it.

    value, ttl
        The value and the TTL that were sent.
    shown, shown_ttl
        The value and the TTL that the provider shows.
    """

    value: str
    ttl: int
    shown: bytes
    shown_ttl: int


def to_publish(
    record: Record,
    present: Present,
    published: Collection[str] = (),
    adopt: bool = False,
    rewritten: Rewritten | None = None,
) -> Step | None:
    """
    Return the step that publishes a record; None if the name already has the record.

    published
        Values that the formula published at the name before.
    adopt
        Replace another record of the same kind.
    rewritten
        The form in which the provider rewrote this record before. The provider would do so again.

    Raises RecordConflict for a record of the same kind, or an alias, that the formula does not
    manage; DnsError if the rewritten form has another meaning.
    """
    desired = record.value.encode()
    if present.alias is not None:
        managed_records.refuse_alias(record, present.alias)
    if rewritten is not None and _is_as_rewritten(record, present, rewritten):
        if not has_meaning(record, rewritten.shown):
            raise DnsError(rewritten_problem(rewritten.shown))
        return None
    if _has_same_meaning(record, present, published):
        return None
    managed = managed_records.managed_values(record, present.values, published)
    others = managed_records.adopted(record, present.values, managed, adopt)
    gone = tuple(value for value in (*managed, *others) if value != desired)
    ttl = _ttl(record, present, (*managed, *others))
    has_ttl = not present.ttl_matters or present.ttl in (None, ttl)
    if desired in present.values and not gone and has_ttl:
        return None
    # To change the TTL, one update removes the value and adds it again.
    delete = gone if has_ttl else tuple(dict.fromkeys((*managed, *others)))
    return Step(record.name, record.type, delete, desired, ttl)


def rewritten_form(step: Step, before: Present, after: Present) -> Rewritten | None:
    """Return the form in which a provider rewrote the value of a step; None if unchanged."""
    if step.add is None or (step.add in after.values and after.ttl == step.ttl):
        return None
    kept = [value for value in before.values if value not in step.delete]
    new = [value for value in after.values if value not in kept]
    shown = [step.add] if step.add in after.values else new
    if len(shown) != 1 or after.ttl is None:
        return None
    return Rewritten(step.add.decode(), step.ttl, shown[0], after.ttl)


def rewritten_problem(shown: bytes) -> str:
    """Return the problem text for a value that a provider rewrote with another meaning."""
    return (
        f"the provider changed the record's meaning, and would do so again: "
        f"{cut(shown.decode('utf-8', 'backslashreplace'), 100)}; report that to the provider, and "
        "publish the record by hand"
    )


def to_remove(name: str, rtype: str, present: Present, published: Iterable[str]) -> Step | None:
    """
    Return the step that removes the values that the formula published at a name; None if they are
    gone. A DNS panel may have rewritten the values.
    """
    found = managed_records.published_values(name, rtype, present.values, published)
    return Step(name, rtype, found) if found else None


def has_value(record_value: bytes, step: Step, present: Present) -> bool:
    """Return whether a name has a value, in any spelling, after the step that added it."""
    text = record_value.decode()
    record = Record(step.name, step.type, 0, text, purpose_of(step.name, text), "")
    return any(has_meaning(record, value) for value in present.values)


def _is_as_rewritten(record: Record, present: Present, rewritten: Rewritten) -> bool:
    is_same = (record.value, record.ttl) == (rewritten.value, rewritten.ttl)
    meant = meant_as(record.purpose, present.values) or [rewritten.shown]
    return (
        is_same
        and rewritten.shown in present.values
        and meant == [rewritten.shown]
        and (present.ttl == rewritten.shown_ttl)
    )


def _has_same_meaning(record: Record, present: Present, published: Collection[str]) -> bool:
    """
    Return whether the only record of the kind has the same meaning in another spelling. Such a
    record stays, with its TTL: a DNS panel rewrote the published value and would do so again, or
    another user wrote the policy.
    """
    meant = meant_as(record.purpose, present.values)
    if len(meant) != 1 or meant[0] == record.value.encode() or not has_meaning(record, meant[0]):
        return False
    return record.value in published or record.purpose != "dkim"


def _ttl(record: Record, present: Present, managed: Collection[bytes]) -> int:
    # RFC 2181, section 5.2: the records of one name and type have one TTL. If the formula does not
    # manage all of the records, their TTL stays.
    others = [value for value in present.values if value not in managed]
    return present.ttl if others and present.ttl is not None else record.ttl
