"""Returns of rotations and lines of ``dkim.status``, made by the plan and the report of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from dkim_formula import settings
from dkim_formula.keys.model import Key, Slot
from dkim_formula.keys.removed_domains import Orphans
from dkim_formula.postfix.queue import DEFAULT
from dkim_formula.rotation import status
from dkim_formula.rotation.gate import Evidence, Observation, with_observation
from dkim_formula.rotation.moves import NewKey
from dkim_formula.rotation.plan import (
    Advance,
    Request,
    Rotate,
    outlook,
    plan_moves,
    plan_new_keys,
)
from dkim_formula.rotation.report import RotationReport
from dkim_formula.rotation.revoke import Revoke
from dkim_formula.rotation.state import NO_ORPHANS, RotationState, desired_value
from dkim_formula.rotation.waiting_times import retire_for

NOW = datetime(2026, 12, 1, 12, tzinfo=timezone.utc)

# Long enough for two strings of a TXT record, like an RSA key with 2048 bits.
P = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA" + "0123456789abcdef" * 21 + "QIDAQAB"

SETTINGS = settings.read(
    {
        "domains": ["example.com", "example.net", "example.org", "xn--mnchen-3ya.example"],
        "rotation": {"spread": 0},
    }
).settings
# Times of a zone with a negative TTL of an hour, in seconds.
HOUR = 3600


def stored(
    number: int, domain: str, selector: str, state: str, *, algorithm: str = "rsa", **more: object
) -> Key:
    """
    Return a stored key, which is in its state since ``age``.

    more
        ``age`` as the arguments of a timedelta, and fields of the key.
    """
    since = NOW - timedelta(**more.pop("age", {"days": 12}))
    times = dict.fromkeys(("created", "activated", "retired", "revoked"))
    times["created"] = since if state in ("standby", "pending") else since - timedelta(days=3)
    times[{"active": "activated", "standby": "created", "pending": "created"}.get(state, state)] = (
        since
    )
    row = {
        "id": number,
        "domain": domain,
        "selector": selector,
        "algorithm": algorithm,
        "bits": 2048 if algorithm == "rsa" else 256,
        "state": state,
        "address": "",
        "public": None if state == "revoked" else P,
    }
    return Key(**{**row, **times, **more})


def observed(key: Key, verdict: str = "ok", detail: str = "") -> Observation:
    """Return an observation of a key's record now, with an hour as the zone's negative TTL."""
    value = desired_value(SETTINGS, key)
    return Observation(verdict, detail, NOW, value, HOUR, HOUR if verdict == "ok" else None)


def visible(key: Key, **ago: float) -> Evidence:
    """Return the evidence of a record that every server shows since a time."""
    since = NOW - timedelta(**ago)
    return Evidence(NOW, "ok", "", desired_value(SETTINGS, key), since, HOUR, HOUR)


def missing(key: Key) -> Observation:
    """Return an observation of a record that no server has."""
    servers = [f"ns{number}.example.net (192.0.2.{number})" for number in (1, 2)]
    texts = [f"{server}: missing: the name does not exist" for server in servers]
    return observed(key, "missing", "; ".join(texts))


def state_of(
    keys: Sequence[Key],
    observations: Mapping[int, Observation] | None = None,
    evidence: Mapping[int, Evidence] | None = None,
    orphans: Orphans = NO_ORPHANS,
    config: settings.Settings = SETTINGS,
) -> RotationState:
    """Return the state of keys as a run or ``dkim.status`` knows it."""
    state = RotationState(
        config,
        retire_for(config, DEFAULT, "Postfix's default queue lifetime"),
        frozenset(key.domain for key in keys),
        keys,
        evidence=evidence or {},
        used={key.domain: {one.selector for one in keys} for key in keys},
        orphans=orphans,
    )
    return state if observations is None else state.with_observations(observations, NOW)


def lines(
    keys: Sequence[Key],
    wrong: Mapping[str, str] | None = None,
    evidence: Mapping[int, Evidence] | None = None,
    orphans: Orphans = NO_ORPHANS,
    config: settings.Settings = SETTINGS,
) -> list[dict[str, object]]:
    """
    Return the lines of ``dkim.status`` for keys whose records are ok.

    wrong
        The verdicts on other records, by domain.
    evidence
        The stored evidence, by the ids of keys.
    """
    observations = {key.id: observed(key, (wrong or {}).get(key.domain, "ok")) for key in keys}
    known = {
        key.id: with_observation((evidence or {}).get(key.id), observations[key.id], NOW)
        for key in keys
    }
    state = replace(state_of(keys, evidence=known, orphans=orphans, config=config), observed=known)
    return [status.line_of(state, key, observations, NOW, None) for key in keys]


def run(
    request: Request,
    keys: Sequence[Key],
    observations: Mapping[int, Observation] | None = None,
    evidence: Mapping[int, Evidence] | None = None,
    test: bool = False,
) -> dict[str, object]:
    """Return the report of a run, whose new keys are not in DNS at its end."""
    report = RotationReport()
    state = state_of(keys, evidence=evidence)
    for planner in (plan_new_keys, plan_moves):
        if planner is plan_moves:
            state = state.with_observations(observations or {}, NOW)
        planned = planner(state, request, NOW)
        assert not planned.refused
        report.add_plan(state, planned)
        state = state.after(planned.moves, NOW)
        if not test:
            state = replace(state, keys=[_generated(key) for key in state.keys])
    if not test:
        last = {key.id: missing(key) for key in state.keys if key.id not in (evidence or {})}
        state = state.with_observations({**last, **(observations or {})}, NOW)
    report.add_outlook(outlook(state, request, NOW))
    return report.to_dict()


def _generated(key: Key) -> Key:
    if not isinstance(key, NewKey):
        return key
    return Key(**{**vars(key), "public": P, "created": NOW})


def rotation(test: bool = False) -> dict[str, object]:
    """Return a rotation that made a key, whose record a person must publish."""
    signing = stored(1, "example.com", "s1", "active")
    specs = {Slot(*signing.slot): SETTINGS.domains["example.com"].keys[0]}
    request = Rotate(specs, selector="s2")
    return run(request, [signing], test=test)


def revocation() -> dict[str, object]:
    """Return the revocation of a compromised key, in whose place a pending key signs."""
    keys = [
        stored(1, "example.com", "s1", "active"),
        stored(2, "example.com", "s2", "pending", age={"hours": 3}),
    ]
    return run(Revoke(keys[0], compromised=True), keys)


def advance() -> dict[str, object]:
    """Return a run in which a key becomes active, and another key's record is visible too short."""
    keys = [
        stored(1, "example.com", "s1", "active", age={"days": 181}),
        stored(2, "example.com", "s2", "pending", age={"hours": 9}),
        stored(3, "example.org", "s1", "active", age={"days": 181}),
        stored(4, "example.org", "s2", "pending", age={"hours": 3}),
    ]
    evidence = {2: visible(keys[1], hours=8), 4: visible(keys[3], minutes=50)}
    observations = {key.id: observed(key) for key in (keys[1], keys[3])}
    return run(Advance(), keys, observations, evidence)


def nothing() -> dict[str, object]:
    """Return a run without a key in progress."""
    return run(Advance(), [stored(1, "example.com", "s1", "active")])
