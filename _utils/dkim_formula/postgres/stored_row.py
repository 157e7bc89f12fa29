"""What a row of the table of keys is worth, whoever wrote it."""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass

from ..errors import InvalidValue
from ..key_file import read_file
from ..key_text import StoredKey, read_stored
from ..names import domain_problem, is_served, row_name, selector_in_dns, selector_problem
from ..private_key import PrivateKey

# A row in one of these states has its key's file read: the file's key signs, or has signed. Only
# the adoption of a table that was there makes such a row, never whoever inserts one later.
WITH_FILE = ("active", "retired")

# What the unit's ProtectHome= and PrivateTmp= hide from the daemon: systemd.exec(5).
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")

# A key's bare octets in base64 may begin with a slash as a path does.
_MAY_BE_SECRET = re.compile(r"[A-Za-z0-9+/]{40,}=*")


@dataclass(frozen=True)
class RowKey:
    """
    What a row's text comes to.

    private
        The key that signs, of the row or of the file that it names; None where it can't be read.
    signs
        Whether OpenDKIM signs with the text, as far as the text decides.
    fault
        A clause on why there is no such key, and what to do; empty where there is one.
    advice
        A clause on a key that signs, and had better be changed; else empty.
    is_plain
        Whether the text stays as it is; else :meth:`PrivateKey.pem` takes its place.
    path
        The file that OpenDKIM reads the key from; empty where the row has the key itself.
    """

    private: PrivateKey | None
    signs: bool
    fault: str = ""
    advice: str = ""
    is_plain: bool = True
    path: str = ""


def read_row(domain: str, selector: str, text: str | None, state: str) -> RowKey:
    """
    Read the key of a row, and where the state says so that of the file that it names. A file that
    is not to be read here may be there for the daemon, so its row is taken to sign.

    Never raises, and shows nothing of a key.
    """
    stored = read_stored(text)
    private = stored.private
    if private is not None:
        return RowKey(private, True, advice=on_weakness(private.oddity), is_plain=stored.is_plain)
    if not stored.path:
        return RowKey(None, False, _unsigned(stored.problem, stored.remedy))
    take_in = (
        "take its key into the table: salt-call dkim.import_key "
        f"{shlex.quote(domain)} {shlex.quote(selector)} {_shown(stored.path)}"
    )
    if state not in WITH_FILE:
        return RowKey(None, False, _unsigned(stored.problem, take_in), path=stored.path)
    return _of_file(domain, stored, take_in)


def _of_file(domain: str, stored: StoredKey, take_in: str) -> RowKey:
    # The daemon's working directory is the root, and % stands for the domain (measured).
    path = posixpath.join("/", stored.path.replace("%", domain))
    try:
        found = read_stored(read_file(path, "path"))
    except InvalidValue as error:
        said = f"is the path of a file: its record is not known, since the file {error.problem}"
        return RowKey(None, True, f"the key {said}; {take_in}", path=stored.path)
    private = found.private
    if private is None or private.algorithm != "rsa":
        # The daemon that looks into the row signs with RSA: Ed25519 is a 451 to it (measured).
        problem = found.problem or "is of another algorithm than the daemon's"
        said = _unsigned(f"is the path of a file, and the key there {problem}", stored.remedy)
        return RowKey(None, False, said, path=stored.path)
    hidden = path.startswith(_HIDDEN)
    where = " that the sandbox of the formula's unit hides from OpenDKIM" if hidden else ""
    advice = f"the key is the path of a file{where}; {take_in}"
    return RowKey(private, True, advice=advice, path=stored.path)


def _shown(path: str) -> str:
    return "PATH" if _MAY_BE_SECRET.fullmatch(path) else shlex.quote(path)


def _unsigned(problem: str, remedy: str) -> str:
    return f"the key {problem}, so it does not sign; {remedy}"


def row_problem(domain: str, selector: str, key: RowKey) -> str:
    """Return what is wrong with a row, which it names, and what to do; empty where nothing is."""
    found = [domain_problem(domain), selector_problem(selector), key.fault, key.advice]
    if key.private is not None:
        found.append(on_weakness(key.private.weakness))
    text = "; ".join(one for one in found if one)
    return f"{row_name(domain, selector)}: {text}" if text else ""


def on_weakness(weakness: str) -> str:
    """Return a clause on a key that verifiers may not like, or nothing."""
    return f"the key {weakness}; replace it with dkim.rotate" if weakness else ""


def is_row_found(domain: str, selector: str) -> bool:
    """Tell whether OpenDKIM finds a row by its domain, and verifiers its record by the selector."""
    return is_served(domain) and selector_in_dns(selector) is not None
