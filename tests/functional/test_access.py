"""The server's real access files: changed, checked, reloaded, put back; and who gets in."""

import os
import re
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dkim_formula.errors import AccessFileError
from dkim_formula.postgres import access_files, hba, objects, roles
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import server as databases
from dkim_formula.postgres.inspection import Inspection
from dkim_formula.secret import Secret
from dkim_formula.settings.model import Reader
from functional.postgres import as_postgres, execute, query

READER = Reader(name="vmail-dkim-reader", system_user="nobody")
CASES = Path(__file__).parents[1] / "cases" / "pg_hba"


@pytest.fixture
def files(server):
    """pg_hba.conf as Debian has it, and pg_ident.conf; put back afterwards."""
    hba_file, ident_file = Path(server.data, "pg_hba.conf"), Path(server.data, "pg_ident.conf")
    kept = {path: path.read_bytes() for path in (hba_file, ident_file)}
    yield hba_file, ident_file
    for path, content in kept.items():
        path.write_bytes(content)
    with db.session(server.settings) as connection:
        query(connection, "SELECT pg_reload_conf()")


@pytest.fixture
def settings(ready, files):
    """A database with the reader's role, which can't log in by peer yet."""
    wanted = replace(ready, reader=READER)
    with db.session(wanted) as connection:
        relations = objects.reader_relations(wanted)
        roles.apply(connection, roles.DesiredRole(READER.name, relations=relations))
    return wanted


def apply(settings, **more):
    with db.session(settings, setup=True, dbname=databases.MAINTENANCE) as connection:
        return access_files.apply(connection, settings, **more)


def look(settings):
    with db.session(settings, setup=True, dbname=databases.MAINTENANCE) as connection:
        return access_files.look(connection)


def reads_views(server, settings, as_user="nobody"):
    return server.psql(
        settings.name,
        "-c",
        "SELECT count(*) FROM dkim_signing_table",
        user=READER.name,
        as_user=as_user,
    )


def test_reader_logs_in_by_peer_without_a_password(server, settings):
    assert reads_views(server, settings).returncode != 0
    apply(settings)
    found = reads_views(server, settings)
    assert (found.returncode, found.stdout) == (0, "0\n"), found.stderr


@pytest.mark.parametrize("stranger", ["games", "root", "postgres"])
def test_another_system_user_is_refused_the_role(server, settings, stranger):
    apply(settings)
    found = reads_views(server, settings, as_user=stranger)
    assert found.returncode != 0
    assert "authentication failed" in found.stderr


def test_root_is_let_in_where_that_is_asked_for_and_out_again(server, settings):
    apply(settings, also_root=True)
    assert reads_views(server, settings, as_user="root").returncode == 0
    apply(settings)
    assert reads_views(server, settings, as_user="root").returncode != 0
    assert reads_views(server, settings).returncode == 0


def test_what_is_announced_is_what_the_run_does(settings):
    announced = access_files.plan(look(settings), settings)
    assert set(announced.changes) == {"pg_hba.conf", "pg_ident.conf"}
    assert announced.changes == access_files.plan(access_files.ABSENT, settings).changes
    assert apply(settings) == announced


