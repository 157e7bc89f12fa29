"""Private keys: those that signers and verifiers accept, without any text that shows a key."""

import base64
import copy
import json
import pickle
import subprocess
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from dkim_formula.errors import InvalidValue
from dkim_formula.key_file import private_key as read
from dkim_formula.private_key import PrivateKey, check_bits, public_weakness

# RFC 8463, appendix A.1, the RSA key, and A.2, its record.
RFC8463_RSA = """-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
"""
RFC8463_RSA_PUBLIC = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16J"
    "Yi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
    "Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
# RFC 8463, appendix A.1 and A.2, in hexadecimal RFC 8032, section 7.1, test 1; then tests 2 and 3.
ED25519_VECTORS = [
    (
        base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="),
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    ),
    (
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
        base64.b64encode(
            bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        ).decode(),
    ),
    (
        bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
        base64.b64encode(
            bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
        ).decode(),
    ),
]


def pem_of(key, encryption=None, form=serialization.PrivateFormat.PKCS8):
    return key.private_bytes(
        serialization.Encoding.PEM, form, encryption or serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def rsa_key():
    return PrivateKey.generate()


def test_rfc_8463_rsa_key_gives_the_published_record():
    key = read(RFC8463_RSA, "key")
    assert (key.algorithm, key.bits) == ("rsa", 1024)
    assert key.public_base64() == RFC8463_RSA_PUBLIC


@pytest.mark.parametrize(("seed", "public"), ED25519_VECTORS)
def test_published_ed25519_keys_give_the_published_records(seed, public):
    key = read(pem_of(ed25519.Ed25519PrivateKey.from_private_bytes(seed)), "key")
    assert (key.algorithm, key.bits) == ("ed25519", 256)
    assert key.public_base64() == public


def test_generated_rsa_key_has_2048_bits_and_exponent_65537(rsa_key):
    public = serialization.load_der_public_key(base64.b64decode(rsa_key.public_base64()))
    assert public.key_size == rsa_key.bits == 2048
    assert public.public_numbers().e == 65537


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_openssl_reads_the_pem_and_finds_the_same_public_key(algorithm):
    key = PrivateKey.generate(algorithm, 1024)
    der = subprocess.run(
        ["openssl", "pkey", "-pubout", "-outform", "DER"],
        input=key.pem().encode(),
        capture_output=True,
        check=True,
    ).stdout
    # RFC 8410, section 4: an Ed25519 SubjectPublicKeyInfo ends in the 32 bytes.
    shown = der if algorithm == "rsa" else der[-32:]
    assert base64.b64encode(shown).decode() == key.public_base64()


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_pem_is_read_back_as_the_same_key(algorithm):
    key = PrivateKey.generate(algorithm, 1024)
    again = read(key.pem().encode(), "key")
    assert again.public_base64() == key.public_base64()
    assert again.pem() == key.pem()


def test_two_generated_keys_differ():
    keys = {PrivateKey.generate("ed25519").public_base64() for _ in range(2)}
    assert len(keys) == 2


@pytest.mark.parametrize("algorithm", ["RSA", "dsa", "", None, 1, ["rsa"]])
def test_unknown_algorithm_is_refused(algorithm):
    with pytest.raises(InvalidValue, match="use rsa or ed25519"):
        PrivateKey.generate(algorithm)


@pytest.mark.parametrize(
    ("given", "bits"), [(1024, 1024), (2048, 2048), (4096, 4096), ("3072", 3072)]
)
def test_sizes_of_rfc_8301_are_accepted(given, bits):
    assert check_bits(given) == bits


@pytest.mark.parametrize("given", [0, -2048, 512, 1023, 4097, 2**20, "big", "", True, 2048.0, None])
def test_other_sizes_are_refused(given):
    with pytest.raises(InvalidValue, match="use 1024 to 4096"):
        check_bits(given)


def test_size_below_1024_names_the_rfc():
    with pytest.raises(InvalidValue, match="RFC 8301 forbids"):
        check_bits(512)


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], capture_output=True, check=True).stdout.decode()


