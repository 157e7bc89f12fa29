"""Import of other programs' keys into a real database: good, weak and broken keys of each."""

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
from functional.importing.test_transfer import WEAK
from functional.server import execute, query, rsa_key, traditional_pem
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

# The text of each domain's key. All domains but foreign.example are hosted.
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
    "weak.example": "1024 bits, and RFC 8301 recommends 2048; use allow_weak=True",
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

    def import_keys(self, **given):
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


# The domains whose keys are in files that the import reports as no longer needed.
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
    """Return the reason for each domain whose key is refused."""
    return {
        domain: one["reason"]
        for one in found["refused"]
        for domain in [*TEXTS, *MISSING]
        if domain in f"{one['entry']} {one['reason']}"
    }


def test_every_source_has_a_program_here():
    assert {*PROGRAMS, "amavisd"} == set(OPTIONS)


def test_good_keys_sign_and_each_other_key_is_refused_with_its_reason(program):
    found = program.import_keys()
    more = {"ed.example"} if program.name == "rspamd" else set()
    signing = {domain for (domain, _), state in program.states().items() if state == "active"}
    assert signing == GOOD | more
    assert set(program.states().values()) == {"active"}
    refused = reasons(found)
    assert set(refused) == set(program.reasons)
    for domain, reason in program.reasons.items():
        assert reason in refused[domain]
    assert found["pillar"] == {"foreign.example": {"selector": "dkim", "algorithm": "rsa"}}


def test_imported_key_equals_the_programs_key(program):
    program.import_keys()
    public = {key["domain"]: key["public_key"] for key in keys_commands.list_keys(program.settings)}
    assert public["good.example"] == rsa_key(0).public_base64()
    assert public["crlf.example"] == rsa_key(2).public_base64()
    assert public.get("ed.example", ED25519.public_base64()) == ED25519.public_base64()


def test_test_run_shows_the_import_and_a_second_import_changes_nothing(program):
    planned = program.import_keys(test=True)
    assert program.states() == {}
    assert program.import_keys() == planned
    again = program.import_keys()
    assert (again["imported"], again["changes"]) == ([], {})
    assert len(again["present"]) == len(planned["imported"])


def test_weak_keys_are_imported_with_allow_weak(program):
    program.import_keys(allow_weak=True)
    assert program.states()["weak.example", "dkim"] == "active"
    assert ("small.example", "dkim") not in program.states()


def test_return_and_logs_have_no_part_of_a_key_or_password(program, caplog):
    caplog.set_level(logging.DEBUG)
    logged = program.server.log_from_now()
    shown = repr(program.import_keys()) + caplog.text + logged()
    assert "secretword" not in shown
    for text in [*TEXTS.values(), RSPAMD_ED25519]:
        lines = [line for line in text.splitlines() if len(line) > 30 and "-----" not in line]
        assert lines
        assert not [line for line in lines if line in shown]


def test_files_and_rows_of_the_program_are_not_changed(program):
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
    found = program.import_keys()
    assert (content(), rows()) == before
    named = {
        os.path.basename(path).removesuffix(".pem").removesuffix(".dkim.key")
        for path in found["files"]
    }
    assert named == FILES[program.name]


def test_key_file_of_rspamd_can_be_imported_alone(world):
    host_domains(world)
    world.set_up()
    path = world.folder / "ed.key"
    path.write_text(RSPAMD_ED25519 + "\n")
    found = importing_commands.import_key(world.settings, "good.example", "ed", str(path))
    assert (found["algorithm"], found["state"]) == ("ed25519", "active")
    assert found["public_key"] == ED25519.public_base64()


def test_key_file_of_rspamd_for_all_domains_signs_for_each(world):
    host_domains(world)
    world.set_up()
    world.key_file("good.example", "2017.key")
    (world.folder / "local.d").mkdir()
    (world.folder / "local.d" / "dkim_signing.conf").write_text(
        f'path = "{world.folder}/keys/$selector.key"; selector = "2017"; use_esld = false;\n'
    )
    world.import_keys(source="rspamd", config=str(world.folder))
    assert world.states() == {(domain, "2017"): "active" for domain in world.hosted}
    public = {key["public_key"] for key in keys_commands.list_keys(world.settings)}
    assert public == {rsa_key(0).public_base64()}


def test_key_of_a_domain_that_amavisds_catch_all_signs_is_retired(world):
    of_amavisd(world)
    world.set_up()
    path = Path(world.request["config"])
    catch_all = "@dkim_signature_options_bysender_maps = ({ '.' => { d => 'good.example' } });\n"
    path.write_text(path.read_text() + catch_all)
    found = world.import_keys()
    states = {domain: state for (domain, _), state in world.states().items()}
    assert states == {**dict.fromkeys(GOOD, "retired"), "good.example": "active"}
    (note,) = [note for note in found["notes"] if "sign as good.example today" in note]
    assert "crlf.example" in note
    # Their mail has a valid signature of good.example until now.
    keys_commands.generate_missing(world.settings)
    states = world.states()
    assert states["good.example", "dkim"] == "active"
    assert {state for (_, selector), state in states.items() if selector == "default"} == {
        "pending"
    }


