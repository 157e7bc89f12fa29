"""The options of a daemon's opendkim.conf: defaults, the pillar's values, the formula's own."""

from ..postgres.objects import view_name
from ..settings import signed_headers
from ..settings.model import Database, Settings
from .daemons import SIGNATURE_ALGORITHMS, Daemon

# dkim:opendkim:settings of the pillar overrides these values.
# dkim/opendkim/files/opendkim.conf.jinja gives the reason for each value.
DEFAULTS: dict[str, str | bool | int | list] = {
    "Syslog": True,
    "SyslogSuccess": True,
    "Canonicalization": "relaxed/relaxed",
    "Mode": "sv",
    "SignHeaders": list(signed_headers.SIGNED),
    "OversignHeaders": list(signed_headers.OVERSIGNED),
    "UMask": "007",
    "InternalHosts": ["127.0.0.1", "::1"],
    "TrustAnchorFile": "/usr/share/dns/root.key",
}


def options(settings: Settings, daemon: Daemon) -> dict[str, str]:
    """
    Return every option of the daemon's opendkim.conf(5), with its value as text.

    The defaults come first, the pillar's values override them, then come the options that only the
    formula sets. The default of OversignHeaders follows the pillar's SignHeaders and OmitHeaders.
    """
    given = settings.opendkim.settings
    found = {**DEFAULTS, "OversignHeaders": signed_headers.oversigned(given), **given}
    if daemon.algorithm != "rsa":
        # The second daemon only signs: a message needs one verification and one software header.
        # With RemoveOldSignatures it would remove the signature of the first daemon, which is the
        # first in main.cf too: when OpenDKIM signs, it removes every present signature (mlfi_eom
        # in opendkim.c).
        found["Mode"] = "s"
        for name in ("SoftwareHeader", "RemoveOldSignatures"):
            found.pop(name, None)
    database = settings.database
    key_view = view_name(database, "key", daemon.algorithm)
    signing_view = view_name(database, "signing", daemon.algorithm)
    found |= {
        "SignatureAlgorithm": SIGNATURE_ALGORITHMS[daemon.algorithm],
        "Socket": f"local:{daemon.socket}",
        "KeyTable": dsn(database, key_view, "identifier", ("domain", "selector", "key")),
        "SigningTable": dsn(database, signing_view, "pattern", ("identifier",)),
    }
    return {name: option_text(value) for name, value in found.items()}


def option_text(value: str | bool | int | list) -> str:
    """Return a value in the form of opendkim.conf(5): yes, no, a number, or a list with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(option_text(item) for item in value)
    return str(value)


def dsn(database: Database, view: str, key_column: str, data_columns: tuple[str, ...]) -> str:
    """
    Return OpenDKIM's address of a view: opendkim(8), «Data Sets».

    The address never contains a password: the daemon prints the whole DSN to the journal if the
    table can't be opened (measured). For the local socket the host is ``,``, which is libpq's list
    of two empty hosts. Each empty host means the default socket. OpenDKIM's syntax allows neither
    an empty host nor a path.
    """
    host = database.host or ","
    port = "" if database.port == 5432 else f"{database.port}+"
    columns = ",".join(data_columns)
    return (
        f"dsn:pgsql://{database.reader.name}@{port}{host}/{database.name}"
        f"/table={view}?keycol={key_column}?datacol={columns}"
    )
