"""
DKIM keys in the virtual-mail database: made, listed, moved, printed as records.

The functions read pillar ``dkim``; see ``pillar.example``. A private key is never in a return, a
log or an event: it goes from the library into the database's table, and OpenDKIM reads it there.

:depends: psycopg2, cryptography
"""

import contextlib
import logging
import os
import sys

from dkim_formula import progress
from dkim_formula.dns import commands as dns
from dkim_formula.dns import notify as notification
from dkim_formula.health import check_signing, preflight
from dkim_formula.health import commands as health_commands
from dkim_formula.importing import commands as importing_commands
from dkim_formula.keys import commands as keys_commands
from dkim_formula.rotation import commands as rotations
from dkim_formula.screens import commands as screens
from dkim_formula.screens.page import page
from dkim_salt import read_pillar, sound_settings, translated

log = logging.getLogger(__name__)

# Not dkim.py: that name would hide the library dkimpy from every import of this process.
__virtualname__ = "dkim"

# What a person sees, where no other --out is asked for: _output/dkim_screen.py.
__outputter__ = dict.fromkeys(screens.SCREENS, "dkim_screen")


def __virtual__():
    return __virtualname__


@translated
def check():
    """
    Look for everything that would stop a run: the pillar's values, the database, the domains
    table, PostgreSQL's access files. Changes nothing.

    Returns ``{"problems": [text], "advice": [text], "looked": bool}``, all of them at once;
    ``looked`` is False where there is no database to look at yet.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.check
    """
    return preflight.check(read_pillar(__pillar__))


@translated
def generate_missing(test=False):
    """
    Make every key that the pillar wants and the database lacks, on all cores. An existing key is
    never replaced. Stopped half-way, it keeps what it made; the next call goes on.

    test
        True makes no key, and returns what a run would make.

    Progress goes to the log at level info, to the event bus under the tag ``dkim/keys`` with
    ``{"done": …, "total": …}``, and to the standard error of ``salt-call``: as a bar where that is
    a terminal, else as a line every ten seconds.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``. Raises CommandExecutionError
    where the pillar is wrong, or the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.generate_missing
    """
    settings_ = sound_settings(__pillar__)
    with _told_progress() as tell:
        return keys_commands.generate_missing(settings_, test, tell)


@contextlib.contextmanager
def _progress(what="keys"):
    """
    Shows a person who waits for ``salt-call`` how far it has come; a minion that a master asked has
    nobody at its standard error.
    """
    is_seen = __opts__.get("__cli") == "salt-call"
    with progress.shown(sys.stderr, what) if is_seen else contextlib.nullcontext() as tell:
        yield tell


@contextlib.contextmanager
def _told_progress(what="keys"):
    """The same, and after each batch a line of the log and an event."""
    with _progress(what) as show:

        def tell(done, total):
            log.info("dkim: %s of %s %s are done", done, total, what)
            # Without a master there is nobody to send an event to, and Salt would warn each time.
            if __opts__.get("file_client") != "local":
                __salt__["event.send"](f"dkim/{what}", {"done": done, "total": total})
            if show is not None:
                show(done, total)

        yield tell


@translated
def generate(domain, selector=None, algorithm=None, bits=None, test=False):
    """
    Make a key for a hosted domain, into the database. It signs at once where the domain has no
    active key of that algorithm (opendkim.conf(5), «SigningTable»: OpenDKIM reads it with the next
    message); else it is ``pending``: an unfinished rotation, which ``dkim.advance`` takes on.

    An existing key is never replaced: it is returned, with ``existed`` true.

    domain
        A domain of the site's table.
    selector, algorithm, bits
        ``rsa`` or ``ed25519``, and for RSA 1024 to 4096; what is not given is as the pillar has
        it for the domain. Selectors: RFC 6376, section 3.1. Sizes: RFC 8301, section 3.2.
    test
        True makes no key, and returns ``{"changes": {key: {"old", "new"}}}``, empty where such a
        key is there.

    Returns ``{domain, selector, algorithm, bits, state, address, created, …, record, existed,
    changes, notes}``.

    Raises SaltInvocationError for an argument that is wrong, CommandExecutionError where the
    domain is not hosted or the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.generate example.com
        salt-call dkim.generate example.com selector=s2026 bits=4096
    """
    return keys_commands.generate(
        sound_settings(__pillar__), domain, selector, algorithm, bits, test
    )


