"""``dkim:dns:notify``: recipients, method and interval of notification."""

import pytest
from dkim_formula.settings import read
from dkim_formula.settings.notification import Notify


def notify(value):
    reading = read({"domains": ["example.com"], "dns": {"notify": value}})
    return reading.settings.dns.notify, reading.problems


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (False, None),
        (True, Notify()),
        ({}, Notify(("root",), None, None, 7 * 86400)),
        ({"to": "Dns@example.com"}, Notify(("Dns@example.com",))),
        (
            {"to": ["dns@example.com", "root", "dns@example.com"]},
            Notify(("dns@example.com", "root")),
        ),
        (
            {"from": "dkim@example.com", "every": False},
            Notify(sender="dkim@example.com", every=None),
        ),
        (
            {"command": "/usr/local/sbin/tell", "every": "2d"},
            Notify(command="/usr/local/sbin/tell", every=2 * 86400),
        ),
    ],
)
def test_settings_are_read(value, expected):
    found, problems = notify(value)
    assert problems == ()
    assert found == expected


@pytest.mark.parametrize(
    "value",
    [
        {"to": "dns@example.com\nBcc: thief@example.net"},
        {"to": "dns@example.com, thief@example.net"},
        {"to": "-oQ/tmp"},
        {"to": []},
        {"to": ""},
        {"from": "-f"},
        {"from": "a\r\nb"},
        {"from": "Name <a@example.com>"},
        {"every": "1s"},
        {"every": "soon"},
        {"command": "tell"},
        {"command": "/bin/tell", "to": "dns@example.com"},
        {"mail": "dns@example.com"},
        "dns@example.com",
    ],
)
def test_wrong_settings_are_named(value):
    _, problems = notify(value)
    assert len(problems) == 1
    assert problems[0].startswith("dkim:dns:notify")
