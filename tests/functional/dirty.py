"""A howto's database as sites have them: good rows, and every kind of odd one."""

import base64
import functools
import subprocess
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from dkim_formula.postgres import connection as db
from functional.postgres import HOWTO, OWNER, execute, query, rsa_key, traditional_pem

CASES = Path(__file__).resolve().parents[1] / "cases"
ENCODINGS = ("UTF8", "LATIN1", "SQL_ASCII")
GOOD = ("example.com", "example.org")


@dataclass(frozen=True)
class Row:
    """
    A row of the table of keys.

    domain, selector, key
        As the row has them.
    signs
        Whether mail of the domain is signed with it after the adoption.
    says
        What has to be said of it; empty where there is nothing to say.
    """

    domain: str
    selector: str = "default"
    key: str = field(default="", repr=False)
    signs: bool = False
    says: str = ""


def case(number: int) -> str:
    """The text of the one file of ``tests/cases`` in ``tables`` or ``keys`` with a number."""
    (path,) = [
        path
        for folder in ("tables", "keys")
        for path in (CASES / folder).glob(f"{number:02}-*")
        if path.suffix != ".yaml"
    ]
    return path.read_bytes().decode()


def _pem(key, form=serialization.PrivateFormat.TraditionalOpenSSL, secret=None) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, form, secret or serialization.NoEncryption()
    ).decode()


