"""What the SLS files and states of the formula need of the library; no function for people."""

import os
import shutil
import sys

from dkim_formula.dns import commands as dns
from dkim_formula.fleet import host
from dkim_formula.fleet.roles import ROLES
from dkim_formula.health import check_signing
from dkim_formula.health import commands as health_commands
from dkim_formula.settings import arguments
from dkim_formula.settings.lookup import sound_names
from dkim_formula.signer import config as opendkim_config
from dkim_formula.signer import daemons, passfile, sandbox
from dkim_formula.signer.installed import installed
from dkim_formula.unattended import commands as unattended
from dkim_salt import read_pillar, sound_settings, translated


def __virtual__():
    return "dkim_sls"


@translated
def settings(lookup):
    """
    What the SLS files need of the checked pillar: plain data, no secret.

    A value that is wrong is shown as its default here, so that the states always render;
    ``dkim.check`` tells of it, and the state ``dkim.checked`` stops the run.

    lookup
        A mapping with the names and paths of ``dkim/defaults.yaml``.

    Returns ``{"database": {…}, "daemons": [{…}], "unused_daemons": [{…}], "postfix": {…}}``; each
    daemon has ``algorithm, service, config_file, options, writes_to, socket, milter,
    moved_from``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.settings '{opendkim_service: opendkim, …}'
    """
    found = read_pillar(__pillar__).settings
    lookup = sound_names(lookup)
    needed = list(daemons.daemons(found, lookup))
    unused = [
        daemons.daemon(algorithm, lookup)
        for algorithm in daemons.SIGNATURE_ALGORITHMS
        if algorithm not in [daemon.algorithm for daemon in needed]
    ]
    database = found.database
    return {
        "database": {
            "name": database.name,
            "manage": database.manage,
            "local": not database.host,
            "reader": database.reader.name,
            "reader_auth": database.reader.auth,
            "reader_has_password": database.reader.needs_password,
            "has_writer": database.has_writer,
        },
        "daemons": [_daemon(found, daemon, lookup) for daemon in needed],
        "unused_daemons": [_daemon(found, daemon, lookup) for daemon in unused],
        "postfix": {
            "milter_default_action": found.postfix.milter_default_action,
            "unsigned_services": list(found.postfix.unsigned_services),
        },
        "moved_from": opendkim_config.moved_from(needed + unused, lookup),
        "installed": [
            {
                "service": one.service,
                "files": list(one.files),
                "directories": list(one.directories),
                "milters": list(one.milters),
            }
            for one in installed(lookup)
        ],
        "lookup": lookup,
        "password_file": passfile.PATH,
        "environment": daemons.environment(database),
        "service_file": {
            "path": daemons.SERVICE_FILE,
            "section": daemons.SERVICE,
            "needed": bool(database.host),
        },
        "sandbox": found.opendkim.sandbox,
        "dns": {"is_published": found.dns.is_published, "packages": list(found.dns.packages)},
        "rotation": {
            "automatic": found.rotation.automatic,
            "schedule": found.rotation.schedule,
            "calls": "dkim.rotate_due" if found.rotation.automatic else "dkim.advance",
        },
        "unattended": unattended.for_states(),
        "monitoring": health_commands.for_states(found.monitoring, *_this_minion()),
    }


def _this_minion():
    """Where its configuration is, and the program that calls functions by it."""
    beside = os.path.join(os.path.dirname(sys.executable), "salt-call")
    program = beside if os.path.exists(beside) else shutil.which("salt-call") or "salt-call"
    return os.path.dirname(__opts__.get("conf_file") or "/etc/salt/minion"), program


def _daemon(found, daemon, lookup):
    return {
        "algorithm": daemon.algorithm,
        "service": daemon.service,
        "config_file": daemon.config_file,
        "options": daemons.options(found, daemon),
        "writes_to": sandbox.writable(found, daemon),
        "socket": daemon.socket,
        "milter": daemon.milter,
        "moved_from": opendkim_config.moved_from([daemon], lookup)[daemon.milter],
        "kept_as": opendkim_config.copy_wanted(daemon),
    }


@translated
def records_summary(domain=None):
    """
    Return the records that are left to publish as text for the end of a run: those that the
    authoritative servers do not show as desired. Of more than 100 domains return the calls that
    tell.

    domain
        As ``dkim.records``.

    Returns the text.

    CLI Example:

    .. code-block:: bash

        salt-call --out=txt dkim_sls.records_summary
    """
    return dns.records_summary(sound_settings(__pillar__), domain)


@translated
def signing_problems():
    """
    Have this machine's daemons sign a sample of messages, one for each kind of sender, and verify
    the signatures by the keys that sign. No message is delivered, and no name server is asked.

    Returns a list of texts, empty where all is well. Raises CommandExecutionError where no key is
    active, or where the daemons can't reach the database.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.signing_problems
    """
    return check_signing.problems(sound_settings(__pillar__))


@translated
def manage_job(job, test=False):
    """
    Keep this minion's pillar ``dkim`` for a job that a timer of systemd runs, in a file for root
    alone; secrets in it are encrypted with this machine's key (systemd-creds(1)).

    job
        ``metrics``, ``report`` or ``rotation``.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {path: {"old", "new"}}, "notes": [text]}``, no value of the pillar in it.
    Raises CommandExecutionError where the pillar is wrong, and where systemd can't encrypt.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.manage_job metrics
    """
    sound_settings(__pillar__)
    # Not by __pillar__["dkim"]: Salt 3008 gives a copy from then on, which no refresh changes.
    pillar = __pillar__.get("dkim")
    return unattended.manage(_job(job), pillar, _health_folder(), __opts__["id"], test)


@translated
def remove_job(job, test=False):
    """
    Remove what ``dkim_sls.manage_job`` keeps for a job.

    job, test
        As ``dkim_sls.manage_job``.

    Returns ``{"changes": {path: {"old", "new"}}, "notes": [text]}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.remove_job metrics
    """
    return unattended.remove(_job(job), test)


def _job(name):
    return arguments.choice(*unattended.JOBS)(name, "job")


def _health_folder():
    return os.path.join(__opts__["cachedir"], health_commands.FOLDER)


@translated
def host_report(roles=()):
    """
    Look at this host for ``salt-run dkim.fleet``: daemons, the database, a self-test, versions, and
    what is wrong. Changes nothing.

    roles
        This host's roles: ``database``, ``standby``, ``mail``, ``publisher``.

    Returns data without a secret, as ``dkim_formula.fleet.host.report`` tells.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.host_report '[mail]'
    """
    reading = read_pillar(__pillar__)
    package = sound_names(reading.settings.lookup)["opendkim_package"]
    folder = _health_folder()
    version = __salt__["pkg.version"](package)
    roles = arguments.list_of(arguments.choice(*ROLES), roles, "roles")
    return host.report(reading, roles, folder, __salt__["service.status"], version)


@translated
def notify_minion(interval=None):
    """
    Tell a running minion of this machine to run the beacon, as its configuration has the beacon
    from its next start on. Without a running minion nothing happens.

    interval
        Seconds between calls of the beacon ``dkim_health``; without it the beacon ends.

    Returns ``{"told": bool}``: whether a minion was there to hear it.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.notify_minion 60
    """
    order = {"func": "delete", "name": "dkim_health"}
    if interval is not None:
        order = {"func": "add", "name": "dkim_health", "beacon_data": [{"interval": interval}]}
    # It loads what was synced since its start, then takes the order (salt.minion, handle_event).
    orders = (({}, "beacons_refresh"), (order, "manage_beacons"))
    return {"told": all(__salt__["event.fire"](*one) for one in orders)}
