"""The keys of other programs, read from their files and rows."""

import base64
import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from dkim_formula import key_file
from dkim_formula.errors import InvalidValue
from dkim_formula.importing import (
    amavisd,
    amavisd_config,
    commands,
    key_folder,
    modoboa,
    opendkim,
    postfixadmin,
    rspamd,
    rspamd_config,
    sources,
    ucl,
)
from dkim_formula.importing.held import Held
from dkim_formula.importing.plan import NO_KEY, TableImport
from dkim_formula.importing.selection import select
from dkim_formula.importing.sources import Request
from dkim_formula.key_text import read_stored
from dkim_formula.keys.odd_rows import LISTED
from dkim_formula.postgres import dsn
from dkim_formula.private_key import PrivateKey
from dkim_formula.settings import read as read_settings
from dkim_formula.settings.model import Domain, Settings
from dkim_formula.signer.daemons import HEADER
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples, odd_text

IREDMAIL = """\
use strict;
$enable_dkim_verification = 1;
$enable_dkim_signing = 1;

# Add dkim_key here.
dkim_key('first.example', 'dkim', '/var/lib/dkim/first.example.pem');

@dkim_signature_options_bysender_maps = ({
    # 'd' defaults to a domain of an author/sender address,
    # Per-domain dkim key
    #"domain.com"  => { d => "domain.com", a => 'rsa-sha256', ttl => 10*24*3600 },
    # catch-all (one dkim key for all domains)
    '.' => {d => 'first.example', a => 'rsa-sha256', c => 'relaxed/simple', ttl => 30*24*3600 },
});

1;  # insure a defined return
"""


def signing(held, hosted=()):
    """Return the signing keys as (domain or address, selector)."""
    found = select(held.entries, held.signing, hosted)
    assert found.refused == []
    return {
        (choice.address or choice.domain, choice.entry.selector)
        for choice in found.choices
        if choice.signs
    }


def silent(held, hosted=()):
    """Return the keys that no mail is signed with, as (domain, selector)."""
    choices = select(held.entries, held.signing, hosted).choices
    return {(c.domain, c.entry.selector) for c in choices if not c.signs}


def refused(held):
    return [f"{one.entry}: {one.reason}" for one in held.refused]


# --- Key texts ------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["", "\n", "\r\n", "  \n"]))
def test_ed25519_key_of_rspamd_is_read_with_and_without_its_public_half(seed, end):
    short = read_stored(base64.b64encode(seed).decode() + end).private
    public = short.public_base64()
    both = base64.b64encode(seed + base64.b64decode(public)).decode() + end
    assert read_stored(both).private.public_base64() == public
    assert (short.algorithm, read_stored(both).is_plain) == ("ed25519", False)


@given(st.binary(min_size=64, max_size=64))
def test_halves_of_a_key_that_contradict_each_other_are_refused(octets):
    found = read_stored(base64.b64encode(octets))
    assert found.private is None
    assert "halves contradict" in found.problem


@given(st.binary(max_size=100).filter(lambda data: len(data) not in (32, 64)))
def test_key_of_another_length_is_refused(octets):
    assert read_stored(base64.b64encode(octets)).private is None


def test_key_file_that_others_can_read_is_reported(tmp_path):
    path = tmp_path / "key"
    path.write_text("")
    path.chmod(0o644)
    assert "0644" in key_file.exposure(str(path))
    path.chmod(0o640)
    assert key_file.exposure(str(path)) == ""


def test_file_that_a_row_names_has_to_be_in_the_keys_folder(tmp_path):
    keys, other = tmp_path / "keys", tmp_path / "other"
    keys.mkdir()
    other.write_text("text")
    (keys / "own").write_text("text")
    (keys / "link").symlink_to(other)
    (keys / "inner").symlink_to(keys / "own")
    for good in (keys / "own", keys / "inner", keys / ".." / "keys" / "own"):
        assert key_folder.read(str(good), str(keys), True) == b"text"
    for bad in (other, keys / "link", keys / ".." / "other"):
        with pytest.raises(InvalidValue, match=r"is not in .*keys"):
            key_folder.read(str(bad), str(keys), True)
    assert key_folder.read(str(other), "", False) == b"text"
    with pytest.raises(InvalidValue, match="give the keys' folder as folder="):
        key_folder.read(str(other), "", True)


