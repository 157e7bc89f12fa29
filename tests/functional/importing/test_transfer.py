"""Import of keys of a file-based OpenDKIM into a real database, and export of a key."""

import logging
import multiprocessing
import os
import stat
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dkim_formula.errors import (
    DatabaseError,
    DatabaseUnavailable,
    InvalidValue,
    KeyNotFound,
    StepRefused,
)
from dkim_formula.importing import commands as importing_commands
from dkim_formula.importing import export
from dkim_formula.importing.sources import Request
from dkim_formula.key_text import read_stored
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import table as keys_table
from dkim_formula.keys.odd_rows import LISTED
from dkim_formula.postgres import connection as db
from dkim_formula.private_key import PrivateKey
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.settings.model import Domain, Settings
from functional.server import execute, insert_as_howto, query, rsa_key, traditional_pem

pytestmark = pytest.mark.one_release

WEAK = (
    rsa.generate_private_key(public_exponent=65537, key_size=1024)
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    .decode()
)


@pytest.fixture
def settings(ready):
    """Settings with the database of example.com and example.org, and nothing else."""
    return Settings(database=ready)


@pytest.fixture
def with_net(ready):
    """The same settings, with example.net in the pillar."""
    return Settings(database=ready, domains={"example.net": Domain("example.net")})


@pytest.fixture
def old(tmp_path):
    """A directory of keys and tables, as opendkim-genkey and an administrator make them."""
    return Old(tmp_path)


class Old:
    def __init__(self, folder):
        self.folder = folder
        self.keys: list[str] = []
        self.signing: list[str] = []

    def key(self, name, domain, selector, text=None, pattern=""):
        """Add a KeyTable line and its file. A ``pattern`` adds a SigningTable line."""
        path = self.folder / f"{name}.private"
        if text is not None:
            path.write_text(text)
        self.keys.append(f"{name} {domain}:{selector}:{path}")
        if pattern:
            self.signing.append(f"{pattern} {name}")
        return str(path)

    def tables(self):
        (self.folder / "KeyTable").write_text("\n".join(self.keys) + "\n")
        (self.folder / "SigningTable").write_text("\n".join(self.signing) + "\n")
        return str(self.folder / "KeyTable"), f"refile:{self.folder}/SigningTable"

    def configuration(self, *options):
        """Return the path of an opendkim.conf that names the tables."""
        key_table, signing_table = self.tables()
        path = self.folder / "opendkim.conf"
        lines = [f"KeyTable {key_table}", f"SigningTable {signing_table}", *options]
        path.write_text("\n".join(lines) + "\n")
        return str(path)


def import_tables(
    settings, key_table=None, signing_table=None, allow_weak=False, test=False, **given
):
    request = Request(key_table, signing_table, **given)
    return importing_commands.import_tables(settings, request, allow_weak, test)


def stored(settings):
    with db.session(settings.database) as connection:
        return {
            (key.domain, key.selector): (key.state, key.address, key.public)
            for key in keys_table.list_keys(connection, settings.database)
        }


def states(settings):
    return {name: facts[0] for name, facts in stored(settings).items()}


def history(settings):
    with db.session(settings.database) as connection:
        return query(
            connection,
            "SELECT selector, from_state, to_state, why FROM public.dkim_history ORDER BY id",
        )


def signed_by(settings, pattern):
    with db.session(settings.database) as connection:
        return query(
            connection,
            "SELECT k.domain, k.selector FROM public.dkim_signing_table AS s"
            " JOIN public.dkim_key_table AS k USING (identifier) WHERE s.pattern = %s",
            (pattern,),
        )


def import_in_process(settings, tables):
    try:
        import_tables(settings, *tables)
    except DatabaseError as error:
        return str(error)
    return ""


def refusals(found):
    return {entry["entry"].partition(" ")[0]: entry["reason"] for entry in found["refused"]}


# --- One key --------------------------------------------------------------------------------------


def test_imported_key_signs_if_the_domain_has_no_active_key(settings, tmp_path):
    path = tmp_path / "mail.private"
    path.write_text(traditional_pem(0))
    found = importing_commands.import_key(settings, "Example.com", "mail", str(path))
    assert (found["state"], found["existed"], found["bits"]) == ("active", False, 2048)
    assert found["record"]["name"] == "mail._domainkey.example.com"
    assert found["public_key"] == rsa_key(0).public_base64()
    assert signed_by(settings, "example.com") == [("example.com", "mail")]
    assert history(settings) == [("mail", None, "active", importing_commands.IMPORTED)]


