"""Expiry times of certificates and passwords, as samples of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timezone
from typing import TYPE_CHECKING

from cryptography import x509

from ..settings.model import Database
from .model import Sample

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

# VALID UNTIL limits only logins by a password (PostgreSQL, CREATE ROLE).
_PASSWORD_ENDS = """
SELECT extract(epoch FROM rolvaliduntil)::float8 FROM pg_roles
 WHERE rolname = %s AND isfinite(rolvaliduntil)
"""

_SERVER_CERTIFICATE = """
SELECT setting FROM pg_settings
 WHERE name = 'ssl_cert_file' AND current_setting('ssl')::boolean AND setting LIKE '/%'
"""


def certificates_of_machine(database: Database) -> Iterator[Sample]:
    """Yield the expiry times of this machine's certificates for sessions with a remote server."""
    if database.host:
        yield from certificates(_files(database))


def _files(database: Database) -> Iterator[tuple[str, str]]:
    """Yield the use and the file of each certificate for sessions with a remote server."""
    if database.reader.auth == "cert" and database.reader.sslcert:
        yield "reader", database.reader.sslcert
    if database.sslcert:
        yield "salt", database.sslcert
    if database.sslrootcert:
        yield "authorities", database.sslrootcert


def certificates(files: Iterable[tuple[str, str]]) -> Iterator[Sample]:
    """
    Yield the expiry times of the certificates in files.

    A file without a certificate has no sample, since the login check reports the failing login.

    files
        The use and the path of each file. Of ``authorities`` the certificate with the latest expiry
        counts, since a bundle keeps old authorities with new ones. Of other uses the first
        certificate counts, which is the holder's own.
    """
    for use, path in files:
        try:
            with open(path, "rb") as stream:
                ends = [_end(text) for text in _PEM.findall(stream.read())]
        except (OSError, ValueError):
            continue
        if ends:
            end = max(ends) if use == "authorities" else ends[0]
            labels = {"use": use, "file": path}
            yield Sample("dkim_certificate_expiry_timestamp_seconds", end, labels)


def _end(pem: bytes) -> float:
    certificate = x509.load_pem_x509_certificate(pem)
    # cryptography before 42 has only the time without a zone, which is in UTC.
    end = getattr(certificate, "not_valid_after_utc", None)
    return (end or certificate.not_valid_after.replace(tzinfo=timezone.utc)).timestamp()


def of_server(connection: pg.connection, database: Database) -> Iterator[Sample]:
    """Yield the expiry times of the reader's password and of the server's certificate."""
    with connection.cursor() as cursor:
        if database.reader.password is not None:
            cursor.execute(_PASSWORD_ENDS, (database.reader.name,))
            for (end,) in cursor.fetchall():
                yield Sample("dkim_reader_password_expiry_timestamp_seconds", end)
        if not database.host and (database.reader.clients or database.writer.clients):
            cursor.execute(_SERVER_CERTIFICATE)
            yield from certificates(("server", path) for (path,) in cursor.fetchall())
