"""The outputter, by Salt's own loader: its terminal, its screens, and data without a screen."""

import io
import json
import types
from pathlib import Path

import pytest

# A test machine has Salt. Other hosts that run these tests may not have it.
pytest.importorskip("salt.output")

import salt.config
import salt.output
from salt.client.mixins import AsyncClientMixin
from support import fleet_returns, returns

TREE = Path(__file__).resolve().parents[3]
KEYS = [returns.key(), returns.key("xn--mnchen-3ya.example")]


class Screen(io.StringIO):
    """A standard output that may be a terminal."""

    def __init__(self, is_terminal):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


@pytest.fixture
def show(monkeypatch):
    """Return a function that has Salt print a return, and returns the printed text."""

    def printed(
        data,
        function="dkim.status",
        arguments=(),
        is_terminal=True,
        minion="local",
        env=(),
        out="dkim_screen",
        returned=None,
        **options,
    ):
        screen = Screen(is_terminal)
        monkeypatch.setattr("sys.stdout", screen)
        for name in ("LC_ALL", "LC_CTYPE", "NO_COLOR", "COLUMNS", "LINES", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"LANG": "de_DE.UTF-8", "TERM": "xterm", **dict(env)}.items():
            monkeypatch.setenv(name, value)
        opts = {
            **salt.config.DEFAULT_MINION_OPTS,
            "outputter_dirs": [str(TREE / "_output")],
            "fun": function,
            "arg": list(arguments),
            "color": True,
            **options,
        }
        salt.output.display_output({minion: data} if returned is None else returned, out, opts)
        return screen.getvalue()

    return printed


def test_terminal_has_colours_and_u_labels(show):
    text = show(KEYS)
    assert "\033[32m" in text
    assert "münchen.example (xn--mnchen-3ya.example)" in text


@pytest.mark.parametrize(
    "how",
    [
        {"env": {"NO_COLOR": "1"}},
        {"env": {"TERM": "dumb"}},
        {"no_color": True},
        {"color": False},
        {"is_terminal": False},
    ],
    ids=str,
)
def test_colours_can_be_turned_off(show, how):
    assert "\033" not in show(KEYS, **how)


def test_colours_can_be_forced(show):
    assert "\033[32m" in show(KEYS, is_terminal=False, force_color=True)


@pytest.mark.parametrize(
    ("env", "is_ascii"),
    [
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "C.utf8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "en_GB.UTF-8"}, False),
        # Python itself sets this without any locale (PEP 538).
        ({"LANG": "", "LC_CTYPE": "C.UTF-8"}, True),
    ],
    ids=str,
)
def test_characters_are_those_of_the_locale(show, env, is_ascii):
    assert show(KEYS, env=env).isascii() == is_ascii


def test_lines_are_as_wide_as_the_terminal(show):
    found = returns.finding("dns", False, "word " * 60)
    narrow = show([found], "dkim.doctor", env={"COLUMNS": "60", "NO_COLOR": "1"})
    assert max(map(len, narrow.splitlines())) <= 60
    assert max(map(len, show([found], "dkim.doctor", is_terminal=False).splitlines())) > 200


@pytest.mark.parametrize("arguments", [["all=True"], [{"__kwarg__": True, "all": True}]])
def test_all_keys_are_shown_with_the_argument_all(show, arguments):
    keys = returns.many_keys(60)
    assert "d59.example" not in show(keys)
    assert "d59.example" in show(keys, arguments=arguments)


@pytest.mark.parametrize(
    "arguments", [["example.com", "test=True"], ["a", "b", "rsa", "False", "True"]]
)
def test_preview_differs_from_a_run(show, arguments):
    assert "Would be done" in show(returns.rotated(), "dkim.rotate", arguments)
    assert "Would" not in show(returns.rotated(), "dkim.rotate", arguments[:1])


def test_records_of_this_machine_are_a_zone_file(show):
    text = show([returns.record()], "dkim.records", is_terminal=False)
    assert text.startswith("s1._domainkey.example.com. 3600 IN TXT (")
    assert text.endswith(")\n")


def test_comments_separate_several_minions(show):
    text = show([returns.record()], "dkim.records", minion="mail1", is_terminal=False)
    assert text.startswith("; mail1\ns1._domainkey")


def test_text_is_printed_unchanged(show):
    assert show("ERROR: no database\n") == "ERROR: no database\n"


def test_data_of_another_form_is_shown_nested(show):
    assert "rate" in show({"rate": 1})
    assert "rate" in show({"rate": 1}, "dkim.unheard_of")


def test_programs_get_the_data(show):
    text = show(KEYS, out="dkim_screen", output="json")
    assert json.loads(text) == {"local": KEYS}


def state(function, comment, **more):
    return {
        **{"result": True, "changes": {}, "comment": comment, "duration": 1.0, "__run_num__": 0},
        **{"__id__": function, "__sls__": "dkim", "name": function, "start_time": "12:00:00"},
        **more,
    }


RECORDS = "Publish these records:\n\ns1._domainkey.example.com. 3600 IN TXT (\n)"


@pytest.mark.parametrize("function", ["state.highstate", "state.apply"])
@pytest.mark.parametrize("verbose", [True, False])
def test_run_of_states_ends_with_the_records_to_publish_once(show, function, verbose):
    run = {
        "file_|-a_|-a_|-managed": state("a", "a is as it should be"),
        "file_|-b_|-b_|-managed": state("b", "b was written", changes={"diff": "new"}),
        "dkim_|-r_|-r_|-records_shown": state("r", RECORDS, __run_num__=2),
    }
    text = show(run, function, state_verbose=verbose, is_terminal=False)
    assert text.rstrip("\n").endswith(RECORDS)
    assert text.count("IN TXT") == 1
    assert "b was written" in text
    assert ("a is as it should be" in text) == verbose
    assert "Succeeded: 3" in text


