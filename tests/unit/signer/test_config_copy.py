"""A custom opendkim.conf is copied for root alone, without passwords."""

import os
import stat
from pathlib import Path

import pytest
from dkim_formula.errors import OpenDKIMError
from dkim_formula.signer.config_copy import copies, copy_path, lacks_copy, save_copy


def test_only_root_can_read_the_copy_and_it_is_never_overwritten(daemon):
    Path(daemon.config_file).write_text("LogWhy yes\n")
    copy = copy_path(daemon)
    assert copy == f"{daemon.config_file}.before-dkim-formula"
    save_copy(daemon.config_file, copy)
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o400
    with pytest.raises(OpenDKIMError, match="can't be copied"):
        save_copy(daemon.config_file, copy)


def test_copy_has_no_password(daemon):
    text = (
        "KeyTable dsn:pgsql://reader:hu@sh@localhost/vmail/table=k?keycol=i\n"
        "SigningTable dsn:mysql://reader@localhost/vmail/table=s\n"
        "ldapbindpassword  hush and more\nInternalHosts 127.0.0.1, ::1\n"
    )
    Path(daemon.config_file).write_text(text)
    copy = copy_path(daemon)
    save_copy(daemon.config_file, copy)
    with open(copy, encoding="utf-8") as stream:
        kept = stream.read()
    assert kept == (
        "KeyTable dsn:pgsql://reader:LEFT-OUT@localhost/vmail/table=k?keycol=i\n"
        "SigningTable dsn:mysql://reader@localhost/vmail/table=s\n"
        "ldapbindpassword  LEFT-OUT\nInternalHosts 127.0.0.1, ::1\n"
    )
    assert copy_path(daemon) == copy


def test_second_custom_file_has_its_own_copy(daemon):
    Path(daemon.config_file).write_text("LogWhy yes\n")
    save_copy(daemon.config_file, copy_path(daemon))
    assert copy_path(daemon).endswith(".before-dkim-formula")
    Path(daemon.config_file).write_text("LogWhy no\n")
    assert copy_path(daemon).endswith(".before-dkim-formula.2")


def test_copy_has_a_new_name_if_an_older_copy_was_removed(daemon):
    for number in range(3):
        Path(daemon.config_file).write_text(f"Nameservers 192.0.2.{number}\n")
        save_copy(daemon.config_file, copy_path(daemon))
    os.unlink(f"{daemon.config_file}.before-dkim-formula")
    Path(daemon.config_file).write_text("LogWhy no\n")
    assert lacks_copy(daemon.config_file, copy_path(daemon))


def test_copies_have_the_order_of_their_numbers(daemon):
    for number in range(11):
        Path(daemon.config_file).write_text(f"Nameservers 192.0.2.{number}\n")
        save_copy(daemon.config_file, copy_path(daemon))
    assert copies(daemon.config_file)[-1].endswith(".before-dkim-formula.11")
