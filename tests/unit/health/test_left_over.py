"""Files that a unit of the formula wrote, and that the formula removes when they are obsolete."""

import pytest
from dkim_formula.health import commands
from dkim_formula.settings import read


def for_states(**monitoring):
    settings = read({"monitoring": monitoring}).settings
    return commands.for_states(settings.monitoring, "/etc/salt", "/usr/bin/salt-call")


@pytest.mark.parametrize(
    ("unit", "call", "name", "key", "setting"),
    [
        ("UNIT", "dkim.write_metrics", "dkim.prom", "left_over", lambda path: {"textfile": path}),
        (
            "REPORT_UNIT",
            "dkim.report",
            "page.html",
            "report_left_over",
            lambda path: {"report": {"path": f"{path}/page.html"}},
        ),
    ],
)
def test_file_of_a_unit_is_left_over_if_the_pillar_does_not_ask_for_it(
    tmp_path, monkeypatch, unit, call, name, key, setting
):
    service, file = tmp_path / "unit.service", tmp_path / name
    monkeypatch.setattr(commands, unit, str(service))
    assert for_states()[key] == []
    service.write_text(
        f"# {call} /etc/passwd\nExecStart=/usr/bin/salt-call -l warning {call} {file}\n"
    )
    assert for_states()[key] == []
    file.write_text("")
    assert for_states()[key] == [str(file)]
    assert for_states(**setting(str(tmp_path)))[key] == []
