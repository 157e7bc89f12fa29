"""The tables and keys of an OpenDKIM with files, read as opendkim(8) reads them."""

import base64
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from dkim_formula import key_file, settings
from dkim_formula.errors import InvalidValue
from dkim_formula.importing import data_set
from dkim_formula.importing.data_set import FILE, REFILE, DataSet
from dkim_formula.importing.key_table import read_key_table
from dkim_formula.importing.pillar import key_settings, missing_settings
from dkim_formula.importing.selection import select
from dkim_formula.importing.signing_table import (
    ADDRESS,
    EVERY,
    HOST,
    SUBDOMAINS,
    SigningTable,
    classify,
)
from dkim_formula.key_text import read_stored
from dkim_formula.postgres import dsn
from dkim_formula.settings.model import Address, Domain, KeyPlan, Settings

# RFC 8032, section 7.1, TEST 1, and RFC 8463, appendix A.2: the same key.
ED25519_SECRET = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
ED25519_PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@cache
def rsa_key(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pem(key, form=serialization.PrivateFormat.PKCS8, encryption=None):
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


def der(key, form=serialization.PrivateFormat.PKCS8):
    none = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.DER, form, none)


def keys_of(text, kind=data_set.FILE):
    parse = data_set.parse_refile if kind == data_set.REFILE else data_set.parse_file
    return read_key_table(DataSet(kind, parse(text, "KeyTable")))


def signing_of(text, kind=data_set.FILE, all_sign=False):
    parse = data_set.parse_refile if kind == data_set.REFILE else data_set.parse_file
    return SigningTable(DataSet(kind, parse(text, "SigningTable")), all_sign)


def selected(keys, signing, kind=data_set.FILE, hosted=()):
    entries, refused = keys_of(keys)
    assert refused == []
    return select(entries, signing_of(signing, kind), hosted)


def signs(selection):
    return [
        (choice.entry.name, choice.domain, choice.address)
        for choice in selection.choices
        if choice.signs
    ]


# --- Data sets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "rest"),
    [
        ("/etc/opendkim/KeyTable", "file", "/etc/opendkim/KeyTable"),
        ("file:/etc/opendkim/KeyTable", "file", "/etc/opendkim/KeyTable"),
        ("FILE:/etc/opendkim/KeyTable", "file", "/etc/opendkim/KeyTable"),
        ("refile:/etc/SigningTable", "refile", "/etc/SigningTable"),
        ("  refile:/etc/SigningTable ", "refile", "/etc/SigningTable"),
        ("csl:a=b:c:/d", "csl", "a=b:c:/d"),
        ("example.com=a,example.org=b:c", "csl", "example.com=a,example.org=b:c"),
    ],
)
def test_kind_of_a_table_follows_its_prefix(text, kind, rest):
    assert data_set.locate(text, "key_table") == (kind, rest)


@pytest.mark.parametrize(
    "text",
    ["db:/x.db", "lua:/x", "ldap://x", "refile:x", "huh:/x", "", None],
)
def test_invalid_name_of_a_table_is_refused(text):
    with pytest.raises(InvalidValue, match="key_table"):
        data_set.locate(text, "key_table")


@pytest.mark.parametrize(
    "text",
    [
        "dsn:mysql://user:hunter2@host/db/table=x",
        "dsn:pgsql://user:hunter2@host/db/keycol=x",
        "dsn:pgsql://user:hunter2@host/db/table=x?keycol=k?datacol=a;b",
        "dsn:pgsql://user:hunter2",
        "dsn:user:hunter2@host",
    ],
)
def test_password_of_a_database_is_not_shown(text):
    with pytest.raises(InvalidValue) as caught:
        data_set.read(text, "key_table", list)
    assert "hunter2" not in str(caught.value)


def test_name_of_a_data_set_in_a_database_is_read_as_opendkim_reads_it():
    found = dsn.parse(
        "pgsql://keys:pw@5433+,/mail/table=dkim.rows?keycol=id"
        "?datacol=domain_name,selector,private_key?filter=active=20=3D=20true",
        "key_table",
    )
    assert (found.user, found.password.reveal(), found.host, found.port) == (
        "keys",
        "pw",
        ",",
        5433,
    )
    assert (found.database, found.table, found.key_column) == ("mail", "dkim.rows", "id")
    assert found.columns == ("domain_name", "selector", "private_key")
    assert found.filter == "active = true"
    short = dsn.parse("pgsql://keys@db.example/mail/table=t?KEYCOL=k?datacol=v", "key_table")
    assert (short.user, short.password.reveal(), short.port) == ("keys", "", None)
    assert not short.is_on_socket


