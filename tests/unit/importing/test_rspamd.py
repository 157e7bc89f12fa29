"""The key files of rspamd: every form of the path's template, and the options that name keys."""

import pytest
from dkim_formula.importing import registered_domains, rspamd, rspamd_config, rspamd_paths
from dkim_formula.importing.selection import select

HOSTED = ("example.com", "example.org")


class Server:
    """A configuration of rspamd, and key files."""

    def __init__(self, path):
        self.path = path
        self.keys = path / "keys"
        self.keys.mkdir()

    def key(self, *names):
        for name in names:
            target = self.keys / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("")

    def write(self, name, text):
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return str(target)

    def configure(self, text, name="local.d/dkim_signing.conf"):
        return self.write(name, text)

    def read(self, domains=HOSTED, **given):
        return rspamd.read(str(self.path), domains=set(domains), **given)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(rspamd_config, "_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(registered_domains, "LIST", str(tmp_path / "suffixes"))
    return Server(tmp_path)


def signing(held, hosted=HOSTED):
    """Return the keys that sign, by domain and selector, with their files' names."""
    found = select(held.entries, held.signing, hosted)
    return {
        (one.domain, one.entry.selector): one.entry.key_or_path.reveal().partition("/keys/")[2]
        for one in found.choices
        if one.signs
    }


def unused(held, hosted=HOSTED):
    found = select(held.entries, held.signing, hosted)
    return {(one.domain, one.entry.selector) for one in found.choices if not one.signs}


# rspamd's own lua_util.template gave these paths (3.4).
@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/k/$domain.$selector.key", "/k/example.com.2017.key"),
        ("/k/${domain}/$selector.key", "/k/example.com/2017.key"),
        ("/k/$domain_$selector.key", "/k/domain_2017.key"),
        ("/k/$domain-$selector", "/k/example.com-2017"),
        ("/k/$foo/${bar}/$domain", "/k/foo/bar/example.com"),
        ("/k/$$domain", "/k/$example.com"),
        ("/k/$selector.$domain/x$", "/k/2017.example.com/x$"),
        ("/k/$DOMAIN", "/k/DOMAIN"),
        ("/k/$domainx.${selector}y", "/k/domainx.2017y"),
    ],
)
def test_template_is_filled_as_rspamd_fills_it(template, path):
    assert rspamd_paths.filled(template, "example.com", "2017") == path


@pytest.mark.parametrize(
    ("path", "names", "keys", "old"),
    [
        (
            "$domain.$selector.key",
            ["example.com.2017.key", "example.org.2017.key", "example.com.2016.key"],
            {
                ("example.com", "2017"): "example.com.2017.key",
                ("example.org", "2017"): "example.org.2017.key",
            },
            {("example.com", "2016")},
        ),
        (
            "$selector.key",
            ["2017.key"],
            {("example.com", "2017"): "2017.key", ("example.org", "2017"): "2017.key"},
            set(),
        ),
        (
            "all.key",
            ["all.key"],
            {("example.com", "2017"): "all.key", ("example.org", "2017"): "all.key"},
            set(),
        ),
        (
            "$domain.key",
            ["example.com.key", "other.example.key"],
            {
                ("example.com", "2017"): "example.com.key",
                ("other.example", "2017"): "other.example.key",
            },
            set(),
        ),
        (
            "$domain/$selector.key",
            ["example.com/2017.key", "example.com/2016.key", "example.org/2016.key"],
            {("example.com", "2017"): "example.com/2017.key"},
            {("example.com", "2016"), ("example.org", "2016")},
        ),
        (
            "${selector}/${domain}/private",
            ["2017/example.com/private", "2016/example.org/private"],
            {("example.com", "2017"): "2017/example.com/private"},
            {("example.org", "2016")},
        ),
        (
            "$domain/$selector.$domain.pem",
            ["example.com/2017.example.com.pem", "example.com/2017.example.org.pem"],
            {("example.com", "2017"): "example.com/2017.example.com.pem"},
            set(),
        ),
        (
            "dkim-$domain-$selector",
            ["dkim-example.com-2017"],
            {("example.com", "2017"): "dkim-example.com-2017"},
            set(),
        ),
        (
            "$domain/$unknown",
            ["example.com/unknown", "example.org/other"],
            {("example.com", "2017"): "example.com/unknown"},
            set(),
        ),
    ],
)
def test_keys_of_every_form_of_the_path_are_found(server, path, names, keys, old):
    server.key(*names)
    server.configure(f'path = "{server.keys}/{path}";\nselector = "2017";\nuse_esld = false;\n')
    held = server.read()
    assert (signing(held), unused(held)) == (keys, old)
    assert (held.refused, held.notes) == ([], [])
    elsewhere = server.read(folder=str(server.keys))
    assert (signing(elsewhere), unused(elsewhere)) == (keys, old)


