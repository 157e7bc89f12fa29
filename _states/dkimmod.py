"""
States of DKIM keys and of what makes OpenDKIM use them.

Each looks, tells under ``test=True`` what a run would change, changes it, and looks again; a
second run changes nothing. The settings are pillar ``dkim``; see ``pillar.example``.
"""

from dkim_formula.converge import failed
from dkim_formula.operations.publish import shortened, summed_up
from dkim_formula.operations.rotation_told import told
from dkim_formula.operations.transfer import summary
from dkim_salt import converged
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "dkim"


def __virtual__():
    return __virtualname__


def checked(name):
    """
    The pillar's values, the database and its access files have nothing that would stop the run.
    Fails with every problem at once, before anything is changed; it never changes anything itself.

    .. code-block:: yaml

        The DKIM settings are sound:
          dkim.checked: []
    """
    found = __salt__["dkim.check"]()
    ret = {"name": name, "changes": {}, "result": not found["problems"]}
    if found["problems"]:
        ret["comment"] = "\n".join(found["problems"])
        return ret
    lines = ["Nothing stands in the way"]
    if not found["looked"]:
        lines = ["The pillar is sound; the database was not looked at"]
    ret["comment"] = "\n".join([*lines, *(f"Advice: {text}" for text in found["advice"])])
    return ret


def configuration_accepted(name):
    """
    OpenDKIM takes its new configuration, by its own word. Fails where it would not start, before
    the file that it runs with is replaced, also under ``test=True``. Changes nothing.

    .. code-block:: yaml

        OpenDKIM takes its settings:
          dkim.configuration_accepted: []
    """
    try:
        found = __salt__["dkim.configuration_problems"]()
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    ret = {"name": name, "changes": {}, "result": not found["problems"]}
    if found["problems"]:
        return {**ret, "comment": "\n".join(found["problems"])}
    if not found["asked"]:
        return {**ret, "comment": "OpenDKIM is not installed yet: the run asks it once it is"}
    return {**ret, "comment": "OpenDKIM takes its new configuration"}


def keys_managed(name):
    """
    Every domain of the pillar has the keys that the pillar wants, in one course for all of them. An
    existing key is never replaced; one that differs from the pillar is named in the comment.

    .. code-block:: yaml

        Every domain has its keys:
          dkim.keys_managed: []
    """
    return converged(
        __opts__,
        name,
        __salt__["dkim.missing_keys"],
        __salt__["dkim.generate_missing"],
        in_order="Every domain has its keys",
        pending="Keys would be made",
        done="Keys were made",
    )


def key_present(name, selector=None, algorithm=None, bits=None):
    """
    A hosted domain has a key.

    name
        The domain.
    selector, algorithm, bits
        As ``dkim.generate``. Without a selector any active key of the algorithm will do.

    .. code-block:: yaml

        example.com:
          dkim.key_present:
            - selector: s2026
    """
    arguments = {"selector": selector, "algorithm": algorithm, "bits": bits}
    return converged(
        __opts__,
        name,
        lambda: __salt__["dkim.lacking_key"](name, **arguments),
        lambda: __salt__["dkim.generate"](name, **arguments),
        in_order="The key is there",
        pending="The key would be made",
        done="The key was made",
    )


def key_absent(name, selector, force=False):
    """
    A domain has no key with that selector. Fails for an active key, also under ``test=True``,
    unless it is forced.

    name
        The domain.
    selector
        The key's selector.
    force
        True deletes an active key too.

    .. code-block:: yaml

        example.com:
          dkim.key_absent:
            - selector: s2024
    """

    return converged(
        __opts__,
        name,
        lambda: __salt__["dkim.leaving_key"](name, selector, force=force),
        lambda: __salt__["dkim.delete"](name, selector, force=force),
        in_order="There is no such key",
        pending="The key would be deleted",
        done="The key was deleted",
    )


def opendkim_running(
    name, socket, reads, mail_service="postfix", milter="", moved_from=(), user=None
):
    """
    An OpenDKIM daemon runs, its milter socket takes connections, and it has read its files as they
    are now. See ``dkim.restart`` for what happens to mail while it is restarted.

    name
        The daemon's service.
    socket
        Its milter socket. The daemon makes it at its start, so it is as old as the daemon.
    reads
        The files that the daemon reads at its start; one that is younger asks for a restart, also
        where an earlier run was stopped before it came to that.
    mail_service, milter, moved_from
        As ``dkim.restart``.
    user
        The account that the socket has to belong to, open for its group; any without it.

    .. code-block:: yaml

        opendkim:
          dkim.opendkim_running:
            - socket: /var/spool/postfix/opendkim/opendkim.sock
            - reads: [/etc/opendkim.conf]
            - watch:
              - file: /etc/opendkim.conf
    """
    is_current = __salt__["dkim.is_current"](socket, reads, user)
    if is_current and moved_from:
        # An earlier run may have failed between the daemon's start and main.cf.
        try:
            due = __salt__["dkim.restart"](
                name, socket, milter=milter, moved_from=moved_from, test=True
            )
        except (CommandExecutionError, SaltInvocationError) as error:
            return failed(name, error)
        is_current = not due["main_cf"]
    if is_current:
        comment = "It runs, with its files as they are"
        return {"name": name, "result": True, "changes": {}, "comment": comment}
    return _restarted(name, socket, mail_service, milter, moved_from)