@functools.cache
def more_primes() -> str:
    """A key of three primes, as OpenSSL makes one."""
    options = ("-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_primes:3")
    command = ["openssl", "genpkey", "-algorithm", "RSA", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def odd_keys() -> dict[str, tuple[str, bool, str]]:
    """Key texts by kind, each with whether mail is signed with it and what is said of it."""
    good = traditional_pem(3)
    first, *middle, last = good.splitlines()
    public = rsa_key(3)._key.public_key()
    public_pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    secret = serialization.BestAvailableEncryption(b"x")
    return {
        "comment-behind": (f"{good}# made 2019\n", True, ""),
        "comment-before": (f"# made 2019\n{good}", True, ""),
        "public-behind": (good + public_pem, True, ""),
        "public-before": (public_pem + good, True, ""),
        "two-keys": (good + traditional_pem(4), True, ""),
        "crlf": (good.replace("\n", "\r\n"), True, ""),
        "cr": (good.replace("\n", "\r"), True, ""),
        "one-line": (good.replace("\n", ""), True, ""),
        "blanks": (good.replace("\n", " "), True, ""),
        "indented": (textwrap.indent(good, "  "), True, ""),
        "base64": ("".join(middle), True, ""),
        "base64-lines": ("\n".join(middle), True, ""),
        "exponent-3": (_pem(rsa.generate_private_key(3, 1024)), True, "public exponent 3"),
        "path": ("/etc/dkimkeys/mail.private", False, "path of a file"),
        "more-primes": (more_primes(), True, "more than two primes"),
        "headers": ("\n".join([first, "Comment: x", "", *middle, last]), False, "header lines"),
        "encrypted": (_pem(rsa_key(3)._key, secret=secret), False, "is encrypted"),
        "ec": (_pem(ec.generate_private_key(ec.SECP256R1())), False, "of another algorithm"),
        "dsa": (_pem(dsa.generate_private_key(1024)), False, "of another algorithm"),
        "public-alone": (public_pem, False, "public half"),
        "cut": ("\n".join([first, *middle[14:18]]), False, "damaged"),
        "words": ("no key at all", False, "not a private key in PEM form"),
        "empty": ("", False, "is missing"),
        "base64-of-words": (base64.b64encode(b"hello" * 9).decode(), False, "not a private key"),
        "odd-ed25519": (
            _pem(ed25519.Ed25519PrivateKey.generate(), serialization.PrivateFormat.PKCS8),
            False,
            "",
        ),
    }


def rows() -> list[Row]:
    """Every odd row that an encoding of any kind can hold."""
    key = traditional_pem(2)
    found = [
        Row("underscore.example", "mail_2020", key, True),
        Row("upper.example", "Mail2020", key, True),
        Row("my_host.example", "default", key, True),
        Row("*", key=key, says="delete the row"),
        Row(".dot.example", key=key, says="delete the row"),
        Row(" before.example", key=key, says="store it as 'before.example'"),
        Row("last.example.", key=key, says="store it as 'last.example'"),
        Row("two words.example", key=key, says="delete the row"),
        Row("192.0.2.1", key=key, says="ends in a number"),
        Row("a'\"\\%s{}.example", key=key, says="delete the row"),
        Row(f"{'a' * 64}.example", key=key, says="longer than 63"),
        Row(".".join(["a" * 60] * 4), key=key, says="too long for a key record"),
        Row("blank.example", "mail ", key, True, "store it as 'mail'"),
        Row("tab.example", "mail\t", key, False, "is no name in DNS"),
        Row("selector.example", "a;d=b", key, False, "is no name in DNS"),
        Row("no-selector.example", "", key, False, "is no name in DNS"),
    ]
    for kind, (text, signs, says) in odd_keys().items():
        found.append(Row(f"{kind}.example", "default", text, signs, says))
    return found


def undecodable() -> list[Row]:
    """Rows with octets that are no UTF-8, as a database of another encoding holds them."""
    key = traditional_pem(2)
    return [
        Row("b\xfccher.example", key=key, says="is never looked up"),
        Row("octets-selector.example", "m\xe4rz", key, says="is no name in DNS"),
        Row("octets-key.example", "default", f"# gemacht f\xfcr uns\n{key}", True),
        Row("octets-alone.example", "default", "\xe4\xf6\xfc", says="not a private key"),
    ]


def fill(connection, encoding: str = "UTF8") -> list[Row]:
    """Makes the howto's schema with two good domains and all odd rows; gives the odd rows."""
    if not query(connection, "SELECT FROM pg_roles WHERE rolname = 'vmail-dkim-reader'"):
        execute(connection, 'CREATE ROLE "vmail-dkim-reader" LOGIN')
    execute(connection, f"SET ROLE {OWNER}")
    execute(connection, HOWTO.replace("TEXT NOT NULL UNIQUE", "TEXT UNIQUE"))
    for number, domain in enumerate(GOOD):
        insert(connection, Row(domain, key=traditional_pem(number)))
    odd = rows()
    for row in odd:
        insert(connection, row)
    execute(connection, "INSERT INTO public.domains (domain) VALUES (NULL), ('ALL'), ('*.x'), ('')")
    _insert_nulls(connection)
    if encoding != "UTF8":
        raw = undecodable()
        for row in raw:
            _insert_octets(connection, row)
        odd += [_as_told(row, encoding) for row in raw]
    execute(connection, "RESET ROLE")
    return odd


def _insert_nulls(connection) -> None:
    """What stands in tables whose tools never heard of NOT NULL and foreign keys."""
    execute(
        connection,
        """
        ALTER TABLE public.dkim ALTER key DROP NOT NULL, ALTER selector DROP NOT NULL,
            ALTER domain_id DROP NOT NULL, DROP CONSTRAINT dkim_domain_id_fkey;
        INSERT INTO public.domains (domain) VALUES ('null-key.example'), ('null-selector.example');
        INSERT INTO public.dkim (domain_id, selector, key)
            SELECT id, 'default', NULL FROM public.domains WHERE domain = 'null-key.example';
        """,
    )
    key = traditional_pem(5)
    statement = "INSERT INTO public.dkim (domain_id, selector, key) VALUES "
    for number in ("NULL", "0", "(SELECT id FROM public.domains WHERE domain IS NULL)"):
        execute(connection, f"{statement} ({number}, 'default', %s)", (key,))
    null = "(SELECT id FROM public.domains WHERE domain = 'null-selector.example')"
    execute(connection, f"{statement} ({null}, NULL, %s)", (key,))


def insert(connection, row: Row) -> None:
    """Domain and key, as the howto's own tool inserts them."""
    execute(connection, "INSERT INTO public.domains (domain) VALUES (%s)", (row.domain,))
    execute(
        connection,
        "INSERT INTO public.dkim (domain_id, selector, key) SELECT max(id), %s, %s"
        " FROM public.domains",
        (row.selector, row.key),
    )


def _as_told(row: Row, encoding: str) -> Row:
    """A row's names as functions return them: SQL_ASCII knows no characters beyond ASCII."""
    if encoding != "SQL_ASCII":
        return row
    domain, selector = (
        "".join(one if one.isascii() else f"\\x{ord(one):02x}" for one in text)
        for text in (row.domain, row.selector)
    )
    # PostgreSQL does not know which letters these octets are.
    says = row.says.replace("is never looked up", "is not an internationalised name")
    return replace(row, domain=domain, selector=selector, says=says)


def _insert_octets(connection, row: Row) -> None:
    """A row whose every character is one octet: such escapes are in the encoding of the server."""

    def octets(text: str) -> str:
        return "E'" + "".join(f"\\x{ord(one):02x}" for one in text) + "'"

    execute(connection, f"INSERT INTO public.domains (domain) VALUES ({octets(row.domain)})")
    execute(
        connection,
        f"INSERT INTO public.dkim (domain_id, selector, key) SELECT max(id),"
        f" {octets(row.selector)}, {octets(row.key)} FROM public.domains",
    )


def make_again(server, database, encoding: str) -> list[Row]:
    """Makes a database anew in an encoding, with every odd row; gives the odd rows."""
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, f"DROP DATABASE {database.name}")
        execute(
            connection,
            f"CREATE DATABASE {database.name} OWNER {OWNER} TEMPLATE template0"
            f" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'",
        )
    with db.session(database, setup=True) as connection:
        return fill(connection, encoding)
