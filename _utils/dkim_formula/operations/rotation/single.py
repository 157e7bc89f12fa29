"""One key's step, asked for by a person: activate, retire, revoke."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...database import evidence as evidence_table
from ...database import keystore
from ...database.connection import session
from ...database.keystore import Key
from ...errors import InvalidValue, StepRefused
from ...keys import PrivateKey
from ...names import stored_domain, stored_selector
from ...rotation.decision import Decision, moment_text
from ...rotation.evidence import RIGHT
from ...settings.duration import in_words
from ...settings.model import Settings
from ...wanted import domain_settings, key_problem
from . import starting
from .course import Course, forced, to_be_made
from .outcome import Outcome, name_of, slot_of
from .situation import Situation
from .starting import Start
from .steps import Move


def activate(
    settings: Settings, domain: object, selector: object, force: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Has a pending or retired key sign, once the world can read it; the key that signed until then is
    retired in the same transaction. Where nothing signs there is nothing to wait for.

    force
        Whatever is known of its record; the notes say what was missing.

    Raises KeyNotFound; StepRefused for a revoked key, and for one that can't be read.
    """
    course, key = _course(settings, domain, selector, test)
    if key.state == "revoked":
        raise StepRefused(f"{_called(key)}: the key is revoked, and its private half is gone")
    if problem := key_problem(key, domain_settings(settings, key.domain.lower())):
        raise StepRefused(f"{_called(key)}: {problem}")
    waits: list[Decision] = []

    def plan(situation: Situation) -> Iterable[Move]:
        now = _in(situation, key)
        if now is None or now.state not in ("pending", "retired"):
            return
        decided = situation.gate(now)
        waits.append(decided)
        if decided.step is not None:
            yield Move(now, decided.step, decided.why)
        elif force:
            yield forced(now, decided, course.outcome)

    _run(course, key, plan)
    if key.state == "retired" and waits and waits[-1].step is None and not force:
        # Its record is looked after as a retired key's; this is what was asked for.
        course.outcome.wait(key, "active", waits[-1])
    return _told(course, key, "active", "signs already")


