"""How lists and numbers are written for people."""

from dkim_formula.text import counted, listed


def test_long_lists_are_counted():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"


def test_list_of_the_first_of_many_counts_all():
    assert listed(["a", "b", "c"], 2, 100) == "a, b and 98 more"
    assert listed(["a"], 2, 1) == "a"


def test_noun_follows_its_number():
    assert [counted(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]
    assert counted(100000, "key") == "100,000 keys"
