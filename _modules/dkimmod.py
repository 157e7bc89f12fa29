"""
DKIM keys in the virtual-mail database: made, listed, moved, printed as records.

The functions read pillar ``dkim``; see ``pillar.example``. A private key is never in a return, a
log or an event: it goes from the library into the database's table, and OpenDKIM reads it there.

:depends: psycopg2, cryptography
"""

import logging
import os
import shutil
import sys

from dkim_formula import arguments, progress
from dkim_formula.operations import check as checks
from dkim_formula.operations import check_dns as dns_checks
from dkim_formula.operations import doctor as diagnosis
from dkim_formula.operations import keys, transfer
from dkim_formula.operations import publish as publishing
from dkim_formula.operations import records as record_operations
from dkim_formula.operations import rotation as rotations
from dkim_formula.operations import selftest as self_testing
from dkim_formula.operations import watch as watching
from dkim_formula.settings.lookup import sound_names
from dkim_formula.signer import config as opendkim_config
from dkim_formula.signer import daemons, passfile, sandbox, trial
from dkim_formula.signer import restart as opendkim_restart
from dkim_formula.signer.installed import installed
from dkim_salt import pillar_at_hand, read_pillar, sound_settings, translated

log = logging.getLogger(__name__)

# Not dkim.py: that name would hide the library dkimpy from every import of this process.
__virtualname__ = "dkim"


def __virtual__():
    return __virtualname__


