"""The TLS files for a remote server exist, and the keys have modes that libpq accepts."""

import os

import pytest
from dkim_formula.settings.model import Database, Reader
from dkim_formula.signer import certificates


@pytest.fixture
def files(tmp_path):
    paths = {name: tmp_path / name for name in ("ca", "cert", "key")}
    for path in paths.values():
        path.write_text("anything: it is libpq that reads it")
        path.chmod(0o400)
    return paths


def database(files, **more):
    given = {"host": "db", "sslrootcert": str(files["ca"]), **more}
    paths = {"sslcert": str(files["cert"]), "sslkey": str(files["key"])}
    return Database(reader=Reader(auth="cert", **paths), **given)


def test_existing_files_are_no_problem(files):
    assert certificates.problems(database(files)) == []


def test_pair_of_the_writer_is_checked_too(files, tmp_path):
    own = {"sslcert": str(tmp_path / "own.crt"), "sslkey": str(tmp_path / "own.key")}
    problems = certificates.problems(database(files, user="writer", **own))
    assert [text.split(": ")[0] for text in problems] == [
        "dkim:database:sslcert",
        "dkim:database:sslkey",
    ]


def test_key_of_the_writer_that_root_does_not_own_is_refused(files, tmp_path):
    os.chown(files["key"], 65534, 65534)
    own = {"sslcert": str(files["cert"]), "sslkey": str(files["key"])}
    (problem,) = certificates.problems(database(files, user="writer", **own))
    assert problem.startswith("dkim:database:sslkey: ")
    assert "belongs to the user 65534, who could log in as the formula does" in problem
    assert "libpq" not in problem
    assert "make it root's own" in problem


def test_local_socket_needs_no_files():
    assert certificates.problems(Database()) == []


@pytest.mark.parametrize(
    ("name", "key"),
    [("ca", "dkim:database:sslrootcert"), ("cert", "reader:sslcert"), ("key", "reader:sslkey")],
)
def test_missing_file_is_named(files, name, key):
    files[name].unlink()
    (problem,) = certificates.problems(database(files))
    assert key in problem
    assert str(files[name]) in problem


def test_ca_file_is_not_needed_without_verification(files):
    files["ca"].unlink()
    assert certificates.problems(database(files, sslrootcert=None, sslmode="require")) == []


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o644])
def test_key_that_others_can_read_is_refused(files, mode):
    files["key"].chmod(mode)
    (problem,) = certificates.problems(database(files))
    assert f"has mode {mode:04o}, which libpq refuses" in problem
    assert "opendkim's own" in problem
