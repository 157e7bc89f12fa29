"""A state looks, tells or changes, and looks again."""

import pytest
from dkim_formula.converge import converge, failed
from dkim_formula.errors import StepRefused

COMMENTS = {"in_order": "in order", "pending": "would be changed", "done": "was changed"}
DUE = {"a": {"old": 1, "new": 2}}


class Thing:
    """Something with a state; ``stubborn`` does not change."""

    def __init__(self, due, notes=(), stubborn=False, said=()):
        self.due, self.notes, self.stubborn, self.said = dict(due), list(notes), stubborn, said
        self.changed = 0

    def look(self):
        return {"changes": dict(self.due), "notes": list(self.notes)}

    def change(self):
        self.changed += 1
        if not self.stubborn:
            self.due = {}
        return {"notes": list(self.said)}


def course(thing, test=False):
    return converge("it", test, thing.look, thing.change, **COMMENTS)


@pytest.mark.parametrize("test", [True, False])
def test_what_is_in_order_is_left_alone(test):
    thing = Thing({})
    assert course(thing, test) == {
        "name": "it",
        "result": True,
        "changes": {},
        "comment": "in order",
    }
    assert thing.changed == 0


def test_test_run_tells_and_changes_nothing():
    thing = Thing(DUE)
    assert course(thing, test=True) == {
        "name": "it",
        "result": None,
        "changes": DUE,
        "comment": "would be changed",
    }
    assert thing.changed == 0


def test_run_makes_exactly_what_the_test_run_told():
    told = course(Thing(DUE), test=True)
    thing = Thing(DUE)
    made = course(thing)
    assert (made["result"], made["changes"]) == (True, told["changes"])
    assert thing.changed == 1


def test_change_that_did_not_take_fails_and_names_what_is_left():
    made = course(Thing(DUE, stubborn=True))
    assert made["result"] is False
    assert made["changes"] == DUE
    assert made["comment"] == "changed, but still not as it should be: a"


@pytest.mark.parametrize("test", [True, False])
def test_notes_are_told_whether_or_not_something_changes(test):
    assert course(Thing({}, notes=["mind this"]), test)["comment"] == "in order\nmind this"
    assert course(Thing(DUE, notes=["mind this"]), test)["comment"].endswith("\nmind this")


def test_notes_of_the_change_come_before_those_of_the_look():
    made = course(Thing(DUE, notes=["before"], said=["after"]))
    assert made["comment"] == "was changed\nafter"


def test_errors_are_left_to_the_caller():
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
    """A change that does one of its things and then fails; ``blind``: no look is possible after."""

    def __init__(self, due, left, blind=False, done=None):
        super().__init__(due)
        self.left, self.blind, self.done = left, blind, done

    def look(self):
        if self.changed and self.blind:
            raise StepRefused("can't look")
        return super().look()

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
def test_failed_change_tells_what_it_had_done(thing, expected):
    with pytest.raises(StepRefused) as raised:
        course(thing)
    assert failed("it", raised.value) == {
        "name": "it",
        "result": False,
        "changes": expected,
        "comment": "no further",
    }


def test_what_the_change_says_that_it_did_is_what_is_returned():
    thing = Thing(DUE)
    thing.change = lambda: thing.due.clear() or {"changes": {"b": {"old": None, "new": 1}}}
    assert course(thing)["changes"] == {"b": {"old": None, "new": 1}}
