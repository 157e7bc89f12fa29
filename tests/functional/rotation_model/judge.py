"""
The model: the states that are allowed after a command, given the states and the DNS before it.

The model has no knowledge of the formula's decisions.
"""

import time
from dataclasses import dataclass, field

from .domain_names import NEGATIVE_TTL, RECORD_TTL, TwoServers
from .facts import Facts, Row

MARGIN = 10
# RFC 5321 section 4.5.4.1. The default of Postfix's maximal_queue_lifetime, used without Postfix.
QUEUE_LIFE = 5 * 86400
REVOKE_FOR = 6 * 86400
# If a server is silent, the others must show a record for this much longer (docs/rotation.md).
SILENT_FOR = 86400


@dataclass
class Operation:
    """
    One command, or two concurrent ones.

    commands
        (name, domain or None, selector or None) of each.
    began
        By the judge's clock. The command may have observed and acted at any time since.
    forced
        Whether force=True was used.
    compromised
        (domain, selector) of the keys of compromised=True.
    completed
        Whether the command ran to its end, without another at the same time.
    refused
        Whether the command ended in an error of the formula.
    asked
        The names that both servers were asked for during the command.
    """

    commands: tuple[tuple[str, str | None, str | None], ...]
    began: float
    forced: bool = False
    compromised: frozenset = frozenset()
    completed: bool = True
    refused: bool = False
    asked: frozenset = frozenset()

    def did(self, name: str, domain: str, selector: str | None = None) -> bool:
        return any(
            name == one and domain == where and selector in (None, which)
            for one, where, which in self.commands
        )


