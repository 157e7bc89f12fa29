"""
Generated key texts, names and selectors, tested with the real OpenDKIM before and after adoption.

All examples share one database and one daemon. Each example is a row of the howto's table. The
daemon signs with the row as it is, and then with the row that the formula stores.
"""

import base64
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from dkim_formula.errors import OpenDKIMError
from dkim_formula.key_text import read_stored
from dkim_formula.postgres import connection as db
from dkim_formula.postgres.stored_row import is_row_found, read_row
from functional.conftest import own_database
from functional.server import execute, rsa_key, traditional_pem
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.fuzz import examples
from support.signing_daemon import SigningDaemon

pytestmark = pytest.mark.one_release

PKCS8 = rsa_key(6).pem()
PKCS1 = traditional_pem(6)
DER = base64.b64encode(
    rsa_key(6)._key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
).decode()
PUBLIC = (
    rsa_key(6)
    ._key.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
OTHER = traditional_pem(7)

ALONE = {"suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


class Bench:
    """The real daemon with a database of one row."""

    def __init__(self, connection, daemon):
        self.connection = connection
        self.daemon = daemon

    def verdict(self, text, domain="example.com", selector="s", sender=None):
        """Return a message's signature (d= and s=), ``unsigned``, or the daemon's refusal."""
        execute(
            self.connection,
            "UPDATE public.one SET domain = %s, selector = %s, key = %s",
            (domain, selector, text),
        )
        return self.daemon.signature(sender or domain)


@pytest.fixture(scope="module")
def bench(server):
    folder = Path(tempfile.mkdtemp(prefix="dkim-daemon-"))
    shutil.chown(folder, "postgres")
    folder.chmod(0o755)
    with (
        own_database(server, "template0") as database,
        db.session(database, autocommit=True) as connection,
    ):
        execute(
            connection,
            """
            CREATE TABLE public.one (domain text, selector text, key text);
            INSERT INTO public.one VALUES ('example.com', 's', '');
            CREATE VIEW public.dkim_signing_table AS
                SELECT domain AS pattern, 'x'::text AS identifier FROM public.one
                 WHERE current_query() LIKE '%WHERE%';
            CREATE VIEW public.dkim_key_table AS
                SELECT 'x'::text AS identifier, domain, selector, key FROM public.one;
            """,
        )
        with SigningDaemon(database, folder) as daemon:
            yield Bench(connection, daemon)
    shutil.rmtree(folder)


def check(bench, text):
    """
    Check that the formula reads every text that the daemon signs with.

    Also check that the daemon signs with the stored text of every text that the formula reads.
    """
    before = bench.verdict(text)
    stored = read_stored(text)
    if stored.private is None:
        assert before != "d=example.com s=s", stored.problem
        assert stored.problem
        assert stored.remedy
        return
    after = text if stored.is_plain else stored.private.pem()
    if stored.private.algorithm == "rsa":
        assert bench.verdict(after) == "d=example.com s=s", (before, stored.is_plain)


LINE_ENDS = ("\n", "\r\n", "\r", "", " ", "\\n", "\n\n", " \n", "\t\n", "\n ")
AROUND = (
    "",
    "\n",
    " ",
    "# made in 2019\n",
    "-----\n",
    "-----foo\n",
    "\ufeff",
    PUBLIC,
    OTHER,
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "x" * 3000 + "\n",
    "\u00e4\n",
)


@st.composite
def key_texts(draw):
    """Draw a key as tools leave it: wrapped, indented, with text around it, or damaged."""
    complete = draw(st.sampled_from([PKCS1, PKCS8]))
    first, *_, last = complete.splitlines()
    body = "".join(complete.splitlines()[1:-1])
    lines = textwrap.wrap(
        body, draw(st.sampled_from([1, 48, 60, 64, 65, 76, 79, 80, 100, 253, 2000]))
    )
    first += draw(st.sampled_from(["", "", "", " ", "\t", "-", " x"]))
    last = draw(st.sampled_from(["", "", "", " ", "-"])) + last
    header = draw(
        st.sampled_from([[], [], [], [""], ["Comment: x", ""], ["Proc-Type: 4,CLEAR", ""]])
    )
    text = draw(st.sampled_from(LINE_ENDS)).join([first, *header, *lines, last, ""])
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        put = draw(st.sampled_from(["\n", " ", "=", "-", "A", "\x0b", "\u00a0", "-----", ""]))
        text = text[:at] + put + text[at + draw(st.integers(0, 2)) :]
    return draw(st.sampled_from(AROUND)) + text + draw(st.sampled_from(AROUND))


@st.composite
def bare_texts(draw):
    """Draw the base64 text of a key without armour."""
    lines = textwrap.wrap(DER, draw(st.sampled_from([10, 64, 76, 5000])))
    text = draw(st.sampled_from(LINE_ENDS)).join(lines)
    text = text.rstrip("=") if draw(st.booleans()) else text
    return (
        draw(st.sampled_from(["", " ", "\n"]))
        + text
        + draw(st.sampled_from(["", "\n", " # x", "=="]))
    )


@examples(60, **ALONE)
@given(text=key_texts() | bare_texts())
def test_formula_reads_the_key_texts_that_opendkim_signs_with(bench, text):
    check(bench, text)


def openssl(*arguments):
    return subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, check=True
    ).stdout


def small(bits):
    return openssl("genrsa", "-traditional", str(bits))


def create(algorithm, *options):
    given_ = [word for option in options for word in ("-pkeyopt", option)]
    return openssl("genpkey", "-algorithm", algorithm, *given_)


def elliptic():
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        .decode()
    )