def test_second_run_changes_nothing(settings, files):
    apply(settings)
    before = [path.stat().st_mtime_ns for path in files]
    assert not apply(settings)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_owner_and_mode_stay(settings, files):
    os.chmod(files[0], 0o640)
    before = [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in files]
    apply(settings)
    assert [
        (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in files
    ] == before
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o640


def test_foreign_bytes_stay(settings, files):
    foreign = b"# r\xe9mark in Latin-1\r\nlocal   other\tother \\\n   peer # \xff\n"
    files[0].write_bytes(foreign + files[0].read_bytes())
    before = files[0].read_bytes()
    apply(settings)
    assert files[0].read_bytes() != before
    apply(settings, present=False)
    assert files[0].read_bytes() == before


def test_clean_takes_our_lines_away_and_no_others(settings, files):
    before = [path.read_bytes() for path in files]
    apply(settings)
    apply(settings, present=False)
    assert [path.read_bytes() for path in files] == before
    assert not apply(settings, present=False)


def test_file_that_is_broken_already_is_refused_and_left_alone(settings, files):
    with files[0].open("a") as stream:
        stream.write("local all all no-such-method\n")
    before = [path.read_bytes() for path in files]
    number = len(before[0].splitlines())
    with pytest.raises(AccessFileError) as caught:
        apply(settings)
    assert f"{files[0]}, line {number}" in str(caught.value)
    assert "no-such-method" in str(caught.value)
    assert [path.read_bytes() for path in files] == before


def test_files_are_put_back_where_postgresql_finds_fault(server, settings, files, monkeypatch):
    before = [path.read_bytes() for path in files]
    broken = hba.hba_line(settings.name, READER.name, "peer map=maildkim nonsense=1")
    monkeypatch.setattr(hba, "hba_line", lambda *_: broken)
    with pytest.raises(AccessFileError, match="put back"):
        apply(settings)
    assert [path.read_bytes() for path in files] == before
    assert server.psql("postgres", "-c", "SELECT 1").returncode == 0


def test_files_are_put_back_where_a_write_fails(settings, files, monkeypatch):
    before = [path.read_bytes() for path in files]
    write = access_files._write

    def fail(path, text):
        if Path(path) == files[1] and b"opendkim" not in before[1] and "nobody" in text:
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(access_files, "_write", fail)
    with pytest.raises((AccessFileError, OSError)):
        apply(settings)
    assert [path.read_bytes() for path in files] == before


def test_change_is_in_force_when_the_run_ends(server, settings):
    """Not only signalled: the next session is let in."""
    for _ in range(3):
        apply(settings)
        assert reads_views(server, settings).returncode == 0
        apply(settings, present=False)
        assert reads_views(server, settings).returncode != 0


def test_anothers_mapping_of_our_map_is_told_of(settings, files):
    with files[1].open("a") as stream:
        stream.write("maildkim  somebody  vmail-dkim-reader\n")
    planned = apply(settings)
    assert any("somebody" in note for note in planned.notes)
    assert b"somebody" in files[1].read_bytes()


def logs_in(server, settings, role, as_user="nobody"):
    done = server.psql(settings.name, "-c", "SELECT 1", user=role, as_user=as_user)
    return done.returncode == 0


def our_lines(files):
    return [
        line
        for path in files
        for line in path.read_text(errors="replace").splitlines()
        if hba.MARK in line
    ]


def renamed(settings, **names):
    """The settings of another pillar: another reader, writer, map or database."""
    reader = replace(
        settings.reader,
        name=names.get("reader", settings.reader.name),
        map=names.get("map", settings.reader.map),
    )
    writer = replace(
        settings.writer,
        name=names.get("writer", settings.writer.name),
        map=names.get("writer_map", settings.writer.map),
    )
    name = names.get("database", settings.name)
    return replace(settings, name=name, reader=reader, writer=writer)


RENAMES = {
    "reader": "mail-signer",
    "writer": "mail-writer",
    "map": "signermap",
    "writer_map": "writermap",
    "database": "postgres",
}


def test_case_51_renamed_reader_and_map_leave_no_line_behind(server, settings, files):
    case = yaml.safe_load((CASES / "51-renamed.yaml").read_text())
    first, second = (case[run]["dkim"]["database"]["reader"] for run in ("first run", "second run"))
    assert first["name"] == READER.name
    apply(settings)
    new = renamed(settings, reader=second["name"], map=second["map"])
    with db.session(new) as connection:
        relations = objects.reader_relations(new)
        roles.apply(connection, roles.DesiredRole(second["name"], relations=relations))
    announced = access_files.plan(look(new), new)
    assert apply(new) == announced
    text = "".join(path.read_text() for path in files)
    assert READER.name not in text
    assert not re.search(r"\bmaildkim\b(?!-)", text)
    assert logs_in(server, new, second["name"])
    assert not logs_in(server, new, first["name"])
    assert not apply(new)


@pytest.mark.parametrize("names", [{what: name} for what, name in RENAMES.items()] + [RENAMES])
def test_renaming_and_naming_back_leave_the_files_as_they_were(settings, files, names):
    bare = [path.read_bytes() for path in files]
    apply(settings)
    before = [sorted(path.read_text().splitlines()) for path in files]
    new = renamed(settings, **names)
    apply(new)
    lines = our_lines(files)
    assert len(lines) == 4
    for what, name in names.items():
        assert any(name in line for line in lines), what
    assert not apply(new)
    apply(settings)
    # In which order ours stand makes no difference.
    assert [sorted(path.read_text().splitlines()) for path in files] == before
    apply(new)
    apply(new, present=False)
    assert [path.read_bytes() for path in files] == bare


def test_database_that_was_renamed_is_named_with_what_is_left_in_it(settings):
    apply(settings)
    notes = apply(renamed(settings, database="postgres")).notes
    assert any(note.startswith(f"database {settings.name}: ") for note in notes), notes


def test_way_in_of_a_mail_host_that_still_has_its_former_settings_stays(settings, files):
    """Its daemon must log in again when PostgreSQL restarts before the host's own run."""
    apply(settings)
    new = renamed(settings, reader="mail-signer", map="signermap")
    snapshot = replace(look(new), sessions=frozenset({(settings.name, READER.name)}))
    planned = access_files.plan(snapshot, new)
    assert any(READER.name in note and "session" in note for note in planned.notes)
    assert READER.name not in str(planned.changes["pg_hba.conf"]["old"])
    assert READER.name not in str(planned.changes["pg_ident.conf"]["old"])


def test_lines_of_the_site_for_a_former_role_stay(settings, files):
    own = f"local {settings.name} {READER.name} peer map=own\n"
    files[0].write_text(files[0].read_text() + own)
    apply(settings)
    apply(renamed(settings, reader="mail-signer", map="signermap"))
    assert [line for line in files[0].read_text().splitlines() if READER.name in line] == [
        own.strip()
    ]


def test_rule_that_postgresql_only_warns_of_stops_nothing(settings, files):
    """`hostssl` beside ssl = off is loaded, and matches nobody."""
    files[0].write_text(files[0].read_text() + "hostssl all all 0.0.0.0/0 scram-sha-256\n")
    assert look(settings).warnings
    assert not look(settings).faults
    apply(settings)
    assert not apply(settings)


def test_nul_byte_in_a_file_is_refused(settings, files):
    files[1].write_bytes(files[1].read_bytes() + b"# \0\n")
    with pytest.raises(AccessFileError, match="NUL byte"):
        apply(settings)


def test_linked_file_stays_a_link(settings, files):
    target = files[0].with_name("elsewhere.conf")
    target.write_bytes(files[0].read_bytes())
    os.chown(target, files[0].stat().st_uid, files[0].stat().st_gid)
    files[0].unlink()
    files[0].symlink_to(target)
    try:
        apply(settings)
        assert files[0].is_symlink()
        assert hba.MARK in target.read_text()
    finally:
        files[0].unlink()
        target.rename(files[0])


def test_mapping_to_another_role_by_our_map_is_nobody_s_concern(settings, files):
    with files[1].open("a") as stream:
        stream.write("maildkim somebody backup\nmaildkim /^(.*)@example\\.com$ \\1\n")
    notes = apply(settings).notes
    assert not any("somebody" in note for note in notes)
    assert any("example" in note for note in notes)


CLIENTS = ("192.0.2.25/32", "198.51.100.0/24", "2001:db8::/32", "mail.example.net")


@pytest.fixture
def certified(server):
    """A server that has a certificate, so that it takes `hostssl` lines."""
    folder = server.data
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=db"]
    key, certificate = folder / "server.key", folder / "server.crt"
    made = [*command, "-keyout", str(key), "-out", str(certificate)]
    as_postgres(*made)
    key.chmod(0o600)
    configure(server, "ALTER SYSTEM SET ssl = on")
    yield
    configure(server, "ALTER SYSTEM RESET ssl")
    key.unlink()
    certificate.unlink()


def configure(server, statement):
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, statement)
        execute(connection, "SELECT pg_reload_conf()")
    wanted = "on" if "= on" in statement else "off"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with db.session(server.settings, setup=True) as connection:
            if query(connection, "SELECT current_setting('ssl')") == [(wanted,)]:
                return
    raise AssertionError(f"ssl did not become {wanted}")


