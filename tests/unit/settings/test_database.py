"""``dkim:database``: names that a DSN can hold, and access that works."""

from dataclasses import replace

import pytest
from dkim_formula.secret import Secret
from dkim_formula.settings import read
from dkim_formula.settings.model import HostedTable


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
def test_names_that_a_dsn_can_hold_are_accepted(name):
    assert database(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:b", "a/b", "a@b", "a+b", "a?b", "a=b", "a'b", 'a"b', "a\\b", "a,b"]
)
@pytest.mark.parametrize("key", ["name", "reader:name"])
def test_names_that_a_dsn_can_not_hold_are_refused(key, name):
    given = {"name": name} if key == "name" else {"reader": {"name": name}}
    assert only_problem(**given).startswith(f"dkim:database:{key}: ")


@pytest.mark.parametrize(
    "name", ["a%b", "a$$b", "a#b", "a\tb", "a\nb", "a\0b", "a" * 64, "ü" * 32, 3, ["a"], True]
)
def test_names_that_no_configuration_can_hold_are_refused(name):
    assert only_problem(name=name).startswith("dkim:database:name: ")


@pytest.mark.parametrize("name", ["postgres", "pg_read_all_data", "vmail"])
def test_reader_has_a_role_of_its_own(name):
    assert only_problem(reader={"name": name}).startswith("dkim:database:reader:name: ")


@pytest.mark.parametrize("key", ["table", "schema", "name"])
@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "x" * 64, 5])
def test_names_of_the_table_of_domains_are_checked(key, name):
    assert only_problem(domains={key: name}).startswith(f"dkim:database:domains:{key}: ")


@pytest.mark.parametrize("name", ["Domains", "my domains", 'my"table', "tab'le"])
def test_names_of_the_table_of_domains_may_need_quotes(name):
    assert database(domains={"table": name}).domains.table == name


def test_table_may_be_qualified_by_its_schema():
    assert database(domains={"table": "mail.domains"}).domains == HostedTable("mail", "domains")


def test_two_schemas_are_a_problem():
    assert ":schema: " in only_problem(domains={"table": "a.domains", "schema": "b"})


@pytest.mark.parametrize("table", ["a.b.c", ".b", "a."])
def test_table_with_misplaced_dots_is_refused(table):
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


def test_empty_host_is_the_local_socket():
    assert database(host="").host == ""


@pytest.mark.parametrize(
    "host", ["/run/postgresql", "@socket", "::1", "db:5432", "a b", "a,,b", ["a", ""], {}, 3]
)
def test_host_that_a_dsn_can_not_hold_is_refused(host):
    problems = read({"database": {"host": host}}).problems
    assert problems[0].startswith("dkim:database:host: ")


def test_problem_of_a_path_as_host_names_the_default_socket():
    assert "'' is the default socket" in only_problem(host="/run/postgresql")


def test_database_on_another_host_is_not_managed():
    assert database(**REMOTE).manage is False


def test_managing_a_database_on_another_host_is_a_problem():
    assert only_problem(**REMOTE, manage=True).startswith("dkim:database:manage: ")


def test_peer_does_not_work_over_the_network():
    problem = only_problem(host="db.example.com")
    assert problem.startswith("dkim:database:reader:auth: 'peer' does not work over the network")


def test_password_authentication_needs_a_password():
    problem = only_problem(reader={"auth": "password"})
    assert problem.startswith("dkim:database:reader:password: is missing")


def test_password_is_a_secret_from_the_start():
    assert database(**REMOTE).reader.password == Secret("fine-1")
    assert database(**REMOTE, password="any: thing's fine").password == Secret("any: thing's fine")


@pytest.mark.parametrize("character", [*":/@+?='\"\\ ,#", "\t"])
def test_password_that_a_dsn_can_not_hold_is_refused_and_not_shown(character):
    password = f"s3cr3t{character}h1dd3n"
    problem = only_problem(host="db", reader={"auth": "password", "password": password})
    assert problem.startswith("dkim:database:reader:password: <secret> has ")
    assert "s3cr3t" not in problem
    assert "h1dd3n" not in problem


@pytest.mark.parametrize("character", ["\u00b2", "\ufb01", "\u00ad", "a\u0308"])
@pytest.mark.parametrize("role", ["reader", "writer"])
def test_password_that_saslprep_changes_is_refused(role, character):
    """Its verifier would belong to another password, so each run would set the password again."""
    problems = read({"database": {role: {"password": f"s3cr3t{character}"}}}).problems
    start = f"dkim:database:{role}:password: <secret> has a character that SASLprep"
    assert [problem for problem in problems if problem.startswith(start)]
    assert "s3cr3t" not in str(problems)


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