@translated
def settings(lookup):
    """
    What the SLS files need of the checked pillar: plain data, no secret.

    A value that is wrong is shown as its default here, so that the states always render;
    ``dkim.check`` tells of it, and the state ``dkim.checked`` stops the run.

    lookup
        A mapping with the names and paths of ``dkim/defaults.yaml``.

    Returns ``{"database": {…}, "daemons": [{…}], "unused_daemons": [{…}], "postfix": {…}}``; each
    daemon has ``algorithm, service, config_file, configuration, writes_to, socket, milter,
    moved_from``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.settings '{opendkim_service: opendkim, …}'
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
            "has_worker": database.has_worker,
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
        "service_file": {"path": daemons.SERVICE_FILE, "text": daemons.service_file(database)},
        "sandbox": found.opendkim.sandbox,
        "dns": {"publish": found.dns.publish},
        "rotation": {
            "automatic": found.rotation.automatic,
            "schedule": found.rotation.schedule,
        },
        "watch": watching.for_states(found.watch, *_this_minion()),
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
        "configuration": daemons.configuration(found, daemon),
        "writes_to": sandbox.writable(found, daemon),
        "socket": daemon.socket,
        "milter": daemon.milter,
        "moved_from": opendkim_config.moved_from([daemon], lookup)[daemon.milter],
        "kept_as": opendkim_config.copy_wanted(daemon),
    }


@translated
def check():
    """
    Looks for everything that would stop a run: the pillar's values, the database, the domains
    table, PostgreSQL's access files. Changes nothing.

    Returns ``{"problems": [text], "advice": [text], "looked": bool}``, all of them at once;
    ``looked`` is False where there is no database to look at yet.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.check
    """
    return checks.check(read_pillar(__pillar__))


@translated
def configuration_problems():
    """
    Ask OpenDKIM whether it takes the configuration that the pillar gives it. Changes nothing, and
    writes no file. ``dkim.check`` does the same where OpenDKIM is installed already.

    Returns ``{"problems": [text], "asked": bool}``; ``asked`` is False where it is not installed.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.configuration_problems
    """
    found = sound_settings(__pillar__)
    lookup = sound_names(found.lookup)
    return {
        "problems": trial.problems(found, lookup),
        "asked": trial.can_ask(lookup["opendkim_user"]),
    }


@translated
def missing_keys():
    """
    What ``dkim.generate_missing`` would do for the pillar's domains.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``.

    Raises CommandExecutionError where the pillar is wrong, the database can't be reached, or a
    domain is not hosted.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.missing_keys
    """
    return keys.missing(sound_settings(__pillar__))


@translated
def generate_missing():
    """
    Makes every key that the pillar wants and the database lacks, on all cores. An existing key is
    never replaced. Stopped half-way, it keeps what it made; the next call goes on.

    Progress goes to the log at level info, to the event bus under the tag ``dkim/keys`` with
    ``{"done": …, "total": …}``, and to standard error as a bar where that is a terminal.

    Returns what was done, as ``dkim.missing_keys``. Raises as that does.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.generate_missing
    """
    return keys.generate_missing(sound_settings(__pillar__), _progress())


def _progress(what="keys"):
    """What to call with (done, total) after each batch of keys, or of something else."""
    draw = progress.bar(sys.stderr, what) if sys.stderr.isatty() else None

    def tell(done, total):
        log.info("dkim: %s of %s %s are done", done, total, what)
        # Without a master there is nobody to send an event to, and Salt would warn each time.
        if __opts__.get("file_client") != "local":
            __salt__["event.send"](f"dkim/{what}", {"done": done, "total": total})
        if draw is not None:
            draw(done, total)

    return tell


@translated
def generate(domain, selector=None, algorithm=None, bits=None):
    """
    Makes a key for a hosted domain, into the database. It signs at once where the domain has no
    active key of that algorithm (opendkim.conf(5), «SigningTable»: OpenDKIM reads it with the next
    message); else it is ``pending``: an unfinished rotation, which ``dkim.advance`` takes on.

    An existing key is never replaced: it is returned, with ``existed`` true.

    domain
        A domain of the site's table.
    selector, algorithm, bits
        ``rsa`` or ``ed25519``, and for RSA 1024 to 4096; what is not given is as the pillar has
        it for the domain. Selectors: RFC 6376, section 3.1. Sizes: RFC 8301, section 3.2.

    Returns ``{domain, selector, algorithm, bits, state, address, created, …, record, existed}``.

    Raises SaltInvocationError for an argument that is wrong, CommandExecutionError where the
    domain is not hosted or the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.generate example.com
        salt-call dkim.generate example.com selector=s2026 bits=4096
    """
    return keys.generate(sound_settings(__pillar__), domain, selector, algorithm, bits)


@translated
def lacking_key(domain, selector=None, algorithm=None, bits=None):
    """
    What ``dkim.generate`` would make.

    domain, selector, algorithm, bits
        As ``dkim.generate``.

    Returns ``{"changes": {key: {"old", "new"}}}``, empty where such a key is there. Raises as that
    does.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.lacking_key example.com
    """
    return keys.lacking(sound_settings(__pillar__), domain, selector, algorithm, bits)


@translated
def leaving_key(domain, selector, force=False):
    """
    What ``dkim.delete`` with the same arguments would delete.

    domain, selector, force
        As ``dkim.delete``.

    Returns ``{"changes": {record name: {"old", "new"}}}``, empty where there is no such key.

    Raises CommandExecutionError for an active key without ``force``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.leaving_key example.com s2025
    """
    return keys.leaving(sound_settings(__pillar__), domain, selector, force)


@translated
def list_keys(domain=None):
    """
    Every key in the database, or a domain's.

    Returns a list of ``{domain, selector, algorithm, bits, state, address, timestamps,
    public_key, problem, record, orphaned}``; never the private key. ``orphaned`` says what comes
    next for the key of a domain that is neither hosted nor in the pillar; else it is empty.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.list_keys
        salt-call dkim.list_keys example.com
    """
    return keys.list_keys(sound_settings(__pillar__), domain)


@translated
def public_key(domain, selector=None):
    """
    The public half of a key, base64, as the record's ``p=`` has it: SubjectPublicKeyInfo for RSA
    (RFC 6376, section 3.6.1), the bare 32 octets for Ed25519 (RFC 8463, section 4.2).

    domain
        The key's domain.
    selector
        Default: the domain's active key.

    Returns the text.

    Raises CommandExecutionError where there is no such key, SaltInvocationError where several are
    active and none is named.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.public_key example.com
    """
    return keys.public_key(sound_settings(__pillar__), domain, selector)


@translated
def records(domain=None, format=None, relative=False):  # pylint: disable=redefined-builtin
    """
    The records that DNS should hold: a key record for each key (RFC 6376, section 3.6.1), and the
    policies of the pillar: DMARC (RFC 9989, section 4.7), SPF, TLS-RPT, MTA-STS.

    domain
        Default: every domain that the pillar chooses or that has a key.
    format
        ``bind``: lines that paste into a zone file; ``oneline``: for a provider's form;
        ``nsupdate``: a script for nsupdate(1) that overwrites nothing of others; ``octodns``: a
        YAML source for octoDNS; ``json``. Default: plain data.
    relative
        True: names are relative to their zone, which data and JSON then have as ``zone``.

    Returns a list of ``{name, type, ttl, value, purpose, domain, selector}``, ttl in seconds; with
    a format its text.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.records example.com
        salt-call --out=txt dkim.records format=bind relative=True | sed 's/^local: //'
    """
    return record_operations.shown(sound_settings(__pillar__), domain, format, relative)


@translated
def records_to_show(domain=None):
    """
    The records as text for a person who has just run the formula: lines for a zone file, counted
    instead of listed where there are more than can be read.

    domain
        As ``dkim.records``.

    Returns the text.

    CLI Example:

    .. code-block:: bash

        salt-call --out=txt dkim.records_to_show
    """
    return record_operations.to_show(sound_settings(__pillar__), domain)


@translated
def rotate(domain, selector=None, algorithm=None, force=False, test=False):
    """
    Rotates a domain's keys, and those of its addresses, as far as evidence allows: makes or finds
    the pending key, has its record published where the formula publishes, and has it sign once
    every authoritative server has shown the record for as long as a resolver may remember what was
    there before (RFC 2308, section 5). Safe at any moment and any number of times; docs/rotation.md
    tells what comes when.

    domain
        A hosted domain that is no alias.
    selector
        The new key's, for the domain's own key. Default: by ``rotation:selector``.
    algorithm
        ``rsa`` or ``ed25519``: only the keys of this one.
    force
        True: the new key signs at once; ``notes`` say which evidence was missing.
    test
        True only tells: the steps and the changes in DNS that a run would make now.

    Returns ``{"changes": {"SEL._domainkey.DOMAIN": {"old", "new"}}, "dns": {"NAME TYPE": {"old",
    "new"}}, "waiting": [{"domain", "selector", "algorithm", "state", "next", "for", "until"}],
    "publish": [records], "come_back": text, "notes": [text], "problems": [text]}``: states, changes
    in DNS, what each unfinished key waits for, records for a person to publish as ``dkim.records``
    has them, and when it is worth calling ``dkim.advance`` (ISO 8601; None where time alone does
    not tell).

    Raises SaltInvocationError for an argument that is wrong, CommandExecutionError for a selector
    that was ever used and where the domain is not hosted or the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.rotate example.com
        salt-call dkim.rotate example.com selector=s2027 test=True
    """
    return rotations.rotate(sound_settings(__pillar__), domain, selector, algorithm, force, test)


@translated
def advance(domain=None, test=False, force=False):
    """
    Takes every key that is on its way as far as it can go: pending keys to sign, retired ones out
    of DNS once no mail that they signed can be on its way (RFC 5321, section 4.5.4.1), revoked ones
    out of the table. Any number of calls at once do no harm.

    The key of a domain that is neither hosted nor in the pillar any more is retired; a domain that
    comes back before the key is revoked has it again.

    domain
        Default: all domains.
    test
        As ``dkim.rotate``.
    force
        True: domains that went suddenly are meant to go. Without it, more than ten and more than a
        tenth of those with keys at once, or a table that is empty, gone or unreadable, is a
        problem, and their keys stay.

    Returns as ``dkim.rotate``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.advance
    """
    pillar = pillar_at_hand(__opts__, __grains__, __pillar__)
    return rotations.advance(sound_settings(pillar), domain, test, _progress("domains"), force)


@translated
def rotate_due(test=False, force=False):
    """
    Starts every rotation that is due by ``rotation:every``, and takes those under way as far as
    they can go, as ``dkim.advance``. Each domain has its own day, so that not all come at once.

    test
        As ``dkim.rotate``.
    force
        As ``dkim.advance``.

    Returns as ``dkim.rotate``. Source of the times: pillar ``dkim:rotation``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.rotate_due
    """
    pillar = pillar_at_hand(__opts__, __grains__, __pillar__)
    return rotations.rotate_due(sound_settings(pillar), test, _progress("domains"), force)


@translated
def activate(domain, selector, force=False, test=False):
    """
    Has a pending or retired key sign, from the next message on; the key of the same algorithm that
    signed until now is retired in the same transaction. It waits for the key's record as
    ``dkim.rotate`` does, except where nothing signs.

    domain, selector
        Which key.
    force
        True: whatever is known of the record; ``notes`` say which evidence was missing.
    test
        True only tells.

    Returns as ``dkim.rotate``. Raises CommandExecutionError where there is no such key, or where it
    is revoked or can't be read. Source: RFC 2308, section 5, for how long absence is remembered.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.activate example.com s2026
    """
    return rotations.activate(sound_settings(__pillar__), domain, selector, force, test)


@translated
def retire(domain, selector, force=False, test=False):
    """
    Has a key sign no more, with no other in its place; its record stays while mail that it signed
    may be on its way (RFC 5321, section 4.5.4.1).

    domain, selector
        Which key.
    force
        True is needed for it: the domain's mail then leaves unsigned.
    test
        True only tells.

    Returns as ``dkim.rotate``. Raises CommandExecutionError where there is no such key, for a key
    that never signed, and without ``force``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.retire example.com default force=True
    """
    return rotations.retire(sound_settings(__pillar__), domain, selector, force, test)


@translated
def revoke(domain, selector, compromised=False, force=False, test=False):
    """
    Erases a private key and has its record emptied (RFC 6376, section 3.6.1: an empty ``p=`` says
    that the key was revoked): a pending key at once, a retired one in its time.

    domain, selector
        Which key.
    compromised
        True: somebody else has the private key. It goes at once, and where it signs, another takes
        its place in the same transaction; ``notes`` say what that costs. Where there can be no
        other, ``problems`` says so and nothing changes, without ``force``.
    force
        True: at once too, and a key that signs goes without another in its place.
    test
        True only tells.

    Returns as ``dkim.rotate``. Raises CommandExecutionError where there is no such key, for
    one that signs, and for one that mail under way may need.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.revoke example.com default compromised=True
    """
    settings_ = sound_settings(__pillar__)
    return rotations.revoke(settings_, domain, selector, compromised, force, test)


@translated
def status(domain=None, dns=True):
    """
    A line a key: what it is, what DNS shows, what comes next and when. Changes nothing.

    domain
        Default: all domains.
    dns
        False: ask no name server; what they last showed decides.

    Returns a list of ``{domain, selector, algorithm, bits, state, address, age, dns, next, when}``:
    for how long it is in its state (``12d``), the verdict of ``dkim.check_dns`` or ``-``, the next
    step, and the moment of it in ISO 8601 or nothing.

    CLI Example:

    .. code-block:: bash

        salt-call --out=table dkim.status
        salt-call dkim.status example.com dns=False
    """
    return rotations.status(sound_settings(__pillar__), domain, dns)


@translated
def delete(domain, selector, force=False):
    """
    Deletes a key for good. Mail that it signed can be verified as long as its record stays in DNS.

    domain, selector
        Which key.
    force
        True deletes an active key too: the domain's mail then leaves unsigned.

    Returns what the key was. Raises CommandExecutionError for an active key without ``force``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.delete example.com s2025
    """
    return keys.delete(sound_settings(__pillar__), domain, selector, force)


class _Services:
    """Salt's ``service`` module, whichever provider this machine has."""

    @staticmethod
    def start(name):
        return __salt__["service.start"](name)

    @staticmethod
    def stop(name):
        return __salt__["service.stop"](name)

    @staticmethod
    def restart(name):
        # Salt asks `systemctl status` whether a unit changed, which misses a new drop-in (measured,
        # Salt 3008.3). It has that function also where systemctl is installed and can't work.
        if "service.systemctl_reload" in __salt__ and not __salt__["service.offline"]():
            __salt__["service.systemctl_reload"]()
        return __salt__["service.restart"](name)


