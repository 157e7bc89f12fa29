"""One odd row spoils itself alone: it is used, or named with what is wrong and what to do."""

import shutil
import tempfile
from pathlib import Path

import pytest
import yaml
from dkim_formula.database import connection as db
from functional import dirty
from functional.dirty import case
from functional.postgres import execute
from functional.salt_loaders import watched
from support.signing_daemon import SigningDaemon

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
    """A folder that OpenDKIM takes a key file from: all above it are root's alone to write to."""
    made = Path(tempfile.mkdtemp(prefix="dkim-keys-", dir="/var/lib"))
    shutil.chown(made, "postgres")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def site(loaded, database, caplog):
    """A minion with an empty database, whose pillar is that of the cases."""
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
    site.call("dkim_postgres.migrate")
    return site.call("dkim.generate_missing")


def keys_of(site):
    return {key["domain"]: key for key in site.call("dkim.list_keys")}


def signatures(site, folder, *domains):
    """What the real daemon makes of mail from the domains, by the views as they are."""
    with SigningDaemon(site.database, folder) as daemon:
        return {domain: daemon.signature(domain) for domain in domains}


def told_everywhere(site, text):
    """Whether check, list_keys, status and doctor each have the text."""
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
def test_case_02_03_underscore_signs_and_has_its_record(site, folder, number, domain, selector):
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
    ("number", "sender", "says"),
    [
        (4, "any.example", "delete the row"),
        (56, "sub.odd.example", "delete the row"),
        (57, "odd.example", "store it as 'odd.example'"),
        (6, "xn--bcher-kva.example", "store it as 'xn--bcher-kva.example'"),
    ],
)
def test_case_04_06_56_57_row_that_is_no_domain_signs_nothing_and_is_named(
    site, folder, number, sender, says
):
    howto_with(site, number)
    adopt(site)
    assert signatures(site, folder, sender, "good.example") == {sender: "unsigned"} | GOOD
    told_everywhere(site, says)
    assert [record["domain"] for record in site.call("dkim.records")] == ["good.example"]
    assert site.call("dkim.advance")["problems"] == []


def test_case_55_selector_with_a_blank_is_named_and_others_are_served(site, folder):
    howto_with(site, 55)
    adopt(site)
    assert signatures(site, folder, "good.example") == GOOD
    told_everywhere(site, "store it as 'mail'")
    assert keys_of(site)["good.example"]["problem"] == ""


def test_case_11_name_too_long_once_delegated_is_named_alone_and_gets_no_key(site):
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
def test_case_12_13_text_around_the_block_signs_before_and_after(site, folder, number):
    howto_with_key(site, number)
    before = signatures(site, folder, "odd.example")
    assert before == {"odd.example": "d=odd.example s=default"}
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == before | GOOD


@pytest.mark.parametrize("number", [14, 15])
def test_case_14_15_key_on_one_line_is_told_of_put_into_lines_and_signs(site, folder, number):
    howto_with_key(site, number)
    assert signatures(site, folder, "odd.example") == {"odd.example": "deferred"}
    assert any("stored anew" in text for text in site.call("dkim.check")["advice"])
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == GOOD | {
        "odd.example": "d=odd.example s=default"
    }


def test_case_58_header_lines_are_named_and_all_else_is_adopted(site, folder):
    howto_with_key(site, 58)
    assert signatures(site, folder, "odd.example") == {"odd.example": "deferred"}
    assert any("header lines" in text for text in site.call("dkim.check")["advice"])
    adopt(site)
    assert signatures(site, folder, "odd.example", "good.example") == GOOD | {
        "odd.example": "unsigned"
    }
    told_everywhere(site, "header lines")


def test_case_71_names_never_looked_up_are_named_once_and_no_alarm(site):
    howto_with(site, 71)
    adopt(site)
    advice = site.call("dkim.check")["advice"]
    for name in ("'bücher.example'", "'dot.example.'", "'ALL'"):
        assert len([text for text in advice if name in text and "store it as" in text]) == 1
    kinds = {one["kind"] for one in site.call("dkim.watch", fresh=True)["troubles"]}
    assert "unsigned" not in kinds
    assert "add them to dkim:domains" not in doctor_text(site)


@pytest.fixture(params=dirty.ENCODINGS)
def dirty_site(site, server, request):
    """The minion with every odd row, in a database of each encoding."""
    site.odd = dirty.make_again(server, site.database, request.param)
    return site


def test_dirty_database_is_adopted_and_each_odd_row_used_or_named(dirty_site, folder):
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
        if row.says:
            assert row.says in listed[row.domain, row.selector]["problem"], row.domain
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
def test_odd_row_that_a_tool_inserts_later_signs_nothing_and_is_named(
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
    # A domain whose only key can't be used gets one that can.
    own = "d=later.example s=default" if sender == "later.example" else "unsigned"
    assert signatures(site, folder, sender, "good.example") == {sender: own} | GOOD


def test_row_with_a_path_gets_the_key_of_its_file_by_the_way_that_is_named(
    site, folder, key_folder
):
    load(site, (dirty.CASES / "tables" / "howto.sql").read_text())
    file = key_folder / "mail.private"
    file.write_text(dirty.traditional_pem(2))
    file.chmod(0o600)
    shutil.chown(file, "postgres")
    with db.session(site.database) as connection:
        dirty.insert(connection, dirty.Row("odd.example", "default", str(file)))
    before = signatures(site, folder, "odd.example")
    assert before == {"odd.example": "d=odd.example s=default"}
    adopt(site)
    told_everywhere(site, "dkim.import_key DOMAIN SELECTOR PATH")
    imported = site.call("dkim.import_key", "odd.example", "default", str(file))
    assert (imported["state"], imported["problem"], imported["existed"]) == ("active", "", False)
    assert signatures(site, folder, "odd.example", "good.example") == before | GOOD
    assert site.call("dkim.import_key", "odd.example", "default", str(file))["existed"] is True