def retire(
    settings: Settings, domain: object, selector: object, force: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Has the active key sign no more; its record stays.

    Raises KeyNotFound; StepRefused without ``force``, for mail would leave unsigned, and for a key
    that does not sign.
    """
    course, key = _course(settings, domain, selector, test)
    if key.state in ("pending", "revoked"):
        raise StepRefused(
            f"{_called(key)}: the key is {key.state}, and only one that signs retires"
        )
    if key.state == "active" and not force:
        raise StepRefused(
            f"{_called(key)}: no other {key.algorithm} key signs, so mail would leave unsigned; "
            "dkim.rotate has another take its place, force=True does without"
        )

    def plan(situation: Situation) -> Iterable[Move]:
        now = _in(situation, key)
        if now is not None and now.state == "active":
            course.outcome.note(f"{name_of(now)} signs no more, and nothing takes its place")
            yield Move(now, "retired", "retired by force")

    _run(course, key, plan)
    return _told(course, key, "retired", "is retired already")


def revoke(
    settings: Settings,
    domain: object,
    selector: object,
    compromised: bool = False,
    force: bool = False,
    test: bool = False,
) -> dict[str, object]:
    """
    Erases a private key, and has its record emptied: at once where the key never signed, in its
    time where it is retired.

    compromised
        Somebody else has the key: it goes at once, whatever its state, and another signs in its
        place from the same moment on. What that costs is in the notes. Where there can be no
        other, that is a problem, and nothing changes without ``force``.
    force
        At once too, and where the key signs, without another in its place.

    Raises KeyNotFound; StepRefused for a key that signs, or that mail under way may need.
    """
    course, key = _course(settings, domain, selector, test)
    revocation = _Revocation(course, key, compromised, force)
    revocation.check()
    # Somebody signs with it meanwhile: no silent name server is waited for.
    course.looks_first = not compromised
    if compromised and key.state == "active":
        revocation.make_spare()
    _run(course, key, revocation.plan)
    return _told(course, key, "revoked", "is revoked already")


@dataclass
class _Revocation:
    course: Course
    key: Key
    compromised: bool
    force: bool
    spare: tuple | None = None
    is_wanted: bool = True  # by the settings, so that another has to take its place
    no_spare: str = ""

    @property
    def at_once(self) -> bool:
        return self.compromised or self.force

    def check(self) -> None:
        """Raises StepRefused where the key is not to be revoked now."""
        key = self.key
        if self.at_once or key.state in ("pending", "revoked"):
            return
        if key.state == "active":
            raise StepRefused(
                f"{_called(key)}: the key signs; dkim.rotate has another take its place, "
                "compromised=True does so at once, force=True does without"
            )
        with session(self.course.settings.database) as connection:
            decided = self.course.read(connection, key.domain).decide(key)
        if decided.step is None:
            until = "" if decided.until is None else f" until {moment_text(decided.until)}"
            raise StepRefused(
                f"{_called(key)}: {decided.waits_for}{until}; force=True and compromised=True "
                "don't wait"
            )

    def make_spare(self) -> None:
        """A new key, where none is pending; made before anything is locked."""
        course, key = self.course, self.key
        settings = course.settings
        with session(settings.database) as connection:
            situation = course.read(connection, key.domain)
            used = evidence_table.used_selectors(connection, settings.database, [key.domain])
        domain = domain_settings(settings, key.domain.lower())
        plan = starting.planned_slots(domain, situation.keys).get(slot_of(key))
        self.is_wanted = plan is not None
        # Another run may have taken the key out of its place since it was looked for.
        if plan is None or any(map(_may_follow, situation.slot(key))):
            return
        try:
            wanted = starting.fresh(situation, used, Start(slot_of(key), plan))
        except InvalidValue as error:
            self.no_spare = f" ({error})"
            return
        private = None if course.test else PrivateKey.generate(wanted.algorithm, wanted.bits)
        self.spare = (wanted, private)

    def plan(self, situation: Situation) -> Iterable[Move]:
        now = _in(situation, self.key)
        if now is None or now.state == "revoked":
            return
        discloses = not self.compromised
        if now.state != "active":
            if self.at_once or now.state == "pending" or situation.decide(now).step == "revoked":
                yield Move(now, "revoked", self._why(), discloses=discloses)
            return
        if not self.at_once:
            return
        follower = self._follower(situation) if self.compromised else None
        if follower is None and self.is_wanted and not self.force:
            self.course.outcome.problem(
                f"{name_of(now)}: nothing can sign in its place{self.no_spare}; to have mail go "
                "unsigned rather than signed with it, give force=True too"
            )
            return
        if self.compromised:
            self._tell_cost(now, situation)
        if follower is None:
            self.course.outcome.note(f"{name_of(now)} signed, and nothing takes its place")
            yield Move(now, "revoked", self._why(), discloses=discloses)
        else:
            self._tell_reach(follower.key, situation)
            yield follower

    def _follower(self, situation: Situation) -> Move | None:
        """The key that is to sign in the place of a compromised one."""
        why = f"rotation: in the place of the compromised {self.key.selector}"
        waiting = [key for key in situation.slot(self.key) if _may_follow(key)]
        if waiting:
            best = max(waiting, key=lambda key: (_seen(situation, key), key.id))
            return Move(best, "active", why, instead="revoked")
        if self.spare is None:
            return None
        new = to_be_made(0, self.spare[0])
        return Move(new, "active", why, instead="revoked", new=self.spare)

    def _why(self) -> str:
        if self.compromised:
            return "compromised"
        return "revoked by force" if self.force else "revoked by dkim.revoke"

    def _tell_cost(self, key: Key, situation: Situation) -> None:
        self.course.outcome.note(
            f"{name_of(key)}: mail under way that it signed does not verify any more; whoever has "
            "the private key can sign until resolvers forget the old record, for up to "
            f"{in_words(situation.ttl(key))}"
        )

    def _tell_reach(self, key: Key, situation: Situation) -> None:
        if not situation.gate(key, situation.evidence).missing:
            return
        evidence = situation.evidence.get(key.id)
        known = None if evidence is None else evidence.negative_ttl
        time = "as long as the zone's SOA says" if known is None else in_words(known)
        self.course.outcome.note(
            f"{name_of(key)} signs before every resolver has its record: for up to {time} after it "
            "is published, its signatures may not verify"
        )


def _may_follow(key: Key) -> bool:
    return key.state == "pending" and key.can_sign


def _seen(situation: Situation, key: Key) -> int:
    """How much is known of a pending key's record: all that the gate asks, that it is there, no."""
    evidence = situation.evidence.get(key.id)
    if evidence is None or evidence.verdict != RIGHT:
        return 0
    return 1 if situation.gate(key, situation.evidence).missing else 2


def _course(settings: Settings, domain: object, selector: object, test: bool) -> tuple[Course, Key]:
    name, chosen = stored_domain(domain), stored_selector(selector)
    with session(settings.database) as connection:
        mark = evidence_table.history_mark(connection, settings.database)
        starting.fill_in(connection, settings, [name])
        key = keystore.find(connection, settings.database, name, chosen)
        if test:
            connection.rollback()
    return Course(settings, test, asked=[key.id], mark=mark), key


def _run(course: Course, key: Key, plan) -> None:
    course.planner = plan
    course.run([key.domain])


def _told(course: Course, key: Key, state: str, already: str) -> dict[str, object]:
    outcome: Outcome = course.outcome
    if key.state == state:
        outcome.note(f"{name_of(key)} {already}")
    return outcome.as_plain()


def _in(situation: Situation, key: Key) -> Key | None:
    return next((one for one in situation.keys if one.id == key.id), None)


def _called(key: Key) -> str:
    return f"{key.domain}, selector {key.selector!r}"
