"""Keys of other programs into a real database: each kind with good, weak and broken ones."""

import base64
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dkim_formula.errors import DatabaseError, InvalidValue
from dkim_formula.importing import commands as importing_commands
from dkim_formula.importing.sources import OPTIONS, Request
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import schema
from dkim_formula.private_key import PrivateKey
from dkim_formula.settings import read
from functional.postgres import execute, query, rsa_key, traditional_pem
from functional.test_transfer import WEAK
from support.signing_daemon import SigningDaemon

pytestmark = pytest.mark.one_release

ED25519 = PrivateKey.generate("ed25519")
SEED = base64.b64decode("".join(ED25519.pem().splitlines()[1:-1]))[-32:]
RSPAMD_ED25519 = base64.b64encode(SEED + base64.b64decode(ED25519.public_base64())).decode()
ENCRYPTED = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    .decode()
)
SMALL = subprocess.run(
    ["openssl", "genrsa", "-traditional", "512"], check=True, capture_output=True, text=True
).stdout

# Domain, to the text of its key. Hosted are all of them but foreign.example.
TEXTS = {
    "good.example": traditional_pem(0),
    "pkcs8.example": rsa_key(1).pem(),
    "crlf.example": traditional_pem(2).replace("\n", "\r\n"),
    "weak.example": WEAK,
    "small.example": SMALL,
    "encrypted.example": ENCRYPTED,
    "broken.example": traditional_pem(3)[:-300],
    "foreign.example": traditional_pem(4),
}
GOOD = {"good.example", "pkcs8.example", "crlf.example"}
REASONS = {
    "weak.example": "1024 bits, and RFC 8301 wants 2048; use allow_weak=True",
    "small.example": "512 bits, and OpenDKIM refuses mail",
    "encrypted.example": "is encrypted; store it without a passphrase",
    "broken.example": "does not parse as a private key",
    "foreign.example": "is neither in dkim:domains nor hosted",
}
MISSING = {"gone.example": "can't be read: No such file"}


class World:
    """A database with domains, and a program that has keys for them."""

    def __init__(self, database, folder, server):
        self.database = database
        self.folder = folder
        self.server = server
        self.name = ""
        self.preset = "postfixadmin"
        self.request = {}
        self.reasons = {**REASONS, **MISSING}
        self.selector = "dkim"
        self.hosted = sorted({*TEXTS, "gone.example"} - {"foreign.example"})

    def sql(self, statement, arguments=None):
        with db.session(self.database, setup=True) as connection:
            execute(connection, statement, arguments)

    def key_file(self, domain, name, mode=0o600):
        path = self.folder / "keys" / name
        path.parent.mkdir(exist_ok=True)
        if domain in TEXTS:
            path.write_text(TEXTS[domain])
            path.chmod(mode)
        return path

    @property
    def files(self):
        return {domain: self.key_file(domain, f"{domain}.pem") for domain in [*TEXTS, *MISSING]}

    @property
    def settings(self):
        given = {"name": self.database.name, "port": self.database.port, "manage": False}
        reading = read({"database": {**given, "preset": self.preset}, "domains": {"*": {}}})
        assert reading.problems == ()
        return reading.settings

    def set_up(self):
        with db.session(self.settings.database, setup=True) as connection:
            schema.apply(connection, self.settings.database)

    def take(self, **given):
        request = Request(**{**self.request, **{k: v for k, v in given.items() if k in _FIELDS}})
        other = {key: value for key, value in given.items() if key not in _FIELDS}
        return importing_commands.import_tables(self.settings, request, **other)

    def states(self):
        return {
            (key["domain"], key["selector"]): key["state"]
            for key in keys_commands.list_keys(self.settings)
        }


_FIELDS = set(Request.__dataclass_fields__)


def host_domains(world):
    world.sql(
        "CREATE TABLE public.domain (domain varchar(255) PRIMARY KEY, active boolean NOT NULL"
        " DEFAULT true, backupmx boolean NOT NULL DEFAULT false);"
        "CREATE TABLE public.alias_domain (alias_domain varchar(255) PRIMARY KEY, active boolean)"
    )
    for domain in world.hosted:
        world.sql("INSERT INTO public.domain (domain) VALUES (%s)", (domain,))


