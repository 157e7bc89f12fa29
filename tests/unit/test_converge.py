"""A state reads, reports or changes, and reads again."""

import pytest
from dkim_formula.converge import converge, failed
from dkim_formula.errors import StepRefused

COMMENTS = {"ok": "in order", "pending": "would be changed", "done": "was changed"}
DUE = {"a": {"old": 1, "new": 2}}


class Thing:
    """Something with a state; ``stubborn`` does not change."""

    def __init__(self, due, notes=(), stubborn=False, change_notes=()):
        self.due, self.notes, self.change_notes = dict(due), list(notes), change_notes
        self.stubborn = stubborn
        self.changed = 0

    def read(self):
        return {"changes": dict(self.due), "notes": list(self.notes)}

    def change(self):
        self.changed += 1
        if not self.stubborn:
            self.due = {}
        return {"notes": list(self.change_notes)}


def run(thing, test=False):
    return converge("it", test, thing.read, thing.change, **COMMENTS)


@pytest.mark.parametrize("test", [True, False])
def test_state_without_changes_changes_nothing(test):
    thing = Thing({})
    assert run(thing, test) == {
        "name": "it",
        "result": True,
        "changes": {},
        "comment": "in order",
    }
    assert thing.changed == 0


def test_test_run_reports_and_changes_nothing():
    thing = Thing(DUE)
    assert run(thing, test=True) == {
        "name": "it",
        "result": None,
        "changes": DUE,
        "comment": "would be changed",
    }
    assert thing.changed == 0


def test_run_makes_exactly_the_changes_of_the_test_run():
    preview = run(Thing(DUE), test=True)
    thing = Thing(DUE)
    made = run(thing)
    assert (made["result"], made["changes"]) == (True, preview["changes"])
    assert thing.changed == 1


def test_change_without_effect_fails_and_names_what_is_due():
    made = run(Thing(DUE, stubborn=True))
    assert made["result"] is False
    assert made["changes"] == DUE
    assert made["comment"] == "changed, but still not as it should be: a"


@pytest.mark.parametrize("test", [True, False])
def test_notes_are_reported_with_and_without_changes(test):
    assert run(Thing({}, notes=["mind this"]), test)["comment"] == "in order\nmind this"
    assert run(Thing(DUE, notes=["mind this"]), test)["comment"].endswith("\nmind this")


def test_notes_of_the_change_replace_those_of_the_reading():
    made = run(Thing(DUE, notes=["before"], change_notes=["after"]))
    assert made["comment"] == "was changed\nafter"


def test_errors_pass_to_the_caller():
    def refuse():
        raise StepRefused("no")

    with pytest.raises(StepRefused):
        converge("it", False, lambda: {"changes": DUE}, refuse, **COMMENTS)


def test_error_becomes_a_failed_state_with_its_text():
    assert failed("it", StepRefused("key s1 is revoked")) == {
        "name": "it",
        "result": False,
        "changes": {},
        "comment": "key s1 is revoked",
    }


class HalfDone(Thing):
    """A change that fails after one of its parts; ``blind``: reading fails afterwards."""

    def __init__(self, due, left, blind=False, done=None):
        super().__init__(due)
        self.left, self.blind, self.done = left, blind, done

    def read(self):
        if self.changed and self.blind:
            raise StepRefused("can't read")
        return super().read()

    def change(self):
        self.changed += 1
        self.due = self.left
        error = StepRefused("no further")
        if self.done is not None:
            error.done = self.done
        raise error


TWO = {"a": {"old": 1, "new": 2}, "b": {"old": None, "new": "x"}}


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (HalfDone(TWO, TWO), {}),
        (HalfDone(TWO, {"b": TWO["b"]}), {"a": TWO["a"]}),
        (HalfDone(TWO, {**TWO, "a": {"old": None, "new": 2}}), {"a": {"old": 1, "new": None}}),
        (HalfDone(TWO, TWO, blind=True), {}),
        (HalfDone(TWO, TWO, blind=True, done={"b": TWO["b"]}), {"b": TWO["b"]}),
        (
            HalfDone({"keys": {"old": None, "new": "9 new"}}, {}, done={"keys": "4 new"}),
            {"keys": "4 new"},
        ),
    ],
)
def test_failed_change_reports_the_changes_that_it_made(thing, expected):
    with pytest.raises(StepRefused) as raised:
        run(thing)
    assert failed("it", raised.value) == {
        "name": "it",
        "result": False,
        "changes": expected,
        "comment": "no further",
    }


def test_changes_that_the_change_returns_are_reported():
    thing = Thing(DUE)
    thing.change = lambda: thing.due.clear() or {"changes": {"b": {"old": None, "new": 1}}}
    assert run(thing)["changes"] == {"b": {"old": None, "new": 1}}
