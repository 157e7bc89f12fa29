"""A database on a machine of its own: cables, names, certificates, and PostgreSQL listening."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support import faults, mail, salt, server
from support.machine import Machine, equipment
from support.machine.network import Network

MAIL, DATABASE, STANDBY = "192.0.2.25", "192.0.2.10", "192.0.2.11"
NAMES = {MAIL: "mail.example.net", DATABASE: "db.example.net", STANDBY: "db2.example.net"}
# As the mail host has them.
AUTHORITY, STRANGER = "/etc/ssl/certs/site-authority.pem", "/etc/ssl/certs/strangers-authority.pem"
CERTIFICATE, KEY = "/etc/opendkim-client.crt", "/etc/opendkim-client.key"

# The site's authority and one that nobody knows; a certificate each for the servers, for the mail
# host, and for a machine that is none of these.
CERTIFY = """\
set -eu
mkdir -p /root/tls && cd /root/tls
quiet() {{ openssl "$@" 2>/dev/null; }}
for authority in site stranger; do
    quiet req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj "/CN=$authority authority" -keyout $authority.key -out $authority.pem
done
for name in {names}; do
    quiet req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
        -addext "subjectAltName=DNS:$name" -keyout $name.key -out $name.csr
    quiet x509 -req -in $name.csr -CA site.pem -CAkey site.key -CAcreateserial -days 30 \
        -copy_extensions copy -out $name.pem
done
"""
LISTEN = """\
listen_addresses = '*'
ssl = on
ssl_cert_file = '/etc/postgresql/server.pem'
ssl_key_file = '/etc/postgresql/server.key'
ssl_ca_file = '/etc/postgresql/authority.pem'
"""
REPLICATION = "hostssl replication standby {address}/32 scram-sha-256\n"
FOLLOW = f"""\
set -eu
version=$(ls /var/lib/postgresql)
{faults.STOP}
data=/var/lib/postgresql/$version/main
rm -rf $data
runuser -u postgres -- pg_basebackup --write-recovery-conf --pgdata=$data \\
    --dbname='host={{primary}} user=standby password=standby sslmode=require'
systemctl start postgresql
"""


@dataclass(frozen=True)
class Site:
    """The machines, booted and equipped, with names for each other."""

    network: Network
    mail: Machine
    database: Machine
    standby: Machine | None

    @property
    def machines(self) -> list[Machine]:
        """Those that there are."""
        return [one for one in (self.mail, self.database, self.standby) if one]


@contextmanager
def site(release: str, standby: bool = False) -> Iterator[Site]:
    """Machines on one network, the database's listening with a certificate."""
    layers = equipment.layers(release)
    with Network() as network:

        def machine(address: str) -> Machine:
            place = network.plug_in(f"{address}/24")
            return Machine(release, hostname=NAMES[address], network_namespace=place, layers=layers)

        with machine(MAIL) as mailhost, machine(DATABASE) as database:
            if not standby:
                yield _connected(Site(network, mailhost, database, None))
                return
            with machine(STANDBY) as second:
                yield _connected(Site(network, mailhost, database, second))


def postgresql(machine: Machine) -> str:
    """The folder of PostgreSQL's configuration."""
    return machine.run("ls -d /etc/postgresql/*/main").stdout.strip()


def certify(made: Machine, *names: str) -> None:
    """Make the authorities and a certificate for each name, in ``/root/tls`` of a machine."""
    made.run(CERTIFY.format(names=" ".join(names)))


def listen(machine: Machine, made: Machine) -> None:
    """Have PostgreSQL take connections over TLS, by the certificate of the machine's name."""
    for source, target in (
        ("site.pem", "authority.pem"),
        (f"{machine.hostname}.pem", "server.pem"),
        (f"{machine.hostname}.key", "server.key"),
    ):
        text = made.read(f"/root/tls/{source}")
        machine.write(f"/etc/postgresql/{target}", text, mode=0o400, owner="postgres:postgres")
    machine.write(f"{postgresql(machine)}/conf.d/tls.conf", LISTEN)
    machine.run("systemctl restart postgresql")


def replicate(primary: Machine, standby: Machine, address: str) -> None:
    """Make PostgreSQL of a machine the standby of another's; it has that address."""
    statement = "CREATE ROLE standby LOGIN REPLICATION PASSWORD 'standby'"
    server.sql(primary, statement, database="postgres")
    rules = f"{postgresql(primary)}/pg_hba.conf"
    text = REPLICATION.format(address=address) + primary.read(rules)
    primary.write(rules, text, mode=0o640, owner="postgres:postgres")
    primary.run("systemctl reload postgresql")
    standby.run(FOLLOW.format(primary=primary.hostname))
    standby.wait_for(
        "runuser -u postgres -- psql -Atc 'SELECT pg_is_in_recovery()' | grep -qx t", 60
    )


def records(site: Site) -> dict[str, str]:
    """The TXT values by name that the database's machine says to publish."""
    return mail.zone_records(site.mail, salt.call(site.database, "dkim.records", format="bind"))


def _connected(site: Site) -> Site:
    hosts = "".join(f"{address} {name}\n" for address, name in NAMES.items())
    for machine in site.machines:
        machine.run("cat >> /etc/hosts", input=hosts)
    made = site.database
    certify(made, *NAMES.values(), "other.example.net")
    for machine in filter(None, (site.database, site.standby)):
        listen(machine, made)
    site.mail.write(AUTHORITY, made.read("/root/tls/site.pem"))
    site.mail.write(STRANGER, made.read("/root/tls/stranger.pem"))
    site.mail.write(CERTIFICATE, made.read("/root/tls/mail.example.net.pem"))
    key = made.read("/root/tls/mail.example.net.key")
    site.mail.write(KEY, key, mode=0o400, owner="opendkim:opendkim")
    return site
