"""A file written anew in one step."""

import os
import stat

import pytest
from dkim_formula.files import replace_file


def test_file_is_made_with_its_mode_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        replace_file(str(tmp_path / "new"), "text\n", 0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_text() == "text\n"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


def test_file_is_replaced_and_not_written_into(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        replace_file(str(path), "new", 0o600)
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_owner_is_set(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("root alone gives files away")
    replace_file(str(tmp_path / "file"), "text", 0o600, (1234, 4321))
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_octets_that_are_no_utf8_and_line_ends_come_out_as_they_were(tmp_path):
    octets = b"caf\xe9\r\nline\n"
    text = octets.decode("utf-8", "surrogateescape")
    replace_file(str(tmp_path / "file"), text, 0o600)
    assert (tmp_path / "file").read_bytes() == octets


@pytest.mark.parametrize("step", ["fchmod", "fsync", "replace"])
def test_failure_leaves_the_old_file_and_no_scrap(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="no"):
        replace_file(str(path), "new", 0o600)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_nobody_else_can_read_it_before_it_is_whole(tmp_path, monkeypatch):
    seen = []
    really = os.fsync

    def look(handle):
        seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        really(handle)

    monkeypatch.setattr(os, "fsync", look)
    replace_file(str(tmp_path / "file"), "secret", 0o400)
    assert seen == [0o400]
