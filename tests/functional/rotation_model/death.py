"""A process that dies between any two of its statements, as SIGKILL has it."""

import contextlib
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions
from dkim_formula.settings.model import Database

WRITER = Database().writer.name


class Killed(BaseException):
    """The process is dead. No ``except Exception`` of the code under test sees it."""


class Death:
    """
    Counts the boundaries that a command passes, and ends it at one of them: before or after a
    statement, a commit, or an update of DNS.
    """

    def __init__(self):
        self._left: int | None = None
        self._dead = False
        self.happened = False

    @contextlib.contextmanager
    def at(self, boundary: int | None) -> Iterator[None]:
        """Whatever runs inside dies at that boundary, counted from 0; None lets it live."""
        self._left, self._dead = boundary, False
        try:
            yield
        except Killed:
            pass
        finally:
            self._left, self.happened, self._dead = None, self._dead, False

    @contextlib.contextmanager
    def boundary(self) -> Iterator[None]:
        """Something that a kill may come before, or after."""
        self._pass()
        yield
        self._pass()

    def _pass(self) -> None:
        # Once dead, nothing more of the command takes effect, whatever its finally blocks try.
        if self._dead:
            raise Killed
        if self._left is None:
            return
        if self._left == 0:
            self._dead = True
            raise Killed
        self._left -= 1

    def connect(self, *args, **kwargs):
        """``psycopg2.connect``, with a connection that counts."""
        if kwargs.get("user") == WRITER:
            # What the server would say: nobody made the role there. Saves half the sessions.
            raise psycopg2.OperationalError(f'role "{WRITER}" does not exist')
        return _CONNECT(*args, connection_factory=self._connection_class(), **kwargs)

    def _connection_class(death):  # noqa: N805 - `self` is the connection's, below
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