def test_columns_of_a_database_replace_the_fields_between_colons():
    text = "dsn:pgsql://u@h/d/table=t?keycol=k?datacol=a,b,c"
    rows = [("1", ["example.com", "s", "/keys/a"])]
    found = data_set.read(text, "key_table", lambda source, where: rows)
    entries, refused = read_key_table(found)
    assert refused == []
    assert entries["1"].label() == "1 (table t of database d, k 1)"
    assert (entries["1"].domain, entries["1"].selector) == ("example.com", "s")


def test_comments_and_blank_lines_are_skipped():
    text = "# all\n\n  a   b c # rest\n\tc\td\r\nalone\n"
    rows = [(row.key, row.value.reveal()) for row in data_set.parse_file(text, "t")]
    assert rows == [("a", "b c"), ("c", "d"), ("alone", "")]


def test_location_of_a_row_is_its_line():
    assert [row.location for row in data_set.parse_file("#\na b\n\nc d\n", "/t")] == [
        "/t, line 2",
        "/t, line 4",
    ]


def test_pattern_of_a_refile_ends_at_the_first_space():
    rows = data_set.parse_refile("*@example.com  key # rest\n  indented key\n", "t")
    assert [(row.key, row.value.reveal()) for row in rows] == [
        ("*@example.com", "key"),
        ("", "indented key"),
    ]


def test_list_splits_at_commas_and_the_first_equals_sign():
    rows = data_set.parse_list("a = example.com:s:MII=, b=c,", "key_table")
    assert [(row.key, row.value.reveal()) for row in rows] == [
        ("a", "example.com:s:MII="),
        ("b", "c"),
    ]


def test_missing_table_is_named(tmp_path):
    with pytest.raises(InvalidValue, match=r"signing_table: .*nothere.*No such file"):
        data_set.read(f"refile:{tmp_path}/nothere", "signing_table", list)


# --- KeyTable -------------------------------------------------------------------------------------


def test_entry_has_domain_selector_and_key():
    entries, refused = keys_of("mail._domainkey.example.com Example.COM:mail:/keys/mail.private\n")
    entry = entries["mail._domainkey.example.com"]
    assert (entry.domain, entry.selector) == ("example.com", "mail")
    assert entry.key_or_path.reveal() == "/keys/mail.private"
    assert refused == []


def test_path_in_a_table_may_contain_colons():
    entries, _ = keys_of("a example.com:s:/keys/with:colon\n")
    assert entries["a"].key_or_path.reveal() == "/keys/with:colon"


def test_names_of_keys_are_case_sensitive():
    entries, refused = keys_of("a example.com:s:/a\nA example.com:t:/b\n")
    assert list(entries) == ["a", "A"]
    assert refused == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("name", "is not NAME DOMAIN:SELECTOR:KEY"),
        ("name example.com:s", "is not NAME DOMAIN:SELECTOR:KEY"),
        ("name example.com::/k", "is not NAME DOMAIN:SELECTOR:KEY"),
        ("name exa mple.com:s:/k", "malformed label"),
        ("name -example.com:s:/k", "malformed label"),
        ("name example.com:mail/1:/k", "selector: 'mail/1'"),
    ],
)
def test_malformed_row_is_refused_with_the_reason(line, reason):
    entries, (refusal,) = keys_of(f"{line}\n")
    assert entries == {}
    assert reason in refusal.reason
    assert "line 1" in refusal.entry


def test_second_row_of_a_name_is_refused():
    entries, (refusal,) = keys_of("a example.com:s:/one\na example.com:t:/two\n")
    assert entries["a"].selector == "s"
    assert "line 1" in refusal.reason
    assert refusal.entry == "a (KeyTable, line 2)"


def test_pattern_as_name_of_a_key_is_refused():
    entries, (refusal,) = keys_of("*.example.com example.com:s:/k\n", data_set.REFILE)
    assert entries == {}
    assert "is a pattern" in refusal.reason


def test_key_text_on_several_lines_of_a_table_is_never_shown():
    text = pem(rsa_key()).decode()
    entries, refused = keys_of(f"a example.com:s:{text}")
    table = signing_of(text)
    shown = repr((entries, refused, table.refused, table.lines))
    assert not [line for line in text.splitlines()[1:-1] if line in shown]


