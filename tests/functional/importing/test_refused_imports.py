"""A domain whose old key an import refuses. Its first key waits until DNS has its record."""

import pytest
from dkim_formula.importing import commands as importing_commands
from dkim_formula.importing.sources import Request
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from functional.importing.test_transfer import WEAK, Old
from functional.rotation.test_rotation import HOLD
from functional.server import query, traditional_pem

pytestmark = pytest.mark.one_release

WAITS = {"first key of example.com": {"old": None, "new": "waits for its record in DNS"}}

REFUSED = {
    "weak": ("mail", WEAK),
    "broken": ("mail", "no key"),
    "missing": ("mail", None),
    "selector": ("a;b", traditional_pem(1)),
}


@pytest.fixture
def old(tmp_path):
    return Old(tmp_path)


def tables(old, kind):
    selector, text = REFUSED[kind]
    old.key("a", "example.com", selector, text, "*@example.com")
    return Request(*old.tables())


def history(site):
    with db.session(site.database) as connection:
        return query(
            connection, "SELECT domain, why FROM public.dkim_history WHERE dkim_id = 0 ORDER BY id"
        )


@pytest.mark.parametrize("with_signing_table", [True, False])
@pytest.mark.parametrize("kind", REFUSED)
def test_first_key_waits_for_its_record_if_the_old_key_is_refused(
    site, old, kind, with_signing_table
):
    request = tables(old, kind)
    if not with_signing_table:
        request = Request(request.key_table)
    planned = importing_commands.import_tables(site.settings, request, test=True)
    assert history(site) == []
    done = importing_commands.import_tables(site.settings, request)
    assert planned == done
    assert done["changes"] == WAITS
    assert any(
        note.startswith("example.com: its old key, or a line that names the key, is refused")
        for note in done["notes"]
    )
    assert importing_commands.import_tables(site.settings, request)["changes"] == {}
    ((domain, why),) = history(site)
    assert (domain, why[:35]) == ("example.com", "an import refused the domain's key:")
    assert traditional_pem(1).splitlines()[1] not in why

    expected = "example.com: an import refused the domain's key, so the new one is pending"
    assert any(
        note.startswith(expected)
        for note in keys_commands.generate_missing(site.settings, test=True)["notes"]
    )
    site.make_keys()
    assert site.states() == {"default": "pending"}
    assert keys_commands.generate_missing(site.settings, test=True)["changes"] == {}
    (line,) = rotation_commands.status(site.settings, "example.com")
    assert line["next"].startswith(
        "active: an import refused the domain's key, and DNS may show that key"
    )
    assert "dkim.activate example.com default force=True" in line["next"]
    assert rotation_commands.advance(site.settings)["changes"] == {}
    site.publish("default")
    rotation_commands.advance(site.settings)
    site.pass_time(HOLD)
    rotation_commands.advance(site.settings)
    assert site.states() == {"default": "active"}
    # From now on the domain has its own history.
    assert importing_commands.import_tables(site.settings, request)["changes"] == {}


def test_force_activates_the_waiting_key(site, old):
    importing_commands.import_tables(site.settings, tables(old, "weak"))
    generated = keys_commands.generate(site.settings, "example.com", "s2026")
    assert generated["state"] == "pending"
    assert rotation_commands.activate(site.settings, "example.com", "s2026")["changes"] == {}
    assert site.states() == {"s2026": "pending"}
    rotation_commands.activate(site.settings, "example.com", "s2026", force=True)
    assert site.states() == {"s2026": "active"}


def test_old_key_that_a_later_import_accepts_signs_at_once(site, old):
    site.pillar["domains"] = {"example.com": {"algorithm": "rsa"}}
    request = tables(old, "weak")
    importing_commands.import_tables(site.settings, request)
    done = importing_commands.import_tables(site.settings, request, allow_weak=True)
    assert [one["state"] for one in done["imported"]] == ["active"]
    site.make_keys()
    assert site.states() == {"mail": "active"}


def test_first_keys_of_other_domains_and_of_domains_with_keys_do_not_wait(site, old):
    request = tables(old, "weak")
    site.make_keys()
    assert site.states() == {"default": "active"}
    assert importing_commands.import_tables(site.settings, request)["changes"] == {}
    site.pillar["domains"]["example.org"] = {"algorithm": "ed25519"}
    site.make_keys()
    assert site.states("example.org") == {"default": "active"}