# --- PostfixAdmin ---------------------------------------------------------------------------------


def tables(**rows):
    return lambda table, columns: rows[table]


PEM = PrivateKey.generate("ed25519").pem()


def test_key_of_postfixadmin_signs_for_the_authors_that_rows_name():
    held = postfixadmin.read(
        tables(
            dkim=[
                ("1", "Example.com", "default", PEM.replace("\n", "\r\n")),
                ("2", "example.com", "news", PEM),
                ("3", "example.org", "old", PEM),
            ],
            dkim_signing=[
                ("1", "example.com", "1"),
                ("2", "News@example.com", "2"),
                ("3", "example.net", "1"),
            ],
        )
    )
    assert signing(held) == {("example.com", "default"), ("news@example.com", "news")}
    assert silent(held) == {("example.org", "old")}
    assert select(held.entries, held.signing, ()).aliases == {"example.net": "example.com"}


def test_row_of_postfixadmin_without_a_key_is_named():
    held = postfixadmin.read(
        tables(
            dkim=[
                ("1", "example.com", "default", None),
                ("2", "example.com", "default", " \n"),
                ("3", "example.com", "default", "/etc/ssl/private/key.pem"),
                ("4", "ALL", "default", PEM),
                ("5", "no domain", "default", PEM),
            ],
            dkim_signing=[("1", None, "1"), ("2", "example.com", "99")],
        )
    )
    assert set(held.entries) <= {"4"}
    messages = "\n".join(refused(held))
    assert "1 (table dkim, id 1): default of example.com has no private key" in messages
    assert "3 (table dkim, id 3): default of example.com is the path of a file" in messages
    # A row without a text has signed nothing.
    assert [one.domain for one in held.refused] == ["", "", "example.com", ""]
    assert "no domain" in messages
    assert PEM.splitlines()[1] not in messages


# --- Modoboa --------------------------------------------------------------------------------------


def test_domains_of_modoboa_sign_with_the_files_that_their_rows_name():
    held = modoboa.read(
        tables(
            admin_domain=[
                ("example.com", "true", "modoboa", "/var/lib/dkim/example.com.pem"),
                ("off.example", "false", "modoboa", "/var/lib/dkim/off.example.pem"),
                ("never.example", "false", "modoboa", ""),
                ("soon.example", "true", "modoboa", ""),
            ]
        )
    )
    assert signing(held) == {("example.com", "modoboa")}
    assert silent(held) == {("off.example", "modoboa")}
    assert refused(held) == [
        "soon.example (table admin_domain, soon.example): Modoboa has made no key for the domain "
        "yet"
    ]
    assert (held.rows_name_files, held.folder) == (True, "/var/lib/dkim")


# --- amavisd --------------------------------------------------------------------------------------


def from_amavisd(tmp_path, text, domains=()):
    path = tmp_path / "amavisd.conf"
    path.write_text(text)
    return amavisd.read(str(path), domains)


def test_key_of_iredmail_signs_and_domains_of_the_catch_all_are_named(tmp_path):
    held = from_amavisd(tmp_path, IREDMAIL, ["first.example", "second.example", "third.example"])
    assert signing(held, ["first.example", "second.example"]) == {("first.example", "dkim")}
    (note,) = held.notes
    assert note.startswith("2 domains sign as first.example today")
    assert "second.example, third.example" in note
    assert refused(held) == []


