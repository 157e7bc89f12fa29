"""A process that dies between any two of its statements, as by SIGKILL."""

import contextlib
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions
from dkim_formula.settings.model import Database

WRITER = Database().writer.name


class Killed(BaseException):
    """The death of the process. No ``except Exception`` of the code under test catches it."""


class Death:
    """
    A counter of boundaries that ends a command at one of them.

    A boundary is before or after a statement, a commit, or an update of DNS.
    """

    def __init__(self):
        self._left: int | None = None
        self._dead = False
        self.happened = False

    @contextlib.contextmanager
    def at(self, boundary: int | None) -> Iterator[None]:
        """Kill the code inside at that boundary, counted from 0. None kills nothing."""
        self._left, self._dead = boundary, False
        try:
            yield
        except Killed:
            pass
        finally:
            self._left, self.happened, self._dead = None, self._dead, False

    @contextlib.contextmanager
    def boundary(self) -> Iterator[None]:
        """Count a boundary before the code inside, and one after."""
        self._pass()
        yield
        self._pass()

    def _pass(self) -> None:
        # After its death the command changes nothing more, not even in its finally blocks.
        if self._dead:
            raise Killed
        if self._left is None:
            return
        if self._left == 0:
            self._dead = True
            raise Killed
        self._left -= 1

    def connect(self, *args, **kwargs):
        """Connect as ``psycopg2.connect`` does, with a connection that counts boundaries."""
        if kwargs.get("user") == WRITER:
            # The server would answer the same, because the role does not exist. This saves half
            # of the sessions.
            raise psycopg2.OperationalError(f'role "{WRITER}" does not exist')
        return _CONNECT(*args, connection_factory=self._connection_class(), **kwargs)

    def _connection_class(death):  # noqa: N805 - `self` below is the connection
        class Cursor(psycopg2.extensions.cursor):
            def execute(self, *args, **kwargs):
                with death.boundary():
                    return super().execute(*args, **kwargs)

            def executemany(self, *args, **kwargs):
                with death.boundary():
                    return super().executemany(*args, **kwargs)

            def copy_expert(self, *args, **kwargs):
                with death.boundary():
                    return super().copy_expert(*args, **kwargs)

        class Connection(psycopg2.extensions.connection):
            def cursor(self, *args, **kwargs):
                kwargs.setdefault("cursor_factory", Cursor)
                return super().cursor(*args, **kwargs)

            def commit(self):
                with death.boundary():
                    super().commit()

        return Connection


_CONNECT = psycopg2.connect