def test_refused_key_that_signs_nothing_delays_no_first_key(site, old):
    old.key("a", "example.com", "mail", WEAK)
    old.key("b", "example.org", "mail", traditional_pem(1), "*@example.org")
    done = importing_commands.import_tables(site.settings, Request(*old.tables()))
    assert not any(name.startswith("first key") for name in done["changes"])
    site.make_keys()
    assert site.states() == {"default": "active"}


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [("refile", "*@*mail*.example.com"), ("refile", "user@*"), ("file", "user@.example.com")],
)
def test_first_key_waits_if_the_line_that_names_the_old_key_is_refused(site, old, kind, pattern):
    old.key("a", "example.com", "mail", traditional_pem(1), pattern)
    key_table, signing_table = old.tables()
    request = Request(key_table, signing_table.replace("refile:", f"{kind}:"))
    done = importing_commands.import_tables(site.settings, request)
    assert [one["state"] for one in done["imported"]] == ["retired"]
    assert done["changes"].items() >= WAITS.items()
    assert not any("no mail is signed with it" in note for note in done["notes"])
    assert any(pattern in note and "dkim.activate" in note for note in done["notes"])
    assert importing_commands.import_tables(site.settings, request)["changes"] == {}
    site.make_keys()
    assert site.states() == {"mail": "retired", "default": "pending"}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("amavisd", "$enable_dkim_signing = 1;\ndkim_key('example.com', 'mail', 'keys/a.pem');\n"),
        ("amavisd", "$enable_dkim_signing = 1;\ndkim_key('example.com', 'a;b', '/keys/a.pem');\n"),
        ("opendkim", "Domain Example.com\nSelector a;b\nKeyFile /keys/a.private\n"),
    ],
)
def test_first_key_waits_if_the_key_in_a_configuration_is_refused(site, tmp_path, source, text):
    config = tmp_path / "configuration"
    config.write_text(text)
    request = Request(source=source, config=str(config))
    assert importing_commands.import_tables(site.settings, request)["changes"] == WAITS
    assert importing_commands.import_tables(site.settings, request)["changes"] == {}
    site.make_keys()
    assert site.states() == {"default": "pending"}


def test_first_key_of_a_domain_that_is_signed_as_another_waits_for_its_record(site, old):
    site.pillar["domains"]["example.org"] = {"algorithm": "rsa"}
    old.key("a", "example.org", "mail", traditional_pem(1), "*@example.org")
    old.signing.append("*@example.com a")
    request = Request(*old.tables())
    planned = importing_commands.import_tables(site.settings, request, test=True)
    done = importing_commands.import_tables(site.settings, request)
    assert planned == done
    assert done["changes"].items() >= WAITS.items()
    assert done["pillar"]["example.com"] == {"alias_of": "example.org"}
    assert any(note.startswith("example.com: signed as another domain") for note in done["notes"])
    assert importing_commands.import_tables(site.settings, request)["changes"] == {}
    ((domain, why),) = history(site)
    reason = "an import found the domain's mail signed as another domain"
    assert (domain, why) == ("example.com", f"{reason}: example.org")
    assert any(
        note.startswith(f"example.com: {reason}, so its first key is pending")
        for note in keys_commands.generate_missing(site.settings, test=True)["notes"]
    )
    site.make_keys()
    assert site.states() == {"default": "pending"}
    (line,) = rotation_commands.status(site.settings, "example.com")
    assert line["next"].startswith(f"active: {reason}: publish this key's record")
    site.publish("default")
    rotation_commands.advance(site.settings)
    site.pass_time(HOLD)
    rotation_commands.advance(site.settings)
    assert site.states() == {"default": "active"}


def test_first_key_signs_at_once_if_the_program_signed_nothing(site, old):
    site.pillar["domains"]["example.org"] = {"algorithm": "rsa"}
    old.key("a", "example.org", "mail", traditional_pem(1), "*@example.org")
    old.signing.append("*@example.com a")
    request = Request(source="opendkim", config=old.configuration("Mode v"))
    importing_commands.import_tables(site.settings, request)
    site.make_keys()
    assert site.states() == {"default": "active"}


def test_alias_of_the_pillar_needs_no_first_key(site, old):
    site.pillar["domains"] = {
        "example.org": {"algorithm": "rsa"},
        "example.com": {"alias_of": "example.org"},
    }
    old.key("a", "example.org", "mail", traditional_pem(1), "*@example.org")
    old.signing.append("*@example.com a")
    done = importing_commands.import_tables(site.settings, Request(*old.tables()))
    assert "first key of example.com" not in done["changes"]
    assert history(site) == []


def test_pattern_of_any_ending_signs_as_before(site, old):
    old.key("a", "example.com", "mail", traditional_pem(1), "*@*example.com")
    done = importing_commands.import_tables(site.settings, Request(*old.tables()))
    assert [one["state"] for one in done["imported"]] == ["active"]
    assert "first key of example.com" not in done["changes"]
