"""SCRAM-SHA-256 verifiers, which PostgreSQL stores instead of passwords."""

import base64
import hashlib
import hmac
import re

from ..secret import Secret

# pg_authid.rolpassword: PostgreSQL, «SCRAM-SHA-256 Authentication»; RFC 5803, section 3.
_VERIFIER = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>[0-9]{1,7}):(?P<salt>[A-Za-z0-9+/=]+)"
    r"\$(?P<stored>[A-Za-z0-9+/=]+):(?P<server>[A-Za-z0-9+/=]+)"
)


def matches(verifier: str | None, password: Secret) -> bool:
    """
    Return whether a stored verifier is for the password.

    verifier
        The role's ``rolpassword``; None and MD5 hashes match nothing.
    password
        Characters outside ASCII are compared unchanged: the settings refuse those that SASLprep
        would change (RFC 5802, section 3).
    """
    found = _VERIFIER.fullmatch(verifier or "")
    if not found:
        return False
    try:
        salt, stored = (base64.b64decode(found[part], validate=True) for part in ("salt", "stored"))
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.reveal().encode(), salt, int(found["iterations"])
        )
    except (ValueError, OverflowError):
        # No server accepts such a verifier either (PostgreSQL, scram-common.c).
        return False
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(stored, hashlib.sha256(client_key).digest())


def verifier(name: str, password: Secret, connection) -> str:
    """
    Return a new verifier, made here so that the password never reaches the server or its log.

    name
        The role's name. libpq's function requires it; SCRAM does not use it.
    """
    from psycopg2.extensions import encrypt_password

    return encrypt_password(password.reveal(), name, connection, "scram-sha-256")
