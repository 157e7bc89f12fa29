"""Shares the tests between the releases, and lets pytest work in one process with Salt."""

import contextlib
import sys

import pytest
from support.machine import RELEASES
from support.share import releases_of

with contextlib.suppress(ImportError):
    import salt._logging

    # Salt holds on to the stderr of its import, which pytest closes after the test.
    salt._logging.shutdown_temp_handler()

# pytest asks each finder on sys.meta_path for a spec (_pytest.pathlib, import mode "importlib").
# Salt 3008 puts one there that has none, which Python itself passes over from 3.12 on.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

with contextlib.suppress(ImportError):
    import saltfactories.plugins

    # Here and not by pytest itself, which would import Salt before the lines above.
    pytest_plugins = [
        f"saltfactories.plugins.{name}"
        for name in ("event_listener", "factories", "log_server", "markers", "sysinfo")
    ]
    pytest_plugins.append(saltfactories.plugins.__name__)

with contextlib.suppress(ImportError):
    from hypothesis import settings

    # The same examples at each run, so that a run that fails has found a change of ours;
    # --hypothesis-profile=search takes thousands of new ones, and prints what reproduces a failure.
    # bin/test fuzz repeats rounds of as many as usual, each with a seed of its own.
    settings.register_profile("fixed", derandomize=True, deadline=None)
    settings.register_profile("search", max_examples=3000, deadline=None, print_blob=True)
    settings.register_profile("round", deadline=None, print_blob=True, database=None)
    settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share",
        choices=RELEASES,
        help="leave to the other release what is marked as one_release and is not this one's",
    )
    parser.addoption("--soak", action="store_true", help="also tests that are marked as soak")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Leave out the other release's share where both run, and tests that are marked as soak where
    neither ``--soak`` nor ``-m soak`` asks for them.
    """
    share = config.getoption("--share")
    soak = config.getoption("--soak") or "soak" in config.getoption("markexpr")
    left_out = [
        item
        for item in items
        if (share and share not in releases_of(item))
        or (not soak and item.get_closest_marker("soak") is not None)
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
