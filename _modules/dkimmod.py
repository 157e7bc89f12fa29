"""
DKIM keys in the virtual-mail database: keys, their records in DNS, rotation, import, health.

The functions read pillar ``dkim``; see ``pillar.example``. A private key is never in a return, a
log or an event: the library writes the key to the database's table, where OpenDKIM reads it.

:depends: psycopg2, cryptography
"""

import contextlib
import logging
import os
import sys

from dkim_formula import progress
from dkim_formula.dns import commands as dns
from dkim_formula.dns import notify as notification
from dkim_formula.health import commands as health_commands
from dkim_formula.health import preflight
from dkim_formula.health import selftest as health_selftest
from dkim_formula.importing import commands as importing_commands
from dkim_formula.importing import export
from dkim_formula.keys import commands as keys_commands
from dkim_formula.rotation import commands as rotations
from dkim_formula.screens import commands as screens
from dkim_formula.screens.page import page
from dkim_salt import read_pillar, translated, valid_settings

log = logging.getLogger(__name__)

# The file is not called dkim.py, because that name hides the library dkimpy from every import.
__virtualname__ = "dkim"

# The default outputter, _output/dkim_screen.py; --out chooses another.
__outputter__ = dict.fromkeys(screens.SCREENS, "dkim_screen")


def __virtual__():
    return __virtualname__


@translated
def check():
    """
    Check for everything that would stop a run: the pillar's values, the database, the table of
    domains, PostgreSQL's access files. Changes nothing.

    Returns ``{"problems": [text], "advice": [text], "database_checked": bool}``, with every problem
    at once; ``database_checked`` is False if the database was not read: it or the driver is
    missing, or this machine only signs.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.check
    """
    return preflight.check(read_pillar(__pillar__))


@translated
def generate_missing(test=False):
    """
    Generate every key that the pillar sets and the database lacks, on all cores. An existing key is
    never replaced. A run that is stopped keeps the keys that it stored; the next call continues.

    test
        True generates no key, and returns what a run would generate.

    Progress goes to the log at level info, to the event bus under the tag ``dkim/keys`` with
    ``{"done": …, "total": …}``, and to the standard error of ``salt-call``: as a bar where that is
    a terminal, else as a line every ten seconds.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``. Raises CommandExecutionError
    if the pillar is wrong, or if the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.generate_missing
    """
    settings_ = valid_settings(__pillar__)
    with _reported_progress() as report_progress:
        return keys_commands.generate_missing(settings_, test, report_progress)


@contextlib.contextmanager
def _progress(what="keys"):
    """
    Yield a function that shows progress on the standard error of ``salt-call``; None in a minion,
    whose standard error no one reads.
    """
    is_seen = __opts__.get("__cli") == "salt-call"
    with progress.shown(sys.stderr, what) if is_seen else contextlib.nullcontext() as show:
        yield show


@contextlib.contextmanager
def _reported_progress(what="keys"):
    """Yield a function that shows progress, writes a line to the log and sends an event."""
    with _progress(what) as show:

        def report_progress(done, total):
            log.info("dkim: %s of %s %s are done", done, total, what)
            # Without a master no one receives an event, and Salt logs a warning for each.
            if __opts__.get("file_client") != "local":
                __salt__["event.send"](f"dkim/{what}", {"done": done, "total": total})
            if show is not None:
                show(done, total)

        yield report_progress


@translated
def generate(domain, selector=None, algorithm=None, bits=None, test=False):
    """
    Generate a key for a hosted domain and store it in the database. The key signs at once if the
    domain has no active key of that algorithm: OpenDKIM reads it with the next message
    (opendkim.conf(5), «SigningTable»). Otherwise the key is ``pending``, a rotation in progress
    that ``dkim.advance`` continues.

    An existing key is never replaced: it is returned, with ``existed`` true.

    domain
        A hosted domain.
    selector, algorithm, bits
        ``rsa`` or ``ed25519``, and for RSA 1024 to 4096. Default: the pillar's values for the
        domain. Selectors: RFC 6376, section 3.1. Sizes: RFC 8301, section 3.2.
    test
        True generates no key, and returns ``{"changes": {key: {"old", "new"}}}``, which is empty
        if such a key exists.

    Returns ``{domain, selector, algorithm, bits, state, address, created, …, record, existed,
    changes, notes}``.

    Raises SaltInvocationError for a wrong argument, CommandExecutionError if the domain is not
    hosted or the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.generate example.com
        salt-call dkim.generate example.com selector=s2026 bits=4096
    """
    return keys_commands.generate(
        valid_settings(__pillar__), domain, selector, algorithm, bits, test
    )