def test_imported_key_is_pending_if_the_domain_has_an_active_key(settings, tmp_path):
    path = tmp_path / "mail.private"
    path.write_text(traditional_pem(0))
    importing_commands.import_key(settings, "example.com", "mail", str(path))
    path.write_text(traditional_pem(1))
    assert (
        importing_commands.import_key(settings, "example.com", "next", str(path))["state"]
        == "pending"
    )
    path.write_text(PrivateKey.generate("ed25519").pem())
    assert (
        importing_commands.import_key(settings, "example.com", "ed", str(path))["state"] == "active"
    )


def test_second_import_of_a_key_changes_nothing(settings, tmp_path):
    path = tmp_path / "mail.private"
    path.write_text(traditional_pem(0))
    importing_commands.import_key(settings, "example.com", "mail", str(path))
    before = stored(settings)
    assert (
        importing_commands.import_key(settings, "example.com", "mail", str(path))["existed"] is True
    )
    assert stored(settings) == before


def test_used_selector_is_refused_for_another_key(settings, tmp_path):
    path = tmp_path / "mail.private"
    path.write_text(traditional_pem(0))
    importing_commands.import_key(settings, "example.com", "mail", str(path))
    path.write_text(traditional_pem(1))
    with pytest.raises(StepRefused, match=r"another key under selector 'mail'.*active"):
        importing_commands.import_key(settings, "example.com", "mail", str(path))


def test_weak_key_is_imported_with_allow_weak(settings, tmp_path):
    path = tmp_path / "weak.private"
    path.write_text(WEAK)
    with pytest.raises(InvalidValue, match=r"1024 bits.*allow_weak"):
        importing_commands.import_key(settings, "example.com", "weak", str(path))
    assert stored(settings) == {}
    assert (
        importing_commands.import_key(settings, "example.com", "weak", str(path), True)["bits"]
        == 1024
    )


def test_key_of_a_domain_that_is_neither_hosted_nor_in_the_pillar_is_refused(
    settings, with_net, tmp_path
):
    path = tmp_path / "mail.private"
    path.write_text(traditional_pem(0))
    with pytest.raises(DatabaseError, match=r"example\.net is neither in dkim:domains nor hosted"):
        importing_commands.import_key(settings, "example.net", "mail", str(path))
    assert (
        importing_commands.import_key(with_net, "example.net", "mail", str(path))["state"]
        == "active"
    )


# --- Tables ---------------------------------------------------------------------------------------


def fill(old):
    """Add good, weak, broken, duplicate, missing and unused keys, and one of a foreign domain."""
    old.key("good", "example.com", "mail", traditional_pem(0), "*@example.com")
    old.key("org", "example.org", "s2020", traditional_pem(1), "*@example.org")
    old.key("weak", "example.org", "weak", WEAK, "*@example.org")
    old.key("broken", "example.com", "broken", traditional_pem(2)[:-300], "*@example.com")
    old.key("again", "example.com", "mail", traditional_pem(0))
    old.key("other", "example.com", "mail", traditional_pem(2))
    old.key("gone", "example.com", "gone")
    old.key("unused", "example.com", "s2019", traditional_pem(3))
    old.key("foreign", "example.net", "mail", traditional_pem(4), "*@example.net")
    return old.tables()


def test_good_keys_sign_and_other_keys_are_reported(settings, old):
    found = import_tables(settings, *fill(old))
    assert states(settings) == {
        ("example.com", "mail"): "active",
        ("example.com", "s2019"): "retired",
        ("example.org", "s2020"): "active",
    }
    assert signed_by(settings, "example.com") == [("example.com", "mail")]
    assert {(key["domain"], key["selector"], key["state"]) for key in found["imported"]} == {
        ("example.com", "mail", "active"),
        ("example.com", "s2019", "retired"),
        ("example.org", "s2020", "active"),
    }
    reasons = refusals(found)
    second_lines = {"*@example.com", "*@example.org"}
    assert set(reasons) == {"weak", "broken", "other", "gone", "foreign", *second_lines}
    assert "1024 bits" in reasons["weak"]
    assert "does not parse" in reasons["broken"]
    assert "another key under selector 'mail'" in reasons["other"]
    assert "No such file" in reasons["gone"]
    assert "example.net is neither in dkim:domains nor hosted" in reasons["foreign"]
    assert len(found["present"]) == 1
    assert found["present"][0].startswith("again for example.com")