@translated
def restart(service, socket, mail_service="postfix", milter="", moved_from=(), test=False):
    """
    Restarts an OpenDKIM daemon and waits until its milter socket takes connections. Where Postfix
    would send mail on unsigned in the meantime (``milter_default_action = accept``), it stands
    still for these seconds.

    service, socket
        The daemon's service and its socket's path.
    mail_service
        Postfix's service.
    milter, moved_from
        The daemon's address in main.cf, and the addresses that it had there before.

    test
        Only tell: the return is that of a run, and nothing is changed.

    Returns ``{"restarted": service, "paused": bool, "main_cf": {parameter: {"old", "new"}}}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.restart opendkim /var/spool/postfix/opendkim/opendkim.sock
    """
    return opendkim_restart.restart(
        _Services,
        arguments.text(service, "service"),
        arguments.absolute_path(socket, "socket"),
        mail_service=arguments.text(mail_service, "mail_service"),
        milter=milter and arguments.milter(milter, "milter"),
        moved_from=arguments.list_of(arguments.text, moved_from, "moved_from"),
        test=test,
    )


@translated
def is_current(socket, reads=(), user=None):
    """
    Whether a daemon accepts connections at a milter socket, and made it after the files that it
    reads at its start were last written.

    socket
        The socket's path.
    reads
        A list of files.
    user
        The account that the socket has to belong to, open for its group; any without it.

    Returns True or False.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.is_current /var/spool/postfix/opendkim/opendkim.sock '[/etc/opendkim.conf]'
    """
    return opendkim_restart.is_current(
        arguments.absolute_path(socket, "socket"),
        arguments.list_of(arguments.absolute_path, reads, "reads"),
        user if user is None else arguments.text(user, "user"),
    )


