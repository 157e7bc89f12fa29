"""The pillar's settings once they are checked: frozen, complete, every default filled in."""

from dataclasses import dataclass, field

from ..secret import Secret
from .notification import Notify

SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


# postconf(5), milter_default_action. Not "shutdown": Postfix 3.7 takes it for a mistake and answers
# 451 to everybody (measured, Debian 12).
MILTER_DEFAULT_ACTIONS = ("accept", "reject", "tempfail", "quarantine")


@dataclass(frozen=True)
class HostedTable:
    """
    A table of the mail database that hosted domains are read from (pillar
    ``dkim:database:domains`` and ``dkim:database:aliases``).

    only
        Pairs of a column and its values, as text; None stands for NULL. A row counts where every
        column has one of its values.
    """

    schema: str = "public"
    table: str = "domains"
    name: str = "domain"
    only: tuple[tuple[str, tuple[str | None, ...]], ...] = ()


@dataclass(frozen=True)
class Reader:
    """The role that OpenDKIM reads with (pillar ``dkim:database:reader``)."""

    name: str = "vmail-dkim-reader"
    auth: str = "peer"  # or "password", "cert"
    system_user: str = "opendkim"  # who logs in as the role, by peer
    map: str = "maildkim"  # the name of the map in pg_ident.conf
    password: Secret | None = None
    # On the database's host: networks and names of the mail hosts that are let in over TLS.
    clients: tuple[str, ...] = ()
    # On it: common names of the certificates that are the role's; none: its own name.
    common_names: tuple[str, ...] = ()
    sslcert: str | None = None  # on the mail host, where auth is "cert"
    sslkey: str | None = None

    @property
    def needs_password(self) -> bool:
        """Whether the role has a password at the server."""
        return self.auth == "password" or (self.auth == "peer" and bool(self.clients))

    @property
    def certified(self) -> tuple[str, ...]:
        """Whose certificates let its clients in; none: they have a password."""
        return (self.common_names or (self.name,)) if self.auth == "cert" else ()


@dataclass(frozen=True)
class Writer:
    """The role that keys are made and looked at with (pillar ``dkim:database:writer``)."""

    name: str = "vmail-dkim-writer"
    map: str = "maildkim-writer"  # lets root in, by peer
    # For work from other machines: as Reader's. With common names its clients have certificates.
    clients: tuple[str, ...] = ()
    password: Secret | None = None
    common_names: tuple[str, ...] = ()

    @property
    def certified(self) -> tuple[str, ...]:
        """Whose certificates let its clients in; none: they have a password, or it has none."""
        return self.common_names if self.clients else ()


@dataclass(frozen=True)
class Database:
    """Where the virtual-mail database is (pillar ``dkim:database``)."""

    name: str = "vmail"
    manage: bool = True
    owner: str = "vmail"  # owns a database that the formula makes
    # Owns the formula's own tables, views and functions, and nobody logs in as it: who owns the
    # mail database's tables can then read no private key.
    keys_owner: str = "vmail-dkim-owner"
    host: str = ""  # '' is the local socket
    port: int = 5432
    # The account for set-up and key work. None: on the local socket postgres sets up and the writer
    # does the rest, both by peer; with a host, no such work is done from here.
    user: str | None = None
    password: Secret | None = None
    sslcert: str | None = None  # the user's, in place of a password
    sslkey: str | None = None
    sslmode: str = "verify-full"  # libpq's, where host is not the socket
    sslrootcert: str | None = None
    # Whose tables these are (settings.presets); None: the pillar describes them by hand.
    preset: str | None = "howto"
    schema: str = "public"  # of the formula's own tables, views and functions
    # Nobody reads private keys but the formula's roles, in a table that the howto made too.
    close_keys: bool = False
    domains: HostedTable = field(default_factory=HostedTable)
    aliases: HostedTable | None = None
    # The pillar names neither preset nor table: a database without the table hosts no domain.
    assumed: bool = True
    # The pillar describes the table of domains, in part at least.
    described: bool = False
    # The pillar says which rows of the table of domains count, or that all do.
    only_given: bool = False
    reader: Reader = field(default_factory=Reader)
    writer: Writer = field(default_factory=Writer)

    @property
    def keys_table(self) -> str:
        """
        The name of the table of keys. Outside the howto it is not ``dkim``: PostfixAdmin's upgrade
        from 3 to 4 makes none of its own tables where any schema has a relation of that name
        (measured, 4.0.5).
        """
        return "dkim" if self.preset == "howto" else "dkim_keys"

    @property
    def has_writer(self) -> bool:
        """Whether the writer's role is of use here: a site's own account does all by itself."""
        return not self.host and (self.user is None or bool(self.writer.clients))

    @property
    def only_signs(self) -> bool:
        """Whether this machine has no account to work with keys: its daemon reads them."""
        return bool(self.host) and self.user is None

    @property
    def verifies(self) -> bool:
        """Whether the server has to show a certificate of an authority that is trusted."""
        return bool(self.host) and self.sslmode in ("verify-ca", "verify-full")

    @property
    def authorities(self) -> str | None:
        """
        The file of the authorities that are trusted; None where none is asked. libpq would look in
        its user's home directory, which is another one for root and for the daemon.
        """
        if not self.host:
            return None
        return self.sslrootcert or (SYSTEM_AUTHORITIES if self.verifies else None)


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

    mx: tuple[str, ...] = ()  # host names, or *.domain; empty where mode is none alone
    mode: str = "testing"  # or enforce, none
    max_age: int = 604800  # seconds


