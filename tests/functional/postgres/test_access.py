"""The server's real access files: changes, checks, reloads, restored files, and who can log in."""

import os
import re
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dkim_formula.errors import AccessFileError, done_before
from dkim_formula.postgres import access_files, access_lines, hba, objects, roles
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import server as databases
from dkim_formula.postgres.inspection import Inspection
from dkim_formula.secret import Secret
from dkim_formula.settings.model import Reader
from functional.server import as_postgres, execute, query

READER = Reader(name="vmail-dkim-reader", system_user="nobody")
CASES = Path(__file__).parents[2] / "cases" / "pg_hba"


@pytest.fixture
def files(server):
    """Debian's pg_hba.conf and pg_ident.conf, restored afterwards."""
    hba_file, ident_file = Path(server.data, "pg_hba.conf"), Path(server.data, "pg_ident.conf")
    kept = {path: path.read_bytes() for path in (hba_file, ident_file)}
    yield hba_file, ident_file
    for path, content in kept.items():
        path.write_bytes(content)
    with db.session(server.settings) as connection:
        query(connection, "SELECT pg_reload_conf()")


@pytest.fixture
def settings(ready, files):
    """A database with the reader's role, which cannot log in by peer yet."""
    desired = replace(ready, reader=READER)
    with db.session(desired) as connection:
        relations = objects.reader_relations(desired)
        roles.apply(connection, roles.DesiredRole(READER.name, relations=relations))
    return desired


def apply(settings, **more):
    with db.session(settings, setup=True, dbname=databases.MAINTENANCE) as connection:
        return access_files.apply(connection, settings, **more)


def read(settings):
    with db.session(settings, setup=True, dbname=databases.MAINTENANCE) as connection:
        return access_files.read(connection)


def count_rows_of_view(server, settings, as_user="nobody"):
    return server.psql(
        settings.name,
        "-c",
        "SELECT count(*) FROM dkim_signing_table",
        user=READER.name,
        as_user=as_user,
    )


def test_reader_logs_in_by_peer_without_a_password(server, settings):
    assert count_rows_of_view(server, settings).returncode != 0
    apply(settings)
    found = count_rows_of_view(server, settings)
    assert (found.returncode, found.stdout) == (0, "0\n"), found.stderr


@pytest.mark.parametrize("stranger", ["games", "root", "postgres"])
def test_another_system_user_cannot_log_in_as_the_role(server, settings, stranger):
    apply(settings)
    found = count_rows_of_view(server, settings, as_user=stranger)
    assert found.returncode != 0
    assert "authentication failed" in found.stderr


def test_root_can_log_in_only_while_also_root_is_set(server, settings):
    apply(settings, also_root=True)
    assert count_rows_of_view(server, settings, as_user="root").returncode == 0
    apply(settings)
    assert count_rows_of_view(server, settings, as_user="root").returncode != 0
    assert count_rows_of_view(server, settings).returncode == 0


def test_plan_equals_the_changes_of_the_run(settings):
    planned = access_files.plan(read(settings), settings)
    assert set(planned.changes) == {"pg_hba.conf", "pg_ident.conf"}
    assert planned.changes == access_files.plan(access_files.ABSENT, settings).changes
    assert apply(settings) == planned


