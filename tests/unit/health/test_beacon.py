"""The beacon on a minion: its configuration, and the library that it finds."""

import subprocess
import sys
from pathlib import Path

import yaml
from support.templates import rendered

TREE = Path(__file__).resolve().parents[3]
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("dkim_health", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.validate([]))
"""


def test_configuration_of_the_minion_has_the_beacon():
    text = rendered("monitoring/files/dkim-health.conf.jinja", every=60)
    assert yaml.safe_load(text) == {"beacons": {"dkim_health": [{"interval": 60}]}}


def test_beacon_finds_its_library_in_the_folders_of_salt(tmp_path):
    """Salt's loader of beacons does not know the folder of utils."""
    (tmp_path / "beacons").symlink_to(TREE / "_beacons")
    (tmp_path / "utils").symlink_to(TREE / "_utils")
    for path in (tmp_path / "beacons" / "dkim_health.py", TREE / "_beacons" / "dkim_health.py"):
        command = [sys.executable, "-B", "-c", LOAD, str(path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == "(True, 'Valid beacon configuration')\n"
