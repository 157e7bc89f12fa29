"""One odd row affects no other row. The formula uses it, or reports its problem and a remedy."""

import shutil
import tempfile
from pathlib import Path

import pytest
import yaml
from dkim_formula.errors import DatabaseError
from dkim_formula.postgres import connection as db
from functional import dirty
from functional.dirty import case
from functional.salt_loaders import watched
from functional.server import execute, query, traditional_pem
from salt.exceptions import CommandExecutionError, SaltInvocationError
from support.signing_daemon import SigningDaemon

pytestmark = pytest.mark.one_release

LOOKUP = yaml.safe_load((dirty.CASES.parents[1] / "dkim" / "defaults.yaml").read_text())


@pytest.fixture
def folder():
    made = Path(tempfile.mkdtemp(prefix="dkim-daemon-"))
    shutil.chown(made, "postgres")
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def key_folder():
    """A folder whose key files OpenDKIM accepts: only root can write to its parents."""
    made = Path(tempfile.mkdtemp(prefix="dkim-keys-", dir="/var/lib"))
    shutil.chown(made, "postgres")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def site(loaded, database, caplog):
    """A minion with an empty database and the pillar of the cases."""
    with watched(loaded, database, caplog) as minion:
        minion.set_pillar(
            database={"manage": False},
            domains={"*": {}},
            dns={"resolver": "127.0.0.1@1", "timeout": 1},
            rotation={"first_key_waits": False},
        )
        yield minion


def load(site, *texts):
    with db.session(site.database) as connection:
        for text in texts:
            execute(connection, "SET search_path TO public")
            execute(connection, text)


def howto_with(site, number):
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text(), case(number))


def howto_with_key(site, number):
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text())
    with db.session(site.database) as connection:
        dirty.insert(connection, dirty.Row("odd.example", key=case(number)))


def adopt(site):
    site.call("dkim_postgres.manage_schema")
    return site.call("dkim.generate_missing")


def keys_of(site):
    return {key["domain"]: key for key in site.call("dkim.list_keys")}


def signatures(site, folder, *domains):
    """Return the daemon's result for mail from each domain, with the present views."""
    with SigningDaemon(site.database, folder) as daemon:
        return {domain: daemon.signature(domain) for domain in domains}


def assert_reported_everywhere(site, text):
    """Assert that check, list_keys, status and doctor each have the text."""
    check = site.call("dkim.check")
    assert check["problems"] == []
    assert any(text in one for one in check["advice"]), check["advice"]
    assert any(text in key["problem"] for key in site.call("dkim.list_keys"))
    assert any(text in key["problem"] for key in site.call("dkim.status"))
    assert text in doctor_text(site)


def doctor_text(site):
    return str(site.call("dkim.doctor"))


GOOD = {"good.example": "d=good.example s=default"}


@pytest.mark.parametrize(
    ("number", "domain", "selector"),
    [(2, "odd.example", "mail_2020"), (3, "my_host.example", "default")],
)
def test_case_02_03_underscored_name_signs_and_has_its_record(
    site, folder, number, domain, selector
):
    howto_with(site, number)
    before = signatures(site, folder, domain)
    assert before == {domain: f"d={domain} s={selector}"}
    adopt(site)
    assert signatures(site, folder, domain, "good.example") == before | GOOD
    assert keys_of(site)[domain]["record"]["name"] == f"{selector}._domainkey.{domain}"
    names = {record["name"] for record in site.call("dkim.records")}
    assert {f"{selector}._domainkey.{domain}", "default._domainkey.good.example"} <= names
    assert len(site.call("dkim.status")) == 2
    assert site.call("dkim.advance")["problems"] == []


@pytest.mark.parametrize(
    ("number", "sender", "problem"),
    [
        (4, "any.example", "delete the row"),
        (56, "sub.odd.example", "delete the row"),
        (57, "odd.example", "store it as 'odd.example'"),
        (6, "xn--bcher-kva.example", "store it as 'xn--bcher-kva.example'"),
    ],
)
def test_case_04_06_56_57_row_without_a_domain_name_signs_nothing_and_is_reported(
    site, folder, number, sender, problem
):
    howto_with(site, number)
    adopt(site)
    assert signatures(site, folder, sender, "good.example") == {sender: "unsigned"} | GOOD
    assert_reported_everywhere(site, problem)
    assert [record["domain"] for record in site.call("dkim.records")] == ["good.example"]
    assert site.call("dkim.advance")["problems"] == []