def public_pem():
    return (
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def cut_in_the_middle():
    lines = pem_of(rsa.generate_private_key(65537, 1024)).splitlines()
    return "\n".join([*lines[:4], *lines[6:]])


REFUSED = {
    "empty": (lambda: "", "is missing"),
    "junk": (lambda: "junk" * 100, "not a private key in PEM form"),
    "binary": (lambda: b"\x00\xff" * 100, "not a private key in PEM form"),
    "public": (public_pem, "public half"),
    "broken": (cut_in_the_middle, "does not parse"),
    "encrypted": (
        lambda: pem_of(
            ed25519.Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"x")
        ),
        "is encrypted",
    ),
    "encrypted traditional": (
        lambda: pem_of(
            rsa.generate_private_key(65537, 1024),
            serialization.BestAvailableEncryption(b"x"),
            serialization.PrivateFormat.TraditionalOpenSSL,
        ),
        "is encrypted",
    ),
    "elliptic curve": (lambda: pem_of(ec.generate_private_key(ec.SECP256R1())), "RSA and Ed25519"),
    "dsa": (lambda: pem_of(dsa.generate_private_key(1024)), "RSA and Ed25519"),
    "ed448": (lambda: pem_of(ed448.Ed448PrivateKey.generate()), "RSA and Ed25519"),
    "rsa 512": (lambda: openssl("genrsa", "512"), "RSA key of 512 bits"),
}

WEAK = {
    "rsa 1023": (lambda: openssl("genrsa", "1023"), "RSA key of 1023 bits"),
    "rsa 4104": (lambda: openssl("genrsa", "4104"), "RSA key of 4104 bits"),
    "exponent 3": (lambda: pem_of(rsa.generate_private_key(3, 1024)), "public exponent 3"),
}


@pytest.mark.parametrize("case", WEAK)
def test_key_that_opendkim_signs_with_is_read_with_its_weakness(case):
    make, weakness = WEAK[case]
    assert weakness in read(make(), "key").weakness


def public_base64(key):
    return base64.b64encode(
        key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).decode()


RSA_ALGORITHM = bytes.fromhex("2a864886f70d010101")
FOREIGN = {
    "elliptic curve": lambda: public_base64(ec.generate_private_key(ec.SECP256R1())),
    "ed25519": lambda: public_base64(ed25519.Ed25519PrivateKey.generate()),
    "unknown algorithm": lambda: base64.b64encode(
        base64.b64decode(public_base64(rsa.generate_private_key(3, 1024))).replace(
            RSA_ALGORITHM, RSA_ALGORITHM[:-1] + b"\x7f"
        )
    ).decode(),
    "no base64": lambda: "A",
    "no structure": lambda: "AAAA",
}


@pytest.mark.parametrize("case", FOREIGN)
def test_public_half_that_another_program_stored_is_named_if_it_is_no_rsa_key(case):
    """Any program with INSERT on the table of keys may fill its column public_key."""
    assert public_weakness("rsa", 2048, FOREIGN[case]()).startswith("has a public half that ")


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_key_that_every_verifier_accepts_has_no_weakness(algorithm):
    assert not PrivateKey.generate(algorithm).weakness


@pytest.mark.parametrize("case", REFUSED)
def test_unusable_key_is_refused_and_not_shown(case):
    make, problem = REFUSED[case]
    pem = make()
    with pytest.raises(InvalidValue, match=problem) as caught:
        read(pem, "a key")
    shown = "".join(traceback.format_exception(caught.value))
    text = pem if isinstance(pem, str) else pem.decode("latin1")
    body = [line for line in text.splitlines() if line and "-----" not in line]
    assert not any(line in shown for line in body)
    assert caught.value.__cause__ is None
    assert shown.count("Traceback") == 1


def test_traditional_pem_of_the_howto_is_accepted():
    key = rsa.generate_private_key(65537, 2048)
    pem = pem_of(key, form=serialization.PrivateFormat.TraditionalOpenSSL)
    assert read(pem, "key").bits == 2048


def test_repr_of_a_key_does_not_show_the_key(rsa_key):
    assert repr(rsa_key) == str(rsa_key) == f"{rsa_key}" == "<PrivateKey rsa 2048>"


@pytest.mark.parametrize("carry", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_key_is_not_serialised(rsa_key, carry):
    with pytest.raises(TypeError):
        carry(rsa_key)