@translated
def list_keys(domain=None):
    """
    List every key in the database, or every key of a domain.

    Returns a list of ``{domain, selector, algorithm, bits, state, address, timestamps,
    public_key, problem, record, orphaned}``; never the private key. ``orphaned`` is the next step
    for the key of a domain that is neither hosted nor in the pillar, and is empty for other keys.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.list_keys
        salt-call dkim.list_keys example.com
    """
    return keys_commands.list_keys(valid_settings(__pillar__), domain)


@translated
def public_key(domain, selector=None):
    """
    Return the public half of a key in base64, as in the tag ``p=`` of the record: for RSA the
    SubjectPublicKeyInfo (RFC 6376, section 3.6.1), for Ed25519 the 32 octets (RFC 8463,
    section 4.2).

    domain
        The key's domain.
    selector
        Default: the domain's active key.

    Returns the text.

    Raises CommandExecutionError if the key is missing, SaltInvocationError if several keys are
    active and ``selector`` is missing.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.public_key example.com
    """
    return keys_commands.public_key(valid_settings(__pillar__), domain, selector)


@translated
def records(domain=None, format=None, relative=False):  # pylint: disable=redefined-builtin
    """
    Return the desired records: a key record for each key (RFC 6376, section 3.6.1), and the
    policies of the pillar: DMARC (RFC 9989, section 4.7), SPF, TLS-RPT, MTA-STS.

    domain
        Default: every domain that the pillar chooses or that has a key.
    format
        ``bind``: lines for a zone file; ``oneline``: for the web form of a DNS provider;
        ``nsupdate``: a script for nsupdate(1) that overwrites no other record; ``octodns``: a
        YAML source for octoDNS; ``json``. Default: plain data, which a terminal shows as ``bind``.
    relative
        True: names are relative to their zone; data and JSON then have the zone as ``zone``.

    Returns a list of ``{name, type, ttl, value, purpose, domain, selector}``, ttl in seconds; with
    a format, its text.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.records example.com
        salt-call dkim.records example.com relative=True
        salt-call dkim.records format=octodns > dkim.yaml
    """
    return dns.records(valid_settings(__pillar__), domain, format, relative)


@translated
def rotate(domain, selector=None, algorithm=None, force=False, test=False):
    """
    Rotate the keys of a domain and of its addresses as far as the evidence allows. Generates a
    pending key if there is none, and publishes its record if the formula publishes. Activates the
    key when every authoritative server has shown the record for as long as resolvers may cache an
    old answer (RFC 2308, section 5). Can be called at any time and repeatedly; see
    docs/rotation.md.

    domain
        A hosted domain that is no alias.
    selector
        The new key's selector, for the domain's own key. Default: by ``rotation:selector``.
    algorithm
        ``rsa`` or ``ed25519``: rotate only the keys of this algorithm.
    force
        True: the new key signs at once; ``notes`` say which evidence was missing.
    test
        True changes nothing, and returns the moves and the changes in DNS that a run would make.

    Returns ``{"changes": {"SEL._domainkey.DOMAIN": {"old", "new"}}, "dns": {"NAME TYPE": {"old",
    "new"}}, "waiting": [{"domain", "selector", "algorithm", "state", "next", "waits_for",
    "not_before"}], "to_publish": [records], "next_check": text, "notes": [text], "problems":
    [text]}``: the states, the changes in DNS, what each key in progress waits for, the records that
    a person must publish as ``dkim.records`` returns them, and when to run ``dkim.advance`` again
    (ISO 8601; None if that does not depend on time alone).

    Raises SaltInvocationError for a wrong argument, CommandExecutionError for a selector that was
    ever used, for a domain that is not hosted, and if there is no database.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.rotate example.com
        salt-call dkim.rotate example.com selector=s2027 test=True
    """
    return rotations.rotate(valid_settings(__pillar__), domain, selector, algorithm, force, test)