def with_clients(settings, **reader):
    given = {"password": Secret("x"), "clients": CLIENTS, **reader}
    return replace(settings, reader=replace(settings.reader, **given))


def rules(settings, role=READER.name):
    """What PostgreSQL makes of the file's lines for the role, and what it would take before."""
    with db.session(settings, setup=True, dbname=databases.MAINTENANCE) as connection:
        return query(
            connection,
            "SELECT type, coalesce(address, ''), auth_method, options FROM pg_hba_file_rules"
            " WHERE %s = ANY (user_name) ORDER BY line_number",
            (role,),
        )


def test_clients_are_let_in_over_tls_by_password(settings, certified, files):
    wanted = with_clients(settings)
    announced = access_files.plan(look(wanted), wanted)
    assert apply(wanted) == announced
    assert [row[:3] for row in rules(wanted)] == [
        ("local", "", "peer"),
        ("hostssl", "192.0.2.25", "scram-sha-256"),
        ("hostssl", "198.51.100.0", "scram-sha-256"),
        ("hostssl", "2001:db8::", "scram-sha-256"),
        ("hostssl", "mail.example.net", "scram-sha-256"),
    ]
    assert not apply(wanted)


def test_line_for_clients_stands_before_what_would_win(settings, certified, files):
    files[0].write_text("host all all 0.0.0.0/0 reject\n" + files[0].read_text())
    apply(with_clients(settings))
    lines = [line for line in files[0].read_text().splitlines() if not line.startswith("#")]
    ours = [at for at, line in enumerate(lines) if line.startswith("hostssl")]
    assert len(ours) == len(CLIENTS)
    assert max(ours) < lines.index("host all all 0.0.0.0/0 reject")


