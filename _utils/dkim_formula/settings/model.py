"""The checked settings of the pillar: frozen, complete, with every default filled in."""

from dataclasses import dataclass, field

from ..secret import Secret
from .monitoring import Monitoring
from .notification import Notify

SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"

# postconf(5), milter_default_action. "shutdown" is left out: Postfix 3.7 treats it as a mistake and
# answers 451 to every client (measured, Debian 12).
MILTER_DEFAULT_ACTIONS = ("accept", "reject", "tempfail", "quarantine")


@dataclass(frozen=True)
class HostedTable:
    """
    A table of hosted domains (pillar ``dkim:database:domains`` or ``dkim:database:aliases``).

    only
        Pairs of a column and its values, as text. None means NULL. A row counts if every column has
        one of its values.
    """

    schema: str = "public"
    table: str = "domains"
    name: str = "domain"
    only: tuple[tuple[str, tuple[str | None, ...]], ...] = ()


@dataclass(frozen=True)
class Reader:
    """The role that OpenDKIM reads keys with (pillar ``dkim:database:reader``)."""

    name: str = "vmail-dkim-reader"
    auth: str = "peer"  # or "password", "cert"
    system_user: str = "opendkim"  # logs in as the role, by peer
    map: str = "maildkim"  # the name of the map in pg_ident.conf
    password: Secret | None = None
    # On the database host: networks and names of the mail hosts that may log in over TLS.
    clients: tuple[str, ...] = ()
    # On the database host: common names of the role's certificates. Empty: the role's name.
    common_names: tuple[str, ...] = ()
    sslcert: str | None = None  # on the mail host, if auth is "cert"
    sslkey: str | None = None

    @property
    def needs_password(self) -> bool:
        """Whether the role has a password on the server."""
        return self.auth == "password" or (self.auth == "peer" and bool(self.clients))

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """The common names of the clients' certificates. Empty: clients use no certificate."""
        return (self.common_names or (self.name,)) if self.auth == "cert" else ()


@dataclass(frozen=True)
class Writer:
    """The formula's role for keys, rotation and records (pillar ``dkim:database:writer``)."""

    name: str = "vmail-dkim-writer"
    map: str = "maildkim-writer"  # lets root log in, by peer
    # For work from other machines, as in Reader. With common names, clients use certificates.
    clients: tuple[str, ...] = ()
    password: Secret | None = None
    common_names: tuple[str, ...] = ()

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """The common names of the clients' certificates. Empty: clients use no certificate."""
        return self.common_names if self.clients else ()


@dataclass(frozen=True)
class Database:
    """The virtual-mail database and its roles (pillar ``dkim:database``)."""

    name: str = "vmail"
    manage: bool = True
    owner: str = "vmail"  # owns a database that the formula creates
    # Owns the formula's tables, views and functions, and has no login. The owner of the mail
    # database's tables can therefore read no private key.
    keys_owner: str = "vmail-dkim-owner"
    host: str = ""  # '' means the local socket
    port: int = 5432
    # The account for set-up and key work. None on the local socket: postgres does the set-up and
    # the writer the rest, both by peer. None with a host: this machine does no such work.
    user: str | None = None
    password: Secret | None = None
    sslcert: str | None = None  # of the user, instead of a password
    sslkey: str | None = None
    sslmode: str = "verify-full"  # libpq's, used if host is set
    sslrootcert: str | None = None
    # The mail set-up that owns the tables (settings.database_presets). None: the pillar describes
    # them.
    preset: str | None = "howto"
    schema: str = "public"  # of the formula's own tables, views and functions
    # Only the formula's roles may read private keys, also in a table that the howto created.
    close_keys: bool = False
    domains: HostedTable = field(default_factory=HostedTable)
    aliases: HostedTable | None = None
    # The pillar names neither preset nor table. A database without the table hosts no domain.
    assumed: bool = True
    # The pillar describes the table of domains, at least in part.
    described: bool = False
    # The pillar says which rows of the table of domains count, or that all rows count.
    only_given: bool = False
    reader: Reader = field(default_factory=Reader)
    writer: Writer = field(default_factory=Writer)

    @property
    def keys_table(self) -> str:
        """
        The name of the table of keys.

        It is ``dkim`` for the howto alone: PostfixAdmin's upgrade from 3 to 4 creates none of its
        own tables if any schema has a relation named ``dkim`` (measured, 4.0.5).
        """
        return "dkim" if self.preset == "howto" else "dkim_keys"

    @property
    def has_writer(self) -> bool:
        """Whether the writer's role is used here. The account ``user`` works without the writer."""
        return not self.host and (self.user is None or bool(self.writer.clients))

    @property
    def only_signs(self) -> bool:
        """Whether this machine has no account for key work: only its daemon reads keys."""
        return bool(self.host) and self.user is None

    @property
    def verifies_server(self) -> bool:
        """Whether the server must show a certificate of a trusted authority."""
        return bool(self.host) and self.sslmode in ("verify-ca", "verify-full")

    @property
    def ca_file(self) -> str | None:
        """
        The file of trusted certificate authorities; None if no certificate is verified.

        libpq's default is in the home directory, which differs for root and for the daemon.
        """
        if not self.host:
            return None
        return self.sslrootcert or (SYSTEM_CA_FILE if self.verifies_server else None)


