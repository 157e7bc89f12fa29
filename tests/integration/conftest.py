"""Machines for the tests, of the release that ``--release`` names."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support import signals
from support.machine import KNOWN, RELEASES, Machine, equipment, image, missing
from support.progress import to_stderr


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--release", choices=KNOWN, default=RELEASES[0], help="of Debian")
    parser.addoption("--seed", type=int, default=1, help="of faults that come at random")
    parser.addoption("--minutes", type=float, default=20, help="of a soak's mail or input")


@pytest.fixture(scope="session")
def release(request: pytest.FixtureRequest) -> Iterator[str]:
    """The Debian release that this run is for; the host is able to start it, and it is built."""
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
    A machine that the tests of one file share: bare, or with the packages installed where the file
    says ``EQUIPPED = True``; ``WARM = True`` has :mod:`support.salt` call a Salt that has started.
    """
    equipped = getattr(request.module, "EQUIPPED", False)
    layers = equipment.layers(release, to_stderr()) if equipped else ()
    warm = getattr(request.module, "WARM", False)
    with Machine(release, layers=layers, warm_salt=warm) as fresh:
        yield fresh


@pytest.fixture
def new_machine(release: str) -> Iterator[Callable[..., Machine]]:
    """Starts a bare machine for one test; the arguments are those of ``Machine``."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Machine(release, **options))
