"""The bridge between Salt and the library: the pillar is read, errors become Salt's exceptions."""

import sys

import pytest

# A test machine has Salt; a host where a person runs these tests may lack it.
pytest.importorskip("salt.exceptions")

import dkim_salt
from dkim_formula.errors import (
    DatabaseUnavailable,
    InvalidValue,
    KeyNotFound,
    SeveralProblems,
    StepRefused,
)
from salt.exceptions import CommandExecutionError, SaltInvocationError


class Rendering:
    """Salt's pillar of a minion without a master."""

    def __init__(self, *_about):
        pass

    def compile_pillar(self):
        return {"dkim": {"rendered": True}}


@pytest.mark.parametrize(
    ("file_client", "pillar", "expected"),
    [
        ("local", {}, {"dkim": {"rendered": True}}),
        ("local", {"dkim": {}}, {"dkim": {}}),
        ("remote", {}, {}),
    ],
)
def test_missing_pillar_is_rendered_without_a_master(monkeypatch, file_client, pillar, expected):
    monkeypatch.setattr(dkim_salt.salt.pillar, "get_pillar", Rendering)
    opts = {"file_client": file_client, "id": "mail", "saltenv": None}
    assert dkim_salt.pillar_for_beacon(opts, {}, pillar) == expected


def raising(error):
    @dkim_salt.translated
    def function():
        """Fails."""
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidValue("bits", 512, "is too small", "give 1024 to 4096"), SaltInvocationError),
        (KeyNotFound("example.com has no active key"), CommandExecutionError),
        (StepRefused("the key is active"), CommandExecutionError),
        (DatabaseUnavailable("no_server", "no PostgreSQL answers"), CommandExecutionError),
        (SeveralProblems(["one", "two"]), CommandExecutionError),
    ],
)
def test_error_of_the_library_becomes_salts_with_the_same_text(error, expected):
    with pytest.raises(expected) as raised:
        raising(error)()
    assert type(raised.value) is expected
    assert str(raised.value) == str(error)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [StepRefused, SeveralProblems])
def test_error_names_the_command_of_this_minion(monkeypatch, error):
    opts = {"dkim_call": "/srv/formula/bin/highstate --call"}
    monkeypatch.setattr(sys.modules[__name__], "__opts__", opts, raising=False)
    text = "run salt-call state.apply dkim.database"
    with pytest.raises(CommandExecutionError) as raised:
        raising(error([text] if error is SeveralProblems else text))()
    assert str(raised.value).endswith(text.replace("salt-call", opts["dkim_call"]))


def test_unexpected_error_is_not_translated():
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())()


def test_translated_function_keeps_its_name_and_help():
    function = raising(ValueError())
    assert (function.__name__, function.__doc__) == ("function", "Fails.")


EMPTY = [{}, {"dkim": None}, {"dkim": {}}, {"dkim": {"domains": None}}, {"other": 1}]


@pytest.mark.parametrize("pillar", EMPTY)
def test_pillar_that_sets_nothing_is_an_error_that_says_what_to_do(pillar):
    reading = dkim_salt.read_pillar(pillar)
    (problem,) = reading.problems
    assert problem.startswith("dkim: ")
    assert "pillar.example" in problem
    assert "dkim.clean" in problem
    assert reading.settings.database.name == "vmail"


@pytest.mark.parametrize("given", ["", "text", [], 0, False, True])
def test_pillar_that_is_no_mapping_is_an_error(given):
    assert dkim_salt.read_pillar({"dkim": given}).problems


def test_pillar_of_one_run_is_read_once():
    pillar = {"dkim": {"domains": ["example.com"]}}
    assert dkim_salt.read_pillar(pillar) is dkim_salt.read_pillar(dict(pillar))


def test_refreshed_pillar_is_read_again():
    first = dkim_salt.read_pillar({"dkim": {"domains": ["example.com"]}})
    second = dkim_salt.read_pillar({"dkim": {"domains": ["example.org"]}})
    assert list(first.settings.domains) == ["example.com"]
    assert list(second.settings.domains) == ["example.org"]


def test_wrong_pillar_raises_all_its_problems_at_once():
    pillar = {"dkim": {"databse": {}, "domains": {"exa mple": {}}}}
    with pytest.raises(SeveralProblems) as raised:
        dkim_salt.valid_settings(pillar)
    assert len(raised.value.problems) == 2
    assert "databse" in str(raised.value)
    assert "'exa mple'" in str(raised.value)


COMMENTS = {"ok": "there", "pending": "would be made", "done": "made"}


@pytest.mark.parametrize(
    "error",
    [CommandExecutionError("no way"), SaltInvocationError("no way"), StepRefused("no way")],
)
@pytest.mark.parametrize("test", [True, False])
def test_error_of_a_reading_fails_the_state_with_its_text(error, test):
    def read():
        raise error

    ret = dkim_salt.converged({"test": test}, "x", read, read, **COMMENTS)
    assert ret == {"name": "x", "result": False, "changes": {}, "comment": "no way"}


def test_error_of_a_change_fails_the_state_with_its_text():
    def change():
        raise CommandExecutionError("refused")

    read_state = {"changes": {"key": {"old": None, "new": "rsa"}}}
    ret = dkim_salt.converged({"test": False}, "x", lambda: read_state, change, **COMMENTS)
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, "refused")


def test_failed_change_reports_finished_parts_through_salts_exception():
    @dkim_salt.translated
    def change():
        """Fails midway."""
        error = StepRefused("refused")
        error.done = {"key": {"old": None, "new": "rsa"}}
        raise error

    new = {"old": None, "new": "rsa"}
    read_state = {"changes": {"key": new, "other": new}}
    ret = dkim_salt.converged({"test": False}, "x", lambda: read_state, change, **COMMENTS)
    assert (ret["result"], ret["comment"]) == (False, "refused")
    assert ret["changes"] == {"key": {"old": None, "new": "rsa"}}


def test_error_of_the_machine_names_its_file():
    @dkim_salt.translated
    def function():
        """Fails."""
        raise OSError(28, "No space left on device", "/etc/x")

    with pytest.raises(CommandExecutionError, match=r"^/etc/x: No space left on device$"):
        function()
