"""
States of DKIM keys, their records in DNS, and their rotation.

Each state reads, makes its changes, and reads again; a second run changes nothing. With
``test=True`` it reports what a run would change. The settings are pillar ``dkim``; see
``pillar.example``.
"""

import functools

from dkim_formula.converge import failed
from dkim_formula.dns.commands import changes_summary
from dkim_formula.importing.commands import summary
from dkim_formula.rotation.report import comment
from dkim_formula.text import ADVICE, listed
from dkim_salt import managed
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "dkim"


def __virtual__():
    return __virtualname__


def checked(name):
    """
    Ensure that the pillar's values, the database and its access files have no problem that would
    stop the run. Fails with every problem at once, before the first change. Changes nothing.

    .. code-block:: yaml

        The DKIM settings are valid:
          dkim.checked: []
    """
    found = __salt__["dkim.check"]()
    ret = {"name": name, "changes": {}, "result": not found["problems"]}
    if found["problems"]:
        ret["comment"] = "\n".join(found["problems"])
        return ret
    lines = ["No problems found"]
    if not found["database_checked"]:
        lines = ["The pillar is valid; the database was not checked"]
    ret["comment"] = "\n".join([*lines, *(f"{ADVICE}{text}" for text in found["advice"])])
    return ret


def keys_managed(name):
    """
    Ensure that every domain has its keys. All domains are handled in one pass. An existing key is
    never replaced; the comment names keys that differ from the pillar.

    .. code-block:: yaml

        Every domain has its keys:
          dkim.keys_managed: []
    """
    return managed(
        __opts__,
        name,
        __salt__["dkim.generate_missing"],
        ok="Every domain has its keys",
        pending="Keys would be generated",
        done="Keys were generated",
    )


def key_present(name, selector=None, algorithm=None, bits=None):
    """
    Ensure that a hosted domain has a key.

    name
        The domain.
    selector, algorithm, bits
        As ``dkim.generate``. Without a selector, any active key of the algorithm is enough.

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
        ok="The key exists",
        pending="The key would be generated",
        done="The key was generated",
    )


def key_absent(name, selector, force=False):
    """
    Ensure that a domain has no key with a selector. Fails for an active key without ``force``, also
    under ``test=True``.

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
        ok="The key does not exist",
        pending="The key would be deleted",
        done="The key was deleted",
    )


def records_shown(name, domain=None):
    """
    Show in the comment the records that a person still has to publish, as lines for a zone file.
    These are the records that the authoritative servers do not show as desired, and that the
    formula does not publish. Changes nothing. Asking the name servers takes 20 seconds at most. For
    more than 100 domains no server is asked, and the comment names the functions that list the
    records.

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
    Ensure that the database has the keys that another program, or another OpenDKIM, signs with. The
    comment names keys that can't be imported, with the reason; they do not fail the state.

    key_table, signing_table, allow_weak, source, config, folder, selector_map, path_map
        As ``dkim.import_tables``.

    Run this state before ``dkim.keys_managed``, which generates a key for a domain without one.

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
        ok="Every key that can be imported is in the database",
        pending="Keys would be imported",
        done="Keys were imported",
    )


def records_published(name, domain=None, adopt=False):
    """
    Ensure that DNS has the desired records, published by the method of each zone, and no published
    record that is no longer desired. Fails if a server or provider refuses, or if another record of
    the same kind exists; the records at other names are still published.

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
    Ensure that the daemons sign a sample of messages through their own sockets, and that the
    signatures verify by the active keys. Changes nothing and delivers no message. A test run checks
    the same and does not fail, because the changes that it announces may repair the signing.

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
        return {**ret, "comment": "Messages are signed, and their signatures verify"}
    head = ["Mail is not signed yet; a run fails if that stays so"] if __opts__["test"] else []
    return {**ret, "comment": "\n".join([*head, *problems])}


def rotated(name):
    """
    Ensure that keys are rotated when they are due by ``rotation:every``, and that every key in
    progress is in the state that the evidence allows. See ``docs/rotation.md``.

    A key that waits for its record in DNS, or for a time, is neither a failure nor a change: the
    comment says what the key waits for, and until when. Fails if there is a problem, such as a name
    server that refuses; the other keys are still moved.

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

        Rotations in progress are advanced:
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
