"""
The tree's execution functions and states through Salt's own loader, and a check for leaks.

Root reaches the test's PostgreSQL over the default socket directory, as a minion reaches its own
server. Pillar ``dkim:database`` needs only the port of the test's server.
"""

import contextlib
import json
import logging
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.payload
import salt.state
from dkim_formula.errors import DatabaseError
from dkim_formula.postgres import connection as db
from dkim_formula.settings.model import Database
from functional.server import query
from salt.loader.lazy import LazyLoader

TREE = Path(__file__).resolve().parents[2]
DIRECTORIES = {"module": "_modules", "states": "_states"}
GRAINS = {
    "id": "mail",
    "init": "systemd",
    "kernel": "Linux",
    "os": "Debian",
    "os_family": "Debian",
}
# Salt's TRACE is 5, its GARBAGE 1 (salt._logging.impl).
EVERYTHING = 1
_PUBLIC_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----")


def minion_options(folder: Path) -> dict[str, Any]:
    """Return the configuration of a minion that reads this tree and has no master."""
    options = salt.config.minion_config(None)
    options.update(
        root_dir=str(folder),
        cachedir=str(folder / "cache"),
        file_client="local",
        id="mail",
        grains=dict(GRAINS),
        pillar={},
        test=False,
        module_dirs=[str(TREE / "_modules")],
        states_dirs=[str(TREE / "_states")],
        utils_dirs=[str(TREE / "_utils")],
    )
    return options


def functions_of(kind: str) -> dict[str, Any]:
    """Return every function that Salt's loader finds in ``_modules`` or ``_states``."""
    folder = str(TREE / DIRECTORIES[kind])
    pack = {"__salt__": {}, "__opts__": {}, "__pillar__": {}}
    loader = LazyLoader([folder], dict(salt.config.DEFAULT_MINION_OPTS), tag=kind, pack=pack)
    return {name: loader[name] for name in loader}


class _AsLoaded:
    """
    A loader whose values are the functions themselves.

    Salt's loader returns a ``LoadedFunc``, which looks up its name at each call. If a test restored
    a ``LoadedFunc``, the lookup would find the ``LoadedFunc`` itself and never end.
    """

    def __init__(self, functions: LazyLoader):
        self._functions = functions

    def get(self, name: str, default: object) -> object:
        self._functions.get(name)  # loads the module
        return self._functions._dict.get(name, default)

    def __setitem__(self, name: str, function: object) -> None:
        # Through the loader, which updates the modules' own one too (salt.loader.minion_mods, Salt
        # 3008).
        self._functions[name] = function

    def __delitem__(self, name: str) -> None:
        del self._functions[name]


def as_loaded(functions: LazyLoader, name: str) -> Any:
    """Return a function itself instead of the loader's ``LoadedFunc``."""
    return _AsLoaded(functions).get(name, None)


def stand_in(monkeypatch: pytest.MonkeyPatch, functions: LazyLoader, doubles: Mapping) -> None:
    """Replace functions of Salt with test doubles until the test ends."""
    for name, double in doubles.items():
        monkeypatch.setitem(_AsLoaded(functions), name, double)


class Listener(logging.Handler):
    """A log handler that keeps the text of every record, with its traceback."""

    def __init__(self):
        super().__init__(EVERYTHING)
        self.texts: list[str] = []

    def emit(self, record):
        self.texts.append(self.format(record))


class Minion:
    """
    A minion with its pillar.

    The minion keeps everything that its functions return, raise or log. :meth:`leaks` searches
    that text for ``secrets``: passwords, and every private key that was in the database.
    """

    def __init__(self, loaded: salt.state.State, database: Database, listener: Listener):
        self.functions = loaded.functions
        self.database = database
        self.secrets: set[str] = set()
        self.outputs: list[str] = []
        self._loaded = loaded
        self._listener = listener
        self.set_pillar()

    def set_pillar(self, database: Mapping[str, Any] | None = None, **sections: Any) -> None:
        """Set pillar ``dkim`` to the database and two domains. ``sections`` add or replace keys."""
        where = {"name": self.database.name, "port": self.database.port, **(database or {})}
        domains = {"example.com": {}, "example.org": {}}
        # A new object, as at every refresh of a pillar. The loaders keep the outer object.
        self._loaded.opts["pillar"]["dkim"] = {"domains": domains, **sections, "database": where}

    def call(self, function: str, *arguments: Any, **named: Any) -> Any:
        """Call an execution function, and check that JSON and Salt can serialize its return."""
        try:
            returned = self.functions[function](*arguments, **named)
        except Exception:
            self.outputs.append(traceback.format_exc())
            raise
        finally:
            self._learn_keys()
        json.dumps(returned)
        assert salt.payload.loads(salt.payload.dumps(returned)) == returned
        self.outputs.append(repr(returned))
        return returned

    def state(self, function: str, name: str, test: bool = False, **arguments: Any) -> Any:
        """Return what one state returns in a state run."""
        module, _, called = function.partition(".")
        chunk = {"state": module, "fun": called, "name": name, **arguments}
        chunk.update({"__id__": name, "__sls__": "test", "__env__": "base", "order": 1})
        self._loaded.states.opts["test"] = test
        try:
            returned = self._loaded.call(chunk)
        finally:
            self._loaded.states.opts["test"] = False
            self._learn_keys()
        json.dumps(returned)
        self.outputs.append(repr(returned))
        return returned

    def private_keys(self) -> list[str]:
        """Return the private keys in the minion's database."""
        try:
            with db.session(self.database, setup=True) as connection:
                return [key for (key,) in query(connection, "SELECT key FROM public.dkim") if key]
        except DatabaseError:  # no database or no table yet
            return []

    def leaks(self) -> list[str]:
        """Return the secrets that appear in the minion's output."""
        text = "\n".join([*self.outputs, *self._listener.texts])
        return [secret for secret in self.secrets if secret in text]

    def _learn_keys(self) -> None:
        for key in self.private_keys():
            private = _PUBLIC_BLOCK.sub("", key)
            lines = [line for line in private.splitlines() if len(line) > 40 and "-" not in line]
            # The first half of an RSA key is its modulus, which is public.
            self.secrets.update(lines[len(lines) // 2 :])


@pytest.fixture(scope="session")
def loaded(tmp_path_factory):
    """Salt's state system with its loaders, created once because that takes seconds."""
    options = minion_options(tmp_path_factory.mktemp("salt"))
    pillar = {"dkim": {}}
    return salt.state.State({**options, "pillar": pillar}, initial_pillar=pillar)


@contextlib.contextmanager
def watched(loaded, database, caplog):
    """Yield a minion with a database. Afterwards check that the minion leaked no secret."""
    caplog.set_level(EVERYTHING)
    listener = Listener()
    logging.getLogger().addHandler(listener)
    minion = Minion(loaded, database, listener)
    try:
        yield minion
    finally:
        logging.getLogger().removeHandler(listener)
    assert not minion.leaks()


@pytest.fixture
def minion(loaded, database, caplog):
    """A minion with an empty database."""
    with watched(loaded, database, caplog) as minion:
        yield minion


@pytest.fixture
def mailhost(loaded, ready, caplog):
    """A minion whose database has the formula's schema and two domains without keys."""
    with watched(loaded, ready, caplog) as minion:
        yield minion