def test_key_file_that_all_users_can_read_is_imported_and_reported(world):
    of_modoboa(world)
    world.set_up()
    world.key_file("good.example", "good.example.pem", 0o644)
    notes = "\n".join(world.import_keys()["notes"])
    assert world.states()["good.example", "dkim"] == "active"
    assert "good.example.pem has mode 0644: every account of this machine can read the key" in notes


def test_path_outside_of_the_folder_is_refused(world):
    of_modoboa(world)
    world.set_up()
    outside = world.folder / "outside.pem"
    outside.write_text(TEXTS["good.example"])
    world.sql(
        "UPDATE public.admin_domain SET dkim_private_key_path = %s WHERE name = 'good.example'",
        (str(outside),),
    )
    assert "is not in" in reasons(world.import_keys())["good.example"]
    world.request = {}
    assert set(reasons(world.import_keys())) == {*TEXTS, *MISSING}
    assert world.states().keys() == {("pkcs8.example", "dkim"), ("crlf.example", "dkim")}


def test_path_in_a_row_of_opendkim_needs_the_argument_folder(world):
    of_opendkim(world)
    world.set_up()
    world.sql(
        "UPDATE public.signer SET key = %s WHERE domain = 'good.example'",
        (str(world.key_file("good.example", "good.example.pem")),),
    )
    refused = reasons(world.import_keys(folder=None))
    assert "give the keys' folder as folder=" in refused["good.example"]
    assert "good.example" not in reasons(world.import_keys())
    assert world.states()["good.example", "dkim"] == "active"


def test_data_set_is_read_with_the_rights_of_its_own_role(world):
    of_opendkim(world)
    world.set_up()
    world.sql('REVOKE SELECT ON public.signer FROM "vmail-signer"')
    with pytest.raises(InvalidValue, match=r"key_table: .*table signer of database .*42501"):
        world.import_keys()


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
    world.import_keys()
    assert world.states() == {("good.example", "away"): "active"}


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "?filter=active",
        "?FILTER=active=20=3D=20true",
        # The daemon puts no brackets around a filter (measured). Without these brackets it signs
        # the mail of all domains with c2.
        "?filter=(domain=20LIKE=20'a%'=20OR=20selector=20=3D=20'c2')",
    ],
)
def test_active_keys_are_those_with_which_the_daemon_signs(world, condition):
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
        world.import_keys(source="opendkim", config=str(folder / "opendkim.conf"))
    finally:
        shutil.rmtree(folder)
    signing = {name for (name, _), state in world.states().items() if state == "active"}
    assert signing
    assert {name: f"d={name} s={name[0]}2" for name in signing} == {
        name: text for name, text in found.items() if text.startswith("d=")
    }


@pytest.mark.parametrize("option", ["", "MultipleSignatures yes"])
def test_active_key_of_a_pattern_with_two_lines_is_the_daemons(world, option):
    host_domains(world)
    world.set_up()
    folder = Path(tempfile.mkdtemp(prefix="dkim-daemon-"))
    try:
        daemon = SigningDaemon(world.database, folder)
        tables = {
            "KeyTable": "".join(f"k{n} good.example:s{n}:{folder}/{n}\n" for n in range(2)),
            "SigningTable": "*@good.example k1\n*@good.example k0\n",
            "0": traditional_pem(0),
            "1": traditional_pem(1),
        }
        for name, text in tables.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        config = folder / "opendkim.conf"
        lines = [line for line in config.read_text().splitlines() if "Table" not in line]
        lines += [f"KeyTable {folder}/KeyTable", f"SigningTable refile:{folder}/SigningTable"]
        # Every account can write to /tmp, the folder above.
        config.write_text("\n".join([*lines, "RequireSafeKeys no", option]) + "\n")
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres")
        with daemon:
            signatures = daemon.answer("good.example").headers("DKIM-Signature")
        found = world.import_keys(source="opendkim", config=str(config))
    finally:
        shutil.rmtree(folder)
    assert len(signatures) == (2 if option else 1)
    assert any("s=s1;" in text for text in signatures)
    assert world.states() == {("good.example", "s1"): "active", ("good.example", "s0"): "retired"}
    assert bool(found["refused"]) is not bool(option)


def test_filter_of_a_data_set_is_applied_and_cannot_write(world):
    of_opendkim(world)
    world.set_up()
    config = world.folder / "opendkim.conf"
    text = config.read_text()
    config.write_text(text.replace("\n", "?filter=domain=20~=20'^good'\n"))
    world.import_keys()
    assert world.states().keys() == {("good.example", "dkim")}
    world.sql(
        "CREATE FUNCTION public.spoil() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS"
        " 'DELETE FROM public.signer; SELECT true'"
    )
    config.write_text(text.replace("\n", "?filter=spoil()\n"))
    with pytest.raises(InvalidValue, match="25006"):
        world.import_keys()


