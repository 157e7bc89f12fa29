"""What runs the tests: it ends what it began, and shows again what failed."""

import threading
from concurrent.futures import CancelledError

import pytest
from support.progress import Progress
from support.runner import COMPLAINT, NO_TESTS, Lines, _outcome, _together, _verdict


def test_commands_end_where_the_runner_is_stopped():
    lines = Lines()
    found = []
    began = threading.Event()
    lines.write = lambda line: began.set()
    command = ["/bin/sh", "-c", "echo begins; exec sleep 60"]
    thread = threading.Thread(target=lambda: found.append(lines.stream(command, "test")))
    thread.start()
    assert began.wait(20)
    lines.stop()
    thread.join(20)
    ((status, said),) = found
    assert status != 0
    assert said == ["begins"]
    with pytest.raises(CancelledError):
        lines.stream(["/bin/true"], "test")


def test_what_failed_is_shown_again_in_the_end(capsys):
    said = [f"line {number}" for number in range(COMPLAINT)] + ["=== 1 failed, 2 passed in 3s ==="]
    outcomes = [
        _outcome("integration", "trixie", 1, said),
        _outcome("integration", "trixie", 0, ["=== 4 passed in 3s ==="]),
        _outcome("integration", "trixie", NO_TESTS, ["=== 4 deselected in 0s ==="]),
    ]
    together = _together(outcomes, "trixie")
    assert _verdict([together], Progress(lambda line: None)) == 1
    shown = capsys.readouterr().out
    assert "line 0\n" not in shown
    assert f"line {COMPLAINT - 1}\n" in shown
    assert "1 failed, 6 passed in 2 files" in shown
    assert "TESTS FAILED: integration on trixie" in shown


def test_what_passed_is_not_shown_again(capsys):
    passed = _outcome("unit", "trixie", 0, ["a line", "=== 4 passed in 3s ==="])
    assert _verdict([passed], Progress(lambda line: None)) == 0
    shown = capsys.readouterr().out
    assert "a line" not in shown
    assert "TESTS PASSED" in shown
