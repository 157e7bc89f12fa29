"""Functions that the formula's SLS files and states call; none is for people."""

import os
import shutil
import sys

from dkim_formula import calls
from dkim_formula.dns import commands as dns
from dkim_formula.fleet import host
from dkim_formula.fleet.roles import ROLES
from dkim_formula.health import commands as health_commands
from dkim_formula.health import selftest
from dkim_formula.settings import arguments
from dkim_formula.settings.lookup import valid_names
from dkim_formula.signer import (
    config_copy,
    config_options,
    daemons,
    former_sockets,
    passfile,
    unit_needs,
)
from dkim_formula.signer.installed import installed
from dkim_formula.unattended import commands as unattended
from dkim_salt import read_pillar, translated, valid_settings


def __virtual__():
    return "dkim_sls"


@translated
def settings(lookup):
    """
    Return the values of the checked pillar that the SLS files need, without secrets.

    A wrong value is replaced by its default, so that the SLS files always render. ``dkim.check``
    reports the wrong value, and the state ``dkim.checked`` stops the run.

    lookup
        A mapping with the names and paths of ``dkim/defaults.yaml``.

    Returns ``{"database": {…}, "daemons": [{…}], "unused_daemons": [{…}], "postfix": {…}, …}``.
    Each daemon has ``algorithm, service, config_file, options, writes_to, socket, milter,
    moved_from, kept_as``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.settings '{opendkim_service: opendkim, …}'
    """
    found = read_pillar(__pillar__).settings
    lookup = valid_names(lookup)
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
        "moved_from": former_sockets.moved_from(needed + unused, lookup),
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
        "has_fleet": found.fleet.is_set,
        "monitoring": health_commands.for_states(found.monitoring, *_this_minion()),
    }


def _this_minion():
    """Return the folder of the minion's configuration, and the path of salt-call."""
    beside = os.path.join(os.path.dirname(sys.executable), "salt-call")
    program = beside if os.path.exists(beside) else shutil.which("salt-call") or "salt-call"
    return os.path.dirname(__opts__.get("conf_file") or "/etc/salt/minion"), program


def _daemon(found, daemon, lookup):
    return {
        "algorithm": daemon.algorithm,
        "service": daemon.service,
        "config_file": daemon.config_file,
        "options": config_options.options(found, daemon),
        "writes_to": unit_needs.writable(found, daemon),
        "socket": daemon.socket,
        "milter": daemon.milter,
        "moved_from": former_sockets.moved_from([daemon], lookup)[daemon.milter],
        "kept_as": config_copy.copy_path(daemon),
    }


@translated
def records_summary(domain=None):
    """
    Return the records that a person still has to publish, as text for the end of a run: those that
    the authoritative servers do not show as desired. For more than 100 domains, return the calls
    that list the records.

    domain
        As ``dkim.records``.

    Returns the text.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.records_summary
    """
    return dns.records_summary(valid_settings(__pillar__), domain)


@translated
def signing_problems():
    """
    Let this machine's daemons sign a sample of messages, one for each kind of sender, and verify
    the signatures by the active keys. Delivers no message, and asks no name server.

    Returns the problems, a list of texts. Raises CommandExecutionError if no key is active, or if
    the daemons can't reach the database.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.signing_problems
    """
    return selftest.problems(valid_settings(__pillar__))


@translated
def manage_job(job, test=False):
    """
    Write this minion's pillar ``dkim`` to a file that only root can read, for a job of a systemd
    timer. Secrets in the file are encrypted with this machine's key (systemd-creds(1)).

    job
        ``metrics``, ``report`` or ``rotation``.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {path: {"old", "new"}}, "notes": [text]}``, without values of the pillar.
    Raises CommandExecutionError if the pillar is wrong, or if systemd can't encrypt.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.manage_job metrics
    """
    valid_settings(__pillar__)
    # After __pillar__["dkim"], Salt 3008 returns a copy that no refresh changes. So use get().
    pillar = __pillar__.get("dkim")
    call = __opts__.get(calls.OPTION, calls.SALT_CALL)
    return unattended.manage(_job(job), pillar, _health_folder(), __opts__["id"], call, test)


@translated
def remove_job(job, test=False):
    """
    Remove the file that ``dkim_sls.manage_job`` wrote for a job.

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
    Return the state of this host for ``salt-run dkim.fleet``: daemons, the database, a self-test,
    versions, and problems. Changes nothing.

    roles
        This host's roles: ``database``, ``standby``, ``mail``, ``publisher``.

    Returns data without secrets; ``dkim_formula.fleet.host.report`` describes it.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.host_report '[mail]'
    """
    reading = read_pillar(__pillar__)
    package = valid_names(reading.settings.lookup)["opendkim_package"]
    folder = _health_folder()
    version = __salt__["pkg.version"](package)
    roles = arguments.list_of(arguments.choice(*ROLES), roles, "roles")
    return host.report(reading, roles, folder, __salt__["service.status"], version)


@translated
def notify_minion(interval=None):
    """
    Start or stop the beacon in a running minion of this machine. The minion's configuration has the
    same effect only from the next start. Without a running minion nothing happens.

    interval
        Seconds between calls of the beacon ``dkim_health``; without it the beacon stops.

    Returns ``{"notified": bool}``: whether a running minion got the events.

    CLI Example:

    .. code-block:: bash

        salt-call dkim_sls.notify_minion 60
    """
    order = {"func": "delete", "name": "dkim_health"}
    if interval is not None:
        order = {"func": "add", "name": "dkim_health", "beacon_data": [{"interval": interval}]}
    # The minion loads the modules that were synced since its start, then manages the beacon
    # (salt.minion, handle_event).
    orders = (({}, "beacons_refresh"), (order, "manage_beacons"))
    return {"notified": all(__salt__["event.fire"](*one) for one in orders)}
