"""A Salt master, two database servers, two mail hosts and a name server, on one network."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import remote, zones
from support.machine import ROOT, CommandFailed, Machine, equipment, image, salts
from support.machine.machine import tracked
from support.machine.network import Network

ADDRESSES = {
    "salt": "192.0.2.2",
    "db1": "192.0.2.10",
    "db2": "192.0.2.11",
    "mail1": "192.0.2.25",
    "mail2": "192.0.2.26",
    "ns": "192.0.2.53",
}
MASTER, DATABASE, STANDBY, MAIL1, MAIL2, NS = (f"{host}.example.net" for host in ADDRESSES)
MINIONS = (DATABASE, STANDBY, MAIL1, MAIL2, NS)
DOMAINS = ("example.com", "example.org")
NAMES = {f"{host}.example.net": address for host, address in ADDRESSES.items()}

SERVICE = """\
[Service]
Environment=PYTHONWARNINGS=ignore
ExecStart=/opt/salt/bin/{program}
[Install]
WantedBy=multi-user.target
"""
# The formula at two tags; they differ in the version that the library tells.
REPOSITORY = "/srv/git/dkim-formula.git"
TAGS = ("v0.1.0", "v0.2.0")
GITFS = "/etc/salt/master.d/dkim.conf"
VERSION = "_utils/dkim_formula/version.py"
# Of docs/install.md; the test has another address and, after an upgrade, another tag.
GITFS_IN_THE_GUIDE = re.compile(
    rf"^```yaml\n# {re.escape(GITFS)}\n(.*?)^```$", re.DOTALL | re.MULTILINE
)

MASTER_CONFIG = {
    "file_roots": {"base": ["/srv/salt"]},
    "pillar_roots": {"base": ["/srv/pillar"]},
    # The keys of the minions are accepted by hand elsewhere.
    "auto_accept": True,
    "worker_threads": 3,
    "enable_gpu_grains": False,
    "enable_fqdns_grains": False,
}
MINION_CONFIG = {
    "master": MASTER,
    "enable_gpu_grains": False,
    "enable_fqdns_grains": False,
    "acceptance_wait_time": 1,
    "random_reauth_delay": 1,
    "recon_default": 100,
    "recon_max": 1000,
    "recon_randomize": False,
}


@dataclass(frozen=True)
class Fleet:
    """The machines by their names, booted, with a minion on each but the master."""

    network: Network
    machines: Mapping[str, Machine]

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    @property
    def master(self) -> Machine:
        """The machine of the Salt master."""
        return self.machines[MASTER]

    def pull_cable(self, name: str) -> None:
        """Nothing gets to that machine or from it."""
        self.network.pull_cable(f"{NAMES[name]}/24")

    def put_cable_back(self, name: str) -> None:
        """The end of :meth:`pull_cable`."""
        self.network.put_cable_back(f"{NAMES[name]}/24")


@dataclass(frozen=True)
class Orchestration:
    """
    What ``state.orchestrate`` said.

    steps
        Each step's ``result``, ``comment`` and ``changes`` by its ID, in their order.
    """

    status: int
    steps: Mapping[str, Mapping[str, Any]]

    @property
    def failed(self) -> list[str]:
        """The steps that failed by themselves, not for want of another."""
        return [
            name
            for name, step in self.steps.items()
            if step["result"] is False and "requisite failed" not in step["comment"]
        ]

    @property
    def changed(self) -> list[str]:
        """The steps that change something, or would."""
        return [name for name, step in self.steps.items() if step["changes"]]

    def __str__(self) -> str:
        return json.dumps({"status": self.status, "steps": self.steps}, indent=1)


def orchestrate(fleet: Fleet, name: str, test: bool = False) -> Orchestration:
    """Run an orchestration of the formula on the master."""
    command = ["salt-run", "--out=json", "state.orchestrate", f"dkim.orchestrate.{name}"]
    command += ["test=True"] if test else []
    done = fleet.master.run(command, check=False, timeout=900)
    try:
        states = next(iter(json.loads(done.stdout)["data"].values()))
        ordered = sorted(states.values(), key=lambda step: step["__run_num__"])
    except (ValueError, KeyError, AttributeError, TypeError):
        raise CommandFailed(" ".join(command), done) from None
    return Orchestration(done.returncode, {step["__id__"]: step for step in ordered})


@contextmanager
def fleet(release: str) -> Iterator[Fleet]:
    """
    The machines, with names for each other and a minion on each. PostgreSQL and its standby are the
    site's own; the mail hosts have nothing of the formula, and the second one runs Salt 3006.
    """
    layers = {
        MASTER: image.layers(release),
        DATABASE: equipment.layers(release),
        STANDBY: equipment.layers(release),
        MAIL1: image.layers(release),
        MAIL2: salts.layers(salts.VERSIONS[0]),
        NS: image.layers(release),
    }
    with Network() as network, ExitStack() as stack:
        machines = {}
        for name, address in NAMES.items():
            place = network.plug_in(f"{address}/24")
            machine = Machine(release, hostname=name, network_namespace=place, layers=layers[name])
            machines[name] = stack.enter_context(machine)
        found = Fleet(network, machines)
        _connect(found)
        yield found


def at_tag(master: Machine, tag: str) -> None:
    """The master takes the formula at this tag, by the configuration that docs/install.md has."""
    (text,) = GITFS_IN_THE_GUIDE.findall((ROOT / "docs" / "install.md").read_text())
    (address,) = re.findall(r"https:\S+\.git", text)
    assert TAGS[0] in text
    master.write(GITFS, text.replace(address, f"file://{REPOSITORY}").replace(TAGS[0], tag))


def _put_repository(master: Machine) -> None:
    """A bare repository: this working tree at the first tag, and a newer version at the next."""
    with tempfile.TemporaryDirectory() as folder:
        tree, bare = Path(folder, "tree"), Path(folder, "bare")
        for name in tracked(ROOT):
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
        _git(tree, "init", "--quiet")
        for tag in TAGS:
            version = f'VERSION = "{tag.removeprefix("v")}"\n'
            text = re.sub(r"^VERSION = .*\n", version, (tree / VERSION).read_text(), flags=re.M)
            (tree / VERSION).write_text(text)
            _git(tree, "add", "--all")
            _git(tree, "commit", "--quiet", "--allow-empty", f"--message={tag}")
            _git(tree, "tag", tag)
        _git(tree, "clone", "--quiet", "--bare", ".", str(bare))
        archive = subprocess.run(
            ["tar", "-c", "-C", str(bare), "."], check=True, capture_output=True
        )
    master.unpack(archive.stdout, REPOSITORY)


def _git(tree: Path, *arguments: str) -> None:
    who = ("-c", "user.name=tests", "-c", "user.email=tests@example.net")
    subprocess.run(["git", "-C", str(tree), *who, *arguments], check=True, capture_output=True)


def _connect(fleet: Fleet) -> None:
    hosts = "".join(f"{address} {name}\n" for name, address in NAMES.items())
    for name, machine in fleet.machines.items():
        machine.run("cat >> /etc/hosts", input=hosts)
        machine.run("ln -s /opt/salt/bin/salt* /usr/local/bin/")
        program, config = ("salt-master", MASTER_CONFIG)
        if name != MASTER:
            program, config = ("salt-minion", {**MINION_CONFIG, "id": name})
        machine.write(f"/etc/salt/{program.partition('-')[2]}", json.dumps(config))
        machine.write(f"/etc/systemd/system/{program}.service", SERVICE.format(program=program))
    _put_repository(fleet.master)
    at_tag(fleet.master, TAGS[0])
    fleet.master.install("git")
    fleet.master.run("/opt/salt/bin/python -m pip install --quiet GitPython")
    for name, machine in fleet.machines.items():
        service = "salt-master" if name == MASTER else "salt-minion"
        machine.run(f"systemctl daemon-reload && systemctl enable --now --quiet {service}")
    zones.serve(fleet[NS], *DOMAINS, address=NAMES[NS])
    remote.certify(fleet[DATABASE], DATABASE, STANDBY)
    for name in (DATABASE, STANDBY):
        remote.listen(fleet[name], fleet[DATABASE])
    remote.replicate(fleet[DATABASE], fleet[STANDBY], NAMES[STANDBY])
    for name in (MAIL1, MAIL2):
        fleet[name].write(remote.AUTHORITY, fleet[DATABASE].read("/root/tls/site.pem"))
        fleet[name].write(remote.STRANGER, fleet[DATABASE].read("/root/tls/stranger.pem"))
    # Its Postfix was installed on a machine of another name.
    fleet[MAIL2].run(f"postconf -e myhostname={MAIL2} 'mydestination=$myhostname, localhost'")
    fleet.master.wait_for(
        "test $(ls /etc/salt/pki/master/minions | wc -l) = 5", 120, "five minions are accepted"
    )
