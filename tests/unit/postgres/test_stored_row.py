"""The remedy for a row of the table of keys that has the path of a key file."""

import re
import shlex

import pytest
import yaml
from dkim_formula.postgres.stored_row import read_row


@pytest.mark.parametrize("state", ["active", "pending"])
@pytest.mark.parametrize("selector", ["0123", "2026", "no", "1e3", "mail_2020", "s2026"])
@pytest.mark.parametrize("path", ["/etc/dkimkeys/mail.private", "/etc/dkim keys/it's: $x"])
def test_command_that_imports_the_file_arrives_as_its_arguments(selector, path, state):
    text = read_row("example.com", selector, path, state).fault
    command = re.search(r"salt-call dkim\.import_key .*?(?=, so it|$)", text)[0]
    arguments = [yaml.safe_load(one) for one in shlex.split(command)[2:]]
    assert [str(one) for one in arguments] == ["example.com", selector, path]
