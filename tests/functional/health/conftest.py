"""A site without problems."""

import pytest


@pytest.fixture
def healthy(site, tmp_path):
    """A site without problems: one new key, whose record is in DNS."""
    site.pillar["domains"] = {
        "example.com": {"algorithm": "ed25519"},
        "example.org": False,
    }
    site.pillar["lookup"] = {"postfix_chroot": str(tmp_path)}
    site.make_keys()
    site.publish("default")
    site.folder = str(tmp_path / "kept")
    return site