def test_senders_of_the_maps_sign_with_the_configured_keys(tmp_path):
    held = from_amavisd(
        tmp_path,
        """
$enable_dkim_signing = 1;
dkim_key('a.example', 's1', '/keys/a1.pem');
dkim_key("a.example", "s2", "/keys/a2.pem", t=>'s', h => 'sha256');
dkim_key('b.example',
         's', '/keys/b.pem');
@dkim_signature_options_bysender_maps = ({
  'a.example' => { s => 's2', ttl => 10*24*3600 },
  '.c.example' => { d => 'b.example' },
  'd.example' => { d => "a.example" },
});
""",
    )
    assert signing(held) == {("a.example", "s2"), ("a.example", "s1"), ("b.example", "s")}
    found = select(held.entries, held.signing, ())
    assert found.aliases == {"c.example": "b.example", "d.example": "a.example"}
    assert found.subdomains == ["c.example"]


@pytest.mark.parametrize(
    "line",
    [
        "dkim_key('c', 'd', '/e') if -e '/e';",
        "dkim_key($domain, 'd', '/e');",
        "dkim_key('c', \"$d\", '/e');",
        "dkim_key('c', 'd', '/e' . '/f');",
        "dkim_key('c', 'd');",
        "dkim_key('c', 'd', '/e'\n1;",
        "foreach my $d (qw(a b)) { dkim_key($d, 'd', '/e'); }",
        "  dkim_key('c', 'd', '/e');",
        "dkim_key(qr/x/, 'd', '/e');",
        "dkim_key 'c', 'd', '/e';",
        "my $x = '#'; dkim_key('c', 'd', '/e');",
        "push(@dkim_signature_options_bysender_maps, $x);",
        "@dkim_signature_options_bysender_maps = (read_hash('/x'));",
    ],
)
def test_statement_that_is_not_plain_is_named_with_its_line(tmp_path, line):
    held = from_amavisd(tmp_path, f"1;\n{line}\ndkim_key('a.example', 's', '/k');\n")
    (message,) = refused(held)
    assert message.startswith(f"{tmp_path}/amavisd.conf, line 2: is not understood")
    assert set(held.entries) <= {"s._domainkey.a.example"}


def test_text_outside_of_statements_is_skipped(tmp_path):
    held = from_amavisd(
        tmp_path,
        "# dkim_key('x.example', 's', '/k');\n"
        "=pod\n\ndkim_key('y.example', 's', '/k');\n\n=cut\n"
        "dkim_key('a.example', 's', '/k');\n"
        "dkim_key('*', 's', '/k');\ndkim_key('r.example', 's', 'k.pem');\n"
        "__END__\ndkim_key('z.example', 's', '/k');\n",
    )
    assert set(held.entries) == {"s._domainkey.a.example"}
    assert [one.entry.partition(" ")[0] for one in held.refused] == [
        "s._domainkey.*",
        "s._domainkey.r.example",
    ]
    assert "$enable_dkim_signing is not 1" in held.notes[0]


def test_second_statement_in_a_line_is_reported(tmp_path):
    held = from_amavisd(
        tmp_path, "dkim_key('a.example', 's', '/k'); dkim_key('b.example', 's', '/k');\n"
    )
    assert set(held.entries) == {"s._domainkey.a.example"}
    assert len(refused(held)) == 1


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("$enable_dkim_signing = 1;", True),
        ("  $enable_dkim_signing=1;  # on", True),
        ("if ($x) { $enable_dkim_signing = 'yes'; }", True),
        ("# $enable_dkim_signing = 1;", False),
        ("$enable_dkim_signing = 1;\n$enable_dkim_signing = 0;", False),
        ("$enable_dkim_signing = undef;", False),
        ("", False),
    ],
)
def test_switch_of_amavisd_is_found_anywhere_in_a_line(text, signs):
    found = amavisd_config.Configuration()
    amavisd_config.parse(text, "f", found)
    assert (found.signs, found.unknown) == (signs, [])