def of_postfixadmin(world):
    host_domains(world)
    world.sql(
        "CREATE TABLE public.dkim (id serial PRIMARY KEY, domain_name varchar(255), description"
        " varchar(255) DEFAULT '', selector varchar(63) DEFAULT 'default', private_key text,"
        " public_key text);"
        "CREATE TABLE public.dkim_signing (id serial PRIMARY KEY, author varchar(255), dkim_id int"
        " REFERENCES public.dkim)"
    )
    for domain, text in [*TEXTS.items(), ("gone.example", None)]:
        world.sql(
            "WITH one AS (INSERT INTO public.dkim (domain_name, selector, private_key)"
            " VALUES (%s, 'dkim', %s) RETURNING id)"
            " INSERT INTO public.dkim_signing (author, dkim_id) SELECT %s, id FROM one",
            (domain, text, domain),
        )
    world.reasons["gone.example"] = "has no private key"


def of_modoboa(world):
    world.preset = "modoboa"
    world.sql(
        "CREATE TABLE public.admin_domain (id int GENERATED ALWAYS AS IDENTITY, name varchar(253)"
        " UNIQUE, enabled boolean, type varchar(20), enable_dkim boolean, dkim_key_selector"
        " varchar(50), dkim_private_key_path varchar(254));"
        "CREATE TABLE public.admin_domainalias (name varchar(253) UNIQUE, enabled boolean)"
    )
    for domain, path in world.files.items():
        world.sql(
            "INSERT INTO public.admin_domain (name, enabled, type, enable_dkim, dkim_key_selector,"
            " dkim_private_key_path) VALUES (%s, %s, 'domain', true, 'dkim', %s)",
            (domain, domain != "foreign.example", str(path)),
        )
    world.request = {"folder": str(world.folder / "keys")}


def of_amavisd(world):
    host_domains(world)
    lines = [f"dkim_key('{domain}', 'dkim', '{path}');" for domain, path in world.files.items()]
    path = world.folder / "amavisd.conf"
    path.write_text("\n".join(["$enable_dkim_signing = 1;", *lines, "1;", ""]))
    world.request = {"source": "iredmail", "config": str(path)}


def of_rspamd(world):
    host_domains(world)
    for domain in [*TEXTS, *MISSING]:
        world.key_file(domain, f"{domain}.dkim.key")
    world.key_file("", "ed.example.dkim.key").write_text(RSPAMD_ED25519 + "\n")
    world.sql("INSERT INTO public.domain (domain) VALUES ('ed.example')")
    config = world.folder / "rspamd"
    (config / "local.d").mkdir(parents=True)
    selectors = world.folder / "selectors"
    selectors.write_text("".join(f"{domain} dkim\n" for domain in [*TEXTS, *MISSING]))
    (config / "local.d" / "dkim_signing.conf").write_text(
        f'selector_map = "{selectors}";\nuse_esld = false;\n'
    )
    world.request = {
        "source": "rspamd",
        "config": str(config),
        "folder": str(world.folder / "keys"),
    }


def of_opendkim(world):
    host_domains(world)
    world.sql(
        "CREATE TABLE public.signer (id serial, domain text, selector text, key text);"
        'CREATE ROLE "vmail-signer" LOGIN; GRANT SELECT ON public.signer TO "vmail-signer"'
    )
    for domain, path in world.files.items():
        world.sql(
            "INSERT INTO public.signer (domain, selector, key) VALUES (%s, 'dkim', %s)",
            (domain, TEXTS.get(domain, str(path))),
        )
    name = f"dsn:pgsql://vmail-signer:secretword@{world.database.port}+,/{world.database.name}"
    config = world.folder / "opendkim.conf"
    config.write_text(
        f"KeyTable {name}/table=signer?keycol=id?datacol=domain,selector,key\n"
        f"SigningTable {name}/table=signer?keycol=domain?datacol=id\n"
    )
    world.request = {
        "source": "opendkim",
        "config": str(config),
        "folder": str(world.folder / "keys"),
    }


PROGRAMS = {
    "postfixadmin": of_postfixadmin,
    "modoboa": of_modoboa,
    "iredmail": of_amavisd,
    "rspamd": of_rspamd,
    "opendkim": of_opendkim,
}


# The domains whose keys stand in files that are named as needed no more.
FILES = {
    "postfixadmin": set(),
    "modoboa": GOOD,
    "iredmail": GOOD,
    "rspamd": {*GOOD, "ed.example"},
    "opendkim": set(),
}