@dataclass(frozen=True)
class Dmarc:
    """A domain's DMARC policy (pillar ``dkim:domains:*:dmarc``), RFC 9989 section 4.7."""

    policy: str = "none"  # p=
    subdomain_policy: str | None = None  # sp=
    nonexistent_policy: str | None = None  # np=
    rua: tuple[str, ...] = ()  # addresses, without mailto:
    ruf: tuple[str, ...] = ()
    adkim: str | None = None  # r or s
    aspf: str | None = None
    fo: str | None = None
    testing: bool = False  # t=y
    psd: str | None = None  # y, n or u


@dataclass(frozen=True)
class MtaSts:
    """A domain's MTA-STS policy (pillar ``dkim:domains:*:mta_sts``), RFC 8461 section 3.2."""

    mx: tuple[str, ...] = ()  # host names, or *.domain; empty only if mode is none
    mode: str = "testing"  # or enforce, none
    max_age: int = 604800  # seconds


@dataclass(frozen=True)
class Delegation:
    """
    Key records in a zone of the formula, for a domain in a zone of another operator (pillar
    ``dkim:domains:*:delegation``).
    """

    zone: str
    # Every selector that the domain may ever use. Each has a CNAME in the domain's zone.
    selectors: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyPlan:
    """One desired key of a domain."""

    algorithm: str = "rsa"  # or "ed25519"
    selector: str = "default"
    bits: int = 2048  # RSA alone


@dataclass(frozen=True)
class Address:
    """One address with a key of its own (pillar ``dkim:domains:*:addresses``)."""

    address: str
    keys: tuple[KeyPlan, ...] = (KeyPlan(),)


@dataclass(frozen=True)
class Domain:
    """The desired state of one domain. ``name`` is the lower-case A-label form."""

    name: str
    keys: tuple[KeyPlan, ...] = (KeyPlan(),)
    strict: bool = True  # t=s: the key is not for subdomains (RFC 6376, section 3.6.1)
    testing: bool = False  # t=y
    ttl: int = 3600  # seconds
    dmarc: Dmarc | None = None
    subdomains: bool = False  # also sign subdomains; omits t=s
    alias_of: str | None = None  # sign with that domain's keys
    addresses: tuple[Address, ...] = ()
    spf: str | None = None  # the whole record, from v=spf1 on
    tls_rpt: tuple[str, ...] = ()  # URIs: mailto:... or https://...
    mta_sts: MtaSts | None = None
    delegation: Delegation | None = None


@dataclass(frozen=True)
class OpenDKIM:
    """Options of opendkim.conf(5) over the formula's, and the unit (pillar ``dkim:opendkim``)."""

    settings: dict[str, str | bool | int | list] = field(default_factory=dict)
    sandbox: bool = True


@dataclass(frozen=True)
class Postfix:
    """Settings for Postfix (pillar ``dkim:postfix``)."""

    # Of the formula's milter entry. None: the entry's present action, else main.cf's, else accept.
    milter_default_action: str | None = None
    # Services of master.cf that bypass the formula's milters, such as ``smtp/inet``.
    unsigned_services: tuple[str, ...] = ()


@dataclass(frozen=True)
class TsigKey:
    """The TSIG key for updates (pillar ``dkim:dns:key``), RFC 8945."""

    name: str
    algorithm: str
    secret: Secret


