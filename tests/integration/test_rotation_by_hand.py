"""A rotation where a person publishes: a key signs only once every server has its record."""

import time

import pytest
from support import mail, salt, zones
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

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
    """A mail server with a zone on two name servers, which has the first key's record."""
    zones.serve(machine, DOMAIN, secondary=True)
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    machine.run("postconf -e maximal_queue_lifetime=1s bounce_queue_lifetime=1s")
    publish(machine, OLD, record(machine, OLD))
    zones.catch_up(machine, DOMAIN)
    return machine


def record(machine: Machine, name: str) -> str:
    """Return the value of a record from ``dkim.records``."""
    shown = salt.call(machine, "dkim.records", DOMAIN)
    return next(one["value"] for one in shown if one["name"] == name)


def publish(machine: Machine, name: str, *values: str) -> None:
    """Replace the records of a name, on the primary alone."""
    zones.publish(machine, f"{name}.", *values, ttl=1)


def states(machine: Machine) -> dict[str, str]:
    """Return the state of each of the domain's keys by selector."""
    return {key["selector"]: key["state"] for key in salt.call(machine, "dkim.list_keys", DOMAIN)}


def waiting(machine: Machine) -> dict[str, object]:
    """Return what the new key waits for, from ``dkim.advance``. Assert that no key moves."""
    done = salt.call(machine, "dkim.advance", DOMAIN)
    assert done["changes"] == {}
    assert done["problems"] == []
    return next(one for one in done["waiting"] if one["selector"] == "s-1")


def waiting_after_the_negative_ttl(machine: Machine) -> dict[str, object]:
    """Return what the new key waits for after the time that a visible record would need."""
    end = time.monotonic() + zones.NEGATIVE_TTL + MARGIN + 1
    waits = waiting(machine)
    while time.monotonic() < end:
        waits = waiting(machine)
    return waits


def test_rotation_prints_the_new_record_and_waits_for_it(site: Machine) -> None:
    printed = site.run(salt.command_line("dkim.rotate", DOMAIN, out="nested")).stdout
    assert NEW in printed
    assert record(site, NEW) in printed
    assert states(site) == {"s": "active", "s-1": "pending"}
    waits = waiting_after_the_negative_ttl(site)
    assert "missing" in waits["waits_for"]
    assert states(site) == {"s": "active", "s-1": "pending"}


def test_highstate_prints_the_record_to_publish_and_what_waits_for_it(site: Machine) -> None:
    run = salt.apply(site)
    assert run.succeeded, str(run)
    assert run.changed == []
    comment = run["Rotations in progress are advanced"].comment
    assert f"{NEW} is pending. Next state: active" in comment
    assert f"To be published: {NEW} TXT" in comment
    screen = site.run([salt.HIGHSTATE, "--pillar", salt.PILLAR]).stdout
    shown = screen.rpartition("Total run time")[2]
    assert screen.count("IN TXT") == 1
    lines = mail.zone_records(site, shown.partition("Publish these records:")[2])
    assert lines[f"{NEW}."] == record(site, NEW)
    assert f"; the key of {NEW} signs once the record is visible" in shown


@pytest.mark.soak
def test_key_does_not_sign_while_its_record_is_wrong(site: Machine) -> None:
    right = record(site, NEW)
    publish(site, NEW, right.replace("p=", "p=X"))
    zones.catch_up(site, DOMAIN)
    assert "different" in waiting_after_the_negative_ttl(site)["waits_for"]


@pytest.mark.soak
def test_key_does_not_sign_while_its_name_has_two_records(site: Machine) -> None:
    right = record(site, NEW)
    publish(site, NEW, right, "v=DKIM1; p=other")
    zones.catch_up(site, DOMAIN)
    assert "duplicate" in waiting_after_the_negative_ttl(site)["waits_for"]


def test_key_does_not_sign_while_a_server_lags_behind(site: Machine) -> None:
    publish(site, NEW, record(site, NEW))
    assert "lags behind" in waiting_after_the_negative_ttl(site)["waits_for"]


def test_key_signs_once_every_server_has_shown_its_record_for_the_negative_ttl(
    site: Machine,
) -> None:
    zones.catch_up(site, DOMAIN)
    visible_since = time.monotonic()
    assert waiting(site)["not_before"]
    site.wait_for(
        lambda: salt.call(site, "dkim.advance", DOMAIN)["changes"],
        deadline=120,
        what="the new key signs",
    )
    assert time.monotonic() - visible_since >= zones.NEGATIVE_TTL + MARGIN
    assert states(site) == {"s": "retired", "s-1": "active"}
    message = mail.sent_by_smtp(mail.Mailbox(site), f"user@{DOMAIN}")
    (signature,) = mail.signatures(site, message, zones.key_records(site, DOMAIN))
    assert (signature.selector, signature.valid) == ("s-1", True)


def test_old_key_is_removed_once_its_record_is_empty(site: Machine) -> None:
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
        what="the old key is removed",
    )


def test_status_has_one_line_per_key(site: Machine) -> None:
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
