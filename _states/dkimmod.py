"""
States of DKIM keys and of what makes OpenDKIM use them.

Each looks, tells under ``test=True`` what a run would change, changes it, and looks again; a
second run changes nothing. The settings are pillar ``dkim``; see ``pillar.example``.
"""

import functools

from dkim_formula.converge import failed
from dkim_formula.dns.commands import changes_summary
from dkim_formula.importing.commands import summary
from dkim_formula.rotation.report import comment
from dkim_formula.text import listed
from dkim_salt import managed
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


def keys_managed(name):
    """
    Every domain of the pillar has the keys that the pillar wants, in one course for all of them. An
    existing key is never replaced; one that differs from the pillar is named in the comment.

    .. code-block:: yaml

        Every domain has its keys:
          dkim.keys_managed: []
    """
    return managed(
        __opts__,
        name,
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
    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim.generate"], name, **arguments),
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

    return managed(
        __opts__,
        name,
        functools.partial(__salt__["dkim.delete"], name, selector, force=force),
        in_order="There is no such key",
        pending="The key would be deleted",
        done="The key was deleted",
    )


def records_shown(name, domain=None):
    """
    Show the records that are left to publish, as lines for a zone file, in the comment: those that
    the authoritative servers do not show as desired, and that the formula does not publish by
    itself. Changes nothing. Name servers have 20 seconds at most. Of more than 100 domains none is
    asked, and the comment names the functions that tell.

    domain
        Default: every domain of the formula.

    .. code-block:: yaml

        The records to publish:
          dkim.records_shown: []
    """
    try:
        comment = __salt__["dkim_sls.records_summary"](domain)
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, error)
    return {"name": name, "result": True, "changes": {}, "comment": comment}


def keys_imported(
    name,
    key_table=None,
    signing_table=None,
    allow_weak=False,
    source=None,
    config=None,
    folder=None,
    selector_map=None,
    path_map=None,
):
    """
    The database has the keys that another program, or another OpenDKIM, signs with. What can't be
    taken is named in the comment, with the reason, and does not fail the state.

    key_table, signing_table, allow_weak, source, config, folder, selector_map, path_map
        As ``dkim.import_tables``.

    It belongs before ``dkim.keys_managed``, which makes a new key where a domain has none.

    .. code-block:: yaml

        The keys of rspamd are in the database:
          dkim.keys_imported:
            - source: rspamd
            - require:
              - sls: dkim.database
            - require_in:
              - dkim: Every domain has its keys
    """
    arguments = {
        "signing_table": signing_table,
        "allow_weak": allow_weak,
        "source": source,
        "config": config,
        "folder": folder,
        "selector_map": selector_map,
        "path_map": path_map,
    }

    return managed(
        __opts__,
        name,
        lambda test: summary(__salt__["dkim.import_tables"](key_table, test=test, **arguments)),
        in_order="Every key that can be taken is in the database",
        pending="Keys would be imported",
        done="Keys were imported",
    )


def records_published(name, domain=None, adopt=False):
    """
    Ensure that the desired records are in DNS, each zone's in its own way, and no published record
    that is no longer desired. Fails where a server or provider refuses, or where another record of
    the same kind exists; the other names are published all the same.

    domain
        Default: every domain of the formula.
    adopt
        True replaces other records of the same kind.

    .. code-block:: yaml

        The records are published:
          dkim.records_published: []
    """
    test = __opts__["test"]
    try:
        done = __salt__["dkim.publish"](domain, adopt=adopt, test=test)
    except (CommandExecutionError, SaltInvocationError) as error:
        ret = failed(name, error)
        return {**ret, "changes": changes_summary(ret["changes"])}
    changes, problems = changes_summary(done["changes"]), done["problems"]
    if problems:
        comment, result = "Some records could not be published", False
    elif not changes:
        comment, result = f"DNS holds the records, {done['unchanged']} of them", True
    elif test:
        comment, result = "Records would be published", None
    else:
        comment, result = "Records were published", True
    lines = [comment, *problems, *done["notes"]]
    if done["manual"]:
        lines.append(f"Publish these by hand: {listed(done['manual'])}")
    return {"name": name, "result": result, "changes": changes, "comment": "\n".join(lines)}


def signing_verified(name):
    """
    A sample of messages is signed through the daemons' own sockets, and the signatures are good by
    the keys that sign. Changes nothing and delivers no message. A test run tries the same, and does
    not fail: what it announces may be what this host lacks.

    .. code-block:: yaml

        Mail is signed and verified:
          dkim.signing_verified: []
    """
    try:
        problems = __salt__["dkim_sls.signing_problems"]()
    except (CommandExecutionError, SaltInvocationError) as error:
        problems = [str(error)]
    ret = {"name": name, "changes": {}, "result": not problems or __opts__["test"]}
    if not problems:
        return {**ret, "comment": "Messages are signed, and their signatures are good"}
    said = ["Mail is not signed yet; a run fails if that stays so"] if __opts__["test"] else []
    return {**ret, "comment": "\n".join([*said, *problems])}


def rotated(name):
    """
    Ensure that keys are rotated when they are due by ``rotation:every``, and that every key in
    progress is in the state that the evidence allows. See ``docs/rotation.md``.

    A key that waits, for its record in DNS or for a time, is no failure and no change: the comment
    says for what and until when. Fails where something is wrong, such as a name server that
    refuses; the other keys are moved all the same.

    .. code-block:: yaml

        Keys are rotated when they are due:
          dkim.rotated: []
    """
    return _rotation(name, "dkim.rotate_due")


def rotations_advanced(name, domain=None):
    """
    Ensure that every key in progress is in the state that the evidence allows; no rotation begins.
    Otherwise as ``dkim.rotated``.

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
    result, changes, text = comment(done, test)
    return {"name": name, "result": result, "changes": changes, "comment": text}