def test_folder_of_debian_is_read_in_the_order_of_amavisd(tmp_path):
    (tmp_path / "50-user").write_text("$enable_dkim_signing = 0;\n")
    (tmp_path / "20-dkim").write_text("$enable_dkim_signing = 1;\ndkim_key('a.example','s','/k');")
    (tmp_path / "50-user.bak").write_text("$enable_dkim_signing = 1;\n")
    paths = amavisd_config.files(str(tmp_path))
    assert [os.path.basename(path) for path in paths] == ["20-dkim", "50-user"]
    assert not amavisd_config.configuration(paths).signs
    with pytest.raises(InvalidValue, match="no configuration of amavisd"):
        amavisd_config.files(str(tmp_path / "nothere"))


@given(st.text(st.sampled_from("dkim_key('a.b',\"s/k\\){}=>;#\n$@ ")))
def test_any_text_is_read_without_an_error(text):
    found = amavisd_config.Configuration()
    amavisd_config.parse(text, "f", found)
    for mention in found.unknown:
        assert mention.startswith("f, line ")


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{1,8}\.example", fullmatch=True),
            st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
            st.from_regex(r"/[a-z/.]{1,20}", fullmatch=True),
        )
    ),
    st.sampled_from(["'", '"']),
    st.sampled_from(["", " ", "\n  "]),
)
def test_every_plain_statement_is_read(keys, quote, space):
    text = "".join(
        f"dkim_key({space}{quote}{domain}{quote},{space}{quote}{selector}{quote},{space}"
        f"{quote}{path}{quote}{space});\n"
        for domain, selector, path in keys
    )
    found = amavisd_config.Configuration()
    amavisd_config.parse(text, "f", found)
    assert [(key.domain, key.selector, key.path) for key in found.keys] == keys
    assert found.unknown == []


# --- rspamd ---------------------------------------------------------------------------------------


class Folder:
    """A configuration of rspamd and a folder of keys."""

    def __init__(self, path: Path):
        self.path = path
        self.keys = path / "keys"
        for name in ("keys", "local.d", "override.d", "modules.d"):
            (path / name).mkdir()

    def key(self, name):
        (self.keys / name).write_text("")

    def configure(self, text, layer="local"):
        (self.path / f"{layer}.d" / "dkim_signing.conf").write_text(text)

    def write(self, name, text):
        (self.path / name).write_text(text)
        return str(self.path / name)

    def read(self, domains=(), **given):
        return rspamd.read(
            str(self.path), domains=set(domains), **{"folder": str(self.keys), **given}
        )


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_keys_of_the_folder_sign_with_the_default_selector(folder):
    for name in ("example.com.dkim.key", "example.org.dkim.key", "example.org.old.key", "x.pub"):
        folder.key(name)
    folder.configure("use_esld = false;")
    held = folder.read()
    assert signing(held) == {("example.com", "dkim"), ("example.org", "dkim")}
    assert silent(held) == {("example.org", "old")}


def test_mail_of_subdomains_is_signed_as_rspamd_does_it(folder):
    folder.key("example.com.dkim.key")
    folder.key("sub.example.com.dkim.key")
    held = folder.read()
    found = select(held.entries, held.signing, ["sub.example.com", "other.example.com"])
    assert signing(held, ["sub.example.com"]) == {("example.com", "dkim")}
    assert silent(held) == {("sub.example.com", "dkim")}
    assert found.subdomains == ["example.com"]
    assert found.aliases == {"sub.example.com": "example.com", "other.example.com": "example.com"}
    assert "dkim:defaults:subdomains" in held.notes[0]


def test_maps_give_selector_and_path(folder):
    folder.key("example.com.s1.key")
    selectors = folder.write("selectors", '# map\nExample.com s1\n"example.org" "s2"\nbad\n')
    paths = folder.write("paths", "example.org /elsewhere/org.pem\n")
    folder.configure(f'selector_map = "{selectors}";\nuse_esld = false')
    held = folder.read(path_map=paths)
    assert signing(held) == {("example.com", "s1"), ("example.org", "s2")}
    files = {entry.selector: entry.key_or_path.reveal() for entry in held.entries.values()}
    assert files == {"s1": f"{folder.keys}/example.com.s1.key", "s2": "/elsewhere/org.pem"}
    assert refused(held) == [f"{selectors}, line 4: is not DOMAIN VALUE"]