@pytest.fixture
def world(database, tmp_path, server):
    return World(database, tmp_path, server)


@pytest.fixture(params=PROGRAMS)
def program(request, world):
    PROGRAMS[request.param](world)
    world.name = request.param
    world.set_up()
    return world


def reasons(found):
    """The reason of each domain that is refused."""
    return {
        domain: one["reason"]
        for one in found["refused"]
        for domain in [*TEXTS, *MISSING]
        if domain in f"{one['entry']} {one['reason']}"
    }


def test_every_program_is_among_them():
    assert {*PROGRAMS, "amavisd"} == set(OPTIONS)


def test_good_keys_sign_and_each_other_one_is_named_with_its_reason(program):
    found = program.take()
    more = {"ed.example"} if program.name == "rspamd" else set()
    signing = {domain for (domain, _), state in program.states().items() if state == "active"}
    assert signing == GOOD | more
    assert set(program.states().values()) == {"active"}
    told = reasons(found)
    assert set(told) == set(program.reasons)
    for domain, reason in program.reasons.items():
        assert reason in told[domain]
    assert found["pillar"] == {"foreign.example": {"selector": "dkim", "algorithm": "rsa"}}


def test_key_is_the_one_that_the_program_has(program):
    program.take()
    public = {key["domain"]: key["public_key"] for key in keys_commands.list_keys(program.settings)}
    assert public["good.example"] == rsa_key(0).public_base64()
    assert public["crlf.example"] == rsa_key(2).public_base64()
    assert public.get("ed.example", ED25519.public_base64()) == ED25519.public_base64()


def test_run_does_what_a_test_announces_and_a_second_run_nothing(program):
    announced = program.take(test=True)
    assert program.states() == {}
    assert program.take() == announced
    again = program.take()
    assert (again["imported"], again["changes"]) == ([], {})
    assert len(again["present"]) == len(announced["imported"])


def test_weak_keys_are_taken_when_that_is_allowed(program):
    program.take(allow_weak=True)
    assert program.states()["weak.example", "dkim"] == "active"
    assert ("small.example", "dkim") not in program.states()


def test_nothing_of_a_key_or_a_password_is_told(program, caplog):
    caplog.set_level(logging.DEBUG)
    start = len(program.server.log())
    told = repr(program.take()) + caplog.text + program.server.log()[start:]
    assert "secretword" not in told
    for text in [*TEXTS.values(), RSPAMD_ED25519]:
        lines = [line for line in text.splitlines() if len(line) > 30 and "-----" not in line]
        assert lines
        assert not [line for line in lines if line in told]


def test_what_the_program_has_is_left_as_it_is(program):
    def content():
        return {
            str(path): (path.read_bytes(), path.stat().st_mode)
            for path in program.folder.rglob("*")
            if path.is_file()
        }

    def rows():
        with db.session(program.database, setup=True) as connection:
            return [
                query(connection, f"SELECT * FROM public.{table}")
                for (table,) in query(
                    connection,
                    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
                )
            ]

    before = content(), rows()
    found = program.take()
    assert (content(), rows()) == before
    named = {
        os.path.basename(path).removesuffix(".pem").removesuffix(".dkim.key")
        for path in found["files"]
    }
    assert named == FILES[program.name]


def test_key_file_of_rspamd_comes_in_alone_too(world):
    host_domains(world)
    world.set_up()
    path = world.folder / "ed.key"
    path.write_text(RSPAMD_ED25519 + "\n")
    found = importing_commands.import_key(world.settings, "good.example", "ed", str(path))
    assert (found["algorithm"], found["state"]) == ("ed25519", "active")
    assert found["public_key"] == ED25519.public_base64()


def test_key_file_that_everybody_can_read_is_taken_and_told_of(world):
    of_modoboa(world)
    world.set_up()
    world.key_file("good.example", "good.example.pem", 0o644)
    notes = "\n".join(world.take()["notes"])
    assert world.states()["good.example", "dkim"] == "active"
    assert "good.example.pem has mode 0644: every account of this machine can read the key" in notes