KINDS = {
    "512 bits": lambda: small(512),
    "1016 bits": lambda: small(1016),
    "1017 bits": lambda: small(1017),
    "1023 bits": lambda: small(1023),
    "1024 bits": lambda: small(1024),
    "4096 bits": lambda: small(4096),
    "exponent 3": lambda: create("RSA", "rsa_keygen_bits:2048", "rsa_keygen_pubexp:3"),
    "large exponent": lambda: create("RSA", "rsa_keygen_bits:2048", "rsa_keygen_pubexp:8589934609"),
    "PSS": lambda: create("RSA-PSS", "rsa_keygen_bits:2048"),
    "Ed25519": lambda: create("ED25519"),
    "elliptic before RSA": lambda: elliptic() + PKCS1,
    "parameters before": lambda: openssl("ecparam", "-genkey", "-name", "prime256v1"),
    "PKCS#1 labelled as PKCS#8": lambda: PKCS1.replace("RSA PRIVATE", "PRIVATE"),
    "PKCS#8 labelled as PKCS#1": lambda: PKCS8.replace("PRIVATE", "RSA PRIVATE"),
    "60 kB behind": lambda: PKCS1 + "x" * 60000,
    "66 kB behind": lambda: PKCS1 + "x" * 66000,
}


@pytest.mark.parametrize("kind", KINDS)
def test_formula_reads_the_kinds_of_keys_that_opendkim_signs_with(bench, kind):
    check(bench, KINDS[kind]())


def more_primes(bits, primes):
    return create("RSA", f"rsa_keygen_bits:{bits}", f"rsa_keygen_primes:{primes}")


def traditional(pem):
    done = ["openssl", "rsa", "-traditional"]
    return subprocess.run(done, input=pem, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("bits", "primes"), [(1024, 3), (2048, 3), (4096, 3), (4096, 4)])
@pytest.mark.parametrize("form", [str, traditional])
@pytest.mark.parametrize("around", ["{}", "{}# made in 2019\n", "# made in 2019\n{}"])
def test_key_of_more_than_two_primes_signs_and_its_public_half_is_read(
    bench, bits, primes, form, around
):
    pem = form(more_primes(bits, primes))
    stored = read_stored(around.format(pem))
    assert "more than two primes" in stored.private.oddity
    public = subprocess.run(
        ["openssl", "rsa", "-pubout", "-outform", "DER"],
        input=pem.encode(),
        capture_output=True,
        check=True,
    ).stdout
    assert stored.private.public_base64() == base64.b64encode(public).decode()
    assert stored.private.bits == bits
    check(bench, around.format(pem))


MORE_PRIMES = traditional(more_primes(2048, 3))


@examples(40, **ALONE)
@given(data=st.data())
def test_damaged_key_of_more_than_two_primes_is_read_only_if_it_signs(bench, data):
    der = bytearray(base64.b64decode("".join(MORE_PRIMES.splitlines()[1:-1])))
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
    text = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n"
    if read_stored(text).private is not None:
        assert bench.verdict(text) == "d=example.com s=s"


@pytest.fixture
def key_file():
    """A key file that OpenDKIM accepts, because only root can write to the folders above it."""
    folder = Path(tempfile.mkdtemp(prefix="dkim-keys-", dir="/var/lib"))
    shutil.chown(folder, "postgres")
    file = folder / "example.com.private"
    file.write_text(PKCS1)
    file.chmod(0o600)
    shutil.chown(file, "postgres")
    yield file
    shutil.rmtree(folder)


PATHS = ("{}", ".{}", "..{}", "/.{}", "//{}")


@pytest.mark.parametrize("form", [*PATHS, " {}", "{} ", "{}\n", "file:{}", "\t{}", "{}/"])
def test_path_is_read_as_the_daemon_reads_it(bench, key_file, form):
    text = form.format(key_file)
    found = bench.verdict(text)
    assert (found == "d=example.com s=s") == (form in PATHS)
    row = read_row("example.com", "s", text, "active")
    assert (row.private is not None) == (found == "d=example.com s=s")


def test_percent_sign_in_a_path_stands_for_the_domain(bench, key_file):
    text = str(key_file).replace("example.com", "%")
    assert bench.verdict(text) == "d=example.com s=s"
    assert read_row("example.com", "s", text, "active").private is not None
    assert read_row("example.org", "s", text, "active").private is None


NAME_PIECES = st.sampled_from(
    [*"aB1-_. ;=*@:/%\t\"'", "\u00fc", "xn--bcher-kva", "a" * 63, "example", ".com", "co\\.uk"]
)


@examples(60, **ALONE)
@given(pieces=st.lists(NAME_PIECES, min_size=1, max_size=6))
def test_domain_name_that_counts_as_found_signs(bench, pieces):
    name = "".join(pieces)
    sender = name.lower() if name.isascii() else "example.com"
    if not all(one.isalnum() or one in "-_." for one in sender) or not sender.isascii():
        return
    found = bench.verdict(PKCS8, domain=name, sender=sender)
    if is_row_found(name, "s"):
        assert found == f"d={name} s=s"


@examples(60, **ALONE)
@given(pieces=st.lists(NAME_PIECES, min_size=1, max_size=4))
def test_selector_that_counts_as_found_signs_unchanged(bench, pieces):
    selector = "".join(pieces)
    if is_row_found("example.com", selector):
        found = bench.verdict(PKCS8, selector=selector)
        assert found.partition(" s=")[2].strip() == selector.strip()


@pytest.mark.parametrize("selector", ["mail\t", "\tmail", "m\u00e4rz", "ma\til"])
def test_selector_that_stops_the_daemon_counts_as_not_found(bench, selector):
    assert not is_row_found("example.com", selector)
    with pytest.raises(OpenDKIMError):
        bench.verdict(PKCS8, selector=selector)
    bench.daemon.stop()
    bench.daemon.start()
    assert bench.verdict(PKCS8) == "d=example.com s=s"