# --- SigningTable ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "wild", "kind", "subject"),
    [
        ("example.com", False, HOST, "example.com"),
        ("Example.COM", False, HOST, "example.com"),
        (".example.com", False, SUBDOMAINS, "example.com"),
        ("user@example.com", False, ADDRESS, "user@example.com"),
        ("*", False, EVERY, ""),
        ("*@example.com", True, HOST, "example.com"),
        ("*@*.example.com", True, SUBDOMAINS, "example.com"),
        ("*.example.com", True, SUBDOMAINS, "example.com"),
        ("user@example.com", True, ADDRESS, "user@example.com"),
        ("*@*", True, EVERY, ""),
        ("*", True, EVERY, ""),
        ("*example.com", True, HOST, "example.com"),
        ("*@*example.com", True, HOST, "example.com"),
        ("**@**example.com", True, HOST, "example.com"),
        ("**@example.com", True, HOST, "example.com"),
        ("*@**.example.com", True, SUBDOMAINS, "example.com"),
        ("**@*", True, EVERY, ""),
    ],
)
def test_supported_pattern_is_classified(pattern, wild, kind, subject):
    assert classify(pattern, wild) == (kind, subject)


@pytest.mark.parametrize(
    ("pattern", "wild", "reason"),
    [
        ("*@example.com", False, "wildcard in a refile: alone"),
        ("user@*", False, "no counterpart"),
        ("user@.example.com", False, "no counterpart"),
        ("*.example.com", False, "malformed label"),
        ("example.com", True, r"\*@example.com is meant"),
        ("u*@example.com", True, "no counterpart"),
        ("user@*", True, "no counterpart"),
        ("*@*mail*.example.com", True, "no counterpart"),
        ("", True, "indented"),
    ],
)
def test_unsupported_pattern_is_refused_with_the_reason(pattern, wild, reason):
    with pytest.raises(InvalidValue, match=reason):
        classify(pattern, wild)


def test_flat_table_uses_the_most_specific_pattern():
    table = signing_of("* every\n.example.com sub\nsub.example.com host\nu@sub.example.com user\n")

    def names(*sender):
        return [line.key_name for line in table.signing(*sender)]

    assert names("sub.example.com", "u@sub.example.com") == ["user"]
    assert names("sub.example.com", "v@sub.example.com") == ["host"]
    assert names("other.example.com") == ["sub"]
    assert names("example.com") == ["every"]


def test_refile_uses_the_first_line_that_matches():
    table = signing_of("* every\n*@example.com host\n", data_set.REFILE)
    assert [line.key_name for line in table.signing("example.com")] == ["every"]


def test_lines_with_the_same_pattern_sign_together_only_in_a_refile_with_multiple_signatures():
    text = "{0} first\n{0} second\n"
    wild = signing_of(text.format("*@example.com"), data_set.REFILE, True)
    flat = signing_of(text.format("example.com"), all_sign=True)
    assert [line.key_name for line in wild.signing("example.com")] == ["first", "second"]
    assert [line.key_name for line in flat.signing("example.com")] == ["first"]
    assert "takes the first row" in flat.refused[0].reason


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("*@example.com", "*@example.com"),
        ("*@example.com", "*@Example.COM"),
        ("*@*.example.com", "*.example.com"),
        ("news@example.com", "news@example.com"),
        ("*", "*@*"),
        ("*example.com", "*@example.com"),
    ],
)
def test_second_line_of_a_pattern_in_a_refile_is_left_out_with_the_reason(first, second):
    table = signing_of(f"{first} first\n{second} second\n", data_set.REFILE)
    assert [line.key_name for line in table.lines] == ["first"]
    (refused,) = table.refused
    assert refused.entry == f"{second} (SigningTable, line 2)"
    assert refused.reason.endswith(f"first line that matches, {first} (SigningTable, line 1)")


def test_second_line_of_a_pattern_that_names_the_same_key_is_not_refused():
    selection = selected(TWO, "*@example.com a\n*@*example.com a\n", data_set.REFILE)
    assert selection.refused == []
    assert any("myexample.com" in note for note in selection.notes)


def test_left_out_line_that_matches_more_says_what_is_no_longer_signed():
    (refused,) = signing_of("*@example.com a\n*example.com b\n", data_set.REFILE).refused
    assert "give names such as sub.example.com lines of their own" in refused.reason


def test_second_key_of_a_pattern_does_not_replace_a_first_key_that_is_missing():
    selection = selected("b example.com:s:/b\n", "*@example.com a\n*@example.com b\n", REFILE)
    assert signs(selection) == []
    (choice,) = selection.choices
    assert choice.refused_line == "*@example.com (SigningTable, line 2)"


