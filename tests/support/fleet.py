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
# The formula has two tags, which differ in the version of the library.
REPOSITORY = "/srv/git/dkim-formula.git"
TAGS = ("v0.1.0", "v0.2.0")
GITFS = "/etc/salt/master.d/dkim.conf"
VERSION = "_utils/dkim_formula/version.py"
# The configuration in docs/install.md. The test replaces the address and, for an upgrade, the tag.
GITFS_IN_THE_GUIDE = re.compile(
    rf"^```yaml\n# {re.escape(GITFS)}\n(.*?)^```$", re.DOTALL | re.MULTILINE
)

MASTER_CONFIG = {
    "file_roots": {"base": ["/srv/salt"]},
    "pillar_roots": {"base": ["/srv/pillar"]},
    # On real masters an administrator accepts the minions' keys.
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
    """The booted machines by their names; all except the master run a minion."""

    network: Network
    machines: Mapping[str, Machine]

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    @property
    def master(self) -> Machine:
        """The machine of the Salt master."""
        return self.machines[MASTER]

    def pull_cable(self, name: str) -> None:
        """Drop all packets to and from a machine."""
        self.network.pull_cable(f"{NAMES[name]}/24")

    def put_cable_back(self, name: str) -> None:
        """Undo :meth:`pull_cable`."""
        self.network.put_cable_back(f"{NAMES[name]}/24")


@dataclass(frozen=True)
class Orchestration:
    """
    The result of ``state.orchestrate``.

    steps
        Each step's ``result``, ``comment`` and ``changes`` by its ID, in the order of the run.
    """

    status: int
    steps: Mapping[str, Mapping[str, Any]]

    @property
    def failed(self) -> list[str]:
        """The steps that failed, without those that only miss a failed requisite."""
        return [
            name
            for name, step in self.steps.items()
            if step["result"] is False and "requisite failed" not in step["comment"]
        ]

    @property
    def changed(self) -> list[str]:
        """The steps that changed something or, in a test run, would change something."""
        return [name for name, step in self.steps.items() if step["changes"]]

    def __str__(self) -> str:
        # The failed steps are last, because CI shows the end of a long message.
        failed = self.failed
        ordered = sorted(self.steps.items(), key=lambda step: step[0] in failed)
        return json.dumps({"status": self.status, "steps": dict(ordered)}, indent=1)


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
    Start the machines, which know each other's names and run minions; yield the fleet.

    PostgreSQL and its standby exist before the formula is applied. The mail hosts have no package
    of the formula yet, and the second one runs Salt 3006.
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
            namespace = network.plug_in(f"{address}/24")
            machine = Machine(
                release, hostname=name, network_namespace=namespace, layers=layers[name]
            )
            machines[name] = stack.enter_context(machine)
        found = Fleet(network, machines)
        _connect(found)
        yield found


def at_tag(master: Machine, tag: str) -> None:
    """Let the master use the formula at a tag, by the configuration in docs/install.md."""
    (text,) = GITFS_IN_THE_GUIDE.findall((ROOT / "docs" / "install.md").read_text())
    (address,) = re.findall(r"https:\S+\.git", text)
    assert TAGS[0] in text
    master.write(GITFS, text.replace(address, f"file://{REPOSITORY}").replace(TAGS[0], tag))


def _put_repository(master: Machine) -> None:
    """Make a bare repository: this working tree at the first tag, a newer version at the second."""
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
    # The layers of MAIL2 have a Postfix that was installed under another host name.
    fleet[MAIL2].run(f"postconf -e myhostname={MAIL2} 'mydestination=$myhostname, localhost'")
    fleet.master.wait_for(
        "test $(ls /etc/salt/pki/master/minions | wc -l) = 5", 120, "five minions are accepted"
    )
