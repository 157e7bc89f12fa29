"""
Whether the server takes clients from elsewhere over TLS.

postgresql.conf, the server's certificate and its restarts are the site's: an address to listen at
needs a restart, which ends every session of the site's own. So this is looked at and told.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ..postgres.inspection import Inspection
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def inspect(connection: pg.connection, database: Database) -> Inspection:
    """What of the server's settings keeps ``reader:clients`` and ``worker:clients`` out."""
    clients = (*database.reader.clients, *database.worker.clients)
    if not clients:
        return Inspection()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('ssl') = 'on', current_setting('ssl_ca_file'),"
            " current_setting('listen_addresses'), current_setting('config_file')"
        )
        ssl, authorities, addresses, path = cursor.fetchone()
    problems, advice = [], []
    if not ssl:
        problems.append(
            "dkim:database:reader:clients, dkim:database:worker:clients: PostgreSQL has ssl = off, "
            f"and they are let in over TLS alone; set ssl = on in {path}, with ssl_cert_file and "
            "ssl_key_file, and reload"
        )
    by_certificate = {
        "dkim:database:reader:auth: 'cert'": database.reader.certified,
        "dkim:database:worker:common_names": database.worker.certified,
    }
    problems += [
        f"{what} needs PostgreSQL to have an authority that it verifies certificates by: set "
        f"ssl_ca_file in {path}, and reload"
        for what, wanted in by_certificate.items()
        if wanted and not authorities
    ]
    if all(map(_is_loopback, addresses.split(","))):
        advice.append(
            "dkim:database:reader:clients, dkim:database:worker:clients: PostgreSQL listens at "
            f"{addresses!r} alone, where no other machine gets to; set listen_addresses in {path} "
            "and restart it"
        )
    return Inspection(tuple(problems), tuple(advice))


def _is_loopback(address: str) -> bool:
    name = address.strip()
    if name in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
