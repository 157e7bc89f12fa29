"""The roles of minions, and the problems that prevent work on a fleet."""

from collections.abc import Collection, Mapping

from ..settings import Reading
from ..settings.model import Fleet

ROLES = ("database", "standby", "mail", "publisher")
# A fleet needs hosts of these roles.
NEEDED = ("database", "mail")

WHERE = "dkim:fleet"


def targets(fleet: Fleet) -> dict[str, str]:
    """Return the compound target of each role that has one."""
    found = {role: getattr(fleet, role) for role in ROLES}
    found["publisher"] = found["publisher"] or found["database"]
    return {role: target for role, target in found.items() if target}


def hosts(matched: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return the minions of every role in order of their names, and under ``all`` each once."""
    found = {role: sorted(matched.get(role, ())) for role in ROLES}
    found["all"] = sorted({name for names in found.values() for name in names})
    return found


def of_host(name: str, matched: Mapping[str, Collection[str]]) -> list[str]:
    """Return the roles of a minion."""
    return [role for role in ROLES if name in matched.get(role, ())]


def by_roles(
    names: Collection[str], matched: Mapping[str, Collection[str]]
) -> dict[tuple[str, ...], list[str]]:
    """Return the minions by their roles. All minions of one list get the same questions."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        found.setdefault(tuple(of_host(name, matched)), []).append(name)
    return found


def problems(
    reading: Reading, matched: Mapping[str, Collection[str]], answered: Collection[str]
) -> list[str]:
    """
    Return the problems that prevent work on the fleet, one sentence each.

    matched
        The minions that the master knows, by role.
    answered
        The minions that answer.
    """
    found = [text for text in reading.problems if text.startswith((WHERE, "dkim: the pillar"))]
    desired = targets(reading.settings.fleet)
    for role in NEEDED:
        if role not in desired and not found:
            found.append(f"{WHERE}:{role}: missing; set it to the target of the {role} hosts")
    for role, target in desired.items():
        if not matched.get(role):
            found.append(
                f"{WHERE}:{role}: {target!r} matches no minion whose key is accepted; correct the "
                "target, or run: salt-key --list-all"
            )
    silent = sorted(set(hosts(matched)["all"]) - set(answered))
    found += [
        f"{name} does not answer; start its salt-minion, or remove it from {WHERE}"
        for name in silent
    ]
    return found
