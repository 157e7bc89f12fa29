"""Fixtures of test machines, of the release that ``--release`` names."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support import signals
from support.machine import KNOWN, RELEASES, Machine, equipment, image, missing
from support.progress import to_stderr


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--release", choices=KNOWN, default=RELEASES[0], help="Debian release")
    parser.addoption("--seed", type=int, default=1, help="seed of the random faults")
    parser.addoption("--minutes", type=float, default=20, help="minutes of a soak's mail or input")


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> Iterator[str]:
    """
    Yield the Debian release of this run.

    Stops the run if this host cannot start machines. Builds the release's image if it is missing.
    """
    problems = missing()
    if problems:
        pytest.exit("This host can't run test machines:\n" + "\n".join(problems), returncode=1)
    name = request.config.getoption("--release")
    image.layers(name, to_stderr())
    with signals.as_exceptions():
        yield name


@pytest.fixture(scope="module")
def machine(release: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """
    Yield a machine that the tests of one file share.

    The machine is bare. With ``EQUIPPED = True`` in the file, the packages are installed.
    :mod:`support.salt` calls a Salt process that runs already, or starts a new one for each call
    with ``WARM = False`` in the file.
    """
    equipped = getattr(request.module, "EQUIPPED", False)
    layers = equipment.layers(release, to_stderr()) if equipped else ()
    warm = getattr(request.module, "WARM", True)
    with Machine(release, layers=layers, warm_salt=warm) as fresh:
        yield fresh


@pytest.fixture
def new_machine(release: str) -> Iterator[Callable[..., Machine]]:
    """Yield a function that starts a bare machine for one test, with ``Machine``'s arguments."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Machine(release, **options))
