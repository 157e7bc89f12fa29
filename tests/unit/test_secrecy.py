"""Objects with a key or a password never show the secret as text."""

import copy
import dataclasses
import importlib
import json
import logging
import pickle
import pkgutil
import pprint
import traceback
import typing
from base64 import b64decode

import dkim_formula
import pytest
import yaml
from dkim_formula.errors import InvalidValue
from dkim_formula.importing.data_set import parse_file, parse_list
from dkim_formula.importing.key_table import Entry
from dkim_formula.importing.plan import ImportedKey, TableImport
from dkim_formula.key_text import StoredKey
from dkim_formula.keys.model import DesiredKey
from dkim_formula.multi_prime import MultiPrimeKey
from dkim_formula.postgres import roles
from dkim_formula.postgres.adoption import Adopted
from dkim_formula.postgres.dsn import Dsn
from dkim_formula.postgres.stored_row import RowKey
from dkim_formula.private_key import PrivateKey
from dkim_formula.rotation.disclosure import Disclosure
from dkim_formula.rotation.state import RotationState
from dkim_formula.secret import Secret
from dkim_formula.settings import read
from dkim_formula.settings.model import Database, Dns, Reader, Settings, TsigKey, Writer, Zone

MARKER = "canary-7d10-b3aa"
SECRET = Secret(MARKER)
KEY = PrivateKey.generate("ed25519")
PEM = KEY.pem()
SEED = b64decode("".join(PEM.splitlines()[1:-1]))[-32:]
MARKERS = (MARKER, PEM.splitlines()[1], SEED.hex(), repr(SEED)[2:-1])

TSIG = TsigKey("dkim", "hmac-sha256", SECRET)
DATABASE = Database(password=SECRET, reader=Reader(password=SECRET))
IMPORTED = ImportedKey(DesiredKey("example.com", "s"), KEY, "active")
HOLDERS = {
    "Secret": SECRET,
    "PrivateKey": KEY,
    "Database": DATABASE,
    "Reader": DATABASE.reader,
    "Writer": Writer(password=SECRET),
    "Disclosure": Disclosure(1, "example.com", "s", "rsa", "MII", 60, None, SECRET),
    "TsigKey": TSIG,
    "Dns": Dns(key=TSIG, zones={"example.com": Zone(key=TSIG)}),
    "Zone": Zone(key=TSIG),
    "Settings": Settings(database=DATABASE, dns=Dns(key=TSIG)),
    "Reading": read(
        {"database": {"password": MARKER, "reader": {"password": MARKER}}, "dns": {"key": MARKER}}
    ),
    "DesiredRole": roles.DesiredRole("reader", password=SECRET),
    "Dsn": Dsn("u", SECRET, "h", None, "d", "t", "k", ("c",), ""),
    "Entry": Entry("name", "example.com", "s", SECRET, "KeyTable, line 1"),
    "ImportedKey": IMPORTED,
    "Adopted": Adopted("1", "example.com", "s", "rsa", 2048, "MII", "active", "", "0", text=SECRET),
    "StoredKey": StoredKey(KEY),
    "RowKey": RowKey(KEY, True),
    "MultiPrimeKey": MultiPrimeKey(MARKER.encode(), None),
    "RotationState": RotationState(Settings(database=DATABASE), None, (), ()),
    "TableImport": TableImport(
        Settings(database=DATABASE), False, [], imported={("a", "b"): IMPORTED}
    ),
    "Row of a file": parse_file(f"name example.com:s:{PEM.splitlines()[1]}", "KeyTable")[0],
    "Row of a list": parse_list(f"name=example.com:s:{MARKER}", "key_table")[0],
    "InvalidValue": InvalidValue("path", PEM, "is not an absolute path"),
}


def logged(value):
    record = logging.LogRecord("x", 10, "x", 1, "%s %r", (value, value), None)
    return logging.Formatter().format(record)


def raised(value):
    try:
        raise ValueError(value)
    except ValueError:
        return traceback.format_exc()


WAYS = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": lambda value: f"{value} {value!s:>80}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "pprint": pprint.pformat,
    "in a list": lambda value: str([value, {"a": value}]),
    "json": lambda value: json.dumps(value, default=str),
    "vars": lambda value: repr(vars(value)),
    "dir": lambda value: repr(dir(value)),
    "asdict": lambda value: repr(dataclasses.asdict(value)),
    "astuple": lambda value: repr(dataclasses.astuple(value)),
    "copy": lambda value: repr(copy.copy(value)),
    "deepcopy": lambda value: repr(copy.deepcopy(value)),
    "yaml": yaml.dump,
    "log": logged,
    "traceback": raised,
    **{
        f"pickle {protocol}": lambda value, protocol=protocol: repr(pickle.dumps(value, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
# The errors of a conversion that refuses an object with a secret.
REFUSALS = (TypeError, AttributeError, pickle.PicklingError, yaml.representer.RepresenterError)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HOLDERS)
def test_holder_does_not_show_its_secret(name, way):
    try:
        shown = WAYS[way](HOLDERS[name])
    except REFUSALS as error:
        shown = f"{error!r} {traceback.format_exc()}"
    assert [marker for marker in MARKERS if marker in shown] == []


def test_markers_are_in_the_holders():
    assert SECRET.reveal() == MARKER
    assert KEY.pem() == PEM
    assert HOLDERS["Row of a list"].value.reveal().endswith(MARKER)


def test_secret_equals_only_a_secret_with_the_same_text():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_every_class_with_a_secret_is_among_the_holders():
    kinds = {type(holder) for holder in HOLDERS.values()}
    with_secret = {cls for cls in classes() if has_secret_field(cls)}
    assert with_secret - kinds == set()
    assert {Database, TsigKey, ImportedKey, Entry} <= with_secret


def classes():
    """Yield every dataclass of the library."""
    for module in pkgutil.walk_packages(dkim_formula.__path__, "dkim_formula."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value):
                yield value


def has_secret_field(cls):
    """Return whether a class has a field with a secret or a key."""
    return any(
        any(word in str(field.type) for word in ("Secret", "PrivateKey"))
        for field in dataclasses.fields(cls)
    )


@pytest.mark.parametrize(
    "value",
    [
        PEM,
        PEM.replace("\n", "\\n"),
        "".join(PEM.splitlines()[1:-1]),
        "\n".join(PEM.splitlines()[1:-1]),
        "c2VjcmV0LWZyb20tZ3BnLW9yLXZhdWx0LXBsZWFzZSE=",
        f"postgresql://admin:{MARKER}@db.example.com/vmail",
    ],
    # The key is random, and a test's name decides on which release it runs.
    ids=range(6),
)
def test_secret_in_another_setting_is_not_shown(value):
    error = InvalidValue("path", value, "is not an absolute path", "give the complete path")
    assert "<secret>" in str(error)
    assert [marker for marker in (*MARKERS, value[:40]) if marker in str(error)] == []


@pytest.mark.parametrize(
    "value",
    [
        "/etc/opendkim/keys/example/directories/without/dots/mailprivate",
        "exa mple.com",
        "a" * 64 + ".example.com",
        "keys/mail.private",
        "https://example.com/reports",
    ],
)
def test_value_that_is_no_secret_is_shown(value):
    assert repr(value) in str(InvalidValue("path", value, "is not right"))


def test_annotations_name_the_type():
    """``has_secret_field`` reads annotations as text, so this text must name the type."""
    hints = typing.get_type_hints(Entry)
    assert hints["key_or_path"] is Secret