@pytest.mark.parametrize(
    "condition",
    [
        "true; COMMIT; SET ROLE NONE; DELETE FROM public.signer; SELECT '', '', '', ''",
        "set_config('role', 'postgres', false) IS NOT NULL",
        "set_config('session_authorization', 'postgres', false) IS NOT NULL",
    ],
)
def test_filter_of_a_data_set_keeps_the_rights_of_the_data_sets_role(world, condition):
    of_opendkim(world)
    world.set_up()
    config = world.folder / "opendkim.conf"
    encoded = "".join(one if one.isalnum() else f"={ord(one):02X}" for one in condition)
    config.write_text(config.read_text().replace("\n", f"?filter={encoded}\n"))
    before = rows_of_signer(world)
    with pytest.raises(InvalidValue, match="can't be read"):
        world.import_keys()
    assert rows_of_signer(world) == before


def rows_of_signer(world):
    with db.session(world.database, setup=True) as connection:
        return query(connection, "SELECT * FROM public.signer ORDER BY id")


def test_login_of_a_data_set_is_used_for_a_database_on_another_host(world):
    of_opendkim(world)
    world.set_up()
    config = world.folder / "opendkim.conf"
    # Nothing listens at port 1.
    config.write_text(config.read_text().replace(f"@{world.database.port}+,", "@1+localhost"))
    with pytest.raises(InvalidValue, match=r"no session with .* as 'vmail-signer'") as caught:
        world.import_keys()
    assert "secretword" not in str(caught.value)


def test_keys_without_a_signing_row_are_imported_as_retired(world):
    of_postfixadmin(world)
    world.set_up()
    world.sql(
        "DELETE FROM public.dkim_signing WHERE author = 'good.example';"
        "INSERT INTO public.dkim_signing (author, dkim_id)"
        " SELECT 'news@pkcs8.example', id FROM public.dkim WHERE domain_name = 'pkcs8.example';"
        "DELETE FROM public.dkim_signing WHERE author = 'pkcs8.example'"
    )
    found = world.import_keys()
    assert world.states()["good.example", "dkim"] == "retired"
    assert world.states()["pkcs8.example", "dkim"] == "active"
    assert found["patterns"] == {"news@pkcs8.example": "pkcs8.example"}
    assert [note for note in found["notes"] if "no mail is signed with it today" in note]


def test_only_one_of_two_keys_with_the_same_selector_is_imported(world):
    of_postfixadmin(world)
    world.set_up()
    world.sql(
        "INSERT INTO public.dkim (domain_name, selector, private_key) VALUES"
        " ('good.example', 'dkim', %s), ('pkcs8.example', 'dkim', %s)",
        (traditional_pem(5), TEXTS["pkcs8.example"]),
    )
    found = world.import_keys()
    assert "another key under selector 'dkim' of good.example" in reasons(found)["good.example"]
    assert [text for text in found["present"] if "for pkcs8.example" in text]
    public = {key["domain"]: key["public_key"] for key in keys_commands.list_keys(world.settings)}
    assert public["good.example"] == rsa_key(0).public_base64()


def test_missing_table_is_an_error_that_names_it(world):
    host_domains(world)
    world.set_up()
    with pytest.raises(DatabaseError, match=r"PostfixAdmin 4 has no table public\.dkim"):
        world.import_keys()
    world.sql(
        "CREATE VIEW public.dkim AS"
        " SELECT 1 AS id, '' AS domain_name, '' AS selector, '' AS private_key"
    )
    with pytest.raises(DatabaseError, match=r"PostfixAdmin 4 has no table public\.dkim"):
        world.import_keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "exim"}, "source: 'exim' is not a choice"),
        ({"source": "rspam"}, "did you mean 'rspamd'"),
        ({"source": "amavisd", "folder": "/x"}, "folder: '/x' is not used by amavisd"),
        ({"source": "rspamd", "key_table": "/x"}, "key_table: is OpenDKIM's"),
        ({"source": "opendkim", "config": "relative"}, "is not an absolute path"),
        ({"key_table": "/x", "config": "/y"}, "config: '/y' is given beside a key_table"),
        ({"source": "opendkim", "signing_table": "/x"}, "without a key_table"),
        ({"source": "amavisd", "config": "/not/there"}, "no configuration of amavisd"),
    ],
)
def test_wrong_argument_is_an_error_that_names_it(world, given, message):
    host_domains(world)
    world.set_up()
    with pytest.raises(InvalidValue, match=message):
        world.import_keys(**given)
    assert world.states() == {}


def test_preset_without_a_program_asks_for_the_source(ready):
    reading = read({"database": {"name": ready.name, "port": ready.port, "manage": False}})
    with pytest.raises(InvalidValue, match=r"source: missing.*opendkim, postfixadmin, modoboa"):
        importing_commands.import_tables(reading.settings, Request())
