"""The share of the tests that a run has: by release, and without the long forms of soak."""

import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from support.machine import RELEASES


def releases_of(item: pytest.Item) -> tuple[str, ...]:
    """
    Return the releases on which a test runs: one if it is a unit test, is marked as ``one_release``
    or has generated examples, which take long; otherwise all.

    The one release is named by the marker, or follows from a checksum of the test's name, so that
    each release gets about half of a long file.
    """
    marker = item.get_closest_marker("one_release")
    # Set by hypothesis.given.
    generated = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    if marker is None and not generated and not item.nodeid.startswith("tests/unit/"):
        return RELEASES
    if marker is None or not marker.args:
        return (RELEASES[zlib.crc32(item.nodeid.encode()) % len(RELEASES)],)
    if not set(marker.args) <= set(RELEASES):
        raise ValueError(f"{item.nodeid}: one_release{marker.args}: use {', '.join(RELEASES)}")
    return marker.args


def short_form(cases: Sequence[Any], count: int = 1) -> list[Any]:
    """
    Return cases for ``parametrize`` or ``params``: the first ones run always, the others in soak.

    A case of several values is a tuple.
    """

    def in_soak(case: Any) -> Any:
        values = case if isinstance(case, tuple) else (case,)
        return pytest.param(*values, marks=pytest.mark.soak)

    return [*cases[:count], *map(in_soak, cases[count:])]