def test_selector_of_a_domain_chooses_the_file_of_a_path_without_a_domain(server):
    server.key("2017.key", "own.key", "new.key", "old.key")
    selectors = server.write("selectors", "example.org own\n")
    server.configure(
        f'path = "{server.keys}/$selector.key"; selector = "2017"; use_esld = false;\n'
        f'selector_map = "{selectors}"; domain {{ example.net {{ selector = "new"; }} }}\n'
    )
    held = server.read([*HOSTED, "example.net"])
    assert signing(held) == {
        ("example.com", "2017"): "2017.key",
        ("example.org", "own"): "own.key",
        ("example.net", "new"): "new.key",
    }
    (note,) = held.notes
    assert "no known domain signs with these key files" in note
    assert f": {server.keys}/old.key; " in note


def test_path_without_a_key_file_is_named(server):
    server.configure(f'path = "{server.keys}/$selector.key"; selector = "2017";\n')
    (note,) = server.read().notes
    assert f"no key file is found at {server.keys}/$selector.key (selector 2017)" in note
    server.configure("")
    (note,) = server.read().notes
    assert f"no key file is found at {server.path}/data/dkim/$domain.$selector.key" in note
    server.configure('path = "keys/$domain.key";')
    (refusal,) = server.read().refused
    assert "keys/$domain.key is no absolute path" in refusal.reason


def test_try_fallback_off_leaves_domains_without_own_settings_unsigned(server):
    server.key("example.com.dkim.key", "example.org.dkim.key")
    server.configure(
        f'path = "{server.keys}/$domain.$selector.key"; try_fallback = false; use_esld = false;\n'
        "domain { example.com { } example.org { selector = dkim; } }\n"
    )
    held = server.read()
    assert signing(held) == {("example.org", "dkim"): "example.org.dkim.key"}
    assert unused(held) == {("example.com", "dkim")}


def test_existing_file_signs_if_a_selector_has_two_files(server):
    server.key("b.key", "c.key")
    files = ", ".join(f'{{ selector = s; path = "{server.keys}/{name}.key" }}' for name in "abc")
    server.configure(f"use_esld = false; domain {{ example.com {{ selectors = [{files}] }} }}")
    held = server.read()
    assert signing(held) == {("example.com", "s"): "b.key"}
    assert [one.entry.rpartition("/")[2] for one in held.refused] == ["c.key)", "a.key)"]
    assert f"has the selector of {server.keys}/b.key" in held.refused[0].reason


# rspamd's own get_tld gave the same registered domains, for these suffixes (3.4).
SUFFIXES = "// comment\ncom\norg\nuk\nco.uk\n*.ck\n!www.ck\n"


