"""Progress of a long run: a bar on a terminal, a line every ten seconds elsewhere."""

import io
import os
import pty

import pytest
from dkim_formula import progress


class Clock:
    """A clock whose time a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal():
    """A terminal: a function that reads its text, and the stream that writes to it."""
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")

    def read():
        stream.flush()
        stream.write("END")
        stream.flush()
        text = ""
        while not text.endswith("END"):
            text += os.read(master, 4096).decode()
        return text.removesuffix("END")

    yield read, stream
    stream.close()
    os.close(master)


def run(stream, clock, seconds, total):
    """Report ``total`` items, each of which takes ``seconds``."""
    with progress.shown(stream, "keys", clock) as report:
        for done in range(1, total + 1):
            clock.now += seconds
            report(done, total)


def test_bar_grows_on_a_terminal_and_is_erased_at_the_end(terminal, clock):
    read, stream = terminal
    run(stream, clock, 1, 4)
    steps = read().split("\r")
    assert steps[0] == ""
    assert steps[1] == f"[{'#' * 20}{' ' * 20}] 2 of 4 keys"
    assert steps[2] == f"[{'#' * 30}{' ' * 10}] 3 of 4 keys"
    assert (steps[3].strip(), steps[4]) == ("", "")
    assert len(steps[3]) == len(steps[2])


def test_short_wait_draws_nothing(terminal, clock):
    read, stream = terminal
    run(stream, clock, 0.4, 4)
    assert read() == ""


def test_bar_is_drawn_a_few_times_a_second(terminal, clock):
    read, stream = terminal
    run(stream, clock, 0.01, 1000)
    assert read().count("[") <= 10 / progress.REDRAWN


def test_bar_is_erased_if_the_run_fails(terminal, clock):
    read, stream = terminal

    def break_off():
        with progress.shown(stream, "keys", clock) as report:
            clock.now = 3
            report(1, 2)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert read().split("\r")[-2].strip() == ""


def test_without_a_terminal_a_line_is_written_every_ten_seconds(clock):
    stream = io.StringIO()
    run(stream, clock, 4, 10)
    assert stream.getvalue().splitlines() == ["3 of 10 keys", "6 of 10 keys", "9 of 10 keys"]


def test_closed_terminal_stops_no_run(clock):
    stream = io.StringIO()
    with progress.shown(stream, "keys", clock) as report:
        stream.close()
        clock.now = 11
        report(1, 2)


def test_large_numbers_are_readable(clock):
    stream = io.StringIO()
    with progress.shown(stream, "domains", clock) as report:
        clock.now = 11
        report(1_500, 100_000)
    assert stream.getvalue() == "1,500 of 100,000 domains\n"
