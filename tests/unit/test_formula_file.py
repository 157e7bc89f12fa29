"""FORMULA has what Salt's package manager needs, and agrees with the rest of the tree."""

import re
from pathlib import Path

import yaml
from dkim_formula.version import VERSION
from support.machine import salts

ROOT = Path(__file__).resolve().parents[2]
FORMULA = yaml.safe_load((ROOT / "FORMULA").read_text(encoding="utf-8"))
# Salt's manual, "Salt Package Manager", "FORMULA file".
REQUIRED = {
    "name",
    "os",
    "os_family",
    "version",
    "release",
    "minimum_version",
    "summary",
    "description",
}


def salt_pin():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return re.search(r"^salt==([\d.]+)$", text, re.MULTILINE)[1]


def newest_release():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.search(r"^## \[([\d.]+)\]", text, re.MULTILINE)[1]


def test_formula_file_has_every_required_key():
    assert [key for key in REQUIRED if not FORMULA.get(key)] == []


def test_states_are_in_the_folder_that_spm_reads():
    assert FORMULA["name"] == FORMULA["top_level_dir"]
    assert (ROOT / FORMULA["top_level_dir"] / "init.sls").is_file()


def test_spm_keeps_the_paths_of_the_modules():
    # It removes every "dkim/" from these paths, also at the end of a word (measured, Salt 3008.3).
    modules = [
        path
        for kind in ("_beacons", "_modules", "_output", "_runners", "_states", "_utils")
        for path in ROOT.glob(f"{kind}/**/*.py")
    ]
    changed = [str(path) for path in modules if "dkim/" in str(path.relative_to(ROOT))]
    assert modules
    assert changed == []


def test_version_is_the_newest_in_the_changelog():
    assert FORMULA["version"] == newest_release()


def test_library_has_the_version_of_the_formula():
    assert str(FORMULA["version"]) == VERSION


def test_minimum_version_is_the_oldest_tested_release_of_salt():
    tested = [*salts.VERSIONS, salt_pin()]
    assert min(version.partition(".")[0] for version in tested) == str(FORMULA["minimum_version"])


def test_readme_names_the_tested_releases_of_salt():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for version in (*salts.VERSIONS, salt_pin()):
        assert version in readme


def test_os_families_are_those_of_osfamilymap():
    names = yaml.safe_load((ROOT / "dkim" / "osfamilymap.yaml").read_text(encoding="utf-8"))
    assert FORMULA["os_family"].split(", ") == list(names)


def test_every_linked_file_exists():
    texts = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    missing = [
        f"{text.name}: {target}"
        for text in texts
        for target in re.findall(r"\]\(([^)#:]+)\)", text.read_text(encoding="utf-8"))
        if not (text.parent / target).exists()
    ]
    assert missing == []
