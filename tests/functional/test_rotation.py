"""Rotations against a real PostgreSQL and scripted name servers: steps, gates, what is told."""

from dataclasses import replace

import pytest
from dkim_formula.database import connection as db
from dkim_formula.operations import rotation
from functional.rotations import Site, site  # noqa: F401


def test_rotation_waits_for_its_record_and_then_switches(site):  # noqa: F811
    site.make_keys()
    done = rotation.rotate(site.settings, "example.com")
    (new,) = site.selectors("pending")
    assert done["changes"] == {f"{new}._domainkey.example.com": {"old": None, "new": "pending"}}
    assert [record["selector"] for record in done["publish"]] == [new]
    assert done["waiting"][0]["next"] == "active"
    assert rotation.advance(site.settings)["changes"] == {}
    site.publish(new)
    first = rotation.advance(site.settings)
    assert first["changes"] == {}
    assert first["come_back"] == first["waiting"][0]["until"] is not None
    site.pass_time(29)
    assert rotation.advance(site.settings)["changes"] == {}
    site.pass_time(2)
    assert rotation.advance(site.settings)["changes"] == {
        f"{new}._domainkey.example.com": {"old": "pending", "new": "active"},
        "default._domainkey.example.com": {"old": "active", "new": "retired"},
    }
    site.pass_time(5 * 86400 + 1)
    assert rotation.advance(site.settings)["changes"] == {
        "default._domainkey.example.com": {"old": "retired", "new": "revoked"},
    }
    site.empty("default")
    site.pass_time(3601)
    assert rotation.advance(site.settings)["changes"] == {
        "default._domainkey.example.com": {"old": "revoked", "new": None},
    }
    assert site.states() == {new: "active"}
    assert rotation.advance(site.settings) == {
        "changes": {},
        "dns": {},
        "waiting": [],
        "publish": [],
        "come_back": None,
        "notes": [],
        "problems": [],
    }