def test_file_outside_of_the_folder_is_not_read_for_a_row(world):
    of_modoboa(world)
    world.set_up()
    outside = world.folder / "outside.pem"
    outside.write_text(TEXTS["good.example"])
    world.sql(
        "UPDATE public.admin_domain SET dkim_private_key_path = %s WHERE name = 'good.example'",
        (str(outside),),
    )
    assert "is not in" in reasons(world.take())["good.example"]
    world.request = {}
    assert set(reasons(world.take())) == {*TEXTS, *MISSING}
    assert world.states().keys() == {("pkcs8.example", "dkim"), ("crlf.example", "dkim")}


def test_path_in_a_row_of_opendkim_needs_the_folder(world):
    of_opendkim(world)
    world.set_up()
    world.sql(
        "UPDATE public.signer SET key = %s WHERE domain = 'good.example'",
        (str(world.key_file("good.example", "good.example.pem")),),
    )
    told = reasons(world.take(folder=None))
    assert "give the keys' folder as folder=" in told["good.example"]
    assert "good.example" not in reasons(world.take())
    assert world.states()["good.example", "dkim"] == "active"


def test_data_set_is_read_with_the_rights_of_its_own_role(world):
    of_opendkim(world)
    world.set_up()
    world.sql('REVOKE SELECT ON public.signer FROM "vmail-signer"')
    with pytest.raises(InvalidValue, match=r"key_table: .*table signer of database .*42501"):
        world.take()


@pytest.fixture
def other_database(database):
    """The settings of a second database of the server."""
    other = replace(database, name=f"{database.name}_other")
    with db.session(database, setup=True, autocommit=True) as connection:
        execute(connection, f"CREATE DATABASE {other.name} TEMPLATE template0")
    yield other
    with db.session(database, setup=True, autocommit=True) as connection:
        execute(connection, f"DROP DATABASE {other.name} WITH (FORCE)")


def test_data_set_in_another_database_of_the_server_is_read(world, other_database):
    of_opendkim(world)
    world.set_up()
    with db.session(other_database, setup=True) as connection:
        execute(
            connection,
            "CREATE TABLE public.signer (id int, domain text, selector text, key text);"
            'GRANT SELECT ON public.signer TO "vmail-signer"',
        )
        execute(
            connection,
            "INSERT INTO public.signer VALUES (1, 'good.example', 'away', %s)",
            (TEXTS["good.example"],),
        )
    config = world.folder / "opendkim.conf"
    text = config.read_text()
    config.write_text(text.replace(f"/{world.database.name}/", f"/{other_database.name}/"))
    world.take()
    assert world.states() == {("good.example", "away"): "active"}


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "?filter=active",
        "?FILTER=active=20=3D=20true",
        # Without the brackets the daemon signs everybody's mail with c2: it puts no brackets around
        # a filter (measured).
        "?filter=(domain=20LIKE=20'a%'=20OR=20selector=20=3D=20'c2')",
    ],
)
def test_keys_that_sign_are_the_ones_that_the_real_daemon_signs_with(world, condition):
    host_domains(world)
    world.set_up()
    world.sql(
        "CREATE TABLE public.t (pattern text, identifier text, domain text, selector text,"
        " key text, active boolean)"
    )
    names = ["a.example", "b.example", "c.example"]
    for number, (name, active) in enumerate(zip(names, (True, False, True), strict=True)):
        world.sql("INSERT INTO public.domain (domain) VALUES (%s)", (name,))
        world.sql(
            "INSERT INTO public.t VALUES (%s, %s, %s, %s, %s, %s)",
            (name, f"k{number}", name, f"{name[0]}2", traditional_pem(number), active),
        )
    folder = Path(tempfile.mkdtemp(prefix="dkim-daemon-"))
    shutil.chown(folder, "postgres")
    folder.chmod(0o755)
    try:
        with SigningDaemon(world.database, folder, (f"t{condition}", "t")) as daemon:
            found = {name: daemon.signature(name) for name in names}
        world.take(source="opendkim", config=str(folder / "opendkim.conf"))
    finally:
        shutil.rmtree(folder)
    signing = {name for (name, _), state in world.states().items() if state == "active"}
    assert signing
    assert {name: f"d={name} s={name[0]}2" for name in signing} == {
        name: said for name, said in found.items() if said.startswith("d=")
    }