@translated
def password_file_changes(path, user):
    """
    What differs of the file that OpenDKIM's libpq takes the reader's password from.

    path
        The file's path.
    user
        The daemon's system user.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": []}``, never the password.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.password_file_changes /etc/opendkim-pgpass opendkim
    """
    return passfile.changes(sound_settings(__pillar__).database, path, user)


@translated
def write_password_file(path, user):
    """
    Writes that file: libpq's password file (PostgreSQL, «The Password File»), mode 0400, the
    daemon's own. The password comes from the pillar.

    path, user
        As ``dkim.password_file_changes``.

    Returns what differed, as that does. Raises SaltInvocationError where the pillar has no
    password, or the machine no such user.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.write_password_file /etc/opendkim-pgpass opendkim
    """
    return passfile.write(sound_settings(__pillar__).database, path, user)


@translated
def mta_sts_policy(domain):
    """
    The MTA-STS policy file of a domain (RFC 8461, section 3.2), for a web server of the site's.

    Returns ``{"url": where it is looked for, "text": what is to be served there}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.mta_sts_policy example.com
    """
    return record_operations.policy_file(sound_settings(__pillar__), domain)


@translated
def import_key(domain, selector, path, allow_weak=False):
    """
    Takes a private key from a file into the database. It signs at once where the domain has no
    active key of its algorithm; else it is ``pending`` until ``dkim.activate``.

    domain, selector
        What the key's record in DNS is named by.
    path
        Absolute, on this minion: PEM, unencrypted, as openssl and opendkim-genkey write it.
    allow_weak
        True takes RSA of 1024 to 2047 bits; less is never taken (RFC 8301, section 3.2).

    Returns the key as ``dkim.generate``; ``existed`` is true where the database has it already.

    Raises SaltInvocationError for an argument or a key that is wrong, CommandExecutionError where
    the selector has another key or the domain is not hosted.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.import_key example.com mail /etc/dkimkeys/mail.private
    """
    return transfer.import_key(sound_settings(__pillar__), domain, selector, path, allow_weak)