def mod_watch(
    name, sfun, socket, reads=(), mail_service="postfix", milter="", moved_from=(), **_kwargs
):
    """A restart of the daemon where something that it watches has changed."""
    if sfun != "opendkim_running":
        comment = f"dkim.{sfun} watches nothing"
        return {"name": name, "result": False, "changes": {}, "comment": comment}
    return _restarted(name, socket, mail_service, milter, moved_from)


def _restarted(name, socket, mail_service, milter, moved_from):
    test = __opts__["test"]
    try:
        done = __salt__["dkim.restart"](
            name,
            socket,
            mail_service=mail_service,
            milter=milter,
            moved_from=moved_from,
            test=test,
        )
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    changes = {name: {"old": None, "new": "restarted"}, **done["main_cf"]}
    ret = {"name": name, "result": None, "changes": changes}
    if test:
        return {**ret, "comment": f"{name} would be restarted"}
    comment = f"{name} was restarted"
    if done["paused"]:
        comment += f"; {mail_service} stood still meanwhile, so that no mail left unsigned"
    return {**ret, "result": True, "comment": comment}


def password_file_present(name, user):
    """
    The file that OpenDKIM takes the reader's password from is there, for the daemon alone.

    name
        The file's path.
    user
        The daemon's system user.

    .. code-block:: yaml

        /etc/opendkim-pgpass:
          dkim.password_file_present:
            - user: opendkim
    """
    return converged(
        __opts__,
        name,
        lambda: __salt__["dkim.password_file_changes"](name, user),
        lambda: __salt__["dkim.write_password_file"](name, user),
        in_order="The file is as it should be",
        pending="The file would be written",
        done="The file was written",
    )


def records_shown(name, domain=None):
    """
    Shows the records to publish, as lines for a zone file, in the comment. Changes nothing.

    domain
        Default: every domain of the formula.

    .. code-block:: yaml

        The records to publish:
          dkim.records_shown: []
    """
    try:
        comment = __salt__["dkim.records_to_show"](domain)
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    return {"name": name, "result": True, "changes": {}, "comment": comment}


def keys_imported(name, key_table, signing_table=None, allow_weak=False):
    """
    The database has the keys of an OpenDKIM that has them in files. What can't be taken is named in
    the comment, with the reason, and does not fail the state.

    key_table, signing_table, allow_weak
        As ``dkim.import_tables``.

    It belongs before ``dkim.keys_managed``, which makes a new key where a domain has none.

    .. code-block:: yaml

        The keys of the old OpenDKIM are in the database:
          dkim.keys_imported:
            - key_table: /etc/opendkim/KeyTable
            - signing_table: refile:/etc/opendkim/SigningTable
            - require:
              - sls: dkim.database
            - require_in:
              - dkim: Every domain has its keys
    """
    arguments = {"signing_table": signing_table, "allow_weak": allow_weak}

    def look():
        return summary(__salt__["dkim.import_tables"](key_table, test=True, **arguments))

    def change():
        return summary(__salt__["dkim.import_tables"](key_table, **arguments))

    return converged(
        __opts__,
        name,
        look,
        change,
        in_order="Every key that can be taken is in the database",
        pending="Keys would be imported",
        done="Keys were imported",
    )


def records_published(name, domain=None, adopt=False):
    """
    The records are in DNS, by dynamic update, and none that was published before and is wanted no
    more. Fails where a server refuses, or where a record of others is in the way; what can be
    published is published all the same.

    domain
        Default: every domain of the formula.
    adopt
        True replaces records of others at our names.

    .. code-block:: yaml

        The records are published:
          dkim.records_published: []
    """
    test = __opts__["test"]
    try:
        done = __salt__["dkim.publish"](domain, adopt=adopt, test=test)
    except (CommandExecutionError, SaltInvocationError) as error:
        ret = failed(name, error)
        return {**ret, "changes": summed_up(ret["changes"])}
    changes, problems = summed_up(done["changes"]), done["problems"]
    if problems:
        comment, result = "Not everything could be published", False
    elif not changes:
        comment, result = f"DNS holds the records, {done['unchanged']} of them", True
    elif test:
        comment, result = "Records would be published", None
    else:
        comment, result = "Records were published", True
    lines = [comment, *problems, *done["notes"]]
    if done["by_hand"]:
        lines.append(f"For the zones of others: {shortened(done['by_hand'])}")
    return {"name": name, "result": result, "changes": changes, "comment": "\n".join(lines)}


def rotated(name):
    """
    Every domain's keys are younger than ``rotation:every``: where one is due, its rotation begins;
    and every rotation under way is as far as it can be. See ``docs/rotation.md``.

    A key that waits, for its record to be in DNS or for time to pass, is no failure and no change:
    the comment says for what and until when. Fails where something is wrong, such as a name server
    that refuses; what can go on does so all the same.

    .. code-block:: yaml

        Keys are rotated when they are due:
          dkim.rotated: []
    """
    return _rotation(name, "dkim.rotate_due")


def rotations_advanced(name, domain=None):
    """
    Every rotation under way is as far as it can be; none is begun. Otherwise as ``dkim.rotated``.

    domain
        Default: every domain of the formula.

    .. code-block:: yaml

        Rotations under way go on:
          dkim.rotations_advanced: []
    """
    arguments = {} if domain is None else {"domain": domain}
    return _rotation(name, "dkim.advance", **arguments)


def _rotation(name, function, **arguments):
    test = __opts__["test"]
    try:
        done = __salt__[function](test=test, **arguments)
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    result, changes, comment = told(done, test)
    return {"name": name, "result": result, "changes": changes, "comment": comment}
