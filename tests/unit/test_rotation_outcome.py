"""What a run of rotations has to say stays readable, and takes no time, however much it is."""

import time

from dkim_formula.operations.rotation.outcome import Outcome


def test_many_texts_are_gathered_in_no_time_and_counted_past_a_hundred():
    outcome = Outcome()
    started = time.process_time()
    for number in range(100_000):
        outcome.problem(f"problem {number}")
        outcome.note(f"note {number}")
        outcome.note(f"note {number}")
    assert time.process_time() - started < 5
    plain = outcome.as_plain()
    assert plain["problems"][99:] == ["problem 99", "99900 more problems are not shown"]
    assert plain["notes"][99:] == ["note 99", "99900 more notes are not shown"]


def test_a_text_is_told_once():
    outcome = Outcome()
    outcome.note("once")
    outcome.note("once")
    assert outcome.as_plain()["notes"] == ["once"]
