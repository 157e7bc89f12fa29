"""State of a mail server: its databases, configuration files and packages."""

from dataclasses import dataclass

from support.machine import Machine

# Compares owners and modes too, but no times: dpkg and Salt may rewrite a file without a change.
ETC = "find /etc -type f -o -type l | sort | xargs -d '\\n' stat --format='%n %U:%G %a %s' && "
ETC_CONTENT = "find /etc -type f | sort | xargs -d '\\n' md5sum"
PACKAGES = "dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\\n'"
SALT_PACKAGES = "/opt/salt/bin/python -m pip list --format=freeze"


@dataclass(frozen=True)
class State:
    """Everything that a run can change: files in /etc, packages, roles and databases."""

    etc: str
    packages: str
    databases: str

    def differences(self, other: "State") -> list[str]:
        """Return the lines that only one of the two states has."""
        found = []
        for mine, others in (
            (self.etc, other.etc),
            (self.packages, other.packages),
            (self.databases, other.databases),
        ):
            found += sorted(set(mine.splitlines()) ^ set(others.splitlines()))
        return found


def sql(machine: Machine, statement: str, database: str = "vmail") -> str:
    """Run a statement as superuser; return one line per row, fields separated by ``|``."""
    command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", database]
    return machine.run([*command, "-c", statement], user="postgres").stdout.strip()


def dump(machine: Machine, *options: str, database: str = "vmail") -> str:
    """Return a database's dump by pg_dump(1), without the lines that differ in each dump."""
    text = machine.run(["pg_dump", *options, database], user="postgres").stdout
    # Since 15.14 and 17.6 a dump begins and ends with a random key (CVE-2025-8714).
    return "\n".join(line for line in text.splitlines() if "restrict " not in line)


def state(machine: Machine) -> State:
    """Return the machine's present state."""
    packages = machine.run(f"{PACKAGES} && {SALT_PACKAGES}").stdout
    databases = ""
    if machine.run("pg_lsclusters -h 2>/dev/null | grep -q online", check=False).returncode == 0:
        text = machine.run(["pg_dumpall"], user="postgres").stdout
        databases = "\n".join(line for line in text.splitlines() if "restrict " not in line)
    return State(machine.run(ETC + ETC_CONTENT).stdout, packages, databases)