@translated
def list_keys(domain=None):
    """
    List every key in the database, or a domain's.

    Returns a list of ``{domain, selector, algorithm, bits, state, address, timestamps,
    public_key, problem, record, orphaned}``; never the private key. ``orphaned`` says what comes
    next for the key of a domain that is neither hosted nor in the pillar; else it is empty.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.list_keys
        salt-call dkim.list_keys example.com
    """
    return keys_commands.list_keys(sound_settings(__pillar__), domain)


@translated
def public_key(domain, selector=None):
    """
    Return the public half of a key, base64, as the record's ``p=`` has it: SubjectPublicKeyInfo for
    RSA (RFC 6376, section 3.6.1), the bare 32 octets for Ed25519 (RFC 8463, section 4.2).

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
    return keys_commands.public_key(sound_settings(__pillar__), domain, selector)


@translated
def records(domain=None, format=None, relative=False):  # pylint: disable=redefined-builtin
    """
    Return the desired records: a key record for each key (RFC 6376, section 3.6.1), and the
    policies of the pillar: DMARC (RFC 9989, section 4.7), SPF, TLS-RPT, MTA-STS.

    domain
        Default: every domain that the pillar chooses or that has a key.
    format
        ``bind``: lines that paste into a zone file; ``oneline``: for a provider's form;
        ``nsupdate``: a script for nsupdate(1) that overwrites no other record; ``octodns``: a
        YAML source for octoDNS; ``json``. Default: plain data, which a terminal shows as ``bind``.
    relative
        True: names are relative to their zone, which data and JSON have as ``zone`` then.

    Returns a list of ``{name, type, ttl, value, purpose, domain, selector}``, ttl in seconds; with
    a format its text.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.records example.com
        salt-call dkim.records example.com relative=True
        salt-call dkim.records format=octodns > dkim.yaml
    """
    return dns.records(sound_settings(__pillar__), domain, format, relative)


@translated
def rotate(domain, selector=None, algorithm=None, force=False, test=False):
    """
    Rotate a domain's keys, and those of its addresses, as far as the evidence allows: create or
    find the pending key, publish its record where the formula publishes, and make the key active
    when every authoritative server has shown the record for as long as resolvers may cache an old
    answer (RFC 2308, section 5). Safe at any time and any number of times; see docs/rotation.md.

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
    [text]}``: the states, the changes in DNS, what each key in progress waits for, the records for
    a person to publish as ``dkim.records`` has them, and when to run ``dkim.advance`` again (ISO
    8601; None where time alone does not tell).

    Raises SaltInvocationError for a wrong argument, CommandExecutionError for a selector that was
    ever used, for a domain that is not hosted, and without a database.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.rotate example.com
        salt-call dkim.rotate example.com selector=s2027 test=True
    """
    return rotations.rotate(sound_settings(__pillar__), domain, selector, algorithm, force, test)


@translated
def advance(domain=None, test=False, force=False):
    """
    Move every key that is in progress as far as the evidence allows: a pending key signs, a retired
    key is revoked when no mail that the key signed can be in transit (RFC 5321, section 4.5.4.1), a
    revoked key's row and record go. Any number of calls at once do no harm.

    A domain that is neither hosted nor in the pillar any more has its key retired. A domain that
    comes back before the key is revoked has the key again.

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
    settings_ = sound_settings(__pillar__)
    with _told_progress("domains") as tell:
        return rotations.advance(settings_, domain, test, tell, force)


