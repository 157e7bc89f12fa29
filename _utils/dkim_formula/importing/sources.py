"""The programs whose keys can be imported, with the reader and the options of each program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import MISSING, InvalidValue
from ..postgres import program_keys
from ..settings.arguments import absolute_path, choice, text
from ..settings.model import Settings
from . import amavisd, data_set, modoboa, opendkim, postfixadmin, rspamd
from .held import Held
from .key_table import read_key_table
from .signing_table import SigningTable

# The options of each program. OpenDKIM has key_table and signing_table too.
OPTIONS = {
    "opendkim": ("config", "folder"),
    "postfixadmin": (),
    "modoboa": ("folder",),
    "amavisd": ("config",),
    "iredmail": ("config",),
    "rspamd": ("config", "folder", "selector_map", "path_map"),
}
# The program that signs on a server with each database:preset.
_OF_PRESETS = {
    "postfixadmin": "postfixadmin",
    "modoboa": "modoboa",
    "iredmail": "amavisd",
    "ispmail": "rspamd",
}


@dataclass(frozen=True)
class Request:
    """
    The arguments of an import as a person gave them; None means that an argument is missing.

    key_table, signing_table
        Tables in the form of opendkim.conf(5).
    source
        A program of :data:`OPTIONS`.
    config, folder, selector_map, path_map
        Absolute paths that replace the program's own paths.
    """

    key_table: object = None
    signing_table: object = None
    source: object = None
    config: object = None
    folder: object = None
    selector_map: object = None
    path_map: object = None


def reader(settings: Settings, request: Request) -> Callable[[Sequence[str]], Held]:
    """
    Return the function that reads a program's keys, given the domains that may send mail.

    Raises InvalidValue for a wrong argument, and for an argument that the program does not use.
    """
    source = _source(settings, request)
    given = {
        name: absolute_path(value, name)
        for name in ("config", "folder", "selector_map", "path_map")
        if (value := getattr(request, name)) is not None
    }
    for name, value in given.items():
        if name not in OPTIONS[source]:
            users = [one for one, options in OPTIONS.items() if name in options]
            raise InvalidValue(
                name, value, f"is not used by {source}", f"remove it, or use source={users[0]}"
            )
    if source == "opendkim":
        return lambda domains: _opendkim(settings, request, given)
    for name in ("key_table", "signing_table"):
        if getattr(request, name) is not None:
            raise InvalidValue(name, MISSING, f"is OpenDKIM's, and source is {source}; drop one")
    if source == "postfixadmin":
        return lambda domains: postfixadmin.read(_rows(settings, "PostfixAdmin 4"))
    if source == "modoboa":
        return lambda domains: modoboa.read(_rows(settings, "Modoboa"), **given)
    if source == "rspamd":
        return lambda domains: rspamd.read(**{"config": None, **given}, domains=set(domains))
    return lambda domains: amavisd.read(given.get("config"), domains)


def _source(settings: Settings, request: Request) -> str:
    if request.source is not None:
        return choice(*OPTIONS)(request.source, "source")
    if request.key_table is not None:
        return "opendkim"
    preset = settings.database.preset
    if preset in _OF_PRESETS:
        return _OF_PRESETS[preset]
    raise InvalidValue(
        "source",
        MISSING,
        f"missing, and dkim:database:preset implies none; use one of {', '.join(OPTIONS)}, or "
        "give a key_table",
    )


def _rows(settings: Settings, program: str) -> postfixadmin.Rows:
    def rows(table: str, columns: Sequence[str]) -> Sequence[Sequence[str | None]]:
        return program_keys.read_table(settings.database, table, columns, program)

    return rows


def _opendkim(settings: Settings, request: Request, given: dict[str, str]) -> Held:
    def query(dsn, where):
        return program_keys.read_data_set(settings.database, dsn, where)

    found = opendkim.Found()
    if request.key_table is None:
        if request.signing_table is not None:
            raise InvalidValue("signing_table", MISSING, "is given without a key_table; give both")
        found = opendkim.read(given.get("config"))
        if found.held is not None:
            return _with_options(found.held, found)
        key_table, signing_table = found.key_table, found.signing_table
    else:
        if "config" in given:
            raise InvalidValue("config", given["config"], "is given beside a key_table; drop one")
        key_table, signing_table = request.key_table, request.signing_table
    keys = data_set.read(text(key_table, "key_table"), "key_table", query)
    entries, refused = read_key_table(keys)
    held = Held(entries, refused=refused, rows_name_files=keys.kind == data_set.DSN)
    held.folder = given.get("folder", "")
    if signing_table is not None:
        signing = data_set.read(text(signing_table, "signing_table"), "signing_table", query)
        held.signing = SigningTable(signing, found.all_sign)
    return _with_options(held, found)


def _with_options(held: Held, found: opendkim.Found) -> Held:
    for option, reason in found.refused:
        held.refuse(option, reason)
    held.notes += found.notes
    held.is_on = found.is_on
    return held