def test_filter_of_a_data_set_counts_and_can_not_write(world):
    of_opendkim(world)
    world.set_up()
    config = world.folder / "opendkim.conf"
    text = config.read_text()
    config.write_text(text.replace("\n", "?filter=domain=20~=20'^good'\n"))
    world.take()
    assert world.states().keys() == {("good.example", "dkim")}
    world.sql(
        "CREATE FUNCTION public.spoil() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS"
        " 'DELETE FROM public.signer; SELECT true'"
    )
    config.write_text(text.replace("\n", "?filter=spoil()\n"))
    with pytest.raises(InvalidValue, match="25006"):
        world.take()


def test_login_that_a_data_set_has_is_used_where_the_database_is_elsewhere(world):
    of_opendkim(world)
    world.set_up()
    config = world.folder / "opendkim.conf"
    # Nothing listens at port 1.
    config.write_text(config.read_text().replace(f"@{world.database.port}+,", "@1+localhost"))
    with pytest.raises(InvalidValue, match=r"no session with .* as 'vmail-signer'") as caught:
        world.take()
    assert "secretword" not in str(caught.value)


def test_rows_without_a_signing_row_do_not_sign(world):
    of_postfixadmin(world)
    world.set_up()
    world.sql(
        "DELETE FROM public.dkim_signing WHERE author = 'good.example';"
        "INSERT INTO public.dkim_signing (author, dkim_id)"
        " SELECT 'news@pkcs8.example', id FROM public.dkim WHERE domain_name = 'pkcs8.example';"
        "DELETE FROM public.dkim_signing WHERE author = 'pkcs8.example'"
    )
    found = world.take()
    assert world.states()["good.example", "dkim"] == "retired"
    assert world.states()["pkcs8.example", "dkim"] == "active"
    assert found["patterns"] == {"news@pkcs8.example": "pkcs8.example"}
    assert [note for note in found["notes"] if "no mail is signed with it today" in note]


def test_two_rows_of_one_selector_leave_one_key(world):
    of_postfixadmin(world)
    world.set_up()
    world.sql(
        "INSERT INTO public.dkim (domain_name, selector, private_key) VALUES"
        " ('good.example', 'dkim', %s), ('pkcs8.example', 'dkim', %s)",
        (traditional_pem(5), TEXTS["pkcs8.example"]),
    )
    found = world.take()
    assert "another key under selector 'dkim' of good.example" in reasons(found)["good.example"]
    assert [text for text in found["present"] if "for pkcs8.example" in text]
    public = {key["domain"]: key["public_key"] for key in keys_commands.list_keys(world.settings)}
    assert public["good.example"] == rsa_key(0).public_base64()


def test_table_that_is_missing_is_named(world):
    host_domains(world)
    world.set_up()
    with pytest.raises(DatabaseError, match=r"PostfixAdmin 4 has no table public\.dkim"):
        world.take()
    world.sql(
        "CREATE VIEW public.dkim AS"
        " SELECT 1 AS id, '' AS domain_name, '' AS selector, '' AS private_key"
    )
    with pytest.raises(DatabaseError, match=r"PostfixAdmin 4 has no table public\.dkim"):
        world.take()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"source": "exim"}, "source: 'exim' is not a choice"),
        ({"source": "rspam"}, "did you mean 'rspamd'"),
        ({"source": "amavisd", "folder": "/x"}, "folder: '/x' is nothing of amavisd"),
        ({"source": "rspamd", "key_table": "/x"}, "key_table: is OpenDKIM's"),
        ({"source": "opendkim", "config": "relative"}, "is not an absolute path"),
        ({"key_table": "/x", "config": "/y"}, "config: '/y' is given beside a key_table"),
        ({"source": "opendkim", "signing_table": "/x"}, "without a key_table"),
        ({"source": "amavisd", "config": "/not/there"}, "no configuration of amavisd"),
    ],
)
def test_argument_that_is_wrong_is_named(world, given, said):
    host_domains(world)
    world.set_up()
    with pytest.raises(InvalidValue, match=said):
        world.take(**given)
    assert world.states() == {}


def test_preset_without_a_program_asks_for_the_source(ready):
    reading = read({"database": {"name": ready.name, "port": ready.port, "manage": False}})
    with pytest.raises(InvalidValue, match=r"source: missing.*opendkim, postfixadmin, modoboa"):
        importing_commands.import_tables(reading.settings, Request())