@translated
def rotate_due(test=False, force=False):
    """
    Rotate every key that is due by ``rotation:every``, and move the keys in progress as
    ``dkim.advance`` does. Each domain has a day of its own, so not all keys are due at once.

    test
        As ``dkim.rotate``.
    force
        As ``dkim.advance``.

    Returns as ``dkim.rotate``. Source of the times: pillar ``dkim:rotation``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.rotate_due
    """
    settings_ = sound_settings(__pillar__)
    with _told_progress("domains") as tell:
        return rotations.rotate_due(settings_, test, tell, force)


@translated
def activate(domain, selector, force=False, test=False):
    """
    Make a standby, pending or retired key active, from the next message on. The key of the same
    algorithm that signed until then is retired in the same transaction. The key waits for its
    record as in ``dkim.rotate``, except where no key signs.

    domain, selector
        Which key.
    force
        True: whatever DNS shows of the record; ``notes`` say which evidence was missing.
    test
        As ``dkim.rotate``.

    Returns as ``dkim.rotate``. Raises CommandExecutionError for a missing, a revoked and an
    unreadable key. Source: RFC 2308, section 5, for how long resolvers cache an absence.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.activate example.com s2026
    """
    return rotations.activate(sound_settings(__pillar__), domain, selector, force, test)


@translated
def retire(domain, selector, force=False, test=False):
    """
    Retire the active key without another in its place. The key's record stays while mail that the
    key signed may be in transit (RFC 5321, section 4.5.4.1).

    domain, selector
        Which key.
    force
        True is needed: the domain's mail then leaves unsigned.
    test
        As ``dkim.rotate``.

    Returns as ``dkim.rotate``. Raises CommandExecutionError for a missing key, for a key that never
    signed, and without ``force``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.retire example.com default force=True
    """
    return rotations.retire(sound_settings(__pillar__), domain, selector, force, test)


@translated
def revoke(domain, selector, compromised=False, force=False, test=False):
    """
    Erase a private key and empty its record (RFC 6376, section 3.6.1: an empty ``p=`` says that the
    key was revoked): a standby or pending key at once, a retired key in its time.

    domain, selector
        Which key.
    compromised
        True: somebody else has the private key. The key goes at once. Where it is active, another
        key becomes active in the same transaction; ``notes`` say what that costs. Where no other
        key can sign, ``problems`` says so and nothing changes, without ``force``.
    force
        True: at once too, and an active key goes without another in its place.
    test
        As ``dkim.rotate``.

    Returns as ``dkim.rotate``. Raises CommandExecutionError for a missing key, for an active one,
    and for one that mail in transit may need.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.revoke example.com default compromised=True
    """
    settings_ = sound_settings(__pillar__)
    return rotations.revoke(settings_, domain, selector, compromised, force, test)


@translated
def forget_replica(address, test=False):
    """
    Forget a standby server of the database that is gone for good. A retired key is revoked only
    when every standby that was ever connected has replayed the key's retirement
    (docs/rotation.md, "Standby servers"). A standby that connects again is known again.

    address
        The standby's IP address, as ``dkim.status`` names it.
    test
        True changes nothing, and returns what a run would change.

    Returns ``{"changes": {standby: {"old", "new"}}, "notes": [text]}``. Raises
    CommandExecutionError where no standby had that address.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.forget_replica 192.0.2.11
    """
    return rotations.forget_replica(sound_settings(__pillar__), address, test)


@translated
def status(domain=None, dns=True, state=None, problem=False, all=False):
    """
    Return a line for each key: what the key is, what DNS shows, what comes next and when. Changes
    nothing.

    domain
        Default: all domains. ``*`` and ``?`` stand for letters: ``*.example.com``.
    dns
        False: ask no name server; the last answers decide.
    state
        The keys in this state: ``standby``, ``pending``, ``active``, ``retired`` or ``revoked``.
    problem
        True: the keys that need a person.
    all
        True: a terminal shows all of them. Else it counts the keys at rest where not all fit; a
        program gets all keys in any case.

    Returns a list of ``{domain, selector, algorithm, bits, state, address, age, dns, next, when,
    problem}``: how long the key is in its state (``12d``), the verdict of ``dkim.check_dns`` or
    ``-``, the next move, its time in ISO 8601 or nothing, and what is wrong with the row.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.status
        salt-call dkim.status problem=True
        salt-call --out=json dkim.status '*.example.com' state=pending dns=False
    """
    settings_ = sound_settings(__pillar__)
    with _progress("records") as tell:
        return rotations.status(settings_, domain, dns, state, problem, progress=tell)


