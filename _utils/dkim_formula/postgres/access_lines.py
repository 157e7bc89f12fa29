"""The formula's own lines of pg_hba.conf and pg_ident.conf, by which reader and writer log in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..settings.model import Database, Reader, Writer
from . import hba


@dataclass(frozen=True)
class Lines:
    """
    Our lines for one role.

    local, network
        Rules of pg_hba.conf for the local socket, and for clients over TLS.
    mappings
        Of pg_ident.conf.
    maps
        For each of our maps, the system users whom our mappings let in by it.
    """

    database: str
    role: str
    local: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()
    maps: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def is_local(self, line: hba.Line) -> bool:
        """Tell whether a line of pg_hba.conf is ours, for the local socket."""
        return hba.is_rule_for(line, self.database, self.role, local=True)

    def is_network(self, line: hba.Line) -> bool:
        """Tell whether a line of pg_hba.conf is ours, for clients over TLS."""
        return hba.is_rule_for(line, self.database, self.role, local=False)

    def is_mapping(self, line: hba.Line) -> bool:
        """Tell whether a line of pg_ident.conf is ours."""
        return hba.is_mapping_for(line, self.role)


@dataclass(frozen=True)
class Former:
    """
    Marked lines for a reader, writer, map or database that the settings no longer name.

    rules, mappings
        Those that go: lines of pg_hba.conf and of pg_ident.conf.
    kept_mappings
        Those that stay, with their rules, as long as another machine has a session with that
        database and role: this run does not restart its daemon, which must find its way in again
        when PostgreSQL restarts.
    waiting
        The databases and roles of such sessions.
    """

    rules: tuple[hba.Line, ...] = ()
    mappings: tuple[hba.Line, ...] = ()
    kept_mappings: tuple[hba.Line, ...] = ()
    waiting: tuple[tuple[str, str], ...] = ()


def desired(database: Database, present: bool, also_root: bool) -> tuple[Lines, ...]:
    """
    Return the lines of the reader and of the writer.

    present, also_root
        As :func:`access_files.plan`.
    """
    ours = (_readers_lines(database, also_root), _writers_lines(database))
    if present:
        return ours
    return tuple(replace(one, local=(), network=(), mappings=()) for one in ours)


def _readers_lines(database: Database, also_root: bool) -> Lines:
    reader = database.reader
    by_peer = hba.hba_line(database.name, reader.name, f"peer map={reader.map}")
    by_password = hba.hba_line(database.name, reader.name, "scram-sha-256")
    mapping = hba.ident_line(reader.map, reader.system_user, reader.name)
    for_root = hba.ident_line(reader.map, "root", reader.name)
    mappings: tuple[str, ...] = ()
    if reader.auth == "peer":
        mappings = (mapping, for_root) if also_root else (mapping,)
    return Lines(
        database=database.name,
        role=reader.name,
        local={"peer": (by_peer,), "password": (by_password,), "cert": ()}[reader.auth],
        network=_network(database, reader),
        mappings=(*mappings, *_certified(reader)),
        maps=(
            (reader.map, (reader.system_user, "root")),
            (_by_certificate(reader), reader.certified),
        ),
    )


def _writers_lines(database: Database) -> Lines:
    writer = database.writer
    rule = hba.hba_line(database.name, writer.name, f"peer map={writer.map}")
    mapping = hba.ident_line(writer.map, "root", writer.name)
    wanted = database.has_writer
    return Lines(
        database=database.name,
        role=writer.name,
        local=(rule,) if wanted else (),
        network=_network(database, writer),
        mappings=(mapping, *_certified(writer)) if wanted else (),
        maps=((writer.map, ("root",)), (_by_certificate(writer), writer.certified)),
    )


def _network(database: Database, role: Reader | Writer) -> tuple[str, ...]:
    """Return a rule for each client: by certificate or by password."""
    method = f"cert map={_by_certificate(role)}" if role.certified else "scram-sha-256"
    return tuple(
        hba.network_line(database.name, role.name, client, method) for client in role.clients
    )


def _by_certificate(role: Reader | Writer) -> str:
    # A map of its own: what may stand in a certificate is not what may be a system user here.
    return f"{role.map}-cert"


def _certified(role: Reader | Writer) -> tuple[str, ...]:
    by_certificate = _by_certificate(role)
    return tuple(hba.ident_line(by_certificate, name, role.name) for name in role.certified)


def find_former(
    hba_text: str,
    ident_text: str,
    ours: Iterable[Lines],
    sessions: frozenset[tuple[str, str]],
) -> Former:
    """
    Find the marked lines that are none of ours any more.

    sessions
        The databases and roles of other machines' sessions, whose lines are to stay.
    """
    rules = hba.former(hba_text, [r for one in ours for r in (*one.local, *one.network)])
    mappings = hba.former(ident_text, [line for one in ours for line in one.mappings])
    current = {(one.database, one.role) for one in ours}
    waiting = {pair for line in rules if (pair := hba.pair(line)) in sessions - current}
    roles = {role for _, role in waiting}
    kept = [line for line in mappings if any(hba.is_mapping_for(line, role) for role in roles)]
    return Former(
        tuple(line for line in rules if hba.pair(line) not in waiting),
        tuple(line for line in mappings if line not in kept),
        tuple(kept),
        tuple(sorted(waiting)),
    )


def new_hba(text: str, ours: Iterable[Lines], former: Former) -> str:
    """Return the text of pg_hba.conf with our lines, and without the former ones that go."""
    text = hba.without(text, former.rules)
    for one in ours:
        text = hba.with_rules(text, one.local, one.is_local, one.database, one.role)
        text = hba.with_rules(text, one.network, one.is_network, one.database, one.role)
    return text


def new_ident(text: str, ours: Iterable[Lines], former: Former) -> str:
    """Return the text of pg_ident.conf with our mappings, and without the former ones that go."""
    text = hba.without(text, former.mappings)
    for one in ours:
        text = hba.with_mappings(
            text,
            one.mappings,
            lambda line, one=one: one.is_mapping(line) and line not in former.kept_mappings,
        )
    return text