def test_case_55_selector_with_a_blank_is_reported_and_other_keys_sign(site, folder):
    howto_with(site, 55)
    adopt(site)
    assert signatures(site, folder, "good.example") == GOOD
    assert_reported_everywhere(site, "store it as 'mail'")
    assert keys_of(site)["good.example"]["problem"] == ""


def test_case_11_domain_too_long_for_its_delegation_is_reported_and_gets_no_key(site):
    howto_with(site, 11)
    pillar = yaml.safe_load((dirty.CASES / "tables" / "11-long-name.yaml").read_text())["dkim"]
    site.set_pillar(
        database={"manage": False},
        defaults=pillar["defaults"],
        domains=pillar["domains"],
        dns={"resolver": "127.0.0.1@1", "timeout": 1},
    )
    notes = adopt(site)["notes"]
    assert any("would be 2" in note for note in notes)
    assert keys_of(site).keys() == {"good.example"}
    assert any("would be 2" in text for text in site.call("dkim.check")["advice"])
    assert [line["domain"] for line in site.call("dkim.status")] == ["good.example"]
    domains = {record["domain"] for record in site.call("dkim.check_dns")["records"]}
    assert domains == {"good.example"}


@pytest.mark.parametrize("number", [12, 13])
def test_case_12_13_key_with_text_around_its_pem_block_signs_before_and_after(site, folder, number):
    howto_with_key(site, number)
    before = signatures(site, folder, "odd.example")
    assert before == {"odd.example": "d=odd.example s=default"}
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == before | GOOD


@pytest.mark.parametrize("number", [14, 15])
def test_case_14_15_key_on_one_line_is_reported_and_rewritten_and_signs(site, folder, number):
    howto_with_key(site, number)
    assert signatures(site, folder, "odd.example") == {"odd.example": "deferred"}
    assert any("stored anew" in text for text in site.call("dkim.check")["advice"])
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == GOOD | {
        "odd.example": "d=odd.example s=default"
    }


def test_case_58_key_with_header_lines_is_reported_and_other_keys_are_adopted(site, folder):
    howto_with_key(site, 58)
    assert signatures(site, folder, "odd.example") == {"odd.example": "deferred"}
    assert any("header lines" in text for text in site.call("dkim.check")["advice"])
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == GOOD | {
        "odd.example": "unsigned"
    }
    assert_reported_everywhere(site, "header lines")


def test_case_71_names_that_are_never_looked_up_are_reported_once_without_a_problem(site):
    howto_with(site, 71)
    adopt(site)
    advice = site.call("dkim.check")["advice"]
    for name in ("'bücher.example'", "'dot.example.'", "'ALL'"):
        assert len([text for text in advice if name in text and "store it as" in text]) == 1
    kinds = {one["check"] for one in site.call("dkim.health", fresh=True)["problems"]}
    assert "unsigned" not in kinds
    assert "add them to dkim:domains" not in doctor_text(site)


@pytest.fixture(params=dirty.ENCODINGS)
def dirty_site(site, server, request):
    """The minion with every odd row, in a database of each encoding."""
    site.odd = dirty.recreate(server, site.database, request.param)
    return site


def test_dirty_database_is_adopted_and_each_odd_row_is_used_or_reported(dirty_site, folder):
    site = dirty_site
    adopt(site)
    advice = "\n".join(site.call("dkim.check")["advice"])
    listed = {(key["domain"], key["selector"]): key for key in site.call("dkim.list_keys")}
    domains = [row.domain for row in site.odd if row.signs]
    found = signatures(site, folder, *dirty.GOOD, *domains)
    for domain in dirty.GOOD:
        assert found[domain] == f"d={domain} s=default"
        assert listed[domain, "default"]["problem"] == ""
    for row in site.odd:
        if row.signs:
            assert found[row.domain].startswith(f"d={row.domain} s="), row.domain
        if row.problem:
            assert row.problem in listed[row.domain, row.selector]["problem"], row.domain
            assert row.domain in advice or repr(row.domain)[1:60] in advice, row.domain


