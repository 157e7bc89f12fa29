"""Returns of ``salt-run dkim.fleet`` for drawing, with the library's own findings and texts."""

from datetime import timedelta

from dkim_formula.errors import DatabaseUnavailable
from dkim_formula.fleet import host
from dkim_formula.fleet import roles as fleet_roles
from dkim_formula.health import commands as health
from dkim_formula.health import run
from dkim_formula.health.model import Results, right
from dkim_formula.settings import read

from support import returns
from support.rotations import NOW

SILENT = "it does not answer; start its salt-minion"
OWN_DATABASE = {"reached": True, "host": "local", "standby": False, "lag": None, "problem": ""}


def checked(problems=(), asked=("database", "dns"), keys=(), is_signer=False):
    """
    Return the state of a host by its checks.

    asked
        What was asked two minutes ago.
    is_signer
        Whether the host only signs, and makes only the checks of such hosts.
    """
    wrong = {one.check for one in problems}
    found = {cost: [] for cost in ("local", "database", "dns")}
    for check in run.CHECKS:
        if check.cost in found and (not is_signer or check.cost == "local" or check.is_of_signers):
            found[check.cost] += [] if check.name in wrong else [right(check.name, "well")]
    at = (NOW - timedelta(minutes=2)).timestamp()
    kept = {cost: Results(at, tuple(found[cost])) for cost in asked}
    local = Results(NOW.timestamp(), (*problems, *found["local"]))
    return {**health.state(local, kept), "keys": keys}


def answering(name, roles, found, **more):
    """Return a host that answers, by default one that signs with the database on db1."""
    signs = "mail" in roles
    report = {
        "formula": "0.1.0",
        "opendkim": "2.11.0~beta2-8+deb12u1" if signs else "",
        "daemons": {"opendkim": True} if signs else {},
        "sockets": {"/var/spool/postfix/opendkim/opendkim.sock": True} if signs else {},
        "database": {**OWN_DATABASE, "host": "db1.example.net"} if signs else OWN_DATABASE,
        "selftest": {"ok": True, "at": returns.at(), "problems": []} if signs else None,
        **host.findings(found, roles),
        **more,
    }
    return {"id": name, "roles": roles, "salt": "3008.3", "problem": "", "report": report}


def silent(name, roles):
    """Return a host that does not answer."""
    return {"id": name, "roles": roles, "salt": "", "problem": SILENT, "report": None}


def mail(name, problems=(), **more):
    """Return a mail host."""
    return answering(name, ["mail"], checked(problems, ["database"], is_signer=True), **more)


def database(name="db1.example.net", problems=(), asked=("database", "dns"), keys=()):
    """Return the database host, which publishes."""
    return answering(name, ["database", "publisher"], checked(problems, asked, keys))


def standby(lag):
    """Return a standby of the database host."""
    own = {**OWN_DATABASE, "standby": True, "lag": lag}
    return answering("db2.example.net", ["standby"], checked(asked=()), database=own)


def well():
    """Return a fleet without a problem."""
    names = ("mail1.example.net", "mail2.example.net")
    return {"hosts": [database(), standby(0.4), *map(mail, names)], "problems": []}


def unseen():
    """Return a fleet without a problem whose DNS was never asked."""
    return {**well(), "hosts": [database(asked=["database"]), mail("mail1.example.net")]}


def unhealthy():
    """Return a fleet with a problem on each host but one, and a host that does not answer."""
    away = DatabaseUnavailable("no_server", "no PostgreSQL answers at db1.example.net, port 5432")
    lost = {"reached": False, "host": "", "standby": None, "lag": None, "problem": str(away)}
    failed = {"ok": False, "at": returns.at(), "problems": [f"self-test: {away}"]}
    socket = {"/var/spool/postfix/opendkim/opendkim.sock": False}
    hosts = [
        database(problems=[returns.wrong_records()], keys=returns.few_keys()),
        standby(90.0),
        mail(
            "mail-out-01.fra1.prod.example.net",
            [returns.stopped_service()],
            daemons={"opendkim": False},
            sockets=socket,
        ),
        {**mail("mail-out-02.fra1.prod.example.net"), "salt": "3006.26"},
        mail("mail-out-03.fra1.prod.example.net", database=lost, selftest=failed),
        silent("mail-out-04.fra1.prod.example.net", ["mail"]),
    ]
    return {"hosts": hosts, "problems": []}


def without_hosts():
    """Return a fleet whose pillar names no host."""
    reading = read({"domains": ["example.com"], "fleet": {}})
    return {"hosts": [], "problems": fleet_roles.problems(reading, {}, [])}