@pytest.mark.parametrize(
    ("name", "registered"),
    [
        ("example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("z.x.y.ck", "x.y.ck"),
        ("a.foo.www.ck", "foo.www.ck"),
        ("mail.example.example", "mail.example.example"),
        ("com", "com"),
    ],
)
def test_registered_domain_is_found_as_rspamd_finds_it(server, name, registered):
    server.write("suffixes", SUFFIXES)
    assert registered_domains.RegisteredDomains(()).of(name) == registered


def test_subdomain_signs_as_its_registered_domain(server):
    server.write("suffixes", SUFFIXES)
    server.key("2017.key")
    server.configure(f'path = "{server.keys}/$selector.key"; selector = "2017";\n')
    held = server.read(["mail.example.com", "example.org"])
    found = select(held.entries, held.signing, ["mail.example.com", "example.org"])
    assert {one.domain for one in found.choices if one.signs} == {"example.com", "example.org"}
    assert found.aliases == {"mail.example.com": "example.com"}


def test_fixed_signing_domain_signs_for_all_domains(server):
    server.key("fixed.example.dkim.key", "example.com.dkim.key")
    server.configure(
        f'path = "{server.keys}/$domain.$selector.key"; use_domain = "Fixed.example";\n'
    )
    held = server.read()
    found = select(held.entries, held.signing, HOSTED)
    assert signing(held) == {("fixed.example", "dkim"): "fixed.example.dkim.key"}
    assert unused(held) == {("example.com", "dkim")}
    assert found.aliases == dict.fromkeys(HOSTED, "fixed.example")
    assert [note for note in held.notes if note.startswith("use_domain = fixed.example: ")]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("use_domain = envelope;", "use_domain = envelope: "),
        ('use_domain_sign_local = "a.example";', "use_domain_sign_local = a.example: "),
        ("enabled = false;", "enabled = false: rspamd signs no mail"),
    ],
)
def test_option_that_changes_what_is_signed_is_noted(server, text, start):
    server.key("example.com.dkim.key")
    server.configure(f'path = "{server.keys}/$domain.$selector.key"; use_esld = false;\n{text}')
    held = server.read()
    assert set(signing(held)) == {("example.com", "dkim")}
    assert [note for note in held.notes if note.startswith(start)]
    server.configure(f'path = "{server.keys}/$domain.$selector.key"; use_domain = header;\n')
    assert not [note for note in server.read().notes if note.startswith("use_domain")]


@pytest.mark.parametrize(
    "text",
    [
        "use_redis = true;",
        "use_vault = true;",
        'sign_condition = "return function(task) return false end";',
        'signing_table = "/s"; key_table = "/k";',
    ],
)
def test_key_file_that_rspamd_does_not_read_is_unused(server, text):
    server.key("example.com.dkim.key")
    server.configure(f'path = "{server.keys}/$domain.$selector.key";\n{text}')
    held = server.read()
    assert (signing(held), unused(held)) == ({}, {("example.com", "dkim")})
    assert held.refused


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("rspamd.conf.local", 'dkim_signing { path = "/k"; }', "its section dkim_signing"),
        ("rspamd.conf.override", '  dkim_signing {\n path = "/k"; }', "its section dkim_signing"),
        ("modules.d/own.conf", "dkim_signing { selector = x; }", "its section dkim_signing"),
        ("modules.d/dkim_signing.conf", 'dkim_signing {\n.include "/own"\n}', "is not read"),
        ("local.d/dkim_signing.conf", 'domain {\n.include "/own"\n}', '"/own": is not read'),
        ("local.d/dkim_signing.conf", "domain { A.example { path = /k } }", "never matches"),
    ],
)
def test_settings_that_are_not_read_are_named(server, name, text, reason):
    server.configure(text, name)
    assert [one for one in server.read().refused if reason in one.reason]


def test_dynamic_settings_come_between_the_local_and_the_overriding_ones(server):
    for name, selector in (
        ("local.d/dkim_signing.conf", "local"),
        ("data/dynamic/dkim_signing.conf", "dynamic"),
        ("override.d/dkim_signing.conf", "override"),
    ):
        server.configure(f"selector = {selector};", name)
        assert rspamd_config.configuration(str(server.path)).selector == selector


def test_packaged_configuration_has_nothing_that_is_not_read(server):
    server.write("rspamd.conf", '.include "$CONFDIR/common.conf"\noptions {\n}\n')
    server.configure(
        'dkim_signing {\n  .include(try=true) "$LOCAL_CONFDIR/local.d/dkim_signing.conf"\n}\n',
        "modules.d/dkim_signing.conf",
    )
    server.write("modules.d/dkim.conf", "dkim {\n  dkim_cache_size = 2k;\n}\n")
    assert server.read().refused == []