def test_return_and_logs_have_no_part_of_a_key(settings, old, server, caplog):
    caplog.set_level(logging.DEBUG)
    tables = fill(old)
    logged = server.log_from_now()
    shown = repr(import_tables(settings, *tables)) + caplog.text + logged()
    for number in range(5):
        lines = traditional_pem(number).splitlines()[1:-1]
        assert not [line for line in lines if line in shown]
    assert "COPY" in logged()


def test_test_run_shows_the_changes_of_the_import(settings, old):
    tables = fill(old)
    planned = import_tables(settings, *tables, test=True)
    assert stored(settings) == {}
    assert import_tables(settings, *tables) == planned
    assert planned["changes"]["key mail._domainkey.example.com"] == {
        "old": None,
        "new": "rsa 2048, active",
    }


def test_second_import_changes_nothing(settings, old):
    tables = fill(old)
    import_tables(settings, *tables)
    before = stored(settings), history(settings)
    again = import_tables(settings, *tables)
    assert (again["imported"], again["changes"]) == ([], {})
    assert (stored(settings), history(settings)) == before


def test_key_of_a_domain_in_the_pillar_is_imported_without_a_hosted_row(with_net, old):
    import_tables(with_net, *fill(old))
    assert states(with_net)["example.net", "mail"] == "active"


def test_weak_keys_are_imported_with_allow_weak(settings, old):
    old.key("weak", "example.com", "weak", WEAK, "*@example.com")
    import_tables(settings, *old.tables(), allow_weak=True)
    assert states(settings) == {("example.com", "weak"): "active"}


def test_keys_of_tables_are_pending_if_the_domain_has_an_active_key(settings, old, tmp_path):
    path = tmp_path / "own.private"
    path.write_text(traditional_pem(5))
    importing_commands.import_key(settings, "example.com", "own", str(path))
    old.key("good", "example.com", "mail", traditional_pem(0), "*@example.com")
    found = import_tables(settings, *old.tables())
    assert states(settings)["example.com", "mail"] == "pending"
    assert any("'own'" in note for note in found["notes"])


def test_second_key_of_one_algorithm_is_imported_as_retired(settings, old):
    old.key("one", "example.com", "one", traditional_pem(0), "*@example.com")
    old.key("two", "example.com", "two", traditional_pem(1), "*@example.com")
    old.key("ed", "example.com", "ed", PrivateKey.generate("ed25519").pem(), "*@example.com")
    config = old.configuration("MultipleSignatures yes")
    found = import_tables(settings, source="opendkim", config=config)
    assert states(settings) == {
        ("example.com", "one"): "active",
        ("example.com", "two"): "retired",
        ("example.com", "ed"): "active",
    }
    assert found["pillar"]["example.com"] == {
        "selector": {"rsa": "one", "ed25519": "ed"},
        "algorithm": ["rsa", "ed25519"],
    }


def test_only_the_first_key_of_a_pattern_signs_without_multiple_signatures(settings, old):
    old.key("one", "example.com", "one", traditional_pem(0), "*@example.com")
    old.key("ed", "example.com", "ed", PrivateKey.generate("ed25519").pem(), "*@example.com")
    found = import_tables(settings, *old.tables())
    assert states(settings) == {("example.com", "one"): "active", ("example.com", "ed"): "retired"}
    assert "without MultipleSignatures" in refusals(found)["*@example.com"]


def test_second_key_of_a_pattern_does_not_replace_a_first_key_that_is_refused(settings, old):
    old.key("weak", "example.com", "weak", WEAK, "*@example.com")
    old.key("next", "example.com", "next", traditional_pem(0), "*@example.com")
    found = import_tables(settings, *old.tables())
    assert states(settings) == {("example.com", "next"): "retired"}
    assert "first key of example.com" in found["changes"]


def test_unused_key_does_not_replace_the_active_key(settings, old):
    old.key("unused", "example.com", "s2019", traditional_pem(0))
    old.key("used", "example.com", "s2024", traditional_pem(1), "*@example.com")
    import_tables(settings, *old.tables())
    assert states(settings) == {
        ("example.com", "s2019"): "retired",
        ("example.com", "s2024"): "active",
    }


