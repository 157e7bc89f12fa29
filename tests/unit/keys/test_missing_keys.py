"""The changes of a run that generates missing keys and writes patterns."""

from dkim_formula.keys.missing_keys import changes_of
from dkim_formula.keys.model import DesiredKey
from dkim_formula.keys.odd_rows import LISTED


def keys(number):
    return [DesiredKey(f"d{one}.example", "default") for one in range(number)]


def patterns(number):
    return {f"pattern .d{one}.example": {"old": None, "new": "a key"} for one in range(number)}


def test_keys_and_patterns_are_named_up_to_the_limit_of_each_kind():
    assert len(changes_of(keys(LISTED), patterns(LISTED))) == 2 * LISTED


def test_many_keys_are_counted_and_few_patterns_are_named():
    assert changes_of(keys(LISTED + 1), patterns(1)) == {
        "keys": {"old": None, "new": f"{LISTED + 1} new"},
        **patterns(1),
    }


def test_many_patterns_are_counted_and_few_keys_are_named():
    assert changes_of(keys(1), patterns(LISTED + 1)) == {
        "key default._domainkey.d0.example": {"old": None, "new": "rsa 2048"},
        "patterns": {"old": None, "new": f"{LISTED + 1} new, changed or removed"},
    }
