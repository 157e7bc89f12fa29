"""``dkim:database``: names that a DSN can carry, and access that can work."""

import pytest
from dkim_formula.secret import Secret
from dkim_formula.settings import read
from dkim_formula.settings.model import DomainsTable


def database(**given):
    reading = read({"database": given})
    assert reading.problems == ()
    return reading.settings.database


def only_problem(**given):
    problems = read({"database": given}).problems
    assert len(problems) == 1, problems
    return problems[0]


REMOTE = {"host": "db.example.com", "reader": {"auth": "password", "password": "fine-1"}}


@pytest.mark.parametrize("name", ["mail", "Mail_db-2.x", "ü", "a" * 63, "m!l"])
def test_names_that_a_dsn_carries_are_taken(name):
    assert database(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:b", "a/b", "a@b", "a+b", "a?b", "a=b", "a'b", 'a"b', "a\\b", "a,b"]
)
@pytest.mark.parametrize("key", ["name", "reader:name"])
def test_names_that_a_dsn_can_not_carry_are_refused(key, name):
    given = {"name": name} if key == "name" else {"reader": {"name": name}}
    assert only_problem(**given).startswith(f"dkim:database:{key}: ")


@pytest.mark.parametrize(
    "name", ["a#b", "a\tb", "a\nb", "a\0b", "a" * 64, "ü" * 32, 3, ["a"], True]
)
def test_names_that_no_configuration_can_carry_are_refused(name):
    assert only_problem(name=name).startswith("dkim:database:name: ")


@pytest.mark.parametrize("name", ["postgres", "pg_read_all_data", "vmail"])
def test_reader_is_no_one_elses_role(name):
    assert only_problem(reader={"name": name}).startswith("dkim:database:reader:name: ")


@pytest.mark.parametrize("key", ["table", "schema", "id", "name"])
@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "x" * 64, 5])
def test_sites_names_are_checked(key, name):
    assert only_problem(domains={key: name}).startswith(f"dkim:database:domains:{key}: ")


@pytest.mark.parametrize("name", ["Domains", "my domains", 'my"table', "tab'le"])
def test_sites_names_may_be_odd(name):
    assert database(domains={"table": name}).domains.table == name


def test_table_may_have_its_schema_before_it():
    assert database(domains={"table": "mail.domains"}).domains == DomainsTable("mail", "domains")


def test_two_schemas_are_a_problem():
    assert ":schema: " in only_problem(domains={"table": "a.domains", "schema": "b"})


@pytest.mark.parametrize("table", ["a.b.c", ".b", "a."])
def test_table_with_dots_in_wrong_places_is_refused(table):
    assert ":table: " in only_problem(domains={"table": table})


@pytest.mark.parametrize(
    ("host", "stored"),
    [
        ("db", "db"),
        ("192.0.2.1", "192.0.2.1"),
        ("a,b", "a,b"),
        ("a, b", "a,b"),
        (["a", "b.example"], "a,b.example"),
    ],
)
def test_hosts_are_joined_by_commas(host, stored):
    assert database(**REMOTE | {"host": host}).host == stored


def test_no_host_is_the_local_socket():
    assert database(host="").host == ""


@pytest.mark.parametrize(
    "host", ["/run/postgresql", "@socket", "::1", "db:5432", "a b", "a,,b", ["a", ""], {}, 3]
)
def test_host_that_a_dsn_can_not_carry_is_refused(host):
    problems = read({"database": {"host": host}}).problems
    assert problems[0].startswith("dkim:database:host: ")


def test_path_as_host_is_told_of_the_default_socket():
    assert "'' is the default socket" in only_problem(host="/run/postgresql")


def test_database_elsewhere_is_not_managed():
    assert database(**REMOTE).manage is False


def test_managing_a_database_elsewhere_is_a_problem():
    assert only_problem(**REMOTE, manage=True).startswith("dkim:database:manage: ")


def test_peer_does_not_work_over_the_network():
    problem = only_problem(host="db.example.com")
    assert problem.startswith("dkim:database:reader:auth: 'peer' does not work over the network")


def test_password_authentication_needs_a_password():
    problem = only_problem(reader={"auth": "password"})
    assert problem.startswith("dkim:database:reader:password: is not there")


def test_password_is_a_secret_from_the_start():
    assert database(**REMOTE).reader.password == Secret("fine-1")
    assert database(**REMOTE, password="any: thing's fine").password == Secret("any: thing's fine")


@pytest.mark.parametrize("character", [*":/@+?='\"\\ ,#", "\t"])
def test_password_that_a_dsn_can_not_carry_is_refused_and_not_shown(character):
    password = f"s3cr3t{character}h1dd3n"
    problem = only_problem(host="db", reader={"auth": "password", "password": password})
    assert problem.startswith("dkim:database:reader:password: <secret> has ")
    assert "s3cr3t" not in problem
    assert "h1dd3n" not in problem


def test_the_kind_of_offending_character_is_named():
    bad = {"auth": "password", "password": "a:b"}
    assert "one of : / @ + ? =" in only_problem(host="db", reader=bad)


def test_password_that_peer_does_not_use_is_unwise_and_legal():
    reading = read({"database": {"reader": {"password": "unused"}}})
    assert reading.problems == ()
    assert "not used" in reading.advice[0]


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
def test_password_to_an_unverified_server_is_unwise_and_legal(mode):
    reading = read({"database": REMOTE | {"sslmode": mode}})
    assert reading.problems == ()
    assert "not verified" in reading.advice[0]


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_password_to_a_verified_server_is_fine(mode):
    assert read({"database": REMOTE | {"sslmode": mode}}).advice == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sslmode", "verify"),
        ("sslrootcert", "ca.pem"),
        ("port", 0),
        ("port", 65536),
        ("port", "x"),
        ("port", True),
        ("manage", "sometimes"),
    ],
)
def test_other_keys_are_checked(key, value):
    assert only_problem(**{key: value}).startswith(f"dkim:database:{key}: ")


@pytest.mark.parametrize(("given", "stored"), [("5433", 5433), (5433, 5433)])
def test_port_is_a_number(given, stored):
    assert database(port=given).port == stored
