"""MinimumKeyBits of OpenDKIM: the check compares it with the keys of the database."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dkim_formula.health import preflight
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import schema
from dkim_formula.private_key import PrivateKey
from dkim_formula.settings import read
from functional.server import execute, insert_as_howto, set_up

pytestmark = pytest.mark.one_release

LARGE = {"bits": 4096}
WHERE = "dkim:opendkim:settings:MinimumKeyBits: "


def problems(database, minimum):
    pillar = {
        "database": {"name": database.name, "port": database.port},
        "domains": {"example.com": LARGE, "example.org": LARGE},
        "opendkim": {"settings": {"MinimumKeyBits": minimum}},
    }
    reading = read(pillar)
    assert reading.problems == ()
    return [one for one in preflight.check(reading)["problems"] if one.startswith(WHERE)]


def store(database, domain, key, state="active"):
    with db.session(database) as connection:
        desired = DesiredKey(domain, f"s{key.bits}", key.algorithm, key.bits)
        key_changes.store(connection, database, [(desired, key)], "test", state=state)


def test_check_names_the_domains_whose_active_keys_are_too_small(ready, access_files):
    set_up(ready)
    store(ready, "example.com", PrivateKey.generate("rsa", 1024))
    store(ready, "example.org", PrivateKey.generate("rsa", 2048))
    (problem,) = problems(ready, 2048)
    assert "2048 is more than the 1024 bits of an active key" in problem
    assert "mail of example.com; use 1024 or less" in problem
    (problem,) = problems(ready, 3072)
    assert "mail of example.com, example.org; use 1024 or less" in problem
    assert problems(ready, 1024) == []


def test_only_active_rsa_keys_are_compared(ready, access_files):
    set_up(ready)
    store(ready, "example.com", PrivateKey.generate("ed25519"))
    store(ready, "example.com", PrivateKey.generate("rsa", 2048))
    store(ready, "example.com", PrivateKey.generate("rsa", 1024), state="pending")
    assert problems(ready, 2048) == []


def test_key_of_a_table_that_is_not_adopted_yet_is_compared(howto, access_files):
    small = rsa.generate_private_key(65537, 1024).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    with db.session(howto) as connection:
        execute(connection, "INSERT INTO public.domains (domain) VALUES ('example.net')")
        insert_as_howto(connection, "example.net", "small", small.decode())
    (problem,) = problems(howto, 2048)
    assert "mail of example.net; use 1024 or less" in problem
    with db.session(howto) as connection:
        schema.apply(connection, howto)
    assert problems(howto, 2048) == [problem]
