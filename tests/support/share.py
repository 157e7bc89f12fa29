"""Which releases a test runs on."""

import zlib

import pytest

from support.machine import RELEASES


def releases_of(item: pytest.Item) -> tuple[str, ...]:
    """
    The releases that a test is for: all, unless it is marked as ``one_release``. That is the one
    which the marker names, or one by the test's own name, so that each has half of a long file.
    """
    marker = item.get_closest_marker("one_release")
    if marker is None:
        return RELEASES
    if not marker.args:
        return (RELEASES[zlib.crc32(item.nodeid.encode()) % len(RELEASES)],)
    if not set(marker.args) <= set(RELEASES):
        raise ValueError(f"{item.nodeid}: one_release{marker.args}: one of {', '.join(RELEASES)}")
    return marker.args