@dataclass(frozen=True)
class Delegation:
    """
    Key records that stand in a zone of ours, for a domain whose own zone is somebody else's (pillar
    ``dkim:domains:*:delegation``).
    """

    zone: str
    # Every selector that the domain may ever use: each has its CNAME in the domain's zone.
    selectors: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyPlan:
    """One key that a domain is to have."""

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
    """What one domain is to have. ``name`` is the lower-case A-label form."""

    name: str
    keys: tuple[KeyPlan, ...] = (KeyPlan(),)
    strict: bool = True  # t=s: the key is not for subdomains (RFC 6376, section 3.6.1)
    testing: bool = False  # t=y
    ttl: int = 3600  # seconds
    dmarc: Dmarc | None = None
    subdomains: bool = False  # sign .domain too; leaves t=s out
    alias_of: str | None = None  # signs with that domain's keys
    addresses: tuple[Address, ...] = ()
    spf: str | None = None  # the whole record, from v=spf1 on
    tls_rpt: tuple[str, ...] = ()  # URIs: mailto:... or https://...
    mta_sts: MtaSts | None = None
    delegation: Delegation | None = None


@dataclass(frozen=True)
class OpenDKIM:
    """Options of opendkim.conf(5), the site's over ours; and the unit (``dkim:opendkim``)."""

    settings: dict[str, str | bool | int | list] = field(default_factory=dict)
    sandbox: bool = True


@dataclass(frozen=True)
class Postfix:
    """What Postfix's configuration gets (pillar ``dkim:postfix``)."""

    # At our own entry. None: what the entry has, else main.cf's own, else accept.
    milter_default_action: str | None = None
    # Services of master.cf that are to go round our milters, ``smtp/inet``.
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
    A service that octoDNS reads and changes zones at (pillar ``dkim:dns:providers:*``).

    class_path
        The class of octoDNS, with its module.
    arguments
        Of the class; every string is a :class:`Secret`.
    """

    name: str
    class_path: str
    arguments: dict[str, object] = field(default_factory=dict)

    @property
    def package(self) -> str | None:
        """The package of PyPI that has the class; None where it is the site's own."""
        module = self.class_path.partition(".")[0]
        return module.replace("_", "-") if module.startswith("octodns") else None


