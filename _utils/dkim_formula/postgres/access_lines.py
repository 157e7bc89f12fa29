"""The formula's lines in pg_hba.conf and pg_ident.conf, by which reader and writer log in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..settings.model import Database, Reader, Writer
from . import hba


@dataclass(frozen=True)
class Lines:
    """
    The formula's lines for one role.

    local, network
        Rules of pg_hba.conf for the local socket, and for clients over TLS.
    mappings
        Lines of pg_ident.conf.
    maps
        For each of the formula's maps, the system users that the formula's mappings let in.
    """

    database: str
    role: str
    local: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()
    maps: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def is_local(self, line: hba.Line) -> bool:
        """Return whether a line of pg_hba.conf is the formula's rule for the local socket."""
        return hba.is_rule_for(line, self.database, self.role, local=True)

    def is_network(self, line: hba.Line) -> bool:
        """Return whether a line of pg_hba.conf is the formula's rule for clients over TLS."""
        return hba.is_rule_for(line, self.database, self.role, local=False)

    def is_mapping(self, line: hba.Line) -> bool:
        """Return whether a line of pg_ident.conf is the formula's."""
        return hba.is_mapping_for(line, self.role)


@dataclass(frozen=True)
class Former:
    """
    Marked lines for a reader, writer, map or database that the settings no longer name.

    rules, mappings
        Lines of pg_hba.conf and of pg_ident.conf to remove.
    kept_mappings
        Lines of pg_ident.conf that stay, with their rules, while another machine has a session
        with that database and role. This run does not restart the other machine's daemon, which
        must be able to log in again when PostgreSQL restarts.
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
        See :func:`access_files.plan`.
    """
    both = (_reader_lines(database, also_root), _writer_lines(database))
    if present:
        return both
    return tuple(replace(one, local=(), network=(), mappings=()) for one in both)


def _reader_lines(database: Database, also_root: bool) -> Lines:
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
        mappings=(*mappings, *_certificate_mappings(reader)),
        maps=(
            (reader.map, (reader.system_user, "root")),
            (_certificate_map(reader), reader.certificate_names),
        ),
    )


def _writer_lines(database: Database) -> Lines:
    writer = database.writer
    rule = hba.hba_line(database.name, writer.name, f"peer map={writer.map}")
    mapping = hba.ident_line(writer.map, "root", writer.name)
    has_writer = database.has_writer
    return Lines(
        database=database.name,
        role=writer.name,
        local=(rule,) if has_writer else (),
        network=_network(database, writer),
        mappings=(mapping, *_certificate_mappings(writer)) if has_writer else (),
        maps=((writer.map, ("root",)), (_certificate_map(writer), writer.certificate_names)),
    )


def _network(database: Database, role: Reader | Writer) -> tuple[str, ...]:
    """Return a rule for each client: by certificate or by password."""
    method = f"cert map={_certificate_map(role)}" if role.certificate_names else "scram-sha-256"
    return tuple(
        hba.network_line(database.name, role.name, client, method) for client in role.clients
    )


def _certificate_map(role: Reader | Writer) -> str:
    # A map of its own, so that a certificate's common name never matches a system user here.
    return f"{role.map}-cert"


def _certificate_mappings(role: Reader | Writer) -> tuple[str, ...]:
    map_name = _certificate_map(role)
    return tuple(hba.ident_line(map_name, name, role.name) for name in role.certificate_names)


def logins(hba_text: str) -> frozenset[tuple[str, str]]:
    """Return the databases and roles of all marked lines of pg_hba.conf."""
    found = (hba.database_and_role(line) for line in hba.former(hba_text, ()))
    return frozenset(pair for pair in found if pair)


def find_former(
    hba_text: str,
    ident_text: str,
    role_lines: Iterable[Lines],
    sessions: frozenset[tuple[str, str]],
) -> Former:
    """
    Find the marked lines that are no longer desired.

    role_lines
        The desired lines of each role.
    sessions
        The databases and roles whose lines stay, such as those of other machines' sessions.
    """
    rules = hba.former(hba_text, [r for one in role_lines for r in (*one.local, *one.network)])
    mappings = hba.former(ident_text, [line for one in role_lines for line in one.mappings])
    held = sessions - {(one.database, one.role) for one in role_lines}
    waiting = {pair for line in rules if (pair := hba.database_and_role(line)) in held}
    roles = {role for _, role in waiting}
    kept = [line for line in mappings if any(hba.is_mapping_for(line, role) for role in roles)]
    return Former(
        tuple(line for line in rules if hba.database_and_role(line) not in waiting),
        tuple(line for line in mappings if line not in kept),
        tuple(kept),
        tuple(sorted(waiting)),
    )


def new_hba(text: str, role_lines: Iterable[Lines], former: Former) -> str:
    """Return the text of pg_hba.conf with the desired lines and without removed former lines."""
    text = hba.without(text, former.rules)
    for one in role_lines:
        text = hba.with_rules(text, one.local, one.is_local, one.database, one.role)
        text = hba.with_rules(text, one.network, one.is_network, one.database, one.role)
    return text


def new_ident(text: str, role_lines: Iterable[Lines], former: Former) -> str:
    """Return the text of pg_ident.conf with the desired lines and without removed former lines."""
    text = hba.without(text, former.mappings)
    for one in role_lines:
        text = hba.with_mappings(
            text,
            one.mappings,
            lambda line, one=one: one.is_mapping(line) and line not in former.kept_mappings,
        )
    return text