# --- The choice of the signing key ----------------------------------------------------------------

TWO = "a example.com:s:/a\nb example.org:t:/b\n"


def test_each_domain_has_its_key():
    selection = selected(TWO, "example.com a\nexample.org b\n")
    assert signs(selection) == [("a", "example.com", ""), ("b", "example.org", "")]
    assert (selection.refused, selection.notes, selection.aliases) == ([], [], {})


def test_without_a_signing_table_each_key_signs_for_its_domain():
    entries, _ = keys_of(f"{TWO}c %:s:/c\n")
    selection = select(entries, None, ())
    assert signs(selection) == [("a", "example.com", ""), ("b", "example.org", "")]
    assert [refusal.entry for refusal in selection.refused] == ["c (KeyTable, line 3)"]


def test_key_that_no_line_names_does_not_sign():
    selection = selected(f"{TWO}old example.com:s2019:/old\n", "example.com a\nexample.org b\n")
    assert [c.entry.name for c in selection.choices if not c.signs] == ["old"]


def test_domain_that_signs_as_another_is_an_alias():
    selection = selected(TWO, "example.com a\nexample.net a\n")
    assert selection.aliases == {"example.net": "example.com"}
    assert signs(selection) == [("a", "example.com", "")]


def test_subdomains_sign_with_the_key_of_their_domain():
    selection = selected(TWO, "*@example.com a\n*@*.example.com a\n", data_set.REFILE)
    assert selection.subdomains == ["example.com"]
    assert selection.aliases == {}


def test_hosted_subdomain_that_signs_as_its_parent_is_an_alias():
    selection = selected(TWO, "example.com a\n.example.com a\n", hosted=["sub.example.com"])
    assert selection.aliases == {"sub.example.com": "example.com"}


def test_subdomains_of_an_alias_sign_as_the_target_domain():
    selection = selected(TWO, ".example.net a\n")
    assert selection.aliases == {"example.net": "example.com"}
    assert selection.subdomains == ["example.net"]


def test_subdomains_with_another_key_than_their_domain_are_refused():
    selection = selected(TWO, "example.org b\n.example.org a\n")
    assert selection.subdomains == []
    assert "signs differently" in selection.refused[0].reason


def test_address_can_have_its_own_key():
    selection = selected(f"{TWO}n example.com:news:/n\n", "example.com a\nnews@example.com n\n")
    assert ("n", "example.com", "news@example.com") in signs(selection)


def test_address_with_the_key_of_its_domain_needs_no_own_key():
    selection = selected(TWO, "example.com a\nnews@example.com a\n")
    assert signs(selection) == [("a", "example.com", "")]
    assert selection.refused == []


def test_address_after_its_domain_never_counts_in_a_refile():
    text = "*@example.com a\nnews@example.com n\n"
    selection = selected(f"{TWO}n example.com:news:/n\n", text, data_set.REFILE)
    assert ("a", "example.com", "") in signs(selection)
    assert "never counts" in selection.refused[0].reason


def test_address_that_signs_as_another_domain_is_refused():
    selection = selected(TWO, "example.com a\nnews@example.com b\n")
    assert "signs as example.org" in selection.refused[0].reason


def test_second_address_of_a_key_is_refused():
    selection = selected(TWO, "one@example.com a\ntwo@example.com a\n")
    assert signs(selection) == [("a", "example.com", "one@example.com")]
    assert "shares its key with one@example.com" in selection.refused[0].reason


def test_line_for_every_sender_matches_the_hosted_domains():
    selection = selected(TWO, "* a\n", hosted=["example.com", "example.net"])
    assert selection.aliases == {"example.net": "example.com", "example.org": "example.com"}
    assert "matches the hosted domains only" in selection.notes[0]


def test_percent_means_the_domain_of_the_sender():
    keys = "any %:mail:/keys/%/mail.private\n"
    selection = selected(keys, "* any\n", hosted=["example.com", "example.net"])
    assert signs(selection) == [("any", "example.com", ""), ("any", "example.net", "")]


def test_percent_in_the_signing_table_names_the_key_of_the_domain():
    keys = "example.com example.com:s:/a\nexample.net example.net:s:/b\n"
    selection = selected(keys, "* %\n", hosted=["example.com", "no-key.example"])
    assert [choice.domain for choice in selection.choices] == ["example.com", "example.net"]
    assert selection.refused == []


def test_line_that_names_a_missing_key_is_refused():
    selection = selected(TWO, "example.com a\nexample.net missing\n")
    assert "'missing'" in selection.refused[0].reason