@translated
def delete(domain, selector, force=False, test=False):
    """
    Delete a key for good. Mail that it signed can be verified as long as its record stays in DNS.

    domain, selector
        Which key.
    force
        True deletes an active key too: the domain's mail then leaves unsigned.
    test
        True deletes nothing, and returns ``{"changes": {record name: {"old", "new"}}}``, empty
        where there is no such key.

    Returns what the key was, with ``changes`` and ``notes``. Raises CommandExecutionError for an
    active key without ``force``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.delete example.com s2025
    """
    return keys_commands.delete(sound_settings(__pillar__), domain, selector, force, test)


@translated
def mta_sts_policy(domain):
    """
    Return the MTA-STS policy file of a domain (RFC 8461, section 3.2), for your web server:
    ``{"url": where senders look for it, "text": its content}``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.mta_sts_policy example.com
    """
    return dns.policy_file(sound_settings(__pillar__), domain)


@translated
def import_key(domain, selector, path, allow_weak=False):
    """
    Take a private key from a file into the database. It signs at once where the domain has no
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
    return importing_commands.import_key(
        sound_settings(__pillar__), domain, selector, path, allow_weak
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
    Take over the keys that another program or another OpenDKIM signs with, under their selectors
    and in one transaction. What signs today goes on signing; other keys are kept as ``retired``,
    so that their records stay. Nothing of the program's is changed.

    key_table, signing_table
        As in the minion's opendkim.conf(5), «KeyTable» and «SigningTable»: ``/path``,
        ``file:/path``, ``refile:/path``, ``csl:…``, ``dsn:pgsql://…``. Without a SigningTable each
        key is taken to sign for its own domain.
    allow_weak
        As ``dkim.import_key``.
    test
        True changes nothing and tells what a run would do.
    source
        Which program has the keys: ``opendkim``, ``postfixadmin``, ``modoboa``, ``amavisd``,
        ``iredmail`` (amavisd too) or ``rspamd``. By default ``opendkim`` where there is a
        ``key_table``, else what ``dkim:database:preset`` tells.
    config
        The program's configuration in place of its own place: a file of ``opendkim`` or
        ``amavisd``, a folder of ``amavisd`` or ``rspamd``.
    folder
        The folder of the key files. Paths that rows of a database name are taken from there alone.
    selector_map, path_map
        rspamd's maps, in place of what its configuration says.

    Returns ``{"imported": [{domain, selector, algorithm, bits, state, address}], "present": [text],
    "refused": [{"entry", "reason"}], "patterns": {pattern: domain that signs}, "pillar": {domain:
    settings}, "changes": {what: {"old", "new"}}, "notes": [text], "files": [path], "also_signs":
    [text]}``. ``pillar`` is what ``dkim:domains`` lacks for the same senders to be signed.
    ``files`` are key files that can be deleted once nothing else signs with them; ``also_signs``
    says what else signs on this machine, and how to switch it off.

    Raises SaltInvocationError for a wrong argument and where a table can't be read,
    CommandExecutionError where the database can't be reached.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.import_tables source=rspamd test=True
        salt-call dkim.import_tables /etc/opendkim/KeyTable refile:/etc/opendkim/SigningTable \
            test=True
    """
    request = importing_commands.Request(
        key_table, signing_table, source, config, folder, selector_map, path_map
    )
    settings_ = sound_settings(__pillar__)
    with _progress() as tell:
        return importing_commands.import_tables(settings_, request, allow_weak, test, tell)