@translated
def import_tables(key_table, signing_table=None, allow_weak=False, test=False):
    """
    Takes over the keys of an OpenDKIM that has them in files, under their selectors and in one
    transaction. What signs today goes on signing; other keys are kept as ``retired``, so that
    their records stay.

    key_table, signing_table
        As in the minion's opendkim.conf(5), «KeyTable» and «SigningTable»: ``/path``,
        ``file:/path``, ``refile:/path``, ``csl:…``. Without a SigningTable each key is taken to
        sign for its own domain.
    allow_weak
        As ``dkim.import_key``.
    test
        True changes nothing and tells what a run would do.

    Returns ``{"imported": [{domain, selector, algorithm, bits, state, address}], "present": [text],
    "refused": [{"entry", "reason"}], "patterns": {pattern: domain that signs}, "pillar": {domain:
    settings}, "changes": {what: {"old", "new"}}, "notes": [text]}``. ``pillar`` is what
    ``dkim:domains`` lacks for the same senders to be signed.

    Raises SaltInvocationError where a table can't be read, CommandExecutionError where the
    database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.import_tables /etc/opendkim/KeyTable refile:/etc/opendkim/SigningTable \
            test=True
    """
    return transfer.import_tables(
        sound_settings(__pillar__), key_table, signing_table, allow_weak, test
    )


