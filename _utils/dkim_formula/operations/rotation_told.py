"""What a call of the rotation did and what it waits for, as text for who runs states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import Record, render
from .publish import TO_BE_MADE

# More keys than this are counted.
LISTED = 20


def told(done: Mapping[str, object], test: bool) -> tuple[bool | None, dict[str, object], str]:
    """
    A state's result, changes and comment.

    done
        What ``rotate``, ``advance`` or ``rotate_due`` of ``operations.rotation`` returned.
    test
        Whether that was a look at what a run would do.

    A key that waits is neither a failure nor a change: the comment says for what and until when.
    """
    changes = {**done["changes"], **done["dns"]}
    problems = done["problems"]
    if problems:
        comment, result = "Not every key could go on", False
    elif not changes:
        comment, result = "No key is to move now", True
    elif test:
        comment, result = "Keys would go on", None
    else:
        comment, result = "Keys went on", True
    lines = [comment, *problems, *done["notes"], *_waiting(done["waiting"])]
    if done["come_back"]:
        lines.append(f"Come back at {done['come_back']}")
    lines += _to_publish(done["publish"])
    return result, changes, "\n".join(lines)


def _waiting(keys: Sequence[Mapping[str, object]]) -> list[str]:
    lines = []
    for key in keys[:LISTED]:
        until = f", until {key['until']}" if key["until"] else ""
        lines.append(
            f"{key['selector']}._domainkey.{key['domain']} is {key['state']} and waits to be "
            f"{key['next']}: {key['for']}{until}"
        )
    if len(keys) > LISTED:
        lines.append(f"… and {len(keys) - LISTED} more that wait; see dkim.status")
    return lines


def _to_publish(plain: Sequence[Mapping[str, object]]) -> list[str]:
    records = [Record(**record) for record in plain]
    made = [record for record in records if record.value != TO_BE_MADE]
    lines = [
        f"{record.name} is to be published once its key is made"
        for record in records
        if record.value == TO_BE_MADE
    ]
    return [*lines, "Publish these records:", "", render(made, "bind")] if made else lines