@dataclass
class Judge:
    """
    A record of what DNS has shown since when, and the rules.

    The judge's clock never goes back. It includes the time that histories let pass, and real time,
    because commands take seconds on a busy machine.
    """

    world: TwoServers
    delegated: frozenset[str]
    passed: float = 0
    started: float = field(default_factory=time.monotonic)
    ok_since: dict[int, float] = field(default_factory=dict)
    # The time since which all servers that answer, at least one, have shown a key's record.
    partly_since: dict[int, float] = field(default_factory=dict)
    # The time since which none of the servers that answer has shown a revoked key's public half.
    gone_since: dict[int, float] = field(default_factory=dict)
    wrong_text_seen: set[int] = field(default_factory=set)
    became: dict[tuple[int, str], float] = field(default_factory=dict)

    @property
    def now(self) -> float:
        return self.passed + time.monotonic() - self.started

    def shown(self, facts: Facts) -> dict[int, tuple[str, bool]]:
        """Return each key's verdict, and whether other texts exist at its name."""
        return {
            key.id: (
                self.world.show(name_of(key), value_of(key)),
                any(
                    set(self.world.texts(server, name_of(key))) - {value_of(key)}
                    for server in self.world.servers
                ),
            )
            for key in facts.keys.values()
        }

    def judge(
        self, operation: Operation, before: Facts, after: Facts, shown: dict, texts: dict
    ) -> None:
        """
        Raise AssertionError if the command did something that is not allowed.

        shown
            By key: what DNS showed before the command.
        texts
            By name: the primary's texts before the command.
        """
        self._check_invariants(after)
        if operation.refused:
            assert before == after, "a refused command changed something"
        self._observe(operation, before, after, shown)
        for key in after.keys.values():
            old = before.keys.get(key.id)
            if old is None or old.state != key.state:
                self.became[key.id, key.state] = operation.began
            if key.state == "active" and (old is None or old.state != "active"):
                self._may_sign(operation, key, before)
            if old is not None and old.state != key.state:
                self._may_move(operation, old, key, after)
        for old in before.keys.values():
            if old.id not in after.keys:
                self._may_be_removed(operation, old)
            if old.state == "active" and after.active(old.slot) is None:
                self._slot_may_become_empty(operation, old)
        self._records_stay(after, texts)

    def _check_invariants(self, facts: Facts) -> None:
        active = [key.slot for key in facts.keys.values() if key.state == "active"]
        assert len(active) == len(set(active)), "two active keys in a slot"
        assert all(count == 1 for _, _, count in facts.patterns), "two keys for a pattern"
        for key in facts.keys.values():
            assert key.erased == (key.state == "revoked"), f"{key}: erased exactly when revoked"
        used: dict[tuple[str, str], set[int]] = {}
        last: dict[int, str | None] = {}
        for number, domain, selector, came_from, went_to in facts.history:
            used.setdefault((domain, selector), set()).add(number)
            assert last.get(number) == came_from, f"the history of {domain} {selector} has a gap"
            last[number] = went_to
        for (domain, selector), keys in used.items():
            assert len(keys) == 1 or domain in self.delegated, f"{domain}: {selector} used twice"
        states = {number: state for number, state in last.items() if state is not None}
        assert states == {key.id: key.state for key in facts.keys.values()}, "history and keys"

    def _observe(self, operation: Operation, before: Facts, after: Facts, shown: dict) -> None:
        """
        Record what the command may have observed of each key that it asked DNS for.

        If DNS changed during the command, or the command was killed, the better verdict counts.
        """
        shown_after = self.shown(after)
        for key in after.keys.values():
            if name_of(key) not in operation.asked:
                continue
            observed = [one[key.id] for one in (shown, shown_after) if key.id in one]
            verdicts = {verdict for verdict, _ in observed}
            if "ok" in verdicts:
                self.ok_since.setdefault(key.id, operation.began)
            if verdicts & {"ok", "partly"}:
                self.partly_since.setdefault(key.id, operation.began)
            elif operation.completed and "wrong" in verdicts:
                self.ok_since.pop(key.id, None)
                self.partly_since.pop(key.id, None)
                if all(other for verdict, other in observed if verdict == "wrong"):
                    self.wrong_text_seen.add(key.id)
        for key in {**before.keys, **after.keys}.values():
            if key.state == "revoked" and name_of(key) in operation.asked:
                answers = self._answers(key)
                if any(key.public in text for texts in answers for text in texts):
                    self.gone_since.pop(key.id, None)
                elif answers:
                    self.gone_since.setdefault(key.id, operation.began)

    def _answers(self, key: Row) -> list[tuple[str, ...]]:
        """Return the texts that each answering server has at a key's name."""
        return [
            self.world.texts(server, name_of(key))
            for server in self.world.servers
            if self.world.does_answer(server)
        ]

    def _may_sign(self, operation: Operation, key: Row, before: Facts) -> None:
        if operation.forced or before.active(key.slot) is None:
            return
        if any(domain == key.domain for domain, _ in operation.compromised):
            return
        hold = (RECORD_TTL if key.id in self.wrong_text_seen else NEGATIVE_TTL) + MARGIN
        since = self.ok_since.get(key.id)
        if any(self.world.is_silent(server) for server in self.world.servers):
            since, hold = self.partly_since.get(key.id), hold + SILENT_FOR
        assert since is not None, f"{key} signs, but its record was never visible at all servers"
        held = self.now - since
        assert held >= hold, f"{key} signs after its record was visible for only {held} s"

    def _may_move(self, operation: Operation, old: Row, key: Row, after: Facts) -> None:
        step = (old.state, key.state)
        if step == ("active", "retired"):
            replaced = after.active(key.slot) is not None
            assert replaced or operation.forced, f"{key} was retired and its slot has no active key"
        elif step == ("active", "revoked"):
            named = (key.domain, key.selector) in operation.compromised
            assert named or operation.forced, f"{key} was revoked while it was active"
        elif step == ("retired", "revoked") and not operation.forced:
            if (key.domain, key.selector) in operation.compromised:
                return
            rested = self.now - self.became[key.id, "retired"]
            assert rested >= QUEUE_LIFE, f"{key} was revoked only {rested} s after its retirement"
        else:
            assert old.state != "revoked", f"{old} left the state revoked"

    def _may_be_removed(self, operation: Operation, old: Row) -> None:
        if operation.did("delete", old.domain, old.selector):
            return
        assert old.state == "revoked", f"{old} was removed without a revocation"
        rested = self.now - self.became[old.id, "revoked"]
        assert rested >= REVOKE_FOR, f"{old} was removed only {rested} s after its revocation"
        answers = self._answers(old)
        assert answers, f"{old} was removed while no server answered"
        for texts in answers:
            published = any(old.public in text for text in texts)
            assert not published, f"{old} was removed before its record"
        if len(answers) < len(self.world.servers):
            gone = self.now - self.gone_since[old.id]
            assert gone >= SILENT_FOR, f"{old} was removed while a server was silent"

    def _slot_may_become_empty(self, operation: Operation, old: Row) -> None:
        commands = ("retire", "revoke", "delete")
        named = any(operation.did(name, old.domain) for name in commands)
        assert operation.forced, f"{old} was the last active key of its slot"
        assert named, f"{old} is not active any more, but no command named its domain"

    def _records_stay(self, after: Facts, texts: dict) -> None:
        primary = self.world.servers[0]
        for key in after.keys.values():
            if key.state != "revoked" and value_of(key) in texts.get(name_of(key), ()):
                present = self.world.texts(primary, name_of(key))
                assert value_of(key) in present, f"the record of {key} was removed"


def name_of(key: Row) -> str:
    """Return the name of a key's record. The delegated domain's records are in another zone."""
    name = f"{key.selector}._domainkey.{key.domain}"
    return f"{name}.keys.example" if key.domain == "elsewhere.example" else name


def value_of(key: Row) -> str:
    """Return the value of a key's record (RFC 6376, section 3.6.1), with the default `t=s`."""
    public = "" if key.state == "revoked" else key.public
    return f"v=DKIM1; k={key.algorithm}; t=s; p={public}"