@translated
def export_key(domain, selector, path):
    """
    Writes a private key to a new file for root alone (mode 0600), for moving away. The history in
    the database and the minion's log get a line about it.

    path
        Absolute, on this minion; an existing file is never touched.

    Returns ``{"path", "domain", "selector", "algorithm", "public_key"}``, never the private key.

    Raises SaltInvocationError for a path that can't be written, CommandExecutionError where there
    is no such key or it is revoked.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.export_key example.com mail /root/mail.private
    """
    return transfer.export_key(sound_settings(__pillar__), domain, selector, path)


@translated
def check_dns(domain=None):
    """
    Asks every authoritative server of each record's zone, over UDP and over TCP, whether it holds
    a record that says what it should, in whatever form. A CNAME is followed. No recursive resolver
    is asked for a record that may not be there yet: it would remember its absence (RFC 2308).

    domain
        Default: every domain that the pillar chooses or that has a key.

    Returns ``{"right": bool, "counts": {verdict: number}, "records": [{name, type, purpose,
    domain, selector, verdict, detail, zone, negative_ttl, validator, servers}]}``, times in
    seconds. The verdicts: ``right``, ``absent``, ``differs``, ``two records``, ``silent``,
    ``disagrees``, ``lame``, ``DNSSEC failure``, ``no zone``, ``not checked``. With ``right``,
    ``detail`` is advice: how the record is written differently, which server is of no use.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.check_dns example.com
    """
    return dns_checks.check_dns(sound_settings(__pillar__), domain)


@translated
def publish(domain=None, adopt=False, test=False):
    """
    Brings the records into DNS by dynamic update (RFC 2136), signed with the pillar's TSIG key
    (RFC 8945), and takes away those that it published and that are wanted no more.

    domain
        Default: every domain that the pillar chooses or that has a key.
    adopt
        True replaces a record of the same kind at the same name that is not ours. Without it such
        a record stays and is a problem.
    test
        True only tells what would be done.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "unchanged": number, "problems": [text],
    "by_hand": ["NAME TYPE"], "notes": [text]}``. A problem with one name keeps no other from being
    published; ``by_hand`` are records for the zones of others.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.publish
        salt-call dkim.publish example.com adopt=True
    """
    return publishing.publish(sound_settings(__pillar__), domain, adopt, test)


@translated
def doctor(format=None):  # pylint: disable=redefined-builtin
    """
    Looks at the whole chain on this machine, as the user of each part would: Postfix and its way to
    the milter sockets, OpenDKIM's units and files, its login at PostgreSQL, the keys, a message
    through the sockets and its signature, DNS, the clocks. Changes nothing and delivers no message;
    each check has a time that it may take. What is not on this machine is told apart.

    format
        ``text``: lines for a person. Default: plain data.

    Returns a list of ``{"check": name, "ok": bool or None, "found": text, "do": text}`` in the
    order of a message's way; ``ok`` is None where it can't be told from here, and ``do`` is the
    command that mends it; with a format its text. The call's exit status is 1 where something is
    wrong.

    Raises SaltInvocationError for another format.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.doctor format=text
        salt-call --retcode-passthrough --out=json dkim.doctor
    """
    diagnosis.check_format(format)
    found = diagnosis.doctor(read_pillar(__pillar__))
    if any(one["ok"] is False for one in found):
        __context__["retcode"] = 1
    return found if format is None else diagnosis.as_text(found)


