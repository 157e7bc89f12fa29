"""The runner of the tests: it ends the commands that it started and shows failures at the end."""

import threading
from collections import Counter
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest
from support.durations import Durations
from support.lines import Lines
from support.machine import RELEASES
from support.progress import Progress
from support.runner import LAST_LINES, NO_TESTS, _outcome, _together, _verdict
from support.share import releases_of, short_form


@pytest.fixture
def durations(tmp_path):
    return Durations(tmp_path / "durations.json")


def test_stop_of_the_runner_ends_its_commands():
    lines = Lines()
    found = []
    started = threading.Event()
    lines.write = lambda line: started.set()
    command = ["/bin/sh", "-c", "echo begins; exec sleep 60"]
    thread = threading.Thread(target=lambda: found.append(lines.stream(command, "test")))
    thread.start()
    assert started.wait(20)
    lines.stop()
    thread.join(20)
    ((status, output, _),) = found
    assert status != 0
    assert output == ["begins"]
    with pytest.raises(CancelledError):
        lines.stream(["/bin/true"], "test")


def test_failed_tests_are_shown_again_at_the_end(capsys, durations):
    output = [f"line {number}" for number in range(LAST_LINES)]
    output.append("=== 1 failed, 2 passed in 3s ===")
    outcomes = [
        _outcome("integration", "trixie", 1, output),
        _outcome("integration", "trixie", 0, ["=== 4 passed in 3s ==="]),
        _outcome("integration", "trixie", NO_TESTS, ["=== 4 deselected in 0s ==="]),
    ]
    together = _together(outcomes, "trixie")
    assert _verdict([together], Progress(lambda line: None), durations) == 1
    shown = capsys.readouterr().out
    assert "line 0\n" not in shown
    assert f"line {LAST_LINES - 1}\n" in shown
    assert "1 failed, 6 passed in 2 files" in shown
    assert "TESTS FAILED: integration on trixie" in shown


def test_passed_tests_are_not_shown_again(capsys, durations):
    passed = _outcome("unit", "trixie", 0, ["a line", "=== 4 passed in 3s ==="])
    assert _verdict([passed], Progress(lambda line: None), durations) == 0
    shown = capsys.readouterr().out
    assert "a line" not in shown
    assert "TESTS PASSED" in shown


def test_longest_files_of_the_last_run_start_first_and_are_listed(durations, tmp_path):
    long, unknown, known = (["tests/test_typos.py"], ["tests/test_new.py"], ["tests/test_bare.py"])
    durations.note("trixie", known, 75.2, 30)
    durations.keep()
    assert durations.table(1) == (
        "    1:15.2  trixie tests/test_bare.py (pytest itself 0:30.0 of the processor)"
    )
    again = Durations(tmp_path / "durations.json")
    targets = sorted((known, unknown, long), key=lambda target: again.of("trixie", target))
    assert targets == [known, unknown, long]


def test_command_returns_its_status_output_and_processor_time():
    lines = Lines()
    lines.write = lambda line: None
    work = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; echo done; exit 3"
    status, output, processor = lines.stream(["/bin/sh", "-c", work], "test")
    assert (status, output) == (3, ["done"])
    assert processor > 0


def test_test_marked_one_release_runs_on_exactly_one_release():
    names = [f"tests/functional/test_x.py::test_case[{number}]" for number in range(100)]
    dealt = [releases_of(_item(name, pytest.mark.one_release)) for name in names]
    counts = Counter(dealt)
    assert set(counts) == {(release,) for release in RELEASES}
    assert min(counts.values()) > 30
    assert dealt == [releases_of(_item(name, pytest.mark.one_release)) for name in names]
    assert releases_of(_item(names[0], pytest.mark.one_release("trixie"))) == ("trixie",)
    assert releases_of(_item(names[0], None)) == RELEASES
    assert len(releases_of(_item("tests/unit/test_x.py::test_case", None))) == 1


def test_unknown_release_in_a_mark_is_an_error():
    with pytest.raises(ValueError, match="sarge"):
        releases_of(_item("tests/test_x.py::test_y", pytest.mark.one_release("sarge")))


def test_short_form_runs_the_first_cases_always_and_the_others_in_soak():
    first, *others = short_form([("a", 1), ("b", 2), "c"])
    assert first == ("a", 1)
    assert [one.values for one in others] == [("b", 2), ("c",)]
    assert [mark.name for one in others for mark in one.marks] == ["soak", "soak"]


def _item(name, marker):
    marks = {"one_release": marker.mark} if marker else {}
    return SimpleNamespace(nodeid=name, get_closest_marker=marks.get)