MAIL_HOSTS = ["192.0.2.25", "198.51.100.0/24", "2001:db8::/32", "Mail.example.net", ".example.org"]


def test_clients_are_stored_as_pg_hba_conf_has_them():
    given = database(reader={"clients": MAIL_HOSTS, "password": "x"})
    assert given.reader.clients == (
        "192.0.2.25/32",
        "198.51.100.0/24",
        "2001:db8::/32",
        "mail.example.net",
        ".example.org",
    )
    assert given.reader.needs_password


@pytest.mark.parametrize(
    "client",
    [
        "all",
        "samenet",
        "mail",
        "192.0.2.256",
        "192.0.2.1/24",
        "192.0.2.0/33",
        "a b.example",
        "x.example # y",
        'x.example"',
        "x.example,y.example",
        "x.example\nlocal all all trust",
        "",
        5,
        None,
    ],
)
@pytest.mark.parametrize("role", ["reader", "writer"])
def test_invalid_client_is_refused(client, role):
    problem = only_problem(**{role: {"clients": [client], "password": "x"}})
    assert problem.startswith(f"dkim:database:{role}:clients: ")


def test_problem_of_a_network_with_host_bits_names_the_right_network():
    problem = only_problem(reader={"clients": ["192.0.2.1/24"], "password": "x"})
    assert "give 192.0.2.0/24" in problem


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_clients_need_a_password(role):
    problem = only_problem(**{role: {"clients": "192.0.2.25"}})
    assert problem.startswith(f"dkim:database:{role}:password: is missing")


def test_clients_with_certificates_need_no_password():
    given = database(reader={"auth": "cert", "clients": "192.0.2.25", "common_names": "mail 1"})
    assert given.reader.common_names == ("mail 1",)
    assert not given.reader.needs_password


def test_writers_clients_with_certificates_need_no_password():
    given = database(writer={"clients": "192.0.2.25", "common_names": "mail.example.net"})
    assert given.writer.common_names == ("mail.example.net",)


def test_writers_clients_log_in_by_certificate_or_by_password():
    writer = {"clients": "192.0.2.25", "common_names": "mail.example.net", "password": "x"}
    assert only_problem(writer=writer).startswith("dkim:database:writer:common_names: ")


def test_common_names_of_a_reader_without_certificates_are_advised_against():
    reader = {"auth": "password", "password": "fine-1", "common_names": "mail.example.net"}
    reading = read({"database": {"reader": {**reader, "clients": "192.0.2.25"}}})
    (advice,) = (text for text in reading.advice if "common_names" in text)
    assert advice.startswith("dkim:database:reader:common_names: is not used with auth: password")


def test_common_names_without_clients_are_advised_against():
    reading = read({"database": {"writer": {"common_names": "mail.example.net"}}})
    assert reading.problems == ()
    assert reading.advice[0].startswith("dkim:database:writer:common_names: ")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_whole_internet_as_client_is_unwise_and_legal(network):
    reading = read({"database": {"reader": {"clients": network, "password": "x"}}})
    assert reading.problems == ()
    assert "lets every machine try" in reading.advice[0]


def test_clients_belong_to_the_machine_of_the_database():
    remote = {"host": "db", "reader": {**REMOTE["reader"], "clients": "192.0.2.25"}}
    assert only_problem(**remote).startswith("dkim:database:reader:clients: is for the machine")


@pytest.mark.parametrize("name", ["", "a#b", 'a"b', "a\nb", "x" * 65, 7, "-x"])
def test_invalid_common_name_is_refused(name):
    given = {"auth": "cert", "clients": "192.0.2.25", "common_names": [name]}
    assert only_problem(reader=given).startswith("dkim:database:reader:common_names: ")


def test_certificate_does_not_work_on_the_socket():
    assert "does not work on the local socket" in only_problem(reader={"auth": "cert"})


def test_certificate_and_its_key_are_named():
    problems = read({"database": {"host": "db", "reader": {"auth": "cert"}}}).problems
    assert [text.split(": ")[0] for text in problems] == [
        "dkim:database:reader:sslcert",
        "dkim:database:reader:sslkey",
    ]