def test_every_selector_of_a_section_signs(folder):
    folder.configure(
        "use_esld = false;\n"
        "domain { example.com { selectors [ { path = /k/rsa; selector = r; },\n"
        ' { path: "/k/ed", selector: "e" } ] }\n example.org { selector = "x"; path = "/k/x"; } }'
    )
    assert signing(folder.read()) == {
        ("example.com", "r"),
        ("example.com", "e"),
        ("example.org", "x"),
    }


def test_later_layers_of_the_configuration_win(folder):
    folder.configure('dkim_signing { selector = "packaged"; }', "modules")
    folder.configure('selector = "local"; use_esld = no;')
    folder.configure('selector = "override";', "override")
    for selector in ("packaged", "local", "override"):
        folder.key(f"example.com.{selector}.key")
    held = folder.read()
    assert signing(held) == {("example.com", "override")}
    assert len(silent(held)) == 2
    folder.configure("enabled = false;", "override")
    assert not rspamd_config.configuration(str(folder.path)).is_on


def test_selector_with_dots_is_recognised_by_a_known_domain(folder):
    folder.key("example.com.s1.mail.key")
    held = folder.read(["example.com", "com.s1"])
    (entry,) = held.entries.values()
    assert (entry.domain, entry.selector) == ("example.com", "s1.mail")
    (entry,) = folder.read().entries.values()
    assert (entry.domain, entry.selector) == ("example.com.s1", "mail")


def test_last_value_of_a_map_counts(folder):
    selectors = folder.write("selectors", "example.com old\nexample.com new\n")
    folder.configure("use_esld = false;")
    held = folder.read(selector_map=selectors, path_map=folder.write("paths", "example.com /k\n"))
    assert signing(held) == {("example.com", "new")}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("use_redis = true;", "use_redis"),
        ("use_vault = true;", "use_vault"),
        ('selector_map = "https://example.net/map";', "selector_map"),
        ('selector_map = "/not/there";', "can't be read: No such file"),
        ("a = [", "line 1: can't be parsed"),
        ('.include "/other"', '.include "/other": is not read'),
        ('key_table = "/etc/KeyTable";', "give it to dkim.import_tables as key_table"),
        ("domain { '*' { selector = x; path = /k } }", "not a domain that can have a key"),
    ],
)
def test_unsupported_syntax_is_reported(folder, text, reason):
    folder.configure(text)
    assert [one for one in refused(folder.read()) if reason in one]


def test_configuration_that_is_missing_is_named(tmp_path):
    with pytest.raises(InvalidValue, match="is no folder"):
        rspamd.read(str(tmp_path / "nothere"))


@given(st.text(st.sampled_from("ab={}[];,\n\"'#. /*:\\")))
def test_any_text_is_parsed_or_refused(text):
    try:
        ucl.parse(text)
    except ucl.NotUnderstood as error:
        (line,) = error.args
    else:
        line = 1
    assert 1 <= line <= text.count("\n") + 1


NAME = st.from_regex(r"[a-z]{1,9}", fullmatch=True)
VALUE = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=12)


