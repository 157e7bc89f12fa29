"""The course that every state of this formula takes: look, tell or change, look again."""

from collections.abc import Callable, Mapping


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
        Makes the changes; its own return is not used, except notes in it.
    in_order, pending, done
        What the comment says: nothing to do, under test, after a change.

    Returns ``{"name", "result", "changes", "comment"}``. A FormulaError, or Salt's own
    CommandExecutionError with such a text, is left to the caller.
    """
    seen = look()
    if not seen["changes"]:
        return _return(name, True, {}, in_order, seen)
    if test:
        return _return(name, None, seen["changes"], pending, seen)
    made = change()
    left = look()
    if left["changes"]:
        return _return(
            name,
            False,
            seen["changes"],
            f"changed, but still not as it should be: {', '.join(left['changes'])}",
            seen,
        )
    notes = made if isinstance(made, Mapping) and made.get("notes") else seen
    return _return(name, True, seen["changes"], done, notes)


def failed(name: str, error: Exception) -> dict[str, object]:
    """A state's return where it could not be done; the text of a FormulaError is for people."""
    return {"name": name, "result": False, "changes": {}, "comment": str(error)}


def _return(name: str, result, changes: Mapping, comment: str, seen: Mapping) -> dict[str, object]:
    lines = [comment, *seen.get("notes", ())]
    return {"name": name, "result": result, "changes": dict(changes), "comment": "\n".join(lines)}