@translated
def advance(domain=None, test=False, force=False):
    """
    Move every key that is in progress as far as the evidence allows. A pending key becomes active.
    A retired key is revoked when no mail that the key signed can be in transit (RFC 5321,
    section 4.5.4.1). The row and the record of a revoked key are deleted. Concurrent calls are
    safe.

    The key of a domain that is no longer hosted nor in the pillar is retired. If the domain is
    hosted again before the key is revoked, the same key signs again.

    domain
        Default: all domains.
    test
        As ``dkim.rotate``.
    force
        True: retire the keys of all domains that are no longer hosted. Without ``force``, these
        keys stay and a problem is reported in two cases: more than ten and more than a tenth of the
        domains with keys disappear at once; the table of domains is empty, missing or unreadable.

    Returns as ``dkim.rotate``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.advance
    """
    settings_ = valid_settings(__pillar__)
    with _reported_progress("domains") as report_progress:
        return rotations.advance(settings_, domain, test, report_progress, force)


@translated
def rotate_due(test=False, force=False):
    """
    Rotate every key that is due by ``rotation:every``, and move the keys in progress as
    ``dkim.advance`` does. Each domain has its own day, so not all keys are due at once.

    test
        As ``dkim.rotate``.
    force
        As ``dkim.advance``.

    Returns as ``dkim.rotate``. Source of the times: pillar ``dkim:rotation``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.rotate_due
    """
    settings_ = valid_settings(__pillar__)
    with _reported_progress("domains") as report_progress:
        return rotations.rotate_due(settings_, test, report_progress, force)


@translated
def activate(domain, selector, force=False, test=False):
    """
    Activate a standby, pending or retired key; it signs from the next message on. The active key of
    the same algorithm is retired in the same transaction. The key waits for its record as in
    ``dkim.rotate``, unless no key signs.

    domain, selector
        The domain and the selector of the key.
    force
        True: activate without evidence from DNS; ``notes`` say which evidence was missing.
    test
        As ``dkim.rotate``.

    Returns as ``dkim.rotate``. Raises CommandExecutionError for a missing, a revoked and an
    unreadable key. Source: RFC 2308, section 5, for how long resolvers cache an absence.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.activate example.com s2026
    """
    return rotations.activate(valid_settings(__pillar__), domain, selector, force, test)


@translated
def retire(domain, selector, force=False, test=False):
    """
    Retire the active key without a replacement. The key's record stays in DNS while mail that the
    key signed may be in transit (RFC 5321, section 4.5.4.1).

    domain, selector
        The domain and the selector of the key.
    force
        Must be True, because the domain's mail then leaves unsigned.
    test
        As ``dkim.rotate``.

    Returns as ``dkim.rotate``. Raises CommandExecutionError for a missing key, for a key that never
    signed, and without ``force``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.retire example.com default force=True
    """
    return rotations.retire(valid_settings(__pillar__), domain, selector, force, test)


@translated
def revoke(domain, selector, compromised=False, force=False, test=False):
    """
    Erase a private key and empty its record. An empty ``p=`` says that the key was revoked
    (RFC 6376, section 3.6.1). A standby or pending key is revoked at once, a retired key when no
    mail needs it any more.

    domain, selector
        The domain and the selector of the key.
    compromised
        True: someone else has the private key. The key is revoked at once. If the key is active,
        another key becomes active in the same transaction; ``notes`` name the consequences. If no
        other key can sign, ``problems`` says so, and nothing changes without ``force``.
    force
        True: revoke at once, also an active key without a replacement.
    test
        As ``dkim.rotate``.

    Returns as ``dkim.rotate``. Raises CommandExecutionError for a missing key, for an active one,
    and for one that mail in transit may need.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.revoke example.com default compromised=True
    """
    settings_ = valid_settings(__pillar__)
    return rotations.revoke(settings_, domain, selector, compromised, force, test)


