"""What a mail server looks like from inside: its database, and whether anything has changed."""

from dataclasses import dataclass

from support.machine import Machine

# Owners and modes too, not times: dpkg and Salt may write a file as it was.
ETC = "find /etc -type f -o -type l | sort | xargs -d '\\n' stat --format='%n %U:%G %a %s' && "
ETC_CONTENT = "find /etc -type f | sort | xargs -d '\\n' md5sum"
PACKAGES = "dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\\n'"
SALT_PACKAGES = "/opt/salt/bin/python -m pip list --format=freeze"


@dataclass(frozen=True)
class State:
    """Everything that a run could change: files in /etc, packages, roles and databases."""

    etc: str
    packages: str
    databases: str

    def differences(self, other: "State") -> list[str]:
        """The lines that are in one of both alone."""
        found = []
        for mine, others in (
            (self.etc, other.etc),
            (self.packages, other.packages),
            (self.databases, other.databases),
        ):
            found += sorted(set(mine.splitlines()) ^ set(others.splitlines()))
        return found


def sql(machine: Machine, statement: str, database: str = "vmail") -> str:
    """What psql(1) prints as the database's superuser: rows as lines, fields divided by ``|``."""
    command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", database]
    return machine.run([*command, "-c", statement], user="postgres").stdout.strip()


def dump(machine: Machine, *options: str, database: str = "vmail") -> str:
    """A database as pg_dump(1) writes it, without what is new in each dump."""
    text = machine.run(["pg_dump", *options, database], user="postgres").stdout
    # From 15.14 and 17.6 on a dump begins and ends with a key of its own (CVE-2025-8714).
    return "\n".join(line for line in text.splitlines() if "restrict " not in line)


def state(machine: Machine) -> State:
    """What a run that changes nothing leaves as it is."""
    packages = machine.run(f"{PACKAGES} && {SALT_PACKAGES}").stdout
    databases = ""
    if machine.run("pg_lsclusters -h 2>/dev/null | grep -q online", check=False).returncode == 0:
        text = machine.run(["pg_dumpall"], user="postgres").stdout
        databases = "\n".join(line for line in text.splitlines() if "restrict " not in line)
    return State(machine.run(ETC + ETC_CONTENT).stdout, packages, databases)
