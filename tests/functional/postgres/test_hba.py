"""The text of pg_hba.conf and pg_ident.conf, compared with how PostgreSQL reads the files."""

import os
from pathlib import Path

import pytest
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hba
from functional.server import query
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

DATABASE, ROLE = "vmail", "vmail-dkim-reader"
RULE = hba.hba_line(DATABASE, ROLE, "peer map=maildkim")
MAPPING = hba.ident_line("maildkim", "opendkim", ROLE)
DEBIAN = """\
# PostgreSQL Client Authentication Configuration File
local   all             postgres                                peer

# "local" is for Unix domain socket connections only
local   all             all                                     peer
host    all             all             127.0.0.1/32            scram-sha-256
"""

words = st.sampled_from(
    [
        "all",
        '"all"',
        "vmail",
        '"vmail"',
        "vmail-dkim-reader",
        "mail,vmail",
        "a, b",
        "+group",
        "sameuser",
        "samerole",
        "replication",
        '"x y"',
        '"q""q"',
        '"a#b"',
        'al"l"',
        "/^v",
        '"/^v"',
        '"/^(vmail|other),?$"',
        "vmail,+group",
        '"+group"',
        '"sameuser"',
        "/mail$,other",
    ]
)
rule_lines = st.builds(
    "{}{}{}{}{} {}{}".format,
    st.sampled_from(["local", "local\t", " local ", "local\\\n"]),
    st.sampled_from([" ", "\t", "   ", " \\\n "]),
    words,
    st.sampled_from([" ", "\t\t"]),
    words,
    st.sampled_from(["peer", "peer map=maildkim", "trust", "reject", 'peer map="a b"']),
    st.sampled_from(["", " ", " # why", "#why", " # \\\nstill a comment"]),
)
other_lines = st.one_of(
    st.sampled_from(
        ["", "   ", "# a remark", "# local all all peer", "\t# ü \u00a0", RULE, MAPPING]
    ),
    st.just("host all all 127.0.0.1/32 scram-sha-256"),
    st.just("hostssl vmail vmail-dkim-reader 10.0.0.0/8 scram-sha-256"),
    st.text(st.characters(blacklist_characters="\0\n", codec="utf-8"), max_size=20),
)
ends = st.sampled_from(["\n", "\r\n"])


any_line = st.one_of(rule_lines, other_lines)


@st.composite
def texts(draw):
    end = draw(ends)
    text = end.join(draw(st.lists(any_line, max_size=8)))
    return text + draw(st.sampled_from(["", end]))


def one_of(*texts):
    return lambda line: hba.is_one_of(line, texts)


def with_rule(text, rule=RULE):
    return hba.with_rules(text, () if rule is None else (rule,), one_of(RULE), DATABASE, ROLE)


def other_lines_of(text, managed=(RULE,)):
    """Return every line that is not managed, byte for byte."""
    return [line.raw.rstrip("\r\n") for line in hba.lines(text) if not hba.is_one_of(line, managed)]


@given(texts())
def test_parsed_lines_join_to_the_same_text(text):
    assert "".join(line.raw for line in hba.lines(text)) == text


@given(texts())
def test_edit_keeps_every_byte_of_other_lines(text):
    assert other_lines_of(with_rule(text)) == other_lines_of(text)
    assert other_lines_of(with_rule(text, None)) == other_lines_of(text)


@given(texts())
def test_second_edit_changes_nothing(text):
    once = with_rule(text)
    assert with_rule(once) == once
    gone = with_rule(text, None)
    assert with_rule(gone, None) == gone


@given(texts())
def test_rule_is_added_once_before_every_rule_that_could_match(text):
    after = hba.lines(with_rule(text))
    numbers = [number for number, line in enumerate(after) if hba.is_one_of(line, (RULE,))]
    assert len(numbers) == 1
    earlier = after[: numbers[0]]
    assert not any(hba._could_match(line, DATABASE, ROLE, local=True) for line in earlier)


@given(texts())
@example("\\")
@example("local all all peer\nlocal all all peer\n\\")
@example("hostssl a b c d\\\r\n")
def test_removal_undoes_the_addition(text):
    bare = with_rule(text, None)
    again = with_rule(with_rule(bare), None)
    # If the rule was the last line, a file without a final line break gets one.
    assert again in (bare, bare + "\n", bare + "\r\n")