@translated
def forget_replica(address, test=False):
    """
    Remove a standby server of the database, which no longer exists, from the known standbys. A
    retired key is revoked only when every known standby has replayed the key's retirement
    (docs/rotation.md, "Standby servers"). A standby that connects again is known again.

    address
        The standby's IP address, as ``dkim.status`` names it.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {standby: {"old", "new"}}, "notes": [text]}``. Raises
    CommandExecutionError if no known standby has that address.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.forget_replica 192.0.2.11
    """
    return rotations.forget_replica(valid_settings(__pillar__), address, test)


@translated
def status(domain=None, dns=True, state=None, problem=False, all=False):
    """
    Return a line for each key: its properties, what DNS shows, its next move and when. Changes
    nothing.

    domain
        Default: all domains. ``*`` and ``?`` are wildcards: ``*.example.com``.
    dns
        False: ask no name server; use the last answers.
    state
        Only keys in this state: ``standby``, ``pending``, ``active``, ``retired`` or ``revoked``.
    problem
        True: only the keys that need a person.
    all
        True: a terminal shows all keys. Otherwise a terminal counts the keys without a next move if
        not all fit. A program gets all keys in any case.

    Returns a list of ``{domain, selector, algorithm, bits, state, address, age, dns, next, when,
    problem}``. ``age`` is how long the key is in its state (``12d``), ``dns`` the verdict of
    ``dkim.check_dns`` or ``-``, ``next`` the next move, ``when`` its time in ISO 8601 or empty, and
    ``problem`` what is wrong with the row.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.status
        salt-call dkim.status problem=True
        salt-call --out=json dkim.status '*.example.com' state=pending dns=False
    """
    settings_ = valid_settings(__pillar__)
    with _progress("records") as show:
        return rotations.status(settings_, domain, dns, state, problem, progress=show)


@translated
def delete(domain, selector, force=False, test=False):
    """
    Delete a key permanently. Mail that the key signed verifies as long as its record is in DNS.

    domain, selector
        The domain and the selector of the key. ``=example.com.`` is a row with exactly this name.
    force
        True deletes an active key too: the domain's mail then leaves unsigned.
    test
        True deletes nothing, and returns ``{"changes": {record name: {"old", "new"}}}``, which is
        empty if the key is missing.

    Returns the deleted key, with ``changes`` and ``notes``. Raises CommandExecutionError for an
    active key without ``force``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.delete example.com s2025
    """
    return keys_commands.delete(valid_settings(__pillar__), domain, selector, force, test)


@translated
def mta_sts_policy(domain):
    """
    Return the MTA-STS policy file of a domain (RFC 8461, section 3.2), for your web server:
    ``{"url": the URL that senders read, "text": the content}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.mta_sts_policy example.com
    """
    return dns.policy_file(valid_settings(__pillar__), domain)


@translated
def import_key(domain, selector, path, allow_weak=False):
    """
    Import a private key from a file into the database. The key signs at once if the domain has no
    active key of its algorithm; otherwise it is ``pending`` until ``dkim.activate``.

    domain, selector
        The domain and the selector in the name of the key's record.
    path
        An absolute path on this minion: PEM, unencrypted, as openssl and opendkim-genkey write it.
    allow_weak
        True accepts RSA of 1024 to 2047 bits; less is never accepted (RFC 8301, section 3.2).

    Returns the key as ``dkim.generate``; ``existed`` is true if the database has the key already.

    Raises SaltInvocationError for a wrong argument or key, CommandExecutionError if the selector
    has another key or the domain is not hosted.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.import_key example.com mail /etc/dkimkeys/mail.private
    """
    return importing_commands.import_key(
        valid_settings(__pillar__), domain, selector, path, allow_weak
    )


