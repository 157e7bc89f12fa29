"""The reader's password is written to one file that only the daemon can read."""

import os
import pwd
import stat

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.secret import Secret
from dkim_formula.settings.model import Database, Reader
from dkim_formula.signer import passfile

PASSWORD = "correct-horse-battery"
ME = pwd.getpwuid(os.getuid()).pw_name


def database(password=PASSWORD, **settings):
    reader = Reader(auth="password", password=None if password is None else Secret(password))
    return Database(reader=reader, **settings)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "pgpass")


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_line_matches_any_host_and_port():
    assert passfile.text(database()) == f"*:*:vmail:vmail-dkim-reader:{PASSWORD}\n"


def test_delimiters_are_escaped():
    reader = Reader(name="r:1", auth="password", password=Secret("a\\b"))
    assert passfile.text(Database(name="v", reader=reader)) == "*:*:v:r\\:1:a\\\\b\n"


def test_missing_password_is_an_error_that_names_the_pillar_key():
    with pytest.raises(InvalidValue, match=r"^dkim:database:reader:password: "):
        passfile.text(database(password=None))


@pytest.mark.parametrize("function", [passfile.changes, passfile.write])
def test_missing_password_fails_the_test_run_as_it_fails_the_run(path, function):
    with pytest.raises(InvalidValue, match=r"^dkim:database:reader:password: "):
        function(database(password=None), path, ME)
    assert not os.path.exists(path)


def test_only_the_user_can_read_a_new_file(path):
    passfile.write(database(), path, ME)
    assert mode(path) == 0o400
    assert pwd.getpwuid(os.stat(path).st_uid).pw_name == ME
    with open(path, encoding="utf-8") as stream:
        assert stream.read() == passfile.text(database())


def test_written_file_needs_no_change(path):
    passfile.write(database(), path, ME)
    assert passfile.changes(database(), path, ME) == {"changes": {}, "notes": []}


def test_missing_file_is_a_change(path):
    changes = passfile.changes(database(), path, ME)["changes"]
    assert changes == {path: {"old": None, "new": "the reader's password"}}


def test_other_password_is_a_change_that_shows_neither(path):
    passfile.write(database("first-secret"), path, ME)
    found = passfile.changes(database("second-secret"), path, ME)
    assert list(found["changes"]) == [path]
    assert "secret" not in str(found)


def test_wrong_mode_is_found_and_corrected(path):
    passfile.write(database(), path, ME)
    os.chmod(path, 0o644)
    assert passfile.changes(database(), path, ME)["changes"] == {
        "mode": {"old": "0644", "new": "0400"}
    }
    passfile.write(database(), path, ME)
    assert mode(path) == 0o400


def test_wrong_owner_is_found(path):
    passfile.write(database(), path, ME)
    assert passfile.changes(database(), path, "somebody")["changes"] == {
        "user": {"old": ME, "new": "somebody"}
    }


def test_failed_write_leaves_the_old_file_and_no_temporary_file(path, monkeypatch):
    passfile.write(database("first-secret"), path, ME)

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InvalidValue, match="can't be written"):
        passfile.write(database("second-secret"), path, ME)
    assert os.listdir(os.path.dirname(path)) == ["pgpass"]
    assert passfile.changes(database("first-secret"), path, ME)["changes"] == {}


def test_unknown_user_is_an_error_and_leaves_no_temporary_file(path):
    with pytest.raises(InvalidValue, match=r"^user: 'no-such-user' is no account"):
        passfile.write(database(), path, "no-such-user")
    assert os.listdir(os.path.dirname(path)) == []


def test_binary_file_is_replaced(path):
    with open(path, "wb") as stream:
        stream.write(b"\xff\xfe")
    passfile.write(database(), path, ME)
    assert passfile.changes(database(), path, ME)["changes"] == {}
