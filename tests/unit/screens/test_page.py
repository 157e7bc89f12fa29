"""The page of dkim.report: its content, and its escapes of untrusted text."""

import re
from html.parser import HTMLParser

import pytest
from dkim_formula import calls
from dkim_formula.health.run import MONITORED
from dkim_formula.screens import page_template
from dkim_formula.screens.page import MOST_KEYS, page
from dkim_formula.screens.terminal import Terminal
from hypothesis import given
from hypothesis import strategies as st
from support import returns
from support.fuzz import examples


class Read(HTMLParser):
    """The tags of a page with their attributes, and its texts, as in a browser."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data):
        if data.strip() and self.tags[-1][0] != "style":
            self.texts.append(data.strip())


def state(**more):
    """Return the data of health.commands.report for a host without problems."""
    return {
        "host": "mail.example.net",
        "at": returns.at(),
        "every": 900,
        "problems": [],
        "unknown": [],
        "checked": {"database": returns.at(minutes=-1), "dns": returns.at(minutes=-20)},
        "keys": returns.few_keys(),
        "unknown_keys": "",
        "records": {"by_verdict": {"ok": 6}, "wrong": [], "count": 0},
        **more,
    }


def problem(**more):
    found = returns.finding("unsigned", False, "2 domains have no key", "salt-call dkim.doctor")
    return {**found, "items": ["a.example", "b.example"], "count": 2, **more}


def wrong(*names):
    records = [{"name": name, "type": "TXT", "verdict": "missing"} for name in names]
    return {"by_verdict": {"missing": len(names), "ok": 5}, "wrong": records, "count": len(names)}


def texts(**more):
    return Read(page(state(**more))).texts


def test_page_of_a_host_without_problems_says_so():
    found = texts()
    assert "No problems" in found
    assert "None." in found
    assert "6 records: 6 ok." in found


def test_problems_come_first_with_their_remedies():
    found = texts(problems=[problem(remedy="salt-call dkim.generate_missing; or see the docs")])
    assert found.index("1 problem") < found.index("Unsigned mail") < found.index("Next steps")
    assert "salt-call dkim.generate_missing\nor see the docs" in found


def test_commands_are_those_of_the_machine():
    with calls.made_by("/srv/a&b/bin/highstate --call"):
        found = texts(
            problems=[problem(remedy="salt-call dkim.generate_missing; run salt-call dkim.check")],
            records=wrong(*(f"{number}.example" for number in range(501))),
        )
    command = "/srv/a&b/bin/highstate --call"
    assert f"{command} dkim.generate_missing\nrun {command} dkim.check" in found
    assert f"DNS: missing. Run: {command} dkim.check_dns example.org" in found
    assert f"{command} dkim.check_dns" in found
    assert not any("salt-call" in text for text in found)


def test_every_state_is_shown_in_words():
    found = texts()
    for word in ("needs a person", "in progress", "at rest", "missing", "pending", "retired"):
        assert word in found


def test_key_that_needs_a_person_is_the_first_step_and_the_first_domain():
    found = texts()
    assert found[found.index("Step") + 1 :][:4] == [
        "now",
        "example.org",
        "mail",
        "DNS: missing. Run: salt-call dkim.check_dns example.org",
    ]
    assert found[found.index("Is") + 1] == "example.org"


def test_international_names_are_shown_in_both_forms():
    assert "münchen.example (xn--mnchen-3ya.example)" in texts()


def test_wrong_records_are_listed():
    found = texts(records=wrong("s1._domainkey.example.org"))
    assert "s1._domainkey.example.org" in found
    assert "6 records: 1 missing, 5 ok." in found


def test_every_monitored_check_has_a_title():
    for check in MONITORED:
        assert texts(problems=[problem(check=check)])[:20].count(check) == 0


def test_unknown_checks_and_unknown_keys_are_shown():
    found = texts(keys=[], unknown_keys="The database does not answer: no server", unknown=["dns"])
    assert found.count("The database does not answer: no server") == 2
    assert "Nothing is known of these checks: dns." in found


def test_host_without_keys_says_so():
    assert "There are no keys." in texts(keys=[])


@pytest.mark.parametrize("number", [0, 1, 5, 6, 50, 51, 3000])
def test_names_of_a_problem_are_shown_up_to_fifty(number):
    names = [f"d{one}.example" for one in range(min(number, 1000))]
    found = texts(problems=[problem(items=names, count=number)])
    assert ("d0.example" in found) == (number > 5)
    assert ("and 2,950 more" in found) == (number == 3000)
    assert ("and 1 more" in found) == (number == 51)


def test_page_of_a_large_site_is_shortened_and_says_so():
    text = page(state(keys=returns.many_keys(100_000)))
    assert len(text) < 2_000_000
    left = 100_000 - MOST_KEYS
    assert f"{left:,} more keys are not shown" in text


def test_page_loads_no_file_and_runs_no_script():
    text = page(state(problems=[problem()], records=wrong("a.example")))
    tags = Read(text).tags
    assert {tag for tag, _ in tags} & {"script", "img", "iframe", "object", "form", "base"} == set()
    attributes = {name for _, names in tags for name in names}
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")]
    assert re.findall(r'(?:href|src)="([^"]*)"', text) == ["data:,"]
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_page_without_a_timer_is_not_loaded_again():
    assert 'http-equiv="refresh"' not in page(state(every=None))
    assert 'http-equiv="refresh" content="900"' in page(state())


HOSTILE = st.one_of(
    st.text(min_size=1),
    st.text(alphabet="<>&\"'/!-={}%#x;s \u202e\0", min_size=1),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "</pre></article><img src=x onerror=alert(1)>",
            '" onmouseover="alert(1)',
            "{{ 7 * 7 }}{% raw %}",
            "<!--",
            "]]>",
            "&lt;b&gt;",
            "\u202egro.elpmaxe",
            "</title><script>",
        ]
    ),
)


def filled(text):
    """Return a page where every untrusted text is this text."""
    key = returns.key(domain=text, selector=text, problem=text, address=text, next=f"x: {text}")
    return page(
        state(
            host=text,
            problems=[problem(message=text, subject=text, remedy=text, items=[text] * 6)],
            unknown=[text],
            keys=[key, {**key, "dns": "missing"}],
            records=wrong(text),
        )
    )


@examples(60)
@given(HOSTILE)
def test_untrusted_text_stays_text(text):
    read = Read(filled(text))
    assert read.tags == Read(filled("text")).tags
    shown = Terminal(width=None).printable(text)
    assert "".join(shown.split()) in "".join("".join(read.texts).split())


def test_test_of_untrusted_text_can_fail(monkeypatch):
    unsafe = page_template.TEMPLATE.replace(
        "{{ one.message | safely }}", "{{ one.message | safe }}"
    )
    assert unsafe != page_template.TEMPLATE
    monkeypatch.setattr("dkim_formula.screens.page.TEMPLATE", unsafe)
    assert Read(filled("<b>")).tags != Read(filled("text")).tags