def test_certificate_is_not_for_a_session_without_tls():
    given = {"auth": "cert", "sslcert": "/c", "sslkey": "/k"}
    problem = only_problem(host="db", sslmode="prefer", reader=given)
    assert problem.startswith("dkim:database:sslmode: ")


OWN = {"sslcert": "/etc/salt.crt", "sslkey": "/etc/salt.key"}


def test_user_may_have_a_certificate():
    given = database(**REMOTE, user="vmail-dkim-writer", **OWN)
    assert (given.sslcert, given.sslkey) == ("/etc/salt.crt", "/etc/salt.key")


@pytest.mark.parametrize("lacking", ["sslcert", "sslkey"])
def test_users_certificate_and_key_go_together(lacking):
    given = {key: path for key, path in OWN.items() if key != lacking}
    problem = only_problem(**REMOTE, user="vmail-dkim-writer", **given)
    assert problem.startswith(f"dkim:database:{lacking}: is missing")


def test_users_certificate_needs_a_user():
    assert only_problem(**REMOTE, **OWN).startswith("dkim:database:user: is missing")


def test_users_certificate_is_for_a_server_on_another_host():
    assert only_problem(user="admin", **OWN).startswith("dkim:database:host: is missing")


def test_users_certificate_is_not_for_a_session_without_tls():
    given = REMOTE | {"sslmode": "prefer", "user": "admin"}
    problems = read({"database": {**given, **OWN}}).problems
    assert [text.split(": ")[0] for text in problems] == ["dkim:database:sslmode"]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"writer": {"name": "vmail"}}, "writer:name"),
        ({"writer": {"name": "vmail-dkim-reader"}}, "writer:name"),
        ({"writer": {"name": "postgres"}}, "writer:name"),
        ({"writer": {"map": "maildkim"}}, "writer:map"),
        ({"writer": {"map": "a b"}}, "writer:map"),
    ],
)
def test_writer_has_a_role_and_a_map_of_its_own(given, key):
    assert only_problem(**given).startswith(f"dkim:database:{key}: ")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, None),
        ({"host": "db"}, "/etc/ssl/certs/ca-certificates.crt"),
        ({"host": "db", "sslrootcert": "/ca.pem"}, "/ca.pem"),
        ({"host": "db", "sslmode": "require"}, None),
    ],
)
def test_ca_file_is_the_systems_unless_the_pillar_sets_one(given, path):
    reader = {"reader": REMOTE["reader"]} if given else {}
    assert database(**given, **reader).ca_file == path


ALIASES = HostedTable("public", "alias_domain", "alias_domain", (("active", ("1",)),))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ALIASES),
        ({"aliases": None}, ALIASES),
        ({"aliases": {}}, ALIASES),
        ({"aliases": False}, None),
        ({"aliases": {"only": {}}}, HostedTable("public", "alias_domain", "alias_domain")),
        (
            {"aliases": {"name": "other"}},
            HostedTable("public", "alias_domain", "other", ALIASES.only),
        ),
        ({"domains": {"schema": "mail"}}, replace(ALIASES, schema="mail")),
        ({"domains": {"table": "mail.domain"}}, replace(ALIASES, schema="mail")),
        (
            {"domains": {"schema": "mail"}, "aliases": {"only": {"active": 1}}},
            replace(ALIASES, schema="mail"),
        ),
        (
            {"domains": {"schema": "mail"}, "aliases": {"table": "also"}},
            replace(ALIASES, schema="mail", table="also"),
        ),
        (
            {"domains": {"schema": "mail"}, "aliases": {"table": "panel.also"}},
            replace(ALIASES, schema="panel", table="also"),
        ),
        ({"domains": {"schema": "mail"}, "aliases": {"schema": "public"}}, ALIASES),
        ({"domains": {"schema": "mail"}, "aliases": False}, None),
    ],
)
def test_each_key_of_the_table_of_aliases_overrides_the_preset(given, expected):
    assert database(preset="iredmail", **given).aliases == expected


def test_table_of_aliases_without_a_preset_needs_its_name():
    assert only_problem(aliases={}).startswith("dkim:database:aliases:table: missing")
    assert database(aliases=False).aliases is None
    found = database(aliases={"table": "also"}, domains={"table": "mail.domain", "name": "fqdn"})
    assert found.aliases == HostedTable("mail", "also", "fqdn")


@pytest.mark.parametrize("given", [True, "false", ["also"], "also"])
def test_table_of_aliases_is_a_mapping_or_false(given):
    assert only_problem(preset="iredmail", aliases=given).startswith("dkim:database:aliases: ")
