"""The server's real access files: changed, checked, reloaded, put back; and who gets in."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from dkim_formula.database import access, hba, objects, roles
from dkim_formula.database import connection as db
from dkim_formula.database import server as databases
from dkim_formula.errors import AccessFileError
from dkim_formula.settings.model import Reader
from functional.postgres import query

READER = Reader(name="vmail-dkim-reader", system_user="nobody")


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
        roles.apply(connection, roles.Wanted(READER.name, relations=relations))
    return wanted


def apply(settings, **more):
    with db.session(settings, dbname=databases.MAINTENANCE) as connection:
        return access.apply(connection, settings, **more)


def look(settings):
    with db.session(settings, dbname=databases.MAINTENANCE) as connection:
        return access.look(connection)


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
    announced = access.plan(look(settings), settings)
    assert set(announced.changes) == {"pg_hba.conf", "pg_ident.conf"}
    assert announced.changes == access.plan(access.ABSENT, settings).changes
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
    write = access._write

    def fail(path, text):
        if Path(path) == files[1] and b"opendkim" not in before[1] and "nobody" in text:
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(access, "_write", fail)
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
