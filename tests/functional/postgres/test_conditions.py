"""PostgreSQL's conditions on names, which agree with the library's regular expressions."""

import itertools
import re

import pytest
from dkim_formula import names
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import hosted
from dkim_formula.postgres.conditions import served_domain, served_selector
from functional.server import execute, query
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.one_release

CONDITIONS = [(served_domain, names.SERVED_DOMAIN), (served_selector, names.SERVED_SELECTOR)]
LABELS = [
    "a",
    "0",
    "-",
    "_",
    "A",
    "a0",
    "0a",
    "",
    " ",
    "*",
    "é",
    "a\n",
    "x" * 63,
    "x" * 64,
    "9" * 63,
]
NAMES = [".".join(labels) for n in (1, 2, 3) for labels in itertools.product(LABELS, repeat=n)]


def matching(settings, condition, texts):
    statement = f"SELECT t FROM unnest(%s::text[]) AS t WHERE {condition('t')}"
    with db.session(settings) as connection:
        return {text for (text,) in query(connection, statement, (texts,))}


@pytest.mark.parametrize(("condition", "expression"), CONDITIONS)
def test_condition_agrees_with_the_expression_on_names(ready, condition, expression):
    expected = {text for text in NAMES if re.fullmatch(expression, text)}
    assert expected
    assert matching(ready, condition, NAMES) == expected


def test_hosted_domains_are_the_rows_that_the_expression_matches(ready):
    rows = [*NAMES, *(f"a{number}.{name}" for number, name in enumerate(NAMES)), "x." * 126 + "ab"]
    with db.session(ready, setup=True) as connection:
        execute(connection, "TRUNCATE public.domains CASCADE")
        execute(
            connection, "INSERT INTO public.domains (domain) SELECT DISTINCT unnest(%s)", (rows,)
        )
        found = hosted.hosted(connection, ready)
    expected = {
        name.lower()
        for name in rows
        if "." in name
        and len(name) <= names.MAX_NAME
        and re.fullmatch(names.SERVED_DOMAIN, name.lower())
    }
    assert found == sorted(expected)


@pytest.mark.parametrize(("condition", "expression"), CONDITIONS)
def test_condition_agrees_with_the_expression_on_any_text(ready, condition, expression):
    with db.session(ready) as connection:
        statement = f"SELECT {condition('%(text)s::text')}"

        @settings(max_examples=500, deadline=None, database=None)
        @given(
            st.text(st.sampled_from("ab09-_.AZ *\n") | st.characters(codec="utf-8"), max_size=80)
        )
        def check(text):
            text = text.replace("\0", "")
            ((answer,),) = query(connection, statement, {"text": text})
            assert answer == bool(re.fullmatch(expression, text))

        check()