def test_second_run_changes_nothing(settings, files):
    apply(settings)
    before = [path.stat().st_mtime_ns for path in files]
    assert not apply(settings)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_owner_and_mode_of_the_files_stay(settings, files):
    os.chmod(files[0], 0o640)
    before = [(path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in files]
    apply(settings)
    assert [
        (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in files
    ] == before
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o640


def test_bytes_that_the_formula_did_not_write_stay(settings, files):
    other_bytes = b"# r\xe9mark in Latin-1\r\nlocal   other\tother \\\n   peer # \xff\n"
    files[0].write_bytes(other_bytes + files[0].read_bytes())
    before = files[0].read_bytes()
    apply(settings)
    assert files[0].read_bytes() != before
    apply(settings, present=False)
    assert files[0].read_bytes() == before


def test_clean_removes_only_the_lines_of_the_formula(settings, files):
    before = [path.read_bytes() for path in files]
    apply(settings)
    apply(settings, present=False)
    assert [path.read_bytes() for path in files] == before
    assert not apply(settings, present=False)


def test_file_with_an_invalid_line_is_refused_and_stays_unchanged(settings, files):
    with files[0].open("a") as stream:
        stream.write("local all all no-such-method\n")
    before = [path.read_bytes() for path in files]
    number = len(before[0].splitlines())
    with pytest.raises(AccessFileError) as caught:
        apply(settings)
    assert f"{files[0]}, line {number}" in str(caught.value)
    assert "no-such-method" in str(caught.value)
    assert [path.read_bytes() for path in files] == before


def test_files_are_restored_if_postgresql_rejects_them(server, settings, files, monkeypatch):
    before = [path.read_bytes() for path in files]
    broken = hba.hba_line(settings.name, READER.name, "peer map=maildkim nonsense=1")
    monkeypatch.setattr(hba, "hba_line", lambda *_: broken)
    with pytest.raises(AccessFileError, match="put back"):
        apply(settings)
    assert [path.read_bytes() for path in files] == before
    assert server.psql("postgres", "-c", "SELECT 1").returncode == 0


def test_files_are_restored_if_a_write_fails(settings, files, monkeypatch):
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


@pytest.fixture
def other_names(server, settings):
    """The access files under other names, by hba_file and ident_file of postgresql.conf."""
    conf = server.data / "postgresql.conf"
    kept = conf.read_bytes()
    paths = []
    for setting, name in (("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")):
        paths.append(server.data / f"mail-{name}.txt")
        shutil.copy(server.data / name, paths[-1])
        shutil.chown(paths[-1], "postgres", "postgres")
        with conf.open("a") as stream:
            stream.write(f"{setting} = '{paths[-1]}'\n")
    restart(server)
    yield paths
    conf.write_bytes(kept)
    restart(server)


def restart(server):
    control = [str(server.programs / "pg_ctl"), "-w", "-D", str(server.data), "-m", "fast"]
    as_postgres(*control, "-l", str(server.data / "log.txt"), "restart")


def test_files_with_other_names_are_restored(settings, other_names, monkeypatch):
    before = [path.read_bytes() for path in other_names]
    broken = hba.hba_line(settings.name, READER.name, "peer map=maildkim nonsense=1")
    monkeypatch.setattr(hba, "hba_line", lambda *_: broken)
    with pytest.raises(AccessFileError, match="put back") as caught:
        apply(settings)
    assert done_before(caught.value) == {}
    assert [path.read_bytes() for path in other_names] == before


def test_change_is_in_force_when_the_run_ends(server, settings):
    """PostgreSQL is not only signalled: the next session can log in."""
    for _ in range(3):
        apply(settings)
        assert count_rows_of_view(server, settings).returncode == 0
        apply(settings, present=False)
        assert count_rows_of_view(server, settings).returncode != 0


def test_note_names_a_mapping_that_another_program_added_to_the_map(settings, files):
    with files[1].open("a") as stream:
        stream.write("maildkim  somebody  vmail-dkim-reader\n")
    planned = apply(settings)
    assert any("somebody" in note for note in planned.notes)
    assert b"somebody" in files[1].read_bytes()


def logs_in(server, settings, role, as_user="nobody"):
    done = server.psql(settings.name, "-c", "SELECT 1", user=role, as_user=as_user)
    return done.returncode == 0


def managed_lines(files):
    return [
        line
        for path in files
        for line in path.read_text(errors="replace").splitlines()
        if hba.MARK in line
    ]


def renamed(settings, **names):
    """Return the settings with another reader, writer, map or database."""
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
    planned = access_files.plan(read(new), new)
    assert apply(new) == planned
    text = "".join(path.read_text() for path in files)
    assert READER.name not in text
    assert not re.search(r"\bmaildkim\b(?!-)", text)
    assert logs_in(server, new, second["name"])
    assert not logs_in(server, new, first["name"])
    assert not apply(new)


@pytest.mark.parametrize("names", [{key: name} for key, name in RENAMES.items()] + [RENAMES])
def test_renaming_back_restores_the_files(settings, files, names):
    bare = [path.read_bytes() for path in files]
    apply(settings)
    before = [sorted(path.read_text().splitlines()) for path in files]
    new = renamed(settings, **names)
    apply(new)
    lines = managed_lines(files)
    assert len(lines) == 4
    for setting, name in names.items():
        assert any(name in line for line in lines), setting
    assert not apply(new)
    apply(settings)
    # The order of the formula's lines makes no difference.
    assert [sorted(path.read_text().splitlines()) for path in files] == before
    apply(new)
    apply(new, present=False)
    assert [path.read_bytes() for path in files] == bare


def test_note_names_the_former_database_and_what_is_left_in_it(settings):
    apply(settings)
    notes = apply(renamed(settings, database="postgres")).notes
    assert any(note.startswith(f"database {settings.name}: ") for note in notes), notes


def test_mail_host_with_former_settings_can_still_log_in(settings, files):
    """The host's daemon must log in again if PostgreSQL restarts before the host's next run."""
    apply(settings)
    new = renamed(settings, reader="mail-signer", map="signermap")
    snapshot = replace(read(new), sessions=frozenset({(settings.name, READER.name)}))
    planned = access_files.plan(snapshot, new)
    assert any(READER.name in note and "session" in note for note in planned.notes)
    assert READER.name not in str(planned.changes["pg_hba.conf"]["old"])
    assert READER.name not in str(planned.changes["pg_ident.conf"]["old"])


@pytest.mark.parametrize("names", [{key: name} for key, name in RENAMES.items()] + [RENAMES])
def test_former_logins_are_kept_until_a_run_without_keep_former(settings, files, names):
    apply(settings)
    before = managed_lines(files)
    new = renamed(settings, **names)
    planned = access_files.plan(read(new), new, keep_former=True)
    assert apply(new, keep_former=True) == planned
    assert not apply(new, keep_former=True)
    # A role that the settings still name has no line with its former map.
    is_kept = not names.keys() <= {"map", "writer_map"}
    assert (set(before) <= set(managed_lines(files))) == is_kept
    assert bool(planned.notes) == is_kept
    apply(new)
    kept = sorted(managed_lines(files))
    apply(new, present=False)
    apply(new)
    assert sorted(managed_lines(files)) == kept


def test_mail_host_without_a_session_logs_in_while_former_lines_are_kept(server, settings, files):
    apply(settings)
    new = renamed(settings, reader="mail-signer", map="signermap")
    apply(new, keep_former=True)
    assert count_rows_of_view(server, settings).returncode == 0
    apply(new)
    assert count_rows_of_view(server, settings).returncode != 0


def test_keeping_former_logins_keeps_no_client_of_a_present_role(settings, files):
    """A client that was removed from the settings can't log in, also during a roll-out."""

    def with_clients(*clients):
        return replace(settings, reader=replace(settings.reader, clients=clients))

    before = access_lines.desired(with_clients("192.0.2.25/32", "192.0.2.26/32"), True, False)
    snapshot = read(settings)
    text = access_lines.new_hba(snapshot.hba_text, before, access_lines.Former())
    now = with_clients("192.0.2.25/32")
    planned = access_files.plan(replace(snapshot, hba_text=text), now, keep_former=True)
    change = planned.changes["pg_hba.conf"]
    assert "192.0.2.26" in change["old"]
    assert "192.0.2.26" not in change["new"]


def test_lines_that_the_site_wrote_for_a_former_role_stay(settings, files):
    own = f"local {settings.name} {READER.name} peer map=own\n"
    files[0].write_text(files[0].read_text() + own)
    apply(settings)
    apply(renamed(settings, reader="mail-signer", map="signermap"))
    assert [line for line in files[0].read_text().splitlines() if READER.name in line] == [
        own.strip()
    ]


def test_rule_that_postgresql_only_warns_about_is_accepted(settings, files):
    """PostgreSQL loads `hostssl` with ssl = off, and no connection matches the line."""
    files[0].write_text(files[0].read_text() + "hostssl all all 0.0.0.0/0 scram-sha-256\n")
    assert read(settings).warnings
    assert not read(settings).faults
    apply(settings)
    assert not apply(settings)


def test_nul_byte_in_a_file_is_refused(settings, files):
    files[1].write_bytes(files[1].read_bytes() + b"# \0\n")
    with pytest.raises(AccessFileError, match="NUL byte"):
        apply(settings)


def test_symbolic_link_to_an_access_file_stays_a_link(settings, files):
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


def test_mapping_of_the_map_to_another_role_causes_no_note(settings, files):
    with files[1].open("a") as stream:
        stream.write("maildkim somebody backup\nmaildkim /^(.*)@example\\.com$ \\1\n")
    notes = apply(settings).notes
    assert not any("somebody" in note for note in notes)
    assert any("example" in note for note in notes)


CLIENTS = ("192.0.2.25/32", "198.51.100.0/24", "2001:db8::/32", "mail.example.net")


@pytest.fixture
def certified(server):
    """A server with a certificate, so that it accepts `hostssl` lines."""
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
    desired = "on" if "= on" in statement else "off"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with db.session(server.settings, setup=True) as connection:
            if query(connection, "SELECT current_setting('ssl')") == [(desired,)]:
                return
    raise AssertionError(f"ssl did not become {desired}")


def with_clients(settings, **reader):
    given = {"password": Secret("x"), "clients": CLIENTS, **reader}
    return replace(settings, reader=replace(settings.reader, **given))


def rules(settings, role=READER.name):
    """Return the lines for the role in the order in which PostgreSQL reads them."""
    with db.session(settings, setup=True, dbname=databases.MAINTENANCE) as connection:
        return query(
            connection,
            "SELECT type, coalesce(address, ''), auth_method, options FROM pg_hba_file_rules"
            " WHERE %s = ANY (user_name) ORDER BY line_number",
            (role,),
        )


def test_clients_log_in_over_tls_by_password(settings, certified, files):
    desired = with_clients(settings)
    planned = access_files.plan(read(desired), desired)
    assert apply(desired) == planned
    assert [row[:3] for row in rules(desired)] == [
        ("local", "", "peer"),
        ("hostssl", "192.0.2.25", "scram-sha-256"),
        ("hostssl", "198.51.100.0", "scram-sha-256"),
        ("hostssl", "2001:db8::", "scram-sha-256"),
        ("hostssl", "mail.example.net", "scram-sha-256"),
    ]
    assert not apply(desired)


def test_line_for_clients_comes_before_rules_that_would_match(settings, certified, files):
    files[0].write_text("host all all 0.0.0.0/0 reject\n" + files[0].read_text())
    apply(with_clients(settings))
    lines = [line for line in files[0].read_text().splitlines() if not line.startswith("#")]
    managed = [at for at, line in enumerate(lines) if line.startswith("hostssl")]
    assert len(managed) == len(CLIENTS)
    assert max(managed) < lines.index("host all all 0.0.0.0/0 reject")


def test_client_that_leaves_the_pillar_loses_its_line(settings, certified, files):
    apply(with_clients(settings))
    apply(with_clients(settings, clients=CLIENTS[:1]))
    assert [row[1] for row in rules(settings)] == ["", "192.0.2.25"]
    apply(settings)
    assert [row[0] for row in rules(settings)] == ["local"]


def test_line_that_the_site_wrote_for_the_reader_stays(settings, certified, files):
    own = f"hostssl {settings.name} {READER.name} 203.0.113.9/32 scram-sha-256\n"
    files[0].write_text(own + files[0].read_text())
    before = files[0].read_bytes()
    apply(with_clients(settings))
    assert own in files[0].read_text()
    apply(settings, present=False)
    assert files[0].read_bytes() == before


def test_clients_with_certificates_are_mapped_by_their_common_names(settings, certified, files):
    desired = with_clients(settings, auth="cert", common_names=("mail.example.net", "mx 2"))
    apply(desired)
    assert {row[0] for row in rules(desired)} == {"hostssl"}
    assert {row[2] for row in rules(desired)} == {"cert"}
    assert all("map=maildkim-cert" in row[3] for row in rules(desired))
    names = [line for line in hba.lines(files[1].read_text()) if "maildkim-cert" in line.raw]
    assert [line.fields[1][0].text for line in names] == ["mail.example.net", "mx 2"]
    assert not apply(desired)
    apply(settings)
    assert "maildkim-cert" not in files[1].read_text()


def test_clients_of_the_writer_have_their_own_lines(settings, certified, files):
    writer = replace(settings.writer, clients=("192.0.2.25/32",), password=Secret("x"))
    apply(replace(settings, writer=writer))
    assert [row[:3] for row in rules(settings, writer.name)] == [
        ("local", "", "peer"),
        ("hostssl", "192.0.2.25", "scram-sha-256"),
    ]


def test_clients_of_the_writer_with_certificates_have_their_own_map(settings, certified, files):
    writer = replace(
        settings.writer, clients=("192.0.2.25/32",), common_names=("mail.example.net",)
    )
    desired = replace(settings, writer=writer)
    apply(desired)
    local, network = rules(settings, writer.name)
    assert local[0] == "local"
    assert network[:3] == ("hostssl", "192.0.2.25", "cert")
    assert f"map={writer.map}-cert" in network[3]
    mappings = [line for line in files[1].read_text().splitlines() if writer.name in line]
    assert ["mail.example.net" in line for line in mappings] == [False, True]
    assert not apply(desired)
    back = apply(settings)
    assert not back.notes
    assert f"{writer.map}-cert" not in files[1].read_text() + files[0].read_text()


def test_account_of_the_site_needs_no_line_for_the_writer(settings):
    planned = access_files.plan(read(settings), replace(settings, user="admin"))
    assert READER.name in str(planned.changes)
    assert settings.writer.name not in str(planned.changes)


def test_server_that_clients_cannot_reach_is_reported(settings):
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


def test_lines_that_the_server_cannot_use_are_undone(settings, files):
    """Without ssl, PostgreSQL reports that a hostssl line cannot match."""
    before = [path.read_bytes() for path in files]
    with pytest.raises(AccessFileError, match="SSL is disabled"):
        apply(with_clients(settings))
    assert [path.read_bytes() for path in files] == before