def test_key_of_an_address_is_imported_for_that_address(settings, old):
    old.signing.append("news@example.com news")
    old.key("good", "example.com", "mail", traditional_pem(0), "*@example.com")
    old.key("news", "example.com", "news", traditional_pem(1))
    found = import_tables(settings, *old.tables())
    assert stored(settings)["example.com", "news"][:2] == ("active", "news@example.com")
    assert found["patterns"] == {"news@example.com": "example.com"}
    assert found["pillar"]["example.com"]["addresses"] == {
        "news@example.com": {"selector": "news", "algorithm": "rsa"}
    }


def test_keys_of_excluded_domains_and_of_aliases_are_refused(settings, old):
    alias = Domain("example.org", keys=(), alias_of="example.com")
    settings = replace(
        settings, excluded=frozenset({"example.com"}), domains={"example.org": alias}
    )
    old.key("out", "example.com", "mail", traditional_pem(0), "*@example.com")
    old.key("alias", "example.org", "mail", traditional_pem(1), "*@example.org")
    reasons = refusals(import_tables(settings, *old.tables()))
    assert "dkim:domains:example.com" in reasons["out"]
    assert "signs as example.com" in reasons["alias"]
    assert stored(settings) == {}


def test_percent_sign_in_a_path_stands_for_the_domain(settings, old):
    for number, domain in enumerate(("example.com", "example.org")):
        (old.folder / domain).mkdir()
        (old.folder / domain / "mail").write_text(traditional_pem(number))
    old.keys.append(f"any %:mail:{old.folder}/%/mail")
    old.signing.append("*@* any")
    import_tables(settings, *old.tables())
    public = {name: facts[2] for name, facts in stored(settings).items()}
    assert public == {
        ("example.com", "mail"): rsa_key(0).public_base64(),
        ("example.org", "mail"): rsa_key(1).public_base64(),
    }


def test_failed_import_stores_no_key(with_net, old, monkeypatch):
    def fail(*arguments, state, **named):
        if state == "retired":
            raise DatabaseError("no")
        return real(*arguments, state=state, **named)

    tables = fill(old)
    real = key_changes.store
    monkeypatch.setattr(key_changes, "store", fail)
    with pytest.raises(DatabaseError):
        import_tables(with_net, *tables)
    assert stored(with_net) == {}


def test_two_concurrent_imports_store_each_key_once(settings, old):
    tables = fill(old)
    # Processes, like a minion's jobs: the start of a session changes the effective user of all
    # threads.
    with multiprocessing.get_context("fork").Pool(2) as pool:
        errors = [
            text for text in pool.starmap(import_in_process, [(settings, tables)] * 2) if text
        ]
    assert len(errors) < 2
    assert all("run again" in text for text in errors)
    assert len([why for why in history(settings) if why[0] == "mail"]) == 1
    import_tables(settings, *tables)
    assert states(settings)["example.com", "mail"] == "active"


def test_test_run_without_a_database_shows_the_import_into_a_new_one(database, old):
    nothing = replace(database, name="not_made_yet")
    old.key("good", "example.com", "mail", traditional_pem(0), "*@example.com")
    tables = old.tables()
    settings = Settings(database=nothing, domains={"example.com": Domain("example.com")})
    found = import_tables(settings, *tables, test=True)
    assert set(found["changes"]) == {"key mail._domainkey.example.com"}
    with pytest.raises(DatabaseUnavailable):
        import_tables(settings, *tables)


def test_many_changes_are_counted_and_many_refusals_are_cut(ready, old):
    names = [f"d{number}.example.com" for number in range(60)]
    settings = Settings(database=ready, domains={name: Domain(name) for name in names})
    old.keys += [f"k{n} d{n}.example.com:s:{old.folder}/one" for n in range(60)]
    old.keys += [f"m{n} d{n}.example.com:t:/nowhere" for n in range(60)]
    (old.folder / "one").write_text(traditional_pem(0))
    key_table, _ = old.tables()
    found = import_tables(settings, key_table)
    assert found["changes"] == {"keys": {"old": None, "new": "60 new"}}
    assert len(found["refused"]) == 60
    notes = importing_commands.summary(found)["notes"]
    assert len([note for note in notes if note.startswith("Refused: ")]) == LISTED + 1


def test_key_that_another_tool_inserted_is_recognized(settings, old):
    with db.session(settings.database) as connection:
        execute(
            connection,
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT id, 'mail', %s FROM public.domains WHERE domain = 'example.com'",
            (traditional_pem(0),),
        )
    old.key("good", "example.com", "mail", traditional_pem(0), "*@example.com")
    found = import_tables(settings, *old.tables())
    assert (found["imported"], found["refused"]) == ([], [])
    assert len(found["present"]) == 1


