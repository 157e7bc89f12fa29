"""The formula as a peer: OpenDKIM over PostgreSQL, with one daemon or two."""

from collections.abc import Sequence
from dataclasses import replace

from cryptography.hazmat.primitives import serialization
from dkim_formula.keys import changes
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import schema
from dkim_formula.postgres.connection import session
from dkim_formula.postgres.objects import key_view, signing_view
from dkim_formula.private_key import PrivateKey

from .. import site
from .keys import Key
from .opendkim_files import OpenDKIM
from .peer import timed


class Formula(OpenDKIM):
    """The formula with one daemon, for RSA only."""

    title = "this formula"
    algorithms: Sequence[str] = ("rsa",)

    def __init__(self, keys: Sequence[Key]):
        super().__init__(keys)
        name = f"{type(self).__name__.lower()}_{len(keys)}"
        self.database = replace(site.settings().database, name=name)

    @property
    def sockets(self) -> Sequence[str]:
        """One socket per daemon."""
        return [f"{self.folder}/{algorithm}.sock" for algorithm in self.algorithms]

    def configure(self) -> None:
        """Make a database by the formula's own set-up, and write the daemons' files."""
        name = self.database.name
        # A killed run may have left its database.
        self._drop()
        site.sql(f"CREATE DATABASE {name};")
        with session(self.database, setup=True) as connection:
            schema.apply(connection, self.database)
        for algorithm in self.algorithms:
            views = signing_view(algorithm), key_view(algorithm)
            site.sql(f'GRANT SELECT ON {", ".join(views)} TO "{site.READER}";', name)
            options = site.options(*views, name)
            options["Socket"] = f"local:{self.folder}/{algorithm}.sock"
            options["SignatureAlgorithm"] = f"{algorithm}-sha256"
            self.write_configuration(**options)
            (self.folder / "conf").rename(self.folder / f"{algorithm}.conf")
        self._store(self._pairs(self.keys), "active")
        for table in ("dkim", "dkim_signing"):
            site.sql(f"VACUUM (ANALYZE) {table};", name)

    def commands(self) -> Sequence[Sequence[str]]:
        """Return one command per daemon."""
        return [
            ["/usr/sbin/opendkim", "-f", "-x", f"{self.folder}/{algorithm}.conf"]
            for algorithm in self.algorithms
        ]

    def put(self, key: Key) -> None:
        """Store the key and switch to it, as dkim.rotate does once the record is visible."""
        self._store(self._pairs([key]), "pending")

    def put_all(self, keys: Sequence[Key]) -> float:
        """Store many keys and switch to them; write no file and signal no daemon."""
        # The keys are at hand, as they are for the others: parsing their texts is no part of it.
        pairs = self._pairs(keys)
        seconds = timed(lambda: self._store(pairs, "pending"))
        return seconds + timed(lambda: self.wait_for(keys[-1]))

    def database_processes(self) -> Sequence[int]:
        """Return PostgreSQL's processes for the daemons."""
        return site.sessions(self.database.name)

    def remove(self) -> None:
        """Remove the files and the database."""
        super().remove()
        self._drop()

    def _drop(self) -> None:
        site.sql(f"DROP DATABASE IF EXISTS {self.database.name} WITH (FORCE);")

    def _store(self, pairs: Sequence[tuple[DesiredKey, PrivateKey]], state: str) -> None:
        with session(self.database, setup=True) as connection:
            stored = changes.store(connection, self.database, pairs, "benchmark", state)
            if state == "pending":
                numbers = [key.id for key in stored]
                changes.switch_to(connection, self.database, numbers, "benchmark")
            connection.commit()

    def _pairs(self, keys: Sequence[Key]) -> Sequence[tuple[DesiredKey, PrivateKey]]:
        return [pair for key in keys for pair in self._pairs_of(key)]

    def _pairs_of(self, key: Key) -> Sequence[tuple[DesiredKey, PrivateKey]]:
        private = serialization.load_pem_private_key(
            key.pem.encode(), None, unsafe_skip_rsa_key_validation=True
        )
        return [(DesiredKey(key.domain, key.selector), PrivateKey(private))]


class FormulaBoth(Formula):
    """The formula with two daemons, for RSA and Ed25519: two signatures per message."""

    title = "this formula, both algorithms"
    algorithms = ("rsa", "ed25519")
    signatures = 2

    def _pairs_of(self, key: Key) -> Sequence[tuple[DesiredKey, PrivateKey]]:
        second = DesiredKey(key.domain, f"{key.selector}-ed25519", "ed25519", 256)
        return [*super()._pairs_of(key), (second, PrivateKey.generate("ed25519"))]
