"""The steps of every state of this formula: read, report or change, read again."""

from collections.abc import Callable, Mapping

from .errors import done_before, keeping_what_was_done


def converge(
    name: str,
    test: bool,
    read: Callable[[], Mapping],
    change: Callable[[], object],
    *,
    ok: str,
    pending: str,
    done: str,
) -> dict[str, object]:
    """
    Return a state's return.

    name
        The state's name.
    test
        True: report the changes that ``read`` returns, and change nothing. A run reports the same
        ``changes``.
    read
        Returns ``{"changes": {what: {"old": …, "new": …}}, "notes": [text, …]}``.
    change
        Makes the changes. It may return ``changes`` and ``notes``; otherwise those of ``read`` are
        reported.
    ok, pending, done
        The comment where nothing is to change, under test, and after a change.

    Returns ``{"name", "result", "changes", "comment"}``. Errors pass to the caller; an error of
    ``change`` carries the changes made before it (:func:`errors.done_before`).
    """
    before = read()
    if not before["changes"]:
        return _return(name, True, {}, ok, before)
    if test:
        return _return(name, None, before["changes"], pending, before)
    try:
        made = change()
    except Exception as error:
        error.done = {**_done_by_now(before, read), **done_before(error)}
        raise
    changes = before["changes"]
    if isinstance(made, Mapping) and isinstance(made.get("changes"), Mapping):
        changes = made["changes"]
    with keeping_what_was_done(lambda: changes):
        left = read()
    if left["changes"]:
        return _return(
            name,
            False,
            changes,
            f"changed, but still not as it should be: {', '.join(left['changes'])}",
            before,
        )
    notes = made if isinstance(made, Mapping) and made.get("notes") else before
    return _return(name, True, changes, done, notes)


def _done_by_now(before: Mapping, read: Callable[[], Mapping]) -> dict[str, object]:
    """
    Return the changes that were made although the run failed: those that are no longer due, and
    those whose old value is another one now.
    """
    try:
        left = read()["changes"]
    except Exception:
        # The cause of the failure may stop this reading too. The first error says why.
        return {}
    found: dict[str, object] = {}
    for what, due in before["changes"].items():
        if what not in left:
            found[what] = due
        elif left[what]["old"] != due["old"]:
            found[what] = {"old": due["old"], "new": left[what]["old"]}
    return found


def failed(name: str, error: Exception) -> dict[str, object]:
    """
    Return the return of a failed state: ``changes`` are those made before the error. The text of a
    FormulaError is written for people.
    """
    return {"name": name, "result": False, "changes": done_before(error), "comment": str(error)}


def _return(name: str, result, changes: Mapping, comment: str, found: Mapping) -> dict[str, object]:
    lines = [comment, *found.get("notes", ())]
    return {"name": name, "result": result, "changes": dict(changes), "comment": "\n".join(lines)}