@dataclass(frozen=True)
class Zone:
    """What is particular about one zone (pillar ``dkim:dns:zones:*``)."""

    publish: str | None = None  # in place of dkim:dns:publish
    provider: str | None = None  # in place of dkim:dns:provider
    server: str | None = None  # takes its updates, in place of dkim:dns:server
    key: TsigKey | None = None  # in place of dkim:dns:key
    # Its authoritative servers, in place of those that its NS records name.
    nameservers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dns:
    """
    How records are published and checked (pillar ``dkim:dns``). A server is an address or a host
    name, and may have a port: ``192.0.2.53@5353``.
    """

    publish: str = "none"  # or "rfc2136", "octodns", "command"
    providers: dict[str, ApiProvider] = field(default_factory=dict)  # by name
    provider: str | None = None  # of zones that name none
    command: str | None = None  # the path of the site's own program
    server: str | None = None
    key: TsigKey | None = None
    ttl: int = 3600  # seconds
    zones: dict[str, Zone] = field(default_factory=dict)
    resolver: tuple[str, ...] = ()  # empty: the system's, from resolv.conf(5)
    validator: str | None = None  # a resolver that validates DNSSEC
    timeout: int = 3  # seconds for one answer
    deadline: int = 60  # seconds for one check of everything, and for one publication by an API
    concurrency: int = 100  # questions under way at once
    notify: Notify | None = None

    @property
    def is_published(self) -> bool:
        """Whether the formula publishes any zone."""
        ways = (self.publish, *(zone.publish for zone in self.zones.values()))
        return any(way not in (None, "none") for way in ways)

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages of PyPI that octoDNS's providers need."""
        ways = (self.publish, *(zone.publish for zone in self.zones.values()))
        if "octodns" not in ways:
            return ()
        named = {"octodns", *(one.package for one in self.providers.values())}
        return tuple(sorted(named - {None}))


@dataclass(frozen=True)
class Rotation:
    """The life of a key (pillar ``dkim:rotation``). Every time is in seconds here."""

    every: int = 180 * 86400
    spread: int = 30 * 86400
    retire_for: int = 14 * 86400
    revoke_for: int = 30 * 86400
    margin: int = 300  # over what a resolver may remember
    together: bool = False  # all algorithms of a domain
    # None for both: where the domain has a delegation.
    first_key_waits: bool | None = None
    standby: bool | None = None  # the next key's record stands in DNS all the time
    selector: str = "{selector}-%Y%m%d"
    automatic: bool = False  # default: dns.publish is not none
    schedule: int | None = None
    publish_private: str | None = None


@dataclass(frozen=True)
class Report:
    """The page of the whole state (pillar ``dkim:monitoring:report``)."""

    path: str
    group: str = "root"  # who may read the page, beside root
    every: int = 900  # seconds


@dataclass(frozen=True)
class Monitoring:
    """
    What is checked, how often, and when a problem is worth an event (pillar
    ``dkim:monitoring``). Times in seconds; None is never.
    """

    beacon: bool = False
    textfile: str | None = None  # the directory that node_exporter reads
    every: int = 60  # from a look at services and sockets to the next
    textfile_every: int = 300
    database_every: int = 300
    dns_every: int | None = 3600
    down_for: int = 60  # how long a service may be away before an event says so
    differs_for: int = 3600  # the same, of DNS
    overdue: int = 7 * 86400  # how late a step of a key's life may be
    repeat: int | None = 86400  # from an event about what goes on to the next
    unsigned: str = "hosted"  # or "chosen": whose domains must sign
    report: Report | None = None


@dataclass(frozen=True)
class Fleet:
    """
    Which minions have which role (pillar ``dkim:fleet``): Salt's compound targets. The master reads
    them, for ``dkim.orchestrate`` and ``salt-run dkim.fleet``.
    """

    database: str = ""
    standby: str = ""
    mail: str = ""
    publisher: str = ""  # '': the database's


@dataclass(frozen=True)
class Settings:
    """The whole of pillar ``dkim``."""

    database: Database = field(default_factory=Database)
    domains: dict[str, Domain] = field(default_factory=dict)  # by name, pillar's order
    every_hosted: Domain | None = None  # '*': the template for every hosted domain
    excluded: frozenset[str] = frozenset()  # domains that are false
    defaults: Domain = field(default_factory=lambda: Domain(name="*"))
    opendkim: OpenDKIM = field(default_factory=OpenDKIM)
    postfix: Postfix = field(default_factory=Postfix)
    dns: Dns = field(default_factory=Dns)
    rotation: Rotation = field(default_factory=Rotation)
    monitoring: Monitoring = field(default_factory=Monitoring)
    fleet: Fleet = field(default_factory=Fleet)
    lookup: dict[str, object] = field(default_factory=dict)  # checked in settings.lookup