@pytest.mark.parametrize(
    ("domain", "selector"),
    [
        ("*", "default"),
        ("last.example.", "default"),
        ("192.0.2.1", "default"),
        ("two words.example", "default"),
        ("later.example", "a;d=good.example"),
        ("later.example", ""),
        ("later.example", "mail\t"),
        ("later.example", "m\u00e4rz"),
    ],
)
def test_odd_row_that_a_tool_inserts_later_signs_nothing_and_is_reported(
    site, folder, domain, selector
):
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text())
    adopt(site)
    with db.session(site.database) as connection:
        dirty.insert(connection, dirty.Row(domain, selector, dirty.traditional_pem(2)))
    sender = "any.example" if domain == "*" else domain.rstrip(".").lower()
    assert signatures(site, folder, sender, "good.example") == {sender: "unsigned"} | GOOD
    adopt(site)
    every = site.call("dkim.list_keys")
    (odd,) = [key for key in every if (key["domain"], key["selector"]) == (domain, selector)]
    assert (odd["state"], odd["problem"] != "", odd["record"]) == ("pending", True, None)
    assert any(odd["problem"][:40] in text for text in site.call("dkim.check")["advice"])
    # A domain whose only key is unusable gets a usable key.
    own = "d=later.example s=default" if sender == "later.example" else "unsigned"
    assert signatures(site, folder, sender, "good.example") == {sender: own} | GOOD


def key_file(folder, text, name="mail.private"):
    """Write a key file that OpenDKIM accepts."""
    file = folder / name
    file.write_text(text)
    file.chmod(0o600)
    shutil.chown(file, "postgres")
    return file


def howto_with_text(site, text, domain="odd.example"):
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text())
    with db.session(site.database) as connection:
        dirty.insert(connection, dirty.Row(domain, "default", text))


def stored_text(site, domain="odd.example"):
    with db.session(site.database) as connection:
        return query(connection, "SELECT key FROM public.dkim WHERE domain = %s", (domain,))[0][0]


ODD = {"odd.example": "d=odd.example s=default"}


def test_row_with_a_path_signs_as_before_and_is_reported_with_the_import_command(
    site, folder, key_folder
):
    file = key_file(key_folder, dirty.traditional_pem(2))
    howto_with_text(site, str(file))
    assert signatures(site, folder, "odd.example") == ODD
    command = f"dkim.import_key odd.example default {file}"
    assert any(command in text for text in site.call("dkim.check")["advice"])
    changed = adopt(site)["changes"]
    assert not any("odd.example" in name for name in changed)
    assert signatures(site, folder, "odd.example", "good.example") == ODD | GOOD
    assert_reported_everywhere(site, command)
    public = dirty.rsa_key(2).public_base64()
    assert site.call("dkim.public_key", "odd.example") == public
    names = {record["name"]: record["value"] for record in site.call("dkim.records")}
    assert public in names["default._domainkey.odd.example"]
    assert stored_text(site) == str(file)
    imported = site.call("dkim.import_key", "odd.example", "default", str(file))
    assert (imported["state"], imported["problem"], imported["existed"]) == ("active", "", False)
    assert stored_text(site) == dirty.rsa_key(2).pem()
    file.unlink()
    assert signatures(site, folder, "odd.example", "good.example") == ODD | GOOD
    assert site.call("dkim.public_key", "odd.example") == public


def test_record_of_a_path_has_the_key_that_the_file_has_now(site, folder, key_folder):
    file = key_file(key_folder, dirty.traditional_pem(2))
    howto_with_text(site, str(file))
    adopt(site)
    key_file(key_folder, dirty.traditional_pem(3))
    assert signatures(site, folder, "odd.example") == ODD
    assert site.call("dkim.public_key", "odd.example") == dirty.rsa_key(3).public_base64()
    copy = key_file(key_folder, dirty.traditional_pem(4), "copy.private")
    with pytest.raises(CommandExecutionError, match="the path of a file of another key"):
        site.call("dkim.import_key", "odd.example", "default", str(copy))
    assert stored_text(site) == str(file)


