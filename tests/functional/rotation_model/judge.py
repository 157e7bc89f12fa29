"""
The model: what may be true after a command, given what was before and what DNS showed. It knows
nothing of how the formula decides.
"""

import time
from dataclasses import dataclass, field

from .domain_names import NEGATIVE_TTL, RECORD_TTL, TwoServers
from .facts import Facts, Row

MARGIN = 10
# RFC 5321 section 4.5.4.1; Postfix's own maximal_queue_lifetime, which counts where none is here.
QUEUE_LIFE = 5 * 86400
REVOKE_FOR = 6 * 86400
# Where a server is silent, the others show a record for this much longer (docs/rotation.md).
SILENT_FOR = 86400


@dataclass
class Deed:
    """
    One command, or two at once.

    commands
        (name, domain or None, selector or None) of each.
    forced
        Somebody said force=True.
    compromised
        (domain, selector) of keys that somebody called compromised.
    whole
        It came to its end, and was alone.
    refused
        It ended in an error of the formula's.
    asked
        The names that both servers were asked for meanwhile.
    began
        By the judge's clock: it may have looked, and acted, at any moment since.
    """

    commands: tuple[tuple[str, str | None, str | None], ...]
    began: float
    forced: bool = False
    compromised: frozenset = frozenset()
    whole: bool = True
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
    Remembers since when DNS showed what, by its own clock, which only goes on: with the time that
    is let pass, and by itself, for on a busy machine commands take seconds.
    """

    world: TwoServers
    delegated: frozenset[str]
    passed: float = 0
    started: float = field(default_factory=time.monotonic)
    right_since: dict[int, float] = field(default_factory=dict)
    # Since when every server that answers has shown a key's record, and one did.
    partly_since: dict[int, float] = field(default_factory=dict)
    # Since when no server that answers has shown a revoked key's public half, and one did answer.
    gone_since: dict[int, float] = field(default_factory=dict)
    wrong_text_seen: set[int] = field(default_factory=set)
    became: dict[tuple[int, str], float] = field(default_factory=dict)

    @property
    def now(self) -> float:
        return self.passed + time.monotonic() - self.started

    def shown(self, facts: Facts) -> dict[int, tuple[str, bool]]:
        """For each key: what DNS shows, and whether there is any other text at its name."""
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

    def judge(self, deed: Deed, before: Facts, after: Facts, shown: dict, texts: dict) -> None:
        """
        Raises AssertionError where something happened that must not.

        shown
            By key: what DNS showed before the command.
        texts
            The primary's texts by name before the command.
        """
        self._always(after)
        if deed.refused:
            assert before == after, "a refused command changed something"
        self._looks(deed, before, after, shown)
        for key in after.keys.values():
            old = before.keys.get(key.id)
            if old is None or old.state != key.state:
                self.became[key.id, key.state] = deed.began
            if key.state == "active" and (old is None or old.state != "active"):
                self._may_sign(deed, key, before)
            if old is not None and old.state != key.state:
                self._may_step(deed, old, key, after)
        for old in before.keys.values():
            if old.id not in after.keys:
                self._may_go(deed, old)
            if old.state == "active" and after.active(old.slot) is None:
                self._may_lose_its_last(deed, old)
        self._records_stay(after, texts)

    def _always(self, facts: Facts) -> None:
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

    def _looks(self, deed: Deed, before: Facts, after: Facts, shown: dict) -> None:
        """
        What a look could have told of each key that was looked at. Where DNS changed under the
        command, or it was cut off, what is better for the key counts.
        """
        then = self.shown(after)
        for key in after.keys.values():
            if name_of(key) not in deed.asked:
                continue
            seen = [one[key.id] for one in (shown, then) if key.id in one]
            verdicts = {verdict for verdict, _ in seen}
            if "ok" in verdicts:
                self.right_since.setdefault(key.id, deed.began)
            if verdicts & {"ok", "partly"}:
                self.partly_since.setdefault(key.id, deed.began)
            elif deed.whole and "wrong" in verdicts:
                self.right_since.pop(key.id, None)
                self.partly_since.pop(key.id, None)
                if all(other for verdict, other in seen if verdict == "wrong"):
                    self.wrong_text_seen.add(key.id)
        for key in {**before.keys, **after.keys}.values():
            if key.state == "revoked" and name_of(key) in deed.asked:
                answers = self._answers(key)
                if any(key.public in text for texts in answers for text in texts):
                    self.gone_since.pop(key.id, None)
                elif answers:
                    self.gone_since.setdefault(key.id, deed.began)

    def _answers(self, key: Row) -> list[tuple[str, ...]]:
        """What each server that answers has at a key's name."""
        return [
            self.world.texts(server, name_of(key))
            for server in self.world.servers
            if self.world.does_answer(server)
        ]

    def _may_sign(self, deed: Deed, key: Row, before: Facts) -> None:
        if deed.forced or before.active(key.slot) is None:
            return
        if any(domain == key.domain for domain, _ in deed.compromised):
            return
        hold = (RECORD_TTL if key.id in self.wrong_text_seen else NEGATIVE_TTL) + MARGIN
        since = self.right_since.get(key.id)
        if not all(self.world.does_answer(server) for server in self.world.servers):
            since, hold = self.partly_since.get(key.id), hold + SILENT_FOR
        assert since is not None, f"{key} signs, and DNS never showed its record at each server"
        held = self.now - since
        assert held >= hold, f"{key} signs after {held} s of its record"

    def _may_step(self, deed: Deed, old: Row, key: Row, after: Facts) -> None:
        step = (old.state, key.state)
        if step == ("active", "retired"):
            replaced = after.active(key.slot) is not None
            assert replaced or deed.forced, f"{key} was retired and nothing signs"
        elif step == ("active", "revoked"):
            named = (key.domain, key.selector) in deed.compromised
            assert named or deed.forced, f"{key}: revoked while it signed"
        elif step == ("retired", "revoked") and not deed.forced:
            if (key.domain, key.selector) in deed.compromised:
                return
            rested = self.now - self.became[key.id, "retired"]
            assert rested >= QUEUE_LIFE, f"{key} was revoked {rested} s after it signed"
        else:
            assert old.state != "revoked", f"{old} came back"

    def _may_go(self, deed: Deed, old: Row) -> None:
        if deed.did("delete", old.domain, old.selector):
            return
        assert old.state == "revoked", f"{old} is gone"
        rested = self.now - self.became[old.id, "revoked"]
        assert rested >= REVOKE_FOR, f"{old} is gone {rested} s after it was revoked"
        answers = self._answers(old)
        assert answers, f"{old} is gone, and nobody could look"
        for there in answers:
            assert not any(old.public in text for text in there), f"{old} is gone, its record not"
        if len(answers) < len(self.world.servers):
            gone = self.now - self.gone_since[old.id]
            assert gone >= SILENT_FOR, f"{old} is gone, and a server was not asked"

    def _may_lose_its_last(self, deed: Deed, old: Row) -> None:
        commands = ("retire", "revoke", "delete")
        named = any(deed.did(name, old.domain) for name in commands)
        assert deed.forced, f"{old} was the last working key of its slot"
        assert named, f"{old} is gone, and nobody asked for it"

    def _records_stay(self, after: Facts, texts: dict) -> None:
        primary = self.world.servers[0]
        for key in after.keys.values():
            if key.state != "revoked" and value_of(key) in texts.get(name_of(key), ()):
                there = self.world.texts(primary, name_of(key))
                assert value_of(key) in there, f"the record of {key} was taken away"


def name_of(key: Row) -> str:
    """Where its record is: of the delegated domain in the zone that is ours."""
    name = f"{key.selector}._domainkey.{key.domain}"
    return f"{name}.keys.example" if key.domain == "elsewhere.example" else name


def value_of(key: Row) -> str:
    """RFC 6376, section 3.6.1; strict (`t=s`) is the default."""
    public = "" if key.state == "revoked" else key.public
    return f"v=DKIM1; k={key.algorithm}; t=s; p={public}"