@given(st.dictionaries(NAME, st.one_of(VALUE, st.dictionaries(NAME, VALUE))))
def test_strings_and_sections_are_parsed_as_written(values):
    def quoted(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = []
    for key, value in values.items():
        if isinstance(value, str):
            lines.append(f"{key} = {quoted(value)};")
        else:
            inner = "".join(f"{name}: {quoted(text)}\n" for name, text in value.items())
            lines.append(f"{key} {{\n{inner}}}")
    found = ucl.parse("\n".join(lines))
    assert {
        key: value.values if isinstance(value, ucl.Section) else value
        for key, value in found.values.items()
    } == values


# --- Generated input ----------------------------------------------------------


def select_all(held, domains=("example.com",)):
    """Select the keys of a program as an import does, without reading the key files."""
    select(held.entries, held.signing, domains)


@examples(150)
@given(odd_text(), odd_text(), odd_text())
def test_any_files_of_rspamd_are_read_or_refused(text, selectors, name):
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        text = text.encode("utf-8", "replace").decode()
        folder.configure(f'selector_map = "{path}/selectors";\n{text}\n')
        (folder.path / "selectors").write_bytes(selectors.encode("utf-8", "replace"))
        with contextlib.suppress(OSError, ValueError):
            folder.key(f"{name}.dkim.key")
        select_all(folder.read(["example.com"]))


@examples(150)
@given(odd_text())
def test_any_configuration_of_amavisd_is_read_or_refused(text):
    with tempfile.TemporaryDirectory() as path:
        file = Path(path) / "amavisd.conf"
        file.write_bytes(
            f"dkim_key('example.com', '{text}', '/k');\n{text}".encode("utf-8", "replace")
        )
        select_all(amavisd.read(str(file), ["example.com"]))


OTHERS = st.one_of(st.none(), odd_text())


@examples(150)
@given(st.tuples(OTHERS, OTHERS, OTHERS), OTHERS)
def test_any_row_of_a_panel_is_read_or_refused(row, author):
    select_all(
        postfixadmin.read(
            tables(dkim=[("1", *row)], dkim_signing=[("1", author, "1"), ("2", "example.com", "1")])
        )
    )
    name, selector, path = row
    select_all(modoboa.read(tables(admin_domain=[(name, "true", selector, path)])))


@examples(150)
@given(odd_text())
def test_any_name_of_a_data_set_is_read_or_refused_without_showing_it(text):
    for name in (
        text,
        f"pgsql://u:hunter2@h/d/table={text}",
        f"pgsql://{text}:hunter2@h/d/table=t",
    ):
        message = ""
        try:
            dsn.parse(name, "key_table")
        except InvalidValue as error:
            message = f"{error} {error.__cause__}"
        assert "hunter2" not in message


# --- OpenDKIM -------------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["yes", "T", "1"])
def test_daemon_with_one_key_signs_for_its_domains(tmp_path, switch):
    path = tmp_path / "opendkim.conf"
    path.write_text(
        f"Domain example.com,example.org\nSelector s2019\nKeyFile /k/one\nSubDomains {switch}\n"
    )
    held = opendkim.read(str(path)).held
    assert signing(held) == {("example.com", "s2019"), ("example.org", "s2019")}
    assert set(select(held.entries, held.signing, ()).subdomains) == {"example.com", "example.org"}


def test_copy_is_read_if_the_formula_has_replaced_the_file(tmp_path, monkeypatch):
    path = tmp_path / "opendkim.conf"
    monkeypatch.setattr(opendkim, "CONFIGURATION", str(path))
    path.write_text("KeyTable /etc/old\n")
    assert opendkim.read(None).key_table == "/etc/old"
    path.write_text(f"{HEADER}\nKeyTable dsn:pgsql://x\n")
    with pytest.raises(InvalidValue, match="the copy of the former file is missing"):
        opendkim.read(None)
    (tmp_path / "opendkim.conf.before-dkim-formula").write_text("KeyTable /etc/kept\n")
    assert opendkim.read(None).key_table == "/etc/kept"


def test_configuration_names_the_tables(tmp_path):
    path = tmp_path / "opendkim.conf"
    path.write_text("KeyTable /etc/keys\nSigningTable refile:/etc/signing\n")
    found = opendkim.read(str(path))
    assert (found.key_table, found.signing_table) == ("/etc/keys", "refile:/etc/signing")
    path.write_text("Mode v\n")
    with pytest.raises(InvalidValue, match="neither KeyTable nor KeyFile"):
        opendkim.read(str(path))
    with pytest.raises(InvalidValue, match="is no file"):
        opendkim.read(str(tmp_path / "nothere"))


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("SetupPolicyScript /etc/setup.lua", "chooses keys in Lua"),
        ("KeyFileEd25519 /k/ed", "is dkimpy-milter's"),
        ("KeyTableEd25519 /k/table", "is dkimpy-milter's"),
    ],
)
@pytest.mark.parametrize(
    "keys", ["KeyFile /k\nDomain example.com\nSelector s", "KeyTable csl:a=example.com:s:/k", ""]
)
def test_option_of_opendkim_that_is_not_read_is_named(tmp_path, option, reason, keys):
    path = tmp_path / "opendkim.conf"
    path.write_text(f"{keys}\n{option}\n")
    read = sources.reader(Settings(), Request(source="opendkim", config=str(path)))
    held = read([])
    assert len(held.entries) == (1 if keys else 0)
    assert [one for one in refused(held) if reason in one]


