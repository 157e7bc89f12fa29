"""The course that every state of this formula takes: look, tell or change, look again."""

from collections.abc import Callable, Mapping

from .errors import done_before, keeping_what_was_done


def converge(
    name: str,
    test: bool,
    look: Callable[[], Mapping],
    change: Callable[[], object],
    *,
    in_order: str,
    pending: str,
    done: str,
) -> dict[str, object]:
    """
    A state's return.

    name
        The state's name.
    test
        Only tell: what ``look`` finds is what a run would change, so both have the same
        ``changes``.
    look
        Gives ``{"changes": {what: {"old": …, "new": …}}, "notes": [text, …]}``.
    change
        Makes the changes. What it returns as ``changes`` and ``notes`` is what was done; without
        such a return, what ``look`` found was.
    in_order, pending, done
        What the comment says: nothing to do, under test, after a change.

    Returns ``{"name", "result", "changes", "comment"}``. An error is left to the caller; one of
    ``change`` carries what had been done by then (:func:`errors.done_before`).
    """
    seen = look()
    if not seen["changes"]:
        return _return(name, True, {}, in_order, seen)
    if test:
        return _return(name, None, seen["changes"], pending, seen)
    try:
        made = change()
    except Exception as error:
        error.done = {**_done_by_now(seen, look), **done_before(error)}
        raise
    changes = seen["changes"]
    if isinstance(made, Mapping) and isinstance(made.get("changes"), Mapping):
        changes = made["changes"]
    with keeping_what_was_done(lambda: changes):
        left = look()
    if left["changes"]:
        return _return(
            name,
            False,
            changes,
            f"changed, but still not as it should be: {', '.join(left['changes'])}",
            seen,
        )
    notes = made if isinstance(made, Mapping) and made.get("notes") else seen
    return _return(name, True, changes, done, notes)


def _done_by_now(seen: Mapping, look: Callable[[], Mapping]) -> dict[str, object]:
    """
    What of the changes is done although the change failed, as far as another look can tell: what
    is due no more, and what differs now from what it was.
    """
    try:
        left = look()["changes"]
    except Exception:
        # What failed may keep the look back too, and its text is the one that says why.
        return {}
    found: dict[str, object] = {}
    for what, due in seen["changes"].items():
        if what not in left:
            found[what] = due
        elif left[what]["old"] != due["old"]:
            found[what] = {"old": due["old"], "new": left[what]["old"]}
    return found


def failed(name: str, error: Exception) -> dict[str, object]:
    """
    A state's return where it could not be done, or not to its end: ``changes`` is what had been
    done by then. The text of a FormulaError is for people.
    """
    return {"name": name, "result": False, "changes": done_before(error), "comment": str(error)}


def _return(name: str, result, changes: Mapping, comment: str, seen: Mapping) -> dict[str, object]:
    lines = [comment, *seen.get("notes", ())]
    return {"name": name, "result": result, "changes": dict(changes), "comment": "\n".join(lines)}
