"""The text of pg_hba.conf and pg_ident.conf, against PostgreSQL's own reading of it."""

import os
from pathlib import Path

import pytest
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hba
from functional.postgres import query
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


def with_rule(text, wanted=RULE):
    return hba.with_rules(text, () if wanted is None else (wanted,), one_of(RULE), DATABASE, ROLE)


def foreign(text, ours=(RULE,)):
    """Every line that is not ours, byte for byte."""
    return [line.raw.rstrip("\r\n") for line in hba.lines(text) if not hba.is_one_of(line, ours)]


@given(texts())
def test_lines_are_the_text_again(text):
    assert "".join(line.raw for line in hba.lines(text)) == text


@given(texts())
def test_edit_keeps_every_foreign_byte(text):
    assert foreign(with_rule(text)) == foreign(text)
    assert foreign(with_rule(text, None)) == foreign(text)


@given(texts())
def test_edit_is_done_once(text):
    once = with_rule(text)
    assert with_rule(once) == once
    gone = with_rule(text, None)
    assert with_rule(gone, None) == gone


@given(texts())
def test_our_rule_is_there_once_and_decides(text):
    after = hba.lines(with_rule(text))
    ours = [number for number, line in enumerate(after) if hba.is_one_of(line, (RULE,))]
    assert len(ours) == 1
    before_it = after[: ours[0]]
    assert not any(hba._could_match(line, DATABASE, ROLE, local=True) for line in before_it)


@given(texts())
@example("\\")
@example("local all all peer\nlocal all all peer\n\\")
@example("hostssl a b c d\\\r\n")
def test_taking_away_undoes_the_adding(text):
    bare = with_rule(text, None)
    again = with_rule(with_rule(bare), None)
    # A file that did not end in a line break has got one, where our rule came last.
    assert again in (bare, bare + "\n", bare + "\r\n")


@given(texts(), texts())
def test_marked_lines_that_nobody_wants_go_and_no_byte_of_others(before, behind):
    old = hba.hba_line("formermail", "former-reader", "peer map=former") + "\n"
    before = before if before.endswith("\n") or not before else before + "\n"
    # A backslash at a line's end would make ours a part of it.
    before = before.replace("\\", "")
    text = before + old + behind
    assert hba.without(text, hba.former(text, [RULE, MAPPING])) == before + behind


@given(texts())
@example("\\")
@example("map root postgres\\\n")
def test_mappings_keep_every_foreign_byte_and_are_added_once(text):
    once = hba.with_mappings(text, (MAPPING,), one_of(MAPPING))
    assert foreign(once, (MAPPING,)) == foreign(text, (MAPPING,))
    assert hba.with_mappings(once, (MAPPING,), one_of(MAPPING)) == once
    assert any(hba.is_one_of(line, (MAPPING,)) for line in hba.lines(once))


def test_rule_stands_before_the_line_that_would_win():
    edited = with_rule(DEBIAN).splitlines()
    assert edited.index(RULE) < edited.index(DEBIAN.splitlines()[4])
    assert edited.index(RULE) > edited.index(DEBIAN.splitlines()[1])


CASES = Path(__file__).parents[1] / "cases" / "pg_hba"


def test_case_50_rule_stands_before_an_expression_in_quotes():
    text = (CASES / "50-quoted-regex.conf").read_text()
    edited = with_rule(text).splitlines()
    assert edited == [text.splitlines()[0], RULE, *text.splitlines()[1:]]


@pytest.mark.parametrize("kind", ["include", "include_if_exists", "include_dir", '"include"'])
def test_rule_stands_before_every_directive_that_includes(kind):
    text = f"{kind} more\nlocal all all peer\n"
    assert with_rule(text) == RULE + "\n" + text


@pytest.mark.parametrize(
    "field", ['"all"', '"sameuser"', '"@list"', '"+group"', "replication", '"vmail "', "VMAIL"]
)
def test_word_that_stands_for_itself_alone_is_passed_over(field):
    text = f"local {field} vmail-dkim-reader reject\nlocal all all peer\n"
    first, second = text.splitlines(keepends=True)
    assert with_rule(text) == first + RULE + "\n" + second


def test_rule_for_all_databases_is_not_taken_for_that_of_the_database_named_all():
    ours = hba.hba_line("all", ROLE, "peer")
    text = f"local all {ROLE} peer\n"
    edited = hba.with_rules(text, (ours,), one_of(ours), "all", ROLE)
    assert edited == f"{ours}\n{text}"


def test_howtos_own_line_is_taken_as_it_is():
    howto = (
        "local   vmail             vmail-dkim-reader                       peer map=maildkim\n"
        + DEBIAN
    )
    assert with_rule(howto) == howto


def test_rule_that_comes_too_late_moves():
    edited = with_rule(DEBIAN + RULE + "\n")
    assert edited == with_rule(DEBIAN)


def test_file_keeps_its_line_ends():
    edited = with_rule(DEBIAN.replace("\n", "\r\n"))
    assert edited.count("\n") == edited.count("\r\n")


def test_rule_goes_before_an_included_file():
    text = "include somewhere.conf\nlocal all all peer\n"
    assert with_rule(text) == RULE + "\n" + text


@pytest.mark.parametrize("name", ["all", "with space", 'quo"te', "a,b", "plain", "#no"])
def test_any_name_is_written_so_that_it_means_itself(name):
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
    ours = [
        [[token.text for token in field] for field in line.fields[1:3]]
        for line in hba.lines(text)
        if line.is_rule
    ]
    assert len(found) == len(ours)
    for (databases, roles, error), mine in zip(found, ours, strict=True):
        if error is None:
            assert [databases, roles] == mine


def rules_by_postgresql(server):
    with db.session(server.settings) as connection:
        return query(
            connection,
            "SELECT database, user_name, error FROM pg_hba_file_rules ORDER BY line_number",
        )
