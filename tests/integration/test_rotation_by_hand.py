"""A rotation where a person publishes: nothing is signed by a key that not every server shows."""

import time

import pytest
from support import mail, salt, zones
from support.machine import Machine

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("trixie")

# The machine has the packages: this file is not about installing.
EQUIPPED = True
WARM = True

DOMAIN = "example.com"
NEW = f"s-1._domainkey.{DOMAIN}"
OLD = f"s._domainkey.{DOMAIN}"
MARGIN = 1
PILLAR = {
    "dkim": {
        "domains": {DOMAIN: {"selector": "s", "bits": 1024, "ttl": 1}},
        "dns": {"resolver": zones.PRIMARY, "timeout": 2},
        "rotation": {
            "selector": "{selector}-{n}",
            "margin": f"{MARGIN}s",
            "retire_for": "1s",
            "revoke_for": "1s",
        },
    }
}


@pytest.fixture(scope="module")
def site(machine: Machine) -> Machine:
    """A mail server whose zone is a person's, on two servers, with the first key's record in it."""
    zones.serve(machine, DOMAIN, secondary=True)
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    machine.run("postconf -e maximal_queue_lifetime=1s bounce_queue_lifetime=1s")
    publish(machine, OLD, record(machine, OLD))
    zones.catch_up(machine, DOMAIN)
    return machine


def record(machine: Machine, name: str) -> str:
    """The record's text, as ``dkim.records`` tells it."""
    shown = salt.call(machine, "dkim.records", DOMAIN)
    return next(one["value"] for one in shown if one["name"] == name)


def publish(machine: Machine, name: str, *values: str) -> None:
    """At the first server alone: these records and no others."""
    adds = [f'update add {name}. 1 TXT "{value}"' for value in map(in_strings, values)]
    zones.update(machine, f"update delete {name}. TXT", *adds)


def in_strings(value: str) -> str:
    """A text in strings of 255 octets at most, but for the outer quotes."""
    return '" "'.join(value[at : at + 255] for at in range(0, len(value), 255))


def states(machine: Machine) -> dict[str, str]:
    """The domain's keys: state by selector."""
    return {key["selector"]: key["state"] for key in salt.call(machine, "dkim.list_keys", DOMAIN)}


def waiting(machine: Machine) -> dict[str, object]:
    """What ``dkim.advance`` says that the new key waits for; nothing has moved."""
    done = salt.call(machine, "dkim.advance", DOMAIN)
    assert done["changes"] == {}
    assert done["problems"] == []
    return next(one for one in done["waiting"] if one["selector"] == "s-1")


def for_longer_than_resolvers_remember(machine: Machine) -> dict[str, object]:
    """The same for as long as a gate that was open would take."""
    end = time.monotonic() + zones.NEGATIVE_TTL + MARGIN + 1
    waits = waiting(machine)
    while time.monotonic() < end:
        waits = waiting(machine)
    return waits


def test_rotation_is_printed_and_waits(site: Machine) -> None:
    printed = site.run(salt.command_line("dkim.rotate", DOMAIN, out="nested")).stdout
    assert NEW in printed
    assert record(site, NEW) in printed
    assert states(site) == {"s": "active", "s-1": "pending"}
    waits = for_longer_than_resolvers_remember(site)
    assert "missing" in waits["waits_for"]
    assert states(site) == {"s": "active", "s-1": "pending"}


def test_highstate_prints_what_to_publish_and_for_what_it_waits(site: Machine) -> None:
    run = salt.apply(site)
    assert run.succeeded, str(run)
    assert run.changed == []
    comment = run["Rotations under way go on"].comment
    assert f"{NEW} is pending. Next state: active" in comment
    assert f"To be published: {NEW} TXT" in comment
    screen = site.run([salt.HIGHSTATE, "--pillar", salt.PILLAR]).stdout
    shown = screen.rpartition("Total run time")[2]
    assert screen.count("IN TXT") == 1
    lines = mail.zone_records(site, shown.partition("Publish these records:")[2])
    assert lines[f"{NEW}."] == record(site, NEW)
    assert f"; the key of {NEW} signs once the record is visible" in shown


def test_wrong_record_does_not_pass(site: Machine) -> None:
    right = record(site, NEW)
    publish(site, NEW, right.replace("p=", "p=X"))
    zones.catch_up(site, DOMAIN)
    assert "different" in for_longer_than_resolvers_remember(site)["waits_for"]


def test_two_records_do_not_pass(site: Machine) -> None:
    right = record(site, NEW)
    publish(site, NEW, right, "v=DKIM1; p=other")
    zones.catch_up(site, DOMAIN)
    assert "duplicate" in for_longer_than_resolvers_remember(site)["waits_for"]


def test_server_that_lags_behind_holds_the_key_back(site: Machine) -> None:
    publish(site, NEW, record(site, NEW))
    assert "lags behind" in for_longer_than_resolvers_remember(site)["waits_for"]


def test_record_at_every_server_lets_the_key_sign_when_resolvers_have_it(site: Machine) -> None:
    zones.catch_up(site, DOMAIN)
    shown_since = time.monotonic()
    assert waiting(site)["not_before"]
    site.wait_for(
        lambda: salt.call(site, "dkim.advance", DOMAIN)["changes"], deadline=120, what="a switch"
    )
    assert time.monotonic() - shown_since >= zones.NEGATIVE_TTL + MARGIN
    assert states(site) == {"s": "retired", "s-1": "active"}
    message = mail.sent_by_smtp(mail.Mailbox(site), f"user@{DOMAIN}")
    (signature,) = mail.signatures(site, message, zones.key_records(site, DOMAIN))
    assert (signature.selector, signature.valid) == ("s-1", True)


def test_old_key_goes_when_its_record_is_empty(site: Machine) -> None:
    def revoked() -> dict[str, object] | None:
        done = salt.call(site, "dkim.advance", DOMAIN)
        return done if "s" in states(site) and states(site)["s"] == "revoked" else None

    site.wait_for(revoked, deadline=120, what="the old key is revoked")
    empty = record(site, OLD)
    assert empty.endswith("p=")
    done = salt.call(site, "dkim.advance", DOMAIN)
    assert done["changes"] == {}
    assert [one["value"] for one in done["to_publish"] if one["name"] == OLD] == [empty]
    publish(site, OLD, empty)
    zones.catch_up(site, DOMAIN)
    site.wait_for(
        lambda: salt.call(site, "dkim.advance", DOMAIN) and states(site) == {"s-1": "active"},
        deadline=120,
        what="the old key is gone",
    )


def test_status_is_a_line_a_key(site: Machine) -> None:
    salt.call(site, "dkim.rotate", DOMAIN)
    printed = site.run(salt.command_line("dkim.status", out="table")).stdout
    table = [line for line in printed.splitlines() if "|" in line]
    titles, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    header = [title.lower() for title in titles]
    assert {"domain", "selector", "algorithm", "bits", "state", "age", "dns", "next"} <= {*header}
    found = {row[header.index("selector")]: dict(zip(header, row, strict=True)) for row in rows}
    assert found["s-1"]["state"] == "active"
    assert found["s-1"]["dns"] == "ok"
    assert found["s-2"]["state"] == "pending"
    assert found["s-2"]["dns"] == "missing"
