"""Lists and numbers as text for people."""

from dkim_formula.text import counted, listed


def test_rest_of_a_long_list_is_counted():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"


def test_list_of_the_first_of_many_counts_all():
    assert listed(["a", "b", "c"], 2, 100) == "a, b and 98 more"
    assert listed(["a"], 2, 1) == "a"


def test_noun_has_the_number_of_its_count():
    assert [counted(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]
    assert counted(100000, "key") == "100,000 keys"