def test_row_with_a_missing_file_is_kept_and_reported(site, folder, key_folder):
    howto_with_text(site, f"{key_folder}/mail.private")
    before = signatures(site, folder, "odd.example")
    assert before == {"odd.example": "deferred"}
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == before | GOOD
    assert_reported_everywhere(site, "its record is not known")
    key = keys_of(site)["odd.example"]
    assert (key["state"], key["public_key"], key["record"]) == ("active", None, None)
    assert site.call("dkim.advance")["problems"] == []
    # The daemon opens the file for each message.
    key_file(key_folder, dirty.traditional_pem(2))
    assert signatures(site, folder, "odd.example") == ODD
    assert site.call("dkim.public_key", "odd.example") == dirty.rsa_key(2).public_base64()


@pytest.mark.parametrize("text", ["", "no key", dirty.odd_keys()["odd-ed25519"][0]])
def test_row_whose_file_has_no_usable_key_is_followed_by_a_new_key(site, folder, key_folder, text):
    howto_with_text(site, str(key_file(key_folder, text)))
    assert signatures(site, folder, "odd.example") == {"odd.example": "deferred"}
    site.set_pillar(
        database={"manage": False},
        defaults={"selector": "s2026"},
        domains={"*": {}},
        dns={"resolver": "127.0.0.1@1", "timeout": 1},
        rotation={"first_key_waits": False},
    )
    adopt(site)
    found = signatures(site, folder, "odd.example", "good.example")
    assert found == GOOD | {"odd.example": "d=odd.example s=s2026"}
    assert_reported_everywhere(site, "is the path of a file, so it does not sign; take its key")


def test_path_that_a_tool_inserts_later_is_not_read_and_signs_after_its_import(
    site, folder, key_folder
):
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text())
    adopt(site)
    file = key_file(key_folder, dirty.traditional_pem(2))
    with db.session(site.database) as connection:
        dirty.insert(connection, dirty.Row("odd.example", "mail", str(file)))
    adopt(site)
    # The new key signs, because no run reads the file that a row names.
    assert signatures(site, folder, "odd.example", "good.example") == ODD | GOOD
    assert_reported_everywhere(site, f"dkim.import_key odd.example mail {file}")
    with pytest.raises(DatabaseError, match="no whole"), db.session(site.database) as connection:
        execute(connection, "UPDATE public.dkim SET key = '/x' WHERE domain = 'good.example'")
    imported = site.call("dkim.import_key", "odd.example", "mail", str(file))
    assert (imported["state"], imported["existed"]) == ("pending", False)
    assert imported["public_key"] == dirty.rsa_key(2).public_base64()
    site.call("dkim.advance")
    assert site.call("dkim.list_keys", "odd.example")[-1]["state"] == "pending"
    site.call("dkim.activate", "odd.example", "mail", force=True)
    expected = {"odd.example": "d=odd.example s=mail"}
    assert signatures(site, folder, "odd.example", "good.example") == expected | GOOD


def test_rotation_ends_a_key_with_a_path_and_never_discloses_its_file(site, folder, key_folder):
    file = key_file(key_folder, dirty.traditional_pem(2))
    howto_with_text(site, str(file))
    site.set_pillar(
        database={"manage": False},
        domains={"*": {}},
        dns={"resolver": "127.0.0.1@1", "timeout": 1},
        rotation={"publish_private": str(key_folder / "public")},
    )
    adopt(site)
    site.call("dkim.rotate", "odd.example", selector="s2026", force=True)
    expected = {"odd.example": "d=odd.example s=s2026"}
    assert signatures(site, folder, "odd.example") == expected
    public = dirty.rsa_key(2).public_base64()
    assert public in str(site.call("dkim.records", "odd.example"))
    with pytest.raises(CommandExecutionError, match="has the path of a file"):
        site.call("dkim.export_key", "odd.example", "default", str(key_folder / "out"))
    site.call("dkim.revoke", "odd.example", "default", force=True)
    records = {one["name"]: one["value"] for one in site.call("dkim.records", "odd.example")}
    assert records["default._domainkey.odd.example"].endswith("p=")
    with db.session(site.database) as connection:
        assert query(connection, "SELECT FROM public.dkim_disclosure") == []
    assert file.read_text() == dirty.traditional_pem(2)