@translated
def selftest(domain=None):
    """
    Has the daemons sign a message for each active key and each pattern that it signs for, through
    their own sockets, and verifies the signatures (RFC 6376, section 6.1). No message is delivered.

    domain
        Default: every domain that has an active key.

    Returns a list of ``{"domain", "sender", "kind", "algorithm", "selector", "signed",
    "verified_by_database", "verified_by_dns", "ways", "unsigned_headers", "detail"}``.
    ``verified_by_database`` is by the public key in the database, ``verified_by_dns`` by the record
    at every authoritative server; None is what could not be tried. ``ways`` are the services of
    master.cf by which mail comes in, each True where its mail passes the daemon; ``signed`` is
    False where one does not, but for those that ``dkim:postfix:unsigned_services`` names. The
    call's exit status is 1 where one is False. ``unsigned_headers`` lists headers of a newsletter
    that the signature leaves open, which is advice and no failure.

    Raises SaltInvocationError for what is no domain name, CommandExecutionError where no key is
    active, or where the daemons can't reach the database.

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough dkim.selftest example.com
    """
    results = self_testing.selftest(sound_settings(__pillar__), domain)
    if not self_testing.right(results):
        __context__["retcode"] = 1
    return results


@translated
def watch(fresh=False):
    """
    What is wrong on this mail host: services and sockets, the database, keys that are too old or
    stuck in their rotation, hosted domains without a key, records that DNS lacks. Database and DNS
    are asked where their intervals (``dkim:watch``) are over; what they said before is told else.

    fresh
        True asks them now.

    Returns ``{"troubles": [{kind, subject, what, todo, items, count, since}], "unknown": [kind],
    "looked": {"database", "dns"}}``, moments as ISO 8601 text; ``unknown`` are kinds that could not
    be looked at.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.watch fresh=True
    """
    return watching.watch(read_pillar(__pillar__), _watch_folder(), _service_runs, fresh)


@translated
def metrics():
    """
    The same as ``dkim.watch`` for Prometheus, in its text format (version 0.0.4).

    Returns the text.

    CLI Example:

    .. code-block:: bash

        salt-call --out=newline_values_only dkim.metrics
    """
    return watching.metrics(read_pillar(__pillar__), _watch_folder(), _service_runs)


@translated
def write_metrics(path):
    """
    Writes ``dkim.metrics`` to a file, in one step and readable by all.

    path
        Absolute, in the directory that node_exporter's collector ``textfile`` reads; ends in
        ``.prom``.

    Returns ``{"path": path}``. Raises SaltInvocationError for a path that can't be written.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.write_metrics /var/lib/prometheus/node-exporter/dkim.prom
    """
    text = watching.metrics(read_pillar(__pillar__), _watch_folder(), _service_runs)
    return watching.write_metrics(path, text)


def _watch_folder():
    return os.path.join(__opts__["cachedir"], watching.FOLDER)


def _service_runs(name):
    return __salt__["service.status"](name)


@translated
def tell_minion(interval=None):
    """
    Tells a minion that runs on this machine to watch from now on, as its configuration has it from
    its next start on. Where none runs, nobody hears it.

    interval
        Seconds between beats of the beacon ``dkim_watch``; without it the beacon ends.

    Returns ``{"told": bool}``: whether a minion was there to hear it.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.tell_minion 60
    """
    order = {"func": "delete", "name": "dkim_watch"}
    if interval is not None:
        order = {"func": "add", "name": "dkim_watch", "beacon_data": [{"interval": interval}]}
    # It loads what was synced since its start, then takes the order (salt.minion, handle_event).
    orders = (({}, "beacons_refresh"), (order, "manage_beacons"))
    return {"told": all(__salt__["event.fire"](*one) for one in orders)}