@translated
def export_key(domain, selector, path):
    """
    Write a private key to a new file for root alone (mode 0600), for moving away. The history in
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
    return importing_commands.export_key(sound_settings(__pillar__), domain, selector, path)


@translated
def check_dns(domain=None):
    """
    Check the desired records at every authoritative server of each record's zone, over UDP and over
    TCP. Records are compared by their meaning, CNAMEs are followed. No resolver is asked for a
    record that may be missing: the resolver would cache that (RFC 2308).

    domain
        Default: every domain that the pillar chooses or that has a key.

    Returns ``{"ok": bool, "counts": {verdict: number}, "records": [{name, type, purpose, domain,
    selector, value, verdict, detail, zone, negative_ttl, validator, servers}]}``, times in
    seconds; a server that is not ``ok`` has the texts at the name as ``shown``. The verdicts:
    ``ok``, ``missing``, ``different``, ``duplicate``, ``no answer``, ``inconsistent``, ``lame``,
    ``bogus``, ``no zone``, ``unchecked``. With ``ok``, ``detail`` is advice: how the record is
    written differently, which server is useless.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.check_dns example.com
    """
    settings_ = sound_settings(__pillar__)
    with _progress("records") as tell:
        return dns.check_dns(settings_, domain, tell)


@translated
def delegations(domain=None, format=None):  # pylint: disable=redefined-builtin
    """
    Look at the CNAMEs that customers add for domains with a ``delegation``, at every authoritative
    server of each customer's zone. Stores when each CNAME was seen right, and changes nothing else.

    domain
        Default: every domain with a delegation.
    format
        ``text``: the instruction to hand to the customer, with what is seen now. ``html``: the same
        as a page that needs nothing beside it. ``json``: the data as text. Default: plain data.

    Returns ``{"ok": bool, "counts": {state: number}, "delegations": [{domain, name, target, state,
    detail, since, last_right}]}``: ``since`` is the first of the successive looks that found the
    CNAME right, ``last_right`` the last look that did, ISO 8601 or None.

    The states: ``right``, ``right in part`` (not at every server), ``absent``, ``wrong target``,
    ``another record``, ``no answer``, ``unchecked`` (``dns:deadline`` was over).

    CLI Example:

    .. code-block:: bash

        salt-call dkim.delegations
        salt-call --out=txt dkim.delegations customer.example format=text
        salt-call --out=newline_values_only dkim.delegations customer.example format=html
    """
    return dns.delegations(sound_settings(__pillar__), domain, format)


@translated
def notify(test=False):
    """
    Tell of the records that wait for a person (pillar ``dkim:dns:notify``): by one mail through
    sendmail(1), or by the site's own program. ``dkim.advance`` and ``dkim.rotate_due`` do the same
    at their end.

    A record is told once, again after ``every``, and once more when every authoritative server has
    it. Records that were told and seen are remembered, so a second call tells nothing.

    test
        True sends nothing, and returns what a run would send.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "told": who was told or "", "text": the
    text, "waiting": number of records, "notes": [text], "problems": [text]}``: in ``changes`` a
    record is ``told``, ``told again`` or ``seen``.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.notify test=True
    """
    return notification.notify(sound_settings(__pillar__), test)


@translated
def publish(domain=None, adopt=False, test=False):
    """
    Publish the desired records in the way of each zone (pillar ``dkim:dns:publish``), and remove
    published records that are no longer desired. Without any way in the pillar the records go by
    dynamic update (RFC 2136).

    domain
        Default: every domain that the pillar chooses or that has a key.
    adopt
        True replaces another record of the same kind at the same name. Without ``adopt`` such a
        record stays and is a problem.
    test
        True only previews the changes.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "unchanged": number, "problems": [text],
    "manual": ["NAME TYPE"], "to_publish": [records], "notes": [text]}``. A problem with one name
    prevents no other name's change; ``manual`` are records to publish by hand: in zones of other
    operators, and in zones with ``publish: none``; ``to_publish`` has the first hundred of them.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.publish
        salt-call dkim.publish example.com adopt=True
    """
    return dns.publish(sound_settings(__pillar__), domain, adopt, test)


@translated
def doctor(format=None, verbose=False):  # pylint: disable=redefined-builtin
    """
    Check the whole chain on this machine, as the user of each part would: services, Postfix and its
    way to the milter sockets, OpenDKIM's units and files, its login at PostgreSQL, the keys, a
    message through the sockets and its signature, DNS, the clocks. Changes nothing and delivers no
    message; each check has a time limit. What is not on this machine is told apart.

    format
        ``text``: the screen as text. Default: plain data.
    verbose
        True: the screen lists the checks that passed too; a program gets them in any case.

    Returns a list of ``{check, subject, ok, message, remedy, items, count, since}`` in the order of
    a message's way; ``ok`` is None where nobody can tell from here, and ``remedy`` is the command
    that mends it; with a format its text. The call's exit status is 1 where something is wrong.

    Raises SaltInvocationError for another format.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.doctor
        salt-call --retcode-passthrough --out=json dkim.doctor
    """
    health_commands.check_format(format)
    found = health_commands.doctor(read_pillar(__pillar__), _service_runs)
    if any(one["ok"] is False for one in found):
        __context__["retcode"] = 1
    return found if format is None else screens.as_text("doctor", found, verbose=verbose)


@translated
def selftest(domain=None):
    """
    Have the daemons sign a message for each active key and each pattern that it signs for, through
    their own sockets, and verify the signatures (RFC 6376, section 6.1). No message is delivered.

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
    results = check_signing.selftest(sound_settings(__pillar__), domain)
    if not check_signing.is_right(results):
        __context__["retcode"] = 1
    return results