def test_client_that_leaves_the_pillar_loses_its_line(settings, certified, files):
    apply(with_clients(settings))
    apply(with_clients(settings, clients=CLIENTS[:1]))
    assert [row[1] for row in rules(settings)] == ["", "192.0.2.25"]
    apply(settings)
    assert [row[0] for row in rules(settings)] == ["local"]


def test_sites_own_line_for_the_reader_stays(settings, certified, files):
    own = f"hostssl {settings.name} {READER.name} 203.0.113.9/32 scram-sha-256\n"
    files[0].write_text(own + files[0].read_text())
    before = files[0].read_bytes()
    apply(with_clients(settings))
    assert own in files[0].read_text()
    apply(settings, present=False)
    assert files[0].read_bytes() == before


def test_clients_with_certificates_are_known_by_their_common_names(settings, certified, files):
    wanted = with_clients(settings, auth="cert", common_names=("mail.example.net", "mx 2"))
    apply(wanted)
    assert {row[0] for row in rules(wanted)} == {"hostssl"}
    assert {row[2] for row in rules(wanted)} == {"cert"}
    assert all("map=maildkim-cert" in row[3] for row in rules(wanted))
    names = [line for line in hba.lines(files[1].read_text()) if "maildkim-cert" in line.raw]
    assert [line.fields[1][0].text for line in names] == ["mail.example.net", "mx 2"]
    assert not apply(wanted)
    apply(settings)
    assert "maildkim-cert" not in files[1].read_text()


def test_writers_clients_have_their_own_lines(settings, certified, files):
    writer = replace(settings.writer, clients=("192.0.2.25/32",), password=Secret("x"))
    apply(replace(settings, writer=writer))
    assert [row[:3] for row in rules(settings, writer.name)] == [
        ("local", "", "peer"),
        ("hostssl", "192.0.2.25", "scram-sha-256"),
    ]


def test_writers_clients_with_certificates_have_a_map_of_their_own(settings, certified, files):
    writer = replace(
        settings.writer, clients=("192.0.2.25/32",), common_names=("mail.example.net",)
    )
    wanted = replace(settings, writer=writer)
    apply(wanted)
    local, network = rules(settings, writer.name)
    assert local[0] == "local"
    assert network[:3] == ("hostssl", "192.0.2.25", "cert")
    assert f"map={writer.map}-cert" in network[3]
    mappings = [line for line in files[1].read_text().splitlines() if writer.name in line]
    assert ["mail.example.net" in line for line in mappings] == [False, True]
    assert not apply(wanted)
    back = apply(settings)
    assert not back.notes
    assert f"{writer.map}-cert" not in files[1].read_text() + files[0].read_text()


def test_sites_own_account_needs_no_line_for_the_writer(settings):
    planned = access_files.plan(look(settings), replace(settings, user="admin"))
    assert READER.name in str(planned.changes)
    assert settings.writer.name not in str(planned.changes)


def test_server_that_clients_can_not_get_to_is_told_of(settings):
    with db.session(settings, setup=True) as connection:
        assert databases.inspect_for_clients(connection, settings) == Inspection()
        found = databases.inspect_for_clients(connection, with_clients(settings, auth="cert"))
    assert "ssl = off" in found.problems[0]
    assert "ssl_ca_file" in found.problems[1]
    assert "listen_addresses" in found.advice[0]
    writer = replace(settings.writer, clients=CLIENTS, common_names=("mail.example.net",))
    with db.session(settings, setup=True) as connection:
        found = databases.inspect_for_clients(connection, replace(settings, writer=writer))
    assert found.problems[1].startswith("dkim:database:writer:common_names needs")


def test_lines_that_the_server_can_not_take_are_put_back(settings, files):
    """Without ssl PostgreSQL says that such a line can't match."""
    before = [path.read_bytes() for path in files]
    with pytest.raises(AccessFileError, match="SSL is disabled"):
        apply(with_clients(settings))
    assert [path.read_bytes() for path in files] == before
