"""A site that nothing is wrong with."""

import pytest


@pytest.fixture
def healthy(site, tmp_path):
    """A site whose only key is new and in DNS, and DNS names that nobody else has."""
    site.pillar["domains"] = {
        "example.com": {"algorithm": "ed25519"},
        "example.org": False,
    }
    site.pillar["lookup"] = {"postfix_chroot": str(tmp_path)}
    site.make_keys()
    site.publish("default")
    site.folder = str(tmp_path / "kept")
    return site