ADVICE = "Advice: mail leaves unsigned; see salt-call dkim.check"


@pytest.mark.parametrize("verbose", [True, False])
def test_run_of_states_shows_the_advice_of_its_checks_once_before_the_records(show, verbose):
    run = {
        "dkim_|-a_|-a_|-checked": state("a", f"The pillar is valid\n{ADVICE}"),
        "dkim_|-b_|-b_|-checked": state("b", f"No problems found\n{ADVICE}\nAdvice: more"),
        "dkim_|-r_|-r_|-records_shown": state("r", RECORDS, __run_num__=2),
    }
    text = show(run, "state.apply", state_verbose=verbose, is_terminal=False, **CALL)
    shown = ADVICE.replace("Advice:", "?").replace("salt-call", CALL["dkim_call"])
    head, _, end = text.partition("Total run time")[2].partition("? ")
    assert f"Advice from before the run ({CALL['dkim_call']} dkim.check" in " ".join(head.split())
    assert end.split() == f"{shown.removeprefix('? ')} ? more {RECORDS}".split()
    assert text.count("mail leaves unsigned") == 1
    assert ("No problems found" in text) == verbose


def test_run_whose_check_failed_shows_the_problem_and_counts_the_states_that_did_not_run(show):
    problem = state("a", "dkim:domans: unknown key", result=False)
    # Salt 3006 to 3008, salt/state.py, State.call_chunk
    skipped = {
        f"file_|-{name}_|-{name}_|-managed": state(
            name, f"One or more requisite failed: {name}", result=False, __run_num__=1
        )
        for name in ("b", "c")
    }
    run = {"dkim_|-a_|-a_|-checked": problem, **skipped}
    text = show(run, "state.apply", state_verbose=False, is_terminal=False)
    assert "dkim:domans: unknown key" in text
    assert "requisite" not in text
    assert "Failed:    1" in text
    assert text.rstrip("\n").endswith(
        "? 2 states did not run, because a state that they require failed"
    )
    assert "did not run" not in show({**run, **dict.fromkeys(skipped, problem)}, "state.apply")


CALL = {"dkim_call": "/srv/formula/bin/highstate --call"}


def test_commands_on_a_screen_are_those_of_the_machine(show):
    found = [returns.finding("dns", False, "wrong", "salt-call dkim.publish publishes")]
    screen = show(found, "dkim.doctor", force_color=True, **CALL)
    assert f"\033[1m{CALL['dkim_call']} dkim.publish\033[0m  # publishes" in screen
    assert "salt-call" not in screen
    assert "salt-call dkim.publish" in show(found, "dkim.doctor", no_color=True)


def test_commands_after_a_run_of_states_are_those_of_the_machine(show):
    records = f"{RECORDS}\nsalt-call dkim.records prints them"
    run = {
        "dkim_|-b_|-b_|-checked": state(
            "b", "run salt-call state.apply dkim.database", result=False
        ),
        "dkim_|-r_|-r_|-records_shown": state("r", records, __run_num__=1),
    }
    text = show(run, "state.highstate", **CALL)
    assert f"run {CALL['dkim_call']} state.apply dkim.database" in text
    assert text.rstrip("\n").endswith(f"{CALL['dkim_call']} dkim.records prints them")


def test_programs_get_the_same_data_on_every_machine(show):
    found = [returns.finding("dns", False, "wrong", "salt-call dkim.publish publishes")]
    text = show(found, "dkim.doctor", output="json", **CALL)
    assert json.loads(text) == {"local": found}


def test_run_that_could_not_show_records_shows_the_reason(show):
    failed = {"dkim_|-r_|-r_|-records_shown": state("r", "no PostgreSQL answers", result=False)}
    text = show(failed, "state.apply", state_verbose=False)
    assert "no PostgreSQL answers" in text
    assert "See the end" not in text


def test_run_that_could_not_begin_is_shown_as_by_salt(show):
    assert "does not render" in show(["SLS dkim does not render"], "state.highstate")


@pytest.mark.parametrize("function", ["dkim.status", "state.apply"])
def test_machine_without_the_outputter_shows_the_data_nested(show, tmp_path, function):
    found = {"a": [{"domain": "example.com"}]}
    text = show(found, function, outputter_dirs=[str(tmp_path)], color=False)
    assert "domain:" in text
    assert "example.com" in text


@pytest.fixture
def run_runner(show, monkeypatch):
    """Return a function that prints the return of dkim.fleet as salt-run does."""

    def printed(returned, **options):
        chosen = []
        with monkeypatch.context() as patch:
            patch.setattr("salt.output.display_output", lambda *given: chosen.extend(given))
            client = types.SimpleNamespace(opts=options)
            AsyncClientMixin.print_async_event(client, "ret", {"return": returned})
        data, out, _ = chosen
        return show(None, "dkim.fleet", out=out, returned=data, **options)

    return printed


def test_runner_shows_a_screen(run_runner):
    data = fleet_returns.unhealthy()
    text = run_runner({"data": data, "outputter": "dkim_screen"}, no_color=True)
    assert text.splitlines()[0].split() == ["host", "state"]
    assert "salt mail-out-01.fra1.prod.example.net state.apply dkim.opendkim" in text


def test_programs_get_the_data_of_a_runner(run_runner):
    data = fleet_returns.unhealthy()
    text = run_runner({"data": data, "outputter": "dkim_screen"}, output="json")
    assert json.loads(text) == data
