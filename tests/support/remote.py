"""A mail host and a separate database server, with a network, names and certificates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support import faults, mail, salt, server
from support.machine import Machine, equipment
from support.machine.network import Network

MAIL, DATABASE, STANDBY = "192.0.2.25", "192.0.2.10", "192.0.2.11"
NAMES = {MAIL: "mail.example.net", DATABASE: "db.example.net", STANDBY: "db2.example.net"}
# Files on the mail host.
AUTHORITY, STRANGER = "/etc/ssl/certs/site-authority.pem", "/etc/ssl/certs/strangers-authority.pem"
CERTIFICATE, KEY = "/etc/opendkim-client.crt", "/etc/opendkim-client.key"

# Makes the site's authority and an untrusted one. The site's authority issues a certificate for
# each name. All are valid since a month, so also for a machine whose clock is slow.
CERTIFY = """\
import datetime, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
folder = pathlib.Path("/root/tls")
folder.mkdir(exist_ok=True)
now, month = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=30)

def certify(file, name, issuer=None):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = issuer or (subject, key)
    made = x509.CertificateBuilder(issuer_name, subject, key.public_key())
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - month).not_valid_after(now + month)
    made = made.add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
    if issuer:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    pem = made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{file}.pem").write_bytes(pem)
    (folder / f"{file}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return subject, key

site, _ = certify("site", "site authority"), certify("stranger", "stranger authority")
for name in sys.argv[1:]:
    certify(name, name, site)
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
runuser -u postgres -- pg_basebackup --write-recovery-conf --checkpoint=fast --pgdata=$data \\
    --dbname='host={{primary}} user=standby password=standby sslmode=require'
systemctl start postgresql
"""


@dataclass(frozen=True)
class Site:
    """The booted and equipped machines, which know each other's names."""

    network: Network
    mail: Machine
    database: Machine
    standby: Machine | None

    @property
    def machines(self) -> list[Machine]:
        """The existing machines."""
        return [one for one in (self.mail, self.database, self.standby) if one]


@contextmanager
def site(release: str, standby: bool = False) -> Iterator[Site]:
    """Start the machines on one network; PostgreSQL listens with a certificate."""
    layers = equipment.layers(release)
    with Network() as network:

        def machine(address: str) -> Machine:
            return Machine(
                release,
                hostname=NAMES[address],
                network_namespace=network.plug_in(f"{address}/24"),
                layers=layers,
                warm_salt=True,
            )

        with machine(MAIL) as mailhost, machine(DATABASE) as database:
            if not standby:
                yield _connected(Site(network, mailhost, database, None))
                return
            with machine(STANDBY) as second:
                yield _connected(Site(network, mailhost, database, second))


def postgresql(machine: Machine) -> str:
    """Return the folder of PostgreSQL's configuration."""
    return machine.run("ls -d /etc/postgresql/*/main").stdout.strip()


def certify(issuer: Machine, *names: str) -> None:
    """Make the authorities and a certificate for each name, in ``/root/tls`` of a machine."""
    issuer.run([mail.TESTS_PYTHON, "-c", CERTIFY, *names])


def listen(machine: Machine, issuer: Machine) -> None:
    """Let PostgreSQL accept connections over TLS, with the certificate of the machine's name."""
    for source, target in (
        ("site.pem", "authority.pem"),
        (f"{machine.hostname}.pem", "server.pem"),
        (f"{machine.hostname}.key", "server.key"),
    ):
        text = issuer.read(f"/root/tls/{source}")
        machine.write(f"/etc/postgresql/{target}", text, mode=0o400, owner="postgres:postgres")
    machine.write(f"{postgresql(machine)}/conf.d/tls.conf", LISTEN)
    machine.run("systemctl restart postgresql")


def replicate(primary: Machine, standby: Machine, address: str) -> None:
    """Make PostgreSQL of a machine, which has that address, the standby of another's."""
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
    """Return the TXT values by name that the database server wants to be published."""
    return mail.zone_records(site.mail, salt.call(site.database, "dkim.records", format="bind"))


def _connected(site: Site) -> Site:
    hosts = "".join(f"{address} {name}\n" for address, name in NAMES.items())
    for machine in site.machines:
        machine.run("cat >> /etc/hosts", input=hosts)
    issuer = site.database
    certify(issuer, *NAMES.values(), "other.example.net")
    for machine in filter(None, (site.database, site.standby)):
        listen(machine, issuer)
    site.mail.write(AUTHORITY, issuer.read("/root/tls/site.pem"))
    site.mail.write(STRANGER, issuer.read("/root/tls/stranger.pem"))
    site.mail.write(CERTIFICATE, issuer.read("/root/tls/mail.example.net.pem"))
    key = issuer.read("/root/tls/mail.example.net.key")
    site.mail.write(KEY, key, mode=0o400, owner="opendkim:opendkim")
    return site