@pytest.mark.parametrize("pattern", ["*example.com", "*@*example.com", "**@*example.com"])
def test_what_else_an_ending_matches_is_noted(pattern):
    selection = selected(TWO, f"{pattern} a\n", data_set.REFILE)
    assert ("a", "example.com", "") in signs(selection)
    assert any("myexample.com" in note for note in selection.notes)


@pytest.mark.parametrize(
    ("keys", "line", "kind"),
    [
        (TWO, "*@*mail*.example.net a", data_set.REFILE),
        (TWO, "user@* a", data_set.REFILE),
        (TWO, "user@.example.net a", data_set.FILE),
        (TWO, "news@example.net a", data_set.FILE),
        ("a %:s:/a\n", "*@*mail*.example.com a", data_set.REFILE),
        ("example.com %:s:/a\n", "user@.example.com %", data_set.FILE),
    ],
)
def test_refused_line_names_the_domain_whose_key_it_names(keys, line, kind):
    selection = selected(keys, f"{line}\n", kind)
    assert selection.refused[0].domain == "example.com"
    assert all(one.refused_line for one in selection.choices if one.domain == "example.com")


def test_refused_line_names_no_domain_of_a_row_without_a_key():
    (refusal,) = selected("", "user@* a\n", data_set.REFILE).refused
    assert refusal.domain == ""


def test_dropped_signer_is_noted():
    selection = selected(TWO, "example.com a:@example.com\n")
    assert signs(selection) == [("a", "example.com", "")]
    assert "i=" in selection.notes[0]


# --- Private keys ---------------------------------------------------------------------------------


def _forms():
    key = rsa_key()
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    one_line = pem(key).replace(b"\n", b"")
    return {
        "PKCS#8": pem(key),
        "PKCS#1": pem(key, traditional),
        "text before": b"a comment\n" + pem(key, traditional),
        "CRLF": pem(key).replace(b"\n", b"\r\n"),
        "one line": one_line,
        "escaped": pem(key).strip().replace(b"\n", b"\\n"),
        "base64 of PKCS#1": base64.b64encode(der(key, traditional)),
        "base64 of PKCS#8": base64.encodebytes(der(key)),
        "DER": der(key),
    }


@pytest.mark.parametrize("form", list(_forms()))
def test_key_is_read_in_every_form(form):
    expected = read_stored(pem(rsa_key())).private.public_base64()
    assert key_file.private_key(_forms()[form], "key").public_base64() == expected


def test_ed25519_key_of_the_rfcs_gives_the_published_record():
    key = ed25519.Ed25519PrivateKey.from_private_bytes(ED25519_SECRET)
    for data in (pem(key), base64.b64encode(der(key))):
        private = key_file.private_key(data, "key")
        assert (private.algorithm, private.public_base64()) == ("ed25519", ED25519_PUBLIC)


def _broken():
    secret = serialization.BestAvailableEncryption(b"x")
    return {
        "cut": pem(rsa_key())[:-200],
        "altered": pem(rsa_key()).replace(b"A", b"B", 40),
        "encrypted": pem(rsa_key(), encryption=secret),
        "another algorithm": pem(dsa.generate_private_key(1024)),
        "public": rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "too small": _small(),
        "random base64": base64.b64encode(os.urandom(300)),
        "random": os.urandom(300),
        "empty": b"",
    }


def _small():
    return subprocess.run(
        ["openssl", "genrsa", "-traditional", "512"], check=True, capture_output=True
    ).stdout


@pytest.mark.parametrize(
    "kind",
    [
        "cut",
        "altered",
        "encrypted",
        "another algorithm",
        "public",
        "too small",
        "random base64",
        "random",
        "empty",
    ],
)
def test_invalid_key_is_refused_without_showing_the_text(kind):
    data = _broken()[kind]
    with pytest.raises(InvalidValue) as caught:
        key_file.private_key(data, "key file /keys/mail.private")
    text = str(caught.value)
    assert text.startswith("key file /keys/mail.private: <secret>")
    lines = [line for line in data.decode("latin-1").splitlines() if len(line) > 30]
    assert not [line for line in lines if line in text]
    assert caught.value.__cause__ is None


def test_weak_key_is_refused_unless_allowed():
    weak = key_file.private_key(pem(rsa_key(1024)), "key")
    with pytest.raises(InvalidValue, match=r"1024 bits.*allow_weak"):
        key_file.check_strength(weak, False, "key")
    key_file.check_strength(weak, True, "key")
    key_file.check_strength(key_file.private_key(pem(rsa_key()), "key"), False, "key")


