"""A daemon with a configuration file of its own."""

from dataclasses import replace

import pytest
from dkim_formula.settings.lookup import DEFAULTS
from dkim_formula.signer import daemons


@pytest.fixture
def daemon(tmp_path):
    """A daemon whose configuration file is in a temporary folder."""
    present = daemons.daemon("rsa", DEFAULTS)
    return replace(present, config_file=str(tmp_path / "opendkim.conf"))
