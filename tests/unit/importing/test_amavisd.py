"""The keys that amavisd signs with, by its look-up of senders and keys (2.13)."""

import pytest
from dkim_formula.importing import amavisd
from dkim_formula.importing.amavisd_lookup import Key, choose, first_key
from dkim_formula.importing.selection import select

KEYS = """\
$enable_dkim_signing = 1;
dkim_key('first.example', 'dkim', '/k/first.pem');
dkim_key('second.example', 'dkim', '/k/second.pem');
"""
HOSTED = ["first.example", "second.example", "third.example"]


def maps(*texts):
    hashes = ", ".join(f"{{ {text} }}" for text in texts)
    return f"{KEYS}@dkim_signature_options_bysender_maps = ({hashes});\n"


@pytest.fixture
def read(tmp_path):
    def reader(text, domains=HOSTED):
        path = tmp_path / "amavisd.conf"
        path.write_text(text)
        return amavisd.read(str(path), domains)

    return reader


def signers(held, hosted=()):
    """Return the selector of each signing key by its domain."""
    found = select(held.entries, held.signing, hosted)
    return {one.domain: one.entry.selector for one in found.choices if one.signs}


def unused(held, hosted=()):
    found = select(held.entries, held.signing, hosted)
    return {one.domain for one in found.choices if not one.signs}


def test_catch_all_signs_for_a_domain_with_a_key_of_its_own(read):
    held = read(maps("'.' => { d => 'first.example' }"))
    assert signers(held) == {"first.example": "dkim"}
    assert unused(held) == {"second.example"}
    (note,) = held.notes
    assert note.startswith("2 domains sign as first.example today")
    assert "second.example, third.example" in note


@pytest.mark.parametrize(
    "texts",
    [
        ["'second.example' => { d => 'second.example' }, '.' => { d => 'first.example' }"],
        ["'.second.example' => { d => 'second.example' }, '.' => { d => 'first.example' }"],
        ["'second.example' => { d => 'second.example' }", "'.' => { d => 'first.example' }"],
    ],
)
def test_domain_that_an_earlier_pattern_names_signs_with_its_own_key(read, texts):
    held = read(maps(*texts))
    assert signers(held) == {"first.example": "dkim", "second.example": "dkim"}
    assert [note for note in held.notes if "third.example" in note]
    assert not [note for note in held.notes if "second.example" in note]


def test_catch_all_of_an_earlier_map_comes_before_a_domain_of_a_later_map(read):
    held = read(
        maps("'.' => { d => 'first.example' }", "'second.example' => { d => 'second.example' }")
    )
    assert unused(held) == {"second.example"}


def test_options_of_a_domain_do_not_hide_the_domain_of_the_catch_all(read):
    held = read(maps("'second.example' => { ttl => 60 }, '.' => { d => 'first.example' }"))
    assert unused(held) == {"second.example"}
    assert held.refused == []


def test_last_value_of_a_name_in_a_map_counts(read):
    held = read(maps("'.' => { d => 'second.example' }, '.' => { d => 'first.example' }"))
    assert signers(held) == {"first.example": "dkim"}


def test_catch_all_without_a_key_is_named_and_nothing_signs(read):
    held = read(maps("'.' => { d => 'none.example' }"))
    assert unused(held) == {"first.example", "second.example"}
    (refusal,) = held.refused
    assert refusal.reason == "signs as none.example, and no key is for that"


def test_selector_of_the_catch_all_chooses_the_key_of_each_domain(read):
    more = "dkim_key('first.example', 'new', '/k/new.pem');\n"
    held = read(maps("'.' => { s => 'NEW' }") + more)
    assert signers(held) == {"first.example": "new"}
    assert unused(held) == {"first.example", "second.example"}


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        ({}, True),
        ({"h": "sha256"}, True),
        ({"h": "sha1:sha256", "s": "email", "t": "s"}, True),
        ({"h": "sha1"}, False),
        ({"s": "tlsrpt"}, False),
        ({"s": "tlsrpt:*"}, True),
    ],
)
def test_key_for_another_use_does_not_sign(options, fits):
    key = Key("first.example", "dkim", "/k", "f", options)
    assert (first_key([key], choose([], "first.example")) is key) == fits


def test_algorithm_that_no_key_has_leaves_mail_unsigned():
    key = Key("first.example", "dkim", "/k", "f")
    for algorithm, fits in (("rsa-sha1", True), ("ed25519-sha256", False)):
        choice = choose([{".": {"a": algorithm}}], "first.example")
        assert (first_key([key], choice) is key) == fits


def test_patterns_of_an_address_come_before_those_of_its_domain():
    table = {
        "u@a.b.example": {"d": "1"},
        "u@": {"d": "2"},
        "a.b.example": {"d": "3"},
        ".a.b.example": {"d": "4"},
        ".b.example": {"d": "5"},
        ".example": {"d": "6"},
        ".": {"d": "7"},
    }
    for number in "1234567":
        choice = choose([table], "u@a.b.example")
        assert choice.domain == number
        del table[choice.pattern]
    assert choose([table], "u@a.b.example").domain == "a.b.example"


def test_subdomains_without_a_signing_domain_sign_as_themselves(read):
    held = read(maps("'.first.example' => { s => 'dkim' }"))
    found = select(held.entries, held.signing, ["sub.first.example"])
    assert (found.subdomains, found.aliases) == ([], {})


def test_sender_in_upper_case_is_named(read):
    held = read(maps("'Third.example' => { d => 'first.example' }"))
    assert "never matches" in held.refused[0].reason


def test_included_files_are_read_in_their_place(read, tmp_path):
    own = tmp_path / "own.conf"
    own.write_text("dkim_key('own.example', 's', '/k/own.pem');\n$enable_dkim_signing = 0;\n1;\n")
    for statement in (
        f"include_config_files('{own}');",
        f"include_optional_config_files('/not/there', \"{own}\");",
        f"do '{own}';",
        f'require("{own}");',
    ):
        held = read(f"$enable_dkim_signing = 1;\n{statement}\n")
        assert signers(held) == {"own.example": "s"}
        assert held.refused == []
        assert "$enable_dkim_signing is not 1" in held.notes[0]
        assert read(f"{statement}\n$enable_dkim_signing = 1;\n").notes == []


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("include_config_files($file);", "is not understood"),
        ("include_config_files('relative');", "is not understood"),
        ("  include_optional_config_files('/x');", "is not understood"),
        ("include_config_files('/');", "/ can't be read: Is a directory"),
        ("$dkim_signing_service = 'inet:127.0.0.1:10040';", "signing service"),
        ("$policy_bank{'X'} = { dkim_signing_service => 'x' };", "signing service"),
    ],
)
def test_source_of_keys_that_is_not_read_is_named(read, statement, reason):
    held = read(f"{KEYS}{statement}\n")
    (refusal,) = held.refused
    assert reason in refusal.reason
    assert "line 4" in refusal.entry


def test_file_that_includes_itself_is_named(read, tmp_path):
    held = read(f"{KEYS}include_config_files('{tmp_path}/amavisd.conf');\n")
    assert [one for one in held.refused if "too many files" in one.reason]
    assert signers(held) == {"first.example": "dkim", "second.example": "dkim"}


@pytest.mark.parametrize("value", ["undef", "''"])
def test_signing_service_that_is_off_is_not_named(read, value):
    assert read(f"{KEYS}$dkim_signing_service = {value};\n").refused == []
