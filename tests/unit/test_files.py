"""Replacement of a file in one step."""

import os
import stat

import pytest
from dkim_formula.files import replace_file


def test_file_gets_its_mode_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        replace_file(str(tmp_path / "new"), "text\n", 0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_text() == "text\n"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


def test_file_is_replaced_instead_of_written(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        replace_file(str(path), "new", 0o600)
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_owner_is_set(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can change the owner of a file")
    replace_file(str(tmp_path / "file"), "text", 0o600, (1234, 4321))
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_octets_that_are_not_utf8_and_line_ends_are_kept(tmp_path):
    octets = b"caf\xe9\r\nline\n"
    text = octets.decode("utf-8", "surrogateescape")
    replace_file(str(tmp_path / "file"), text, 0o600)
    assert (tmp_path / "file").read_bytes() == octets


@pytest.mark.parametrize("step", ["fchmod", "fsync", "replace"])
def test_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="no"):
        replace_file(str(path), "new", 0o600)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_file_has_its_mode_before_it_is_complete(tmp_path, monkeypatch):
    modes = []
    fsync = os.fsync

    def record_mode(handle):
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record_mode)
    replace_file(str(tmp_path / "file"), "secret", 0o400)
    assert modes == [0o400]