@pytest.mark.parametrize(
    ("option", "start"),
    [("Mode v", "Mode v"), ("MultipleSignatures yes", "MultipleSignatures")],
)
def test_option_of_opendkim_that_changes_what_is_signed_is_noted(tmp_path, option, start):
    path = tmp_path / "opendkim.conf"
    tables = "KeyTable csl:a=example.com:s:/k\nSigningTable csl:example.com=a\n"
    read = sources.reader(Settings(), Request(source="opendkim", config=str(path)))
    path.write_text(tables)
    assert read([]).notes == []
    path.write_text(f"{tables}{option}\n")
    (note,) = read([]).notes
    assert note.startswith(start)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("", {"a"}),
        ("MultipleSignatures no\n", {"a"}),
        ("MultipleSignatures yes\n", {"a", "b"}),
        # config.c reads the first octet.
        ("MultipleSignatures Y\n", {"a", "b"}),
    ],
)
def test_several_lines_of_a_pattern_sign_only_with_multiple_signatures(tmp_path, option, names):
    signing_table = tmp_path / "SigningTable"
    signing_table.write_text("*@example.com a\n*@example.com b\n")
    path = tmp_path / "opendkim.conf"
    path.write_text(
        "KeyTable csl:a=example.com:a:/a,b=example.com:b:/b\n"
        f"SigningTable refile:{signing_table}\n{option}"
    )
    held = sources.reader(Settings(), Request(source="opendkim", config=str(path)))([])
    choices = select(held.entries, held.signing, ()).choices
    assert {choice.entry.name for choice in choices if choice.signs} == names


def test_pillar_of_an_alias_has_the_addresses_with_keys_of_their_own():
    held = Held()
    held.add("own", "example.com", "mail", PEM, "1")
    held.add("news", "example.net", "news", PEM, "2")
    held.sign(
        ("example.com", "own", "1"), ("example.net", "own", "2"), ("news@example.net", "news", "3")
    )
    domains = {name: Domain(name) for name in ("example.com", "example.net")}
    table_import = TableImport(Settings(domains=domains), False)
    table_import.decide(held)
    found = table_import.report()
    assert [one["address"] for one in found["imported"]] == ["", "news@example.net"]
    assert found["pillar"]["example.net"] == {
        "alias_of": "example.com",
        "addresses": {"news@example.net": {"selector": "news", "algorithm": "ed25519"}},
    }
    assert read_settings({"domains": found["pillar"]}).problems == ()


def test_summary_counts_the_notes_and_refusals_that_it_leaves_out():
    refusal = {"entry": "a", "reason": "b"}
    found = {"refused": [refusal] * (LISTED + 2), "notes": ["a note"] * (LISTED + 3)}
    notes = commands.summary({**found, "changes": {}, "pillar": {}, "also_signs": []})["notes"]
    assert len(notes) == 2 * (LISTED + 1)
    for text in ("Refused: 2 more; dkim.import_tables", "Notes: 3 more; dkim.import_tables"):
        assert [note for note in notes if note.startswith(text)]


def test_program_without_a_key_is_noted():
    table_import = TableImport(Settings(), False)
    table_import.decide(postfixadmin.read(tables(dkim=[], dkim_signing=[])))
    assert table_import.notes == [NO_KEY]
