"""Distribution of the tests over the releases, and pytest's set-up beside Salt in one process."""

import contextlib
import sys

import pytest
from support.machine import RELEASES
from support.share import releases_of

with contextlib.suppress(ImportError):
    import salt._logging

    # Salt's handler keeps the stderr of its import, and pytest closes that file after a test.
    salt._logging.shutdown_temp_handler()

# pytest asks each finder on sys.meta_path for a spec (_pytest.pathlib, import mode "importlib").
# Salt 3008 adds a finder without find_spec; Python itself ignores such a finder since 3.12.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

with contextlib.suppress(ImportError):
    import saltfactories.plugins

    # Loaded here: pytest's own loading of plugins would import Salt before the lines above.
    pytest_plugins = [
        f"saltfactories.plugins.{name}"
        for name in ("event_listener", "factories", "log_server", "markers", "sysinfo")
    ]
    pytest_plugins.append(saltfactories.plugins.__name__)

with contextlib.suppress(ImportError):
    from hypothesis import settings

    # "fixed": the same examples in each run, so that a failure comes from a change of the formula.
    # "search": thousands of new examples; a failure prints how to reproduce it.
    # "round": the usual number of examples; bin/test fuzz repeats it, each round with a new seed.
    settings.register_profile("fixed", derandomize=True, deadline=None)
    settings.register_profile("search", max_examples=3000, deadline=None, print_blob=True)
    settings.register_profile("round", deadline=None, print_blob=True, database=None)
    settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share",
        choices=RELEASES,
        help="run only the tests of this release: no one_release tests of the other release",
    )
    parser.addoption("--soak", action="store_true", help="also tests that are marked as soak")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Deselect the tests that another release runs, if ``--share`` is set, and the tests that are
    marked as soak, unless ``--soak`` or ``-m soak`` is set.
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
