"""The key of a row in the table of keys: whether it can sign, and what is wrong with it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from ..errors import InvalidValue
from ..key_file import read_file
from ..key_text import StoredKey, read_stored
from ..names import domain_problem, is_served, row_name, selector_in_dns, selector_problem
from ..private_key import PrivateKey
from ..text import as_argument

# The states in which the formula reads the file that a row names: the file's key signs, or has
# signed. Only the adoption of an existing table makes such a row, never a later INSERT.
WITH_FILE = ("active", "retired")

# Directories that ProtectHome= and PrivateTmp= of the unit hide from the daemon: systemd.exec(5).
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")

# A private key as base64 of its DER form may begin with a slash, as a path does.
_MAY_BE_SECRET = re.compile(r"[A-Za-z0-9+/]{40,}=*")


@dataclass(frozen=True)
class RowKey:
    """
    The key that a row's text holds or names.

    private
        The key that signs, from the row or from the file that the row names; None if unreadable.
    signs
        Whether OpenDKIM signs with the text, as far as the text decides.
    fault
        A clause on why the row has no usable key, and what to do; empty if it has one.
    advice
        A clause on a key that signs, but should be replaced; else empty.
    is_plain
        Whether the text stays unchanged. If not, :meth:`PrivateKey.pem` replaces it.
    path
        The file from which OpenDKIM reads the key; empty if the row holds the key itself.
    """

    private: PrivateKey | None
    signs: bool
    fault: str = ""
    advice: str = ""
    is_plain: bool = True
    path: str = ""


def read_row(domain: str, selector: str, text: str | None, state: str) -> RowKey:
    """
    Return the key of a row, or in a state of ``WITH_FILE`` the key of the file that the row names.

    A file that can't be read here may be readable for the daemon, so its row counts as signing.
    The function never raises an exception and never shows a part of a key.
    """
    stored = read_stored(text)
    private = stored.private
    if private is not None:
        advice = weakness_text(private.oddity)
        return RowKey(private, True, advice=advice, is_plain=stored.is_plain)
    if not stored.path:
        return RowKey(None, False, _unsigned(stored.problem, stored.remedy))
    remedy = (
        "take its key into the table: salt-call dkim.import_key "
        f"{as_argument(domain)} {as_argument(selector)} {_shown(stored.path)}"
    )
    if state not in WITH_FILE:
        return RowKey(None, False, _unsigned(stored.problem, remedy), path=stored.path)
    return _of_file(domain, stored, remedy)


def _of_file(domain: str, stored: StoredKey, remedy: str) -> RowKey:
    # The daemon's working directory is /, and the daemon replaces % by the domain (measured).
    path = posixpath.join("/", stored.path.replace("%", domain))
    try:
        found = read_stored(read_file(path, "path"))
    except InvalidValue as error:
        problem = f"is the path of a file: its record is not known, since the file {error.problem}"
        return RowKey(None, True, f"the key {problem}; {remedy}", path=stored.path)
    private = found.private
    if private is None or private.algorithm != "rsa":
        # The daemon that reads such a row signs with RSA. With an Ed25519 key the daemon
        # replies with 451 to the message (measured).
        problem = found.problem or "is of another algorithm than the daemon's"
        fault = _unsigned(f"is the path of a file, and the key there {problem}", stored.remedy)
        return RowKey(None, False, fault, path=stored.path)
    hidden = path.startswith(_HIDDEN)
    where = " that the sandbox of the formula's unit hides from OpenDKIM" if hidden else ""
    advice = f"the key is the path of a file{where}; {remedy}"
    return RowKey(private, True, advice=advice, path=stored.path)


def _shown(path: str) -> str:
    return "PATH" if _MAY_BE_SECRET.fullmatch(path) else as_argument(path)


def _unsigned(problem: str, remedy: str) -> str:
    return f"the key {problem}, so it does not sign; {remedy}"


def row_problem(domain: str, selector: str, key: RowKey) -> str:
    """Return the row's name, what is wrong with the row and what to do; empty for a good row."""
    found = [domain_problem(domain), selector_problem(selector), key.fault, key.advice]
    if key.private is not None:
        found.append(weakness_text(key.private.weakness))
    text = "; ".join(one for one in found if one)
    return f"{row_name(domain, selector)}: {text}" if text else ""


def weakness_text(weakness: str) -> str:
    """Return a clause on a key that verifiers may reject; empty without a weakness."""
    return f"the key {weakness}; replace it with dkim.rotate" if weakness else ""


def is_row_found(domain: str, selector: str) -> bool:
    """Return whether OpenDKIM finds a row by its domain, and verifiers its record by selector."""
    return is_served(domain) and selector_in_dns(selector) is not None