@given(texts(), texts())
def test_unused_marked_lines_are_removed_and_other_bytes_stay(before, behind):
    old = hba.hba_line("formermail", "former-reader", "peer map=former") + "\n"
    before = before if before.endswith("\n") or not before else before + "\n"
    # A backslash at the end of a line would join the managed line to that line.
    before = before.replace("\\", "")
    text = before + old + behind
    assert hba.without(text, hba.former(text, [RULE, MAPPING])) == before + behind


@given(texts())
@example("\\")
@example("map root postgres\\\n")
def test_mappings_are_added_once_and_other_bytes_stay(text):
    once = hba.with_mappings(text, (MAPPING,), one_of(MAPPING))
    assert other_lines_of(once, (MAPPING,)) == other_lines_of(text, (MAPPING,))
    assert hba.with_mappings(once, (MAPPING,), one_of(MAPPING)) == once
    assert any(hba.is_one_of(line, (MAPPING,)) for line in hba.lines(once))


def test_rule_comes_before_a_line_that_would_match():
    edited = with_rule(DEBIAN).splitlines()
    assert edited.index(RULE) < edited.index(DEBIAN.splitlines()[4])
    assert edited.index(RULE) > edited.index(DEBIAN.splitlines()[1])


CASES = Path(__file__).parents[2] / "cases" / "pg_hba"


def test_case_50_rule_comes_before_an_expression_in_quotes():
    text = (CASES / "50-quoted-regex.conf").read_text()
    edited = with_rule(text).splitlines()
    assert edited == [text.splitlines()[0], RULE, *text.splitlines()[1:]]


@pytest.mark.parametrize("kind", ["include", "include_if_exists", "include_dir", '"include"'])
def test_rule_comes_before_every_include_directive(kind):
    text = f"{kind} more\nlocal all all peer\n"
    assert with_rule(text) == RULE + "\n" + text


@pytest.mark.parametrize(
    "field", ['"all"', '"sameuser"', '"@list"', '"+group"', "replication", '"vmail "', "VMAIL"]
)
def test_rule_may_come_after_a_line_for_another_database(field):
    text = f"local {field} vmail-dkim-reader reject\nlocal all all peer\n"
    first, second = text.splitlines(keepends=True)
    assert with_rule(text) == first + RULE + "\n" + second


def test_rule_for_a_database_named_all_differs_from_a_rule_for_all_databases():
    rule = hba.hba_line("all", ROLE, "peer")
    text = f"local all {ROLE} peer\n"
    edited = hba.with_rules(text, (rule,), one_of(rule), "all", ROLE)
    assert edited == f"{rule}\n{text}"


def test_line_of_the_howto_stays_as_it_is():
    howto = (
        "local   vmail             vmail-dkim-reader                       peer map=maildkim\n"
        + DEBIAN
    )
    assert with_rule(howto) == howto


def test_rule_after_a_line_that_would_match_is_moved():
    edited = with_rule(DEBIAN + RULE + "\n")
    assert edited == with_rule(DEBIAN)


def test_edit_uses_the_line_ends_of_the_file():
    edited = with_rule(DEBIAN.replace("\n", "\r\n"))
    assert edited.count("\n") == edited.count("\r\n")


def test_rule_comes_before_an_included_file():
    text = "include somewhere.conf\nlocal all all peer\n"
    assert with_rule(text) == RULE + "\n" + text


@pytest.mark.parametrize("name", ["all", "with space", 'quo"te', "a,b", "plain", "#no"])
def test_name_is_quoted_unless_it_is_plain(name):
    (line,) = hba.lines(hba.hba_line(name, ROLE, "peer"))
    ((token,),) = line.fields[1:2]
    assert token.text == name
    assert token.quoted or name == "plain"


@given(data=st.lists(rule_lines.filter(lambda line: '""' not in line.split('"q""q"')), max_size=6))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_rules_are_read_as_postgresql_reads_them(server, data):
    text = "\n".join(data) + "\n"
    path = Path(server.data, "pg_hba.conf")
    kept, owner = path.read_bytes(), path.stat()
    try:
        path.write_text(text)
        os.chown(path, owner.st_uid, owner.st_gid)
        found = rules_by_postgresql(server)
    finally:
        path.write_bytes(kept)
    parsed = [
        [[token.text for token in field] for field in line.fields[1:3]]
        for line in hba.lines(text)
        if line.is_rule
    ]
    assert len(found) == len(parsed)
    for (databases, roles, error), fields in zip(found, parsed, strict=True):
        if error is None:
            assert [databases, roles] == fields


def rules_by_postgresql(server):
    with db.session(server.settings) as connection:
        return query(
            connection,
            "SELECT database, user_name, error FROM pg_hba_file_rules ORDER BY line_number",
        )