@translated
def import_tables(
    key_table=None,
    signing_table=None,
    allow_weak=False,
    test=False,
    source=None,
    config=None,
    folder=None,
    selector_map=None,
    path_map=None,
):
    """
    Import the keys that another program or another OpenDKIM signs with, under their selectors and
    in one transaction. A key that signs today stays active; other keys become ``retired``, so that
    their records stay. The program itself is not changed.

    key_table, signing_table
        As in the minion's opendkim.conf(5), «KeyTable» and «SigningTable»: ``/path``,
        ``file:/path``, ``refile:/path``, ``csl:…``, ``dsn:pgsql://…``. Without a SigningTable each
        key signs for its own domain.
    allow_weak
        As ``dkim.import_key``.
    test
        True changes nothing, and returns what a run would return.
    source
        The program that has the keys: ``opendkim``, ``postfixadmin``, ``modoboa``, ``amavisd``,
        ``iredmail`` (amavisd too) or ``rspamd``. Default: ``opendkim`` with a ``key_table``, else
        the program of ``dkim:database:preset``.
    config
        The path of the program's configuration, if it is not the usual one: a file of ``opendkim``
        or ``amavisd``, a folder of ``amavisd`` or ``rspamd``.
    folder
        The folder of the key files. Paths in rows of a database are read only below it.
    selector_map, path_map
        rspamd's maps, instead of those that its configuration names.

    Returns ``{"imported": [{domain, selector, algorithm, bits, state, address}], "present": [text],
    "refused": [{"entry", "reason"}], "patterns": {pattern: domain that signs}, "pillar": {domain:
    settings}, "changes": {what: {"old", "new"}}, "notes": [text], "files": [path], "also_signs":
    [text]}``. ``pillar`` are the settings to add to ``dkim:domains`` so that mail of the same
    senders is signed. ``files`` are key files that can be deleted when no other program signs with
    them. ``also_signs`` names other programs that sign on this machine, and how to stop them.

    Raises SaltInvocationError for a wrong argument and if a table can't be read,
    CommandExecutionError if the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.import_tables source=rspamd test=True
        salt-call dkim.import_tables /etc/opendkim/KeyTable refile:/etc/opendkim/SigningTable \
            test=True
    """
    request = importing_commands.Request(
        key_table, signing_table, source, config, folder, selector_map, path_map
    )
    settings_ = valid_settings(__pillar__)
    with _progress() as show:
        return importing_commands.import_tables(settings_, request, allow_weak, test, show)


@translated
def export_key(domain, selector, path):
    """
    Write a private key to a new file that only root can read (mode 0600), to move the key to
    another system. The history in the database and the minion's log record the export.

    path
        An absolute path on this minion; an existing file is never changed.

    Returns ``{"path", "domain", "selector", "algorithm", "public_key"}``, never the private key.

    Raises SaltInvocationError for a path that can't be written, CommandExecutionError if the key
    is missing or revoked.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.export_key example.com mail /root/mail.private
    """
    return export.export_key(valid_settings(__pillar__), domain, selector, path)


@translated
def check_dns(domain=None):
    """
    Check the desired records at every authoritative server of each record's zone, over UDP and over
    TCP. Records are compared by their meaning, and CNAMEs are followed. No resolver is asked for a
    record that may be missing, because the resolver would cache its absence (RFC 2308).

    domain
        Default: every domain that the pillar chooses or that has a key.

    Returns ``{"ok": bool, "counts": {verdict: number}, "records": [{name, type, purpose, domain,
    selector, value, verdict, detail, zone, negative_ttl, validator, servers}]}``, times in
    seconds; a server that is not ``ok`` has the texts at the name as ``shown``. The verdicts:
    ``ok``, ``missing``, ``different``, ``duplicate``, ``no answer``, ``inconsistent``, ``lame``,
    ``bogus``, ``no zone``, ``unchecked``. With ``ok``, ``detail`` is advice, such as a different
    spelling of the record or a useless server.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.check_dns example.com
    """
    settings_ = valid_settings(__pillar__)
    with _progress("records") as show:
        return dns.check_dns(settings_, domain, show)