def test_key_of_three_primes_signs_as_before_and_is_reported(site, folder):
    howto_with_text(site, dirty.more_primes())
    assert signatures(site, folder, "odd.example") == ODD
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == ODD | GOOD
    assert_reported_everywhere(site, "more than two primes")
    assert stored_text(site) == dirty.more_primes()
    assert site.call("dkim.list_keys", "odd.example")[0]["bits"] == 2048


BESIDE = [("good.example.", "good.example"), ("bücher.example", "xn--bcher-kva.example")]


def with_row_beside(site, odd, good):
    """Set up a domain with a key, and a row for the odd spelling of its name."""
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text())
    load(site, f"INSERT INTO public.domains (domain) VALUES ('{good}') ON CONFLICT DO NOTHING")
    adopt(site)
    with db.session(site.database) as connection:
        execute(
            connection,
            "INSERT INTO public.dkim (domain, selector, key) VALUES (%s, 'default', %s)",
            (odd, traditional_pem(1)),
        )


def row_states(site, *domains):
    found = {key["domain"]: key["state"] for key in site.call("dkim.list_keys")}
    return [found.get(domain) for domain in domains]


@pytest.mark.parametrize(("odd", "good"), BESIDE)
def test_name_of_an_odd_row_and_of_a_domain_is_refused_and_both_are_shown(
    site, tmp_path, odd, good
):
    with_row_beside(site, odd, good)
    calls = [
        ("dkim.delete", odd, "default"),
        ("dkim.list_keys", odd),
        ("dkim.public_key", odd),
        ("dkim.export_key", odd, "default", str(tmp_path / "key")),
        ("dkim.retire", odd, "default", True),
        ("dkim.revoke", odd, "default"),
        ("dkim.activate", odd, "default"),
        ("dkim.advance", odd),
        ("dkim.status", odd),
    ]
    for function, *arguments in calls:
        with pytest.raises(SaltInvocationError) as refused:
            site.call(function, *arguments)
        assert f"use '{good}' for the domain, or '={odd}' for the row" in str(refused.value)
    assert row_states(site, odd, good) == ["pending", "active"]


@pytest.mark.parametrize(("odd", "good"), BESIDE)
def test_odd_row_beside_its_domain_can_be_shown_and_deleted(site, tmp_path, odd, good):
    with_row_beside(site, odd, good)
    exact = f"={odd}"
    (listed,) = site.call("dkim.list_keys", exact)
    assert (listed["domain"], listed["state"]) == (odd, "pending")
    assert [line["domain"] for line in site.call("dkim.status", exact)] == [odd]
    assert [key["domain"] for key in site.call("dkim.list_keys", good)] == [good]
    exported = site.call("dkim.export_key", exact, "default", str(tmp_path / "key"))
    assert exported["domain"] == odd
    notes = site.call("dkim.revoke", exact, "default", force=True)["notes"]
    assert any(f"store it as '{good}'" in note for note in notes)
    assert row_states(site, odd, good) == ["pending", "active"]
    site.call("dkim.delete", exact, "default")
    assert row_states(site, odd, good) == [None, "active"]
    # Without the row, the name has one meaning again.
    assert [key["domain"] for key in site.call("dkim.list_keys", odd)] == [good]
    with pytest.raises(CommandExecutionError, match="is active"):
        site.call("dkim.delete", odd, "default")


@pytest.mark.parametrize("odd", ["good.example.", "bücher.example"])
def test_odd_row_alone_is_named_as_it_is(site, odd):
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text())
    adopt(site)
    with db.session(site.database) as connection:
        execute(
            connection,
            "UPDATE public.dkim SET state = 'pending', domain = %s WHERE domain = 'good.example'",
            (odd,),
        )
    assert [key["domain"] for key in site.call("dkim.list_keys", odd)] == [odd]
    site.call("dkim.delete", odd, "default")
    assert row_states(site, odd) == [None]
