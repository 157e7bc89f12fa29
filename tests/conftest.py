"""Lets pytest work in one process with Salt."""

import contextlib
import sys

with contextlib.suppress(ImportError):
    import salt._logging

    # Salt holds on to the stderr of its import, which pytest closes after the test.
    salt._logging.shutdown_temp_handler()

# pytest asks each finder on sys.meta_path for a spec (_pytest.pathlib, import mode "importlib").
# Salt 3008 puts one there that has none, which Python itself passes over from 3.12 on.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

with contextlib.suppress(ImportError):
    from hypothesis import settings

    # The same examples at each run, so that a run that fails has found a change of ours;
    # --hypothesis-profile=search takes thousands of new ones, and prints what reproduces a failure.
    # bin/test fuzz repeats rounds of as many as usual, each with a seed of its own.
    settings.register_profile("fixed", derandomize=True, deadline=None)
    settings.register_profile("search", max_examples=3000, deadline=None, print_blob=True)
    settings.register_profile("round", deadline=None, print_blob=True, database=None)
    settings.load_profile("fixed")