@translated
def delegations(domain=None, format=None):  # pylint: disable=redefined-builtin
    """
    Check the CNAMEs that customers add for domains with a ``delegation``, at every authoritative
    server of each customer's zone. Stores when each CNAME was ok, and changes nothing else.

    domain
        Default: every domain with a delegation.
    format
        ``text``: instructions for the customer, with the present state. ``html``: the same as a
        self-contained page. ``json``: the data as text. Default: plain data.

    Returns ``{"ok": bool, "counts": {state: number}, "delegations": [{domain, name, target, state,
    detail, since, last_ok}]}``. ``since`` is the first of the successive checks that found the
    CNAME ok, ``last_ok`` the last such check; ISO 8601 or None.

    The states: ``ok``, ``inconsistent`` (not at every server), ``missing``, ``wrong target``,
    ``another record``, ``no answer``, ``unchecked`` (``dns:deadline`` was over).

    CLI Example:

    .. code-block:: bash

        salt-call dkim.delegations
        salt-call dkim.delegations customer.example format=text
        salt-call dkim.delegations customer.example format=html >page.html
    """
    return dns.delegations(valid_settings(__pillar__), domain, format)


@translated
def notify(test=False):
    """
    Report the records that wait for a person (pillar ``dkim:dns:notify``): by one mail through
    sendmail(1), or by your own program. ``dkim.advance`` and ``dkim.rotate_due`` do the same when
    they finish.

    A record is reported once, again after ``every``, and once more when every authoritative server
    has it. The database stores which records were reported and observed, so a second call reports
    nothing.

    test
        True sends nothing, and returns what a run would send.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "notified": the recipient or "", "text":
    the text, "waiting": number of records, "notes": [text], "problems": [text]}``: in ``changes`` a
    record is ``notified``, ``reminded`` or ``visible``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.notify test=True
    """
    return notification.notify(valid_settings(__pillar__), test)


@translated
def publish(domain=None, adopt=False, test=False):
    """
    Publish the desired records by the method of each zone (pillar ``dkim:dns:publish``), and remove
    published records that are no longer desired. Without a method in the pillar, dynamic updates
    (RFC 2136) are sent.

    domain
        Default: every domain that the pillar chooses or that has a key.
    adopt
        True replaces another record of the same kind at the same name. Without ``adopt`` such a
        record stays and is a problem.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "unchanged": number, "problems": [text],
    "manual": ["NAME TYPE"], "to_publish": [records], "notes": [text]}``. A problem with one name
    does not prevent the changes at other names. ``manual`` are records to publish by hand: in zones
    of other operators, and in zones with ``publish: none``. ``to_publish`` has the first hundred of
    them.

    Raises SaltInvocationError for a domain that is neither chosen by the pillar nor has a key or a
    published record.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.publish
        salt-call dkim.publish example.com adopt=True
    """
    return dns.publish(valid_settings(__pillar__), domain, adopt, test)


@translated
def doctor(format=None, verbose=False):  # pylint: disable=redefined-builtin
    """
    Check the whole chain on this machine, each part as its own user: services, Postfix and its
    access to the milter sockets, OpenDKIM's units and files, its login at PostgreSQL, the keys, a
    message through the sockets and its signature, DNS, the clocks. Changes nothing and delivers no
    message; each check has a time limit. Parts on other machines are reported as such.

    format
        ``text``: the screen as text. Default: plain data.
    verbose
        True: the screen also lists the checks that passed; a program gets them in any case.

    Returns a list of ``{check, subject, ok, message, remedy, items, count, since}`` in the order in
    which a message passes the parts. ``ok`` is None if this machine can't check it, and ``remedy``
    is the command that repairs the problem. With a format, returns its text. The call's exit status
    is 1 if there is a problem.

    Raises SaltInvocationError for another format.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.doctor
        salt-call --retcode-passthrough --out=json dkim.doctor
    """
    health_commands.check_format(format)
    found = health_commands.doctor(read_pillar(__pillar__), _health_folder(), _service_runs)
    if any(one["ok"] is False for one in found):
        __context__["retcode"] = 1
    return found if format is None else screens.as_text("doctor", found, verbose=verbose)