def test_unreadable_file_is_named(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    large = tmp_path / "large"
    large.write_bytes(bytes(key_file.MOST_BYTES + 1))
    for path, reason in (
        (tmp_path / "nothere", "No such file"),
        (tmp_path, "can't be read|not a regular file"),
        (fifo, "not a regular file"),
        (large, "larger than"),
        ("relative/key", "not an absolute path"),
        ("/with\0nul", "can't be read"),
    ):
        with pytest.raises(InvalidValue, match=reason):
            key_file.read_file(str(path), "path")


# --- Settings that the pillar lacks ---------------------------------------------------------------


def test_complete_pillar_lacks_no_setting():
    news = Address("news@example.com", (KeyPlan(selector="news"),))
    domains = {
        "example.com": Domain("example.com", subdomains=True, addresses=(news,)),
        "example.net": Domain("example.net", keys=(), alias_of="example.com"),
    }
    desired = {
        "example.com": {
            "selector": "default",
            "algorithm": "rsa",
            "subdomains": True,
            "addresses": {"news@example.com": {"selector": "news", "algorithm": "rsa"}},
        },
        "example.net": {"alias_of": "example.com"},
    }
    assert missing_settings(Settings(domains=domains), desired, ()) == {}
    assert missing_settings(Settings(), desired, ()) == desired


def test_pillar_lacks_settings_that_differ():
    domains = {"example.com": Domain("example.com")}
    desired = {"example.com": {"selector": "s2019", "algorithm": "rsa", "subdomains": True}}
    assert missing_settings(Settings(domains=domains), desired, ()) == {
        "example.com": {"selector": "s2019", "subdomains": True}
    }


def test_every_hosted_domain_may_have_any_selector():
    desired = {
        "example.com": {"selector": "s2019", "algorithm": "rsa"},
        "example.net": {"alias_of": "example.com"},
    }
    assert missing_settings(Settings(every_hosted=Domain("*")), desired, desired) == {
        "example.net": {"alias_of": "example.com"}
    }
    assert missing_settings(Settings(every_hosted=Domain("*")), desired, ()) == desired
    below = {"example.com": {"selector": "s2019", "algorithm": "rsa", "subdomains": True}}
    assert missing_settings(Settings(every_hosted=Domain("*")), below, below) == {
        "example.com": {"subdomains": True}
    }
    assert missing_settings(Settings(every_hosted=Domain("*", subdomains=True)), below, below) == {}


def case_tables(number):
    folder = Path(__file__).resolve().parents[2] / "cases" / "opendkim"
    keys = data_set.parse_file((folder / f"{number}-KeyTable").read_text(), "KeyTable")
    lines = data_set.parse_refile((folder / f"{number}-SigningTable").read_text(), "SigningTable")
    entries, refused = read_key_table(DataSet(FILE, keys))
    found = select(entries, SigningTable(DataSet(REFILE, lines)), ())
    assert not refused
    assert not found.refused
    return found


@pytest.mark.parametrize(
    ("number", "domain", "selector"),
    [(47, "example.com", "mail_2020"), (69, "my_host.example.com", "mail")],
)
def test_case_47_69_key_with_an_underscore_is_imported_and_signs(number, domain, selector):
    (choice,) = case_tables(number).choices
    assert (choice.domain, choice.entry.selector, choice.signs) == (domain, selector, True)


def test_case_48_pattern_without_an_at_sign_is_imported_and_noted():
    found = case_tables(48)
    (choice,) = found.choices
    assert (choice.domain, choice.signs) == ("example.com", True)
    assert "sub.example.com and myexample.com" in found.notes[0]


@pytest.mark.parametrize("number", [47, 48, 69])
def test_case_47_48_69_pillar_that_the_import_prints_is_valid(number):
    desired = {
        choice.domain: key_settings({"rsa": choice.entry.selector})
        for choice in case_tables(number).choices
    }
    assert settings.read({"domains": missing_settings(Settings(), desired, ())}).problems == ()


def test_selector_that_the_pillar_refuses_or_folds_is_no_missing_setting():
    for name in ("mail_2020", "Mail2020"):
        assert key_settings({"rsa": name}) == {"algorithm": "rsa"}
    assert key_settings({"rsa": "mail_2020", "ed25519": "s2020"}) == {
        "selector": {"ed25519": "s2020"},
        "algorithm": ["rsa", "ed25519"],
    }