@translated
def health(fresh=False):
    """
    Return what is wrong on this mail host: services and sockets, the database, keys that are too
    old or stuck in their rotation, hosted domains without a key, records that DNS lacks. Database
    and DNS are asked where their intervals (``dkim:monitoring``) are over; else their last answer
    is told.

    fresh
        True asks them now.

    Returns ``{"problems": [{check, subject, ok, message, remedy, items, count, since}], "unknown":
    [check], "checked": {"database", "dns"}}``, times as ISO 8601 text; ``unknown`` are the checks
    that nothing is known of.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.health fresh=True
    """
    return health_commands.health(read_pillar(__pillar__), _health_folder(), _service_runs, fresh)


@translated
def metrics():
    """
    Return what ``dkim.health`` finds as metrics for Prometheus, in its text format (version 0.0.4).

    Returns the text.

    CLI Example:

    .. code-block:: bash

        salt-call --out=newline_values_only dkim.metrics
    """
    return health_commands.metrics(read_pillar(__pillar__), _health_folder(), _service_runs)


@translated
def write_metrics(path):
    """
    Write ``dkim.metrics`` to a file, in one step and readable by all.

    path
        Absolute, in the directory that node_exporter's collector ``textfile`` reads; ends in
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
    Write the whole state of this host as one HTML page, for who has no Prometheus: problems with
    what to type, next steps, domains and keys, DNS as it was seen last. In one step, for root and a
    group to read. No name server is asked but where ``dkim:monitoring:dns_every`` is over. The page
    has no script, loads nothing, and holds no secret.

    path
        Absolute, ends in ``.html``; its directory is there. Default: pillar
        ``dkim:monitoring:report:path``.
    group
        Who may read it. Default: pillar ``dkim:monitoring:report:group``, else ``root``.
    test
        True checks path and group, and writes nothing.

    Returns ``{"path", "group", "changes": {path: {"old", "new"}}}``. Raises SaltInvocationError for
    a path or a group that is none.

    CLI Example:

    .. code-block:: bash

        salt-call dkim.report
        salt-call dkim.report /var/www/dkim/index.html group=www-data
    """
    reading = read_pillar(__pillar__)
    path, group = health_commands.report_place(reading, path, group)
    changes = {path: {"old": "present" if os.path.exists(path) else "absent", "new": "as of now"}}
    if not test:
        state = health_commands.report(reading, _health_folder(), _service_runs, __opts__["id"])
        health_commands.write_report(path, group, page(state))
    return {"path": path, "group": group, "changes": changes}


def _health_folder():
    return os.path.join(__opts__["cachedir"], health_commands.FOLDER)


def _service_runs(name):
    return __salt__["service.status"](name)