@translated
def selftest(domain=None):
    """
    Check that the daemons sign: send a message for each active key and each of its patterns through
    the daemons' sockets, and verify the signatures (RFC 6376, section 6.1). Delivers no message.

    domain
        Default: every domain that has an active key.

    Returns a list of ``{"domain", "sender", "kind", "algorithm", "selector", "signed",
    "verified_by_database", "verified_by_dns", "ways", "unsigned_headers", "detail"}``.
    ``verified_by_database`` is by the public key in the database, ``verified_by_dns`` by the record
    at every authoritative server; None means that it could not be tried. ``ways`` are the services
    of master.cf by which mail comes in, each True if its mail passes the daemon. ``signed`` is
    False if a service's mail does not, except those of ``dkim:postfix:unsigned_services``. The
    call's exit status is 1 if one of these is False. ``unsigned_headers`` lists headers of a
    newsletter that the signature does not cover, which is advice and no failure.

    Raises SaltInvocationError for an invalid domain name, CommandExecutionError if no key is
    active, or if the daemons can't reach the database.

    CLI Example:

    .. code-block:: bash

        salt-call --retcode-passthrough dkim.selftest example.com
    """
    results = health_selftest.selftest(valid_settings(__pillar__), domain)
    if not health_selftest.is_ok(results):
        __context__["retcode"] = 1
    return results


@translated
def health(fresh=False):
    """
    Return the problems of this mail host: services and sockets, the database, keys that are too old
    or stuck in their rotation, hosted domains without a key, records that DNS lacks. Database and
    DNS are asked again after their intervals (``dkim:monitoring``); until then their last answer
    is returned.

    fresh
        True asks database and DNS now.

    Returns ``{"problems": [{check, subject, ok, message, remedy, items, count, since}], "unknown":
    [check], "checked": {"database", "dns"}}``, times as ISO 8601 text; ``unknown`` are the checks
    without a result.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.health fresh=True
    """
    return health_commands.health(read_pillar(__pillar__), _health_folder(), _service_runs, fresh)


@translated
def metrics():
    """
    Return the result of ``dkim.health`` as metrics in Prometheus' text format (version 0.0.4).

    Returns the text.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.metrics
    """
    return health_commands.metrics(read_pillar(__pillar__), _health_folder(), _service_runs)


@translated
def write_metrics(path):
    """
    Write ``dkim.metrics`` to a file in one step; every account can read the file.

    path
        An absolute path in the directory that node_exporter's collector ``textfile`` reads; ends in
        ``.prom``.

    Returns ``{"path": path}``. Raises SaltInvocationError for a path that can't be written.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.write_metrics /var/lib/prometheus/node-exporter/dkim.prom
    """
    text = health_commands.metrics(read_pillar(__pillar__), _health_folder(), _service_runs)
    return health_commands.write_metrics(path, text)


@translated
def report(path=None, group=None, test=False):
    """
    Write the whole state of this host as one HTML page, for hosts without Prometheus: problems and
    their remedies, next moves, domains and keys, the last observation of DNS. The page is written
    in one step; root and a group can read it. Name servers are asked only after
    ``dkim:monitoring:dns_every``. The page has no script, loads nothing, and holds no secret.

    path
        An absolute path in an existing directory; ends in ``.html``. Default: pillar
        ``dkim:monitoring:report:path``.
    group
        The group that may read the page. Default: pillar ``dkim:monitoring:report:group``, else
        ``root``.
    test
        True checks path and group, and writes nothing.

    Returns ``{"path", "group", "changes": {path: {"old", "new"}}}``. Raises SaltInvocationError for
    an invalid path or a missing group.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.report
        salt-call dkim.report /var/www/dkim/index.html group=www-data
    """
    reading = read_pillar(__pillar__)
    path, group = health_commands.report_target(reading, path, group)
    changes = {path: {"old": "present" if os.path.exists(path) else "absent", "new": "as of now"}}
    if not test:
        state = health_commands.report(reading, _health_folder(), _service_runs, __opts__["id"])
        health_commands.write_report(path, group, page(state))
    return {"path": path, "group": group, "changes": changes}


def _health_folder():
    return os.path.join(__opts__["cachedir"], health_commands.FOLDER)


def _service_runs(name):
    return __salt__["service.status"](name)