@dataclass(frozen=True)
class ApiProvider:
    """
    A DNS service, used through an octoDNS provider (pillar ``dkim:dns:providers:*``).

    class_path
        The provider's class with its module.
    arguments
        The arguments of the class. Every string is a :class:`Secret`.
    """

    name: str
    class_path: str
    arguments: dict[str, object] = field(default_factory=dict)

    @property
    def package(self) -> str | None:
        """The PyPI package of the class; None if the class is not octoDNS's."""
        module = self.class_path.partition(".")[0]
        return module.replace("_", "-") if module.startswith("octodns") else None


@dataclass(frozen=True)
class Zone:
    """The settings of one zone (pillar ``dkim:dns:zones:*``)."""

    publish: str | None = None  # instead of dkim:dns:publish
    provider: str | None = None  # instead of dkim:dns:provider
    server: str | None = None  # receives the updates, instead of dkim:dns:server
    key: TsigKey | None = None  # instead of dkim:dns:key
    # The zone's authoritative servers, instead of those in its NS records.
    nameservers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dns:
    """
    Publication and checks of DNS records (pillar ``dkim:dns``). A server is an address or a host
    name, with an optional port: ``192.0.2.53@5353``.
    """

    publish: str = "none"  # or "rfc2136", "octodns", "command"
    providers: dict[str, ApiProvider] = field(default_factory=dict)  # by name
    provider: str | None = None  # of zones without a provider of their own
    command: str | None = None  # the path of the program that publishes
    server: str | None = None
    key: TsigKey | None = None
    ttl: int = 3600  # seconds
    zones: dict[str, Zone] = field(default_factory=dict)
    resolver: tuple[str, ...] = ()  # empty: the system's, from resolv.conf(5)
    validator: str | None = None  # a resolver that validates DNSSEC
    timeout: int = 3  # seconds for one answer
    deadline: int = 60  # seconds for one check of all records, or one publication by an API
    concurrency: int = 100  # queries in progress at once
    notify: Notify | None = None

    @property
    def is_published(self) -> bool:
        """Whether the formula publishes any zone."""
        methods = (self.publish, *(zone.publish for zone in self.zones.values()))
        return any(method not in (None, "none") for method in methods)

    @property
    def packages(self) -> tuple[str, ...]:
        """The PyPI packages that octoDNS's providers need."""
        methods = (self.publish, *(zone.publish for zone in self.zones.values()))
        if "octodns" not in methods:
            return ()
        named = {"octodns", *(one.package for one in self.providers.values())}
        return tuple(sorted(named - {None}))


@dataclass(frozen=True)
class Rotation:
    """The life cycle of keys (pillar ``dkim:rotation``). All times are in seconds."""

    every: int = 180 * 86400
    spread: int = 30 * 86400
    retire_for: int = 14 * 86400
    revoke_for: int = 30 * 86400
    margin: int = 300  # added to the time that a resolver may cache a record
    together: bool = False  # rotate all algorithms of a domain at once
    # For these two, None means: true for domains that have a delegation.
    first_key_waits: bool | None = None
    standby: bool | None = None  # keep the next key's record in DNS all the time
    selector: str = "{selector}-%Y%m%d"
    automatic: bool = False  # default: dns.publish is not none, or fleet.publisher is set
    schedule: int | None = None
    publish_private: str | None = None


@dataclass(frozen=True)
class Fleet:
    """The minions of each role, as Salt's compound targets (pillar ``dkim:fleet``)."""

    database: str = ""
    standby: str = ""
    mail: str = ""
    publisher: str = ""  # '': the target of database

    @property
    def is_set(self) -> bool:
        """Whether the fleet has the roles that a roll-out needs."""
        return bool(self.database and self.mail)


@dataclass(frozen=True)
class Settings:
    """The whole pillar ``dkim``."""

    database: Database = field(default_factory=Database)
    domains: dict[str, Domain] = field(default_factory=dict)  # by name, in the pillar's order
    every_hosted: Domain | None = None  # '*': the template of every hosted domain
    excluded: frozenset[str] = frozenset()  # domains that are set to false
    defaults: Domain = field(default_factory=lambda: Domain(name="*"))
    opendkim: OpenDKIM = field(default_factory=OpenDKIM)
    postfix: Postfix = field(default_factory=Postfix)
    dns: Dns = field(default_factory=Dns)
    rotation: Rotation = field(default_factory=Rotation)
    monitoring: Monitoring = field(default_factory=Monitoring)
    fleet: Fleet = field(default_factory=Fleet)
    lookup: dict[str, object] = field(default_factory=dict)  # checked in settings.lookup
