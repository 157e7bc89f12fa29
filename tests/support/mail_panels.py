"""PostfixAdmin and Modoboa in a test machine, each with its own database on local PostgreSQL."""

from dataclasses import dataclass

from support.machine import Machine

# The programs log in over TCP with a password, as in their own guides.
PASSWORD = "panels-own-password"


def make_database(machine: Machine, name: str) -> None:
    """Make a database in UTF-8 and its owner, a login role with the same name and a password."""
    psql(machine, "postgres", f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    psql(
        machine,
        "postgres",
        f"CREATE DATABASE {name} OWNER {name} ENCODING 'UTF8' TEMPLATE template0",
    )


def psql(machine: Machine, database: str, statement: str, role: str = "postgres") -> str:
    """Run a statement as a superuser or with a role's rights; return the rows without a head."""
    set_role = f"SET ROLE {role}; " if role != "postgres" else ""
    command = ["psql", "-X", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", database]
    result = machine.run([*command, "-c", f"{set_role}{statement}"], user="postgres")
    return result.stdout.strip()


@dataclass(frozen=True)
class PostfixAdmin:
    """
    PostfixAdmin of a major version, 3 or 4, as Debian packages it, over a database.

    Two versions over one database are an upgrade.
    """

    machine: Machine
    version: int
    database: str = "postfixadmin"

    @property
    def folder(self) -> str:
        return f"/usr/share/postfixadmin-{self.version}"

    def set_up(self) -> str:
        """Run the upgrade script, which builds or upgrades the tables; return its output."""
        settings = {
            "configured": "true",
            "database_type": "'pgsql'",
            "database_host": "'localhost'",
            "database_user": f"'{self.database}'",
            "database_password": f"'{PASSWORD}'",
            "database_name": f"'{self.database}'",
            "encrypt": "'php_crypt:SHA512'",
            "emailcheck_resolve_domain": "'NO'",
        }
        lines = [f"$CONF['{name}'] = {value};" for name, value in settings.items()]
        self.machine.write(f"{self.folder}/config.local.php", "\n".join(["<?php", *lines, ""]))
        # A run does only some of the steps; the next request does the others.
        command = f"cd {self.folder}/public && php -d session.save_path=/tmp upgrade.php"
        output = ""
        for _ in range(3):
            output += self.machine.run(command).stdout
        return output

    def cli(self, *arguments: str, check: bool = True) -> str:
        """Call ``postfixadmin-cli``; return its output."""
        result = self.machine.run(
            ["bash", f"{self.folder}/scripts/postfixadmin-cli", *arguments], check=check
        )
        return result.stdout + result.stderr

    def add_domain(self, name: str) -> None:
        """Add an active domain without limits."""
        self.cli("domain", "add", name, "--description", name, "--aliases", "0", "--mailboxes", "0")

    def add_alias(self, name: str, target: str) -> None:
        """Make an existing domain an alias of another."""
        self.cli("aliasdomain", "add", name, "--target-domain", target)

    def add_key(self, domain: str, selector: str, key: str) -> str:
        """
        Add a DKIM key by the code of PostfixAdmin's form, and return the row's id.

        The key begins with a line end, as the command takes a text with a leading hyphen for an
        option.
        """
        pasted = "\r\n" + key.replace("\n", "\r\n")
        given = ["--domain_name", domain, "--selector", selector, "--private_key", pasted]
        output = self.cli("dkim", "add", "", *given)
        assert "Entry saved in database" in output, output
        return psql(self.machine, self.database, "SELECT max(id) FROM public.dkim")

    def sign(self, author: str, key: str) -> None:
        """Let a key sign for a domain or a mailbox."""
        output = self.cli("dkimsigning", "add", "", "--dkim_id", key, "--author", author)
        assert "Entry saved in database" in output, output


@dataclass(frozen=True)
class Modoboa:
    """An instance of Modoboa: its migrations build the tables, and its models change them."""

    machine: Machine
    database: str = "modoboa"

    def set_up(self) -> None:
        """Deploy the instance, and start the cache that it needs."""
        self.machine.run("systemctl start redis-server")
        address = f"default:postgres://{self.database}:{PASSWORD}@localhost:5432/{self.database}"
        self.machine.run(
            "cd /root && /opt/modoboa/bin/modoboa-admin.py deploy instance"
            f" --dburl {address} --domain mail.example.net"
        )

    def run(self, statements: str) -> str:
        """Run Python statements with ``Domain`` and ``DomainAlias`` imported; return the output."""
        head = "from modoboa.admin.models import Domain, DomainAlias\n"
        result = self.machine.run(
            ["/opt/modoboa/bin/python", "/root/instance/manage.py", "shell"],
            input=f"{head}{statements}\n",
        )
        return result.stdout

    def make_keys(self, folder: str) -> None:
        """Make the key of each domain with DKIM switched on, as Modoboa's own worker does."""
        self.machine.run(f"mkdir -p {folder}")
        self.run(
            "from modoboa.parameters import tools\n"
            "config = tools.get_localconfig()\n"
            f"config.parameters.set_value('dkim_keys_storage_dir', {folder!r}, app='admin')\n"
            "config.save()"
        )
        self.machine.run("/opt/modoboa/bin/python /root/instance/manage.py modo manage_dkim_keys")