# --- Export ---------------------------------------------------------------------------------------


def bare_base64(key):
    return "".join(key.pem().splitlines()[1:-1])


@pytest.fixture
def with_key(settings, tmp_path):
    path = tmp_path / "mail.private"
    path.write_text(traditional_pem(0))
    importing_commands.import_key(settings, "example.com", "mail", str(path))
    return settings


def test_export_writes_a_file_for_root_and_a_history_entry(with_key, tmp_path, caplog):
    target = tmp_path / "exported.private"
    before = os.umask(0)
    try:
        found = export.export_key(with_key, "example.com", "mail", str(target))
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    exported = read_stored(target.read_bytes()).private
    assert exported.public_base64() == rsa_key(0).public_base64() == found["public_key"]
    assert found == {
        "path": str(target),
        "domain": "example.com",
        "selector": "mail",
        "algorithm": "rsa",
        "public_key": rsa_key(0).public_base64(),
    }
    assert f"mail._domainkey.example.com was exported to {target}" in caplog.text
    assert history(with_key)[-1] == (
        "mail",
        "active",
        "active",
        f"exported to {target} by dkim.export_key",
    )


def test_exported_key_can_be_imported_again(with_key, tmp_path):
    target = str(tmp_path / "exported.private")
    export.export_key(with_key, "example.com", "mail", target)
    assert importing_commands.import_key(with_key, "example.com", "mail", target)["existed"] is True


def test_export_never_overwrites_a_file(with_key, tmp_path):
    target = tmp_path / "exported.private"
    target.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothere")
    for path in (target, link):
        with pytest.raises(InvalidValue, match="File exists"):
            export.export_key(with_key, "example.com", "mail", str(path))
    assert target.read_text() == "mine"
    assert not (tmp_path / "nothere").exists()
    assert len(history(with_key)) == 1


def test_export_without_a_history_entry_leaves_no_file(with_key, tmp_path):
    target = tmp_path / "exported.private"
    with db.session(with_key.database) as connection:
        # The trigger is deferred, so it fails at the commit, after the file is written.
        execute(
            connection,
            "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RAISE ''no''; END';"
            "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON public.dkim_history"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.no()",
        )
    with pytest.raises(DatabaseError):
        export.export_key(with_key, "example.com", "mail", str(target))
    assert not target.exists()


def test_revoked_or_unknown_key_cannot_be_exported(with_key, tmp_path):
    target = tmp_path / "exported.private"
    with pytest.raises(KeyNotFound):
        export.export_key(with_key, "example.com", "other", str(target))
    with pytest.raises(InvalidValue, match="absolute"):
        export.export_key(with_key, "example.com", "mail", "exported.private")
    rotation_commands.revoke(with_key, "example.com", "mail", force=True)
    with pytest.raises(StepRefused, match="revoked: its private key is erased"):
        export.export_key(with_key, "example.com", "mail", str(target))
    assert not target.exists()


@pytest.mark.parametrize("form", [PrivateKey.pem, lambda key: f"né\n{key.pem()}", bare_base64])
def test_key_that_another_tool_inserted_is_exported_as_pem(settings, tmp_path, form):
    key = PrivateKey.generate("ed25519")
    with db.session(settings.database) as connection:
        insert_as_howto(connection, "example.com", "mail", form(key))
    target = tmp_path / "exported.private"
    found = export.export_key(settings, "example.com", "mail", str(target))
    assert target.read_text() == key.pem()
    assert (found["algorithm"], found["public_key"]) == ("ed25519", key.public_base64())


def test_row_without_a_readable_key_is_not_exported(settings, tmp_path):
    with db.session(settings.database) as connection:
        insert_as_howto(connection, "example.com", "mail", "no key")
    target = tmp_path / "exported.private"
    with pytest.raises(StepRefused, match="is not a private key"):
        export.export_key(settings, "example.com", "mail", str(target))
    assert not target.exists()


def test_logs_of_an_export_have_no_private_key(with_key, tmp_path, server, caplog):
    caplog.set_level(logging.DEBUG)
    logged = server.log_from_now()
    export.export_key(with_key, "example.com", "mail", str(tmp_path / "exported.private"))
    log = logged() + caplog.text
    assert "exported" in log
    for form in (traditional_pem(0), rsa_key(0).pem()):
        assert not [line for line in form.splitlines()[1:-1] if line in log]
