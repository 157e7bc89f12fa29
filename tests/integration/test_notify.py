"""Notices by mail of a record that a person has to publish: each is signed and sent once."""

import email
from email import policy

import pytest
from support import mail, salt, zones
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

DOMAIN = "example.com"


@pytest.fixture(scope="module")
def mailbox(machine: Machine) -> mail.Mailbox:
    """A mail server, and the mailbox of the person who publishes its records."""
    zones.serve(machine, DOMAIN)
    mailbox = mail.Mailbox(machine)
    pillar = {
        "dkim": {
            "domains": {DOMAIN: {"selector": "s", "bits": 1024}},
            "dns": {
                "resolver": zones.PRIMARY,
                "timeout": 2,
                "notify": {"to": mailbox.address, "from": f"dkim@{DOMAIN}"},
            },
        }
    }
    salt.install_formula(machine, pillar)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    return mailbox


def notices(mailbox: mail.Mailbox) -> list[email.message.EmailMessage]:
    """Return the mails about DNS, in any order."""
    found = [email.message_from_bytes(one, policy=policy.default) for one in mailbox.messages()]
    return [one for one in found if str(one["Subject"]).startswith("DNS: ")]


def test_notice_of_a_record_to_publish_is_signed_and_sent_once(machine: Machine, mailbox) -> None:
    name = f"s._domainkey.{DOMAIN}"
    (record,) = [one for one in salt.call(machine, "dkim.records") if one["name"] == name]
    before = salt.call(machine, "dkim.notify", test=True)
    salt.call(machine, "dkim.notify")
    raw = mailbox.wait_for(f"{name}\tTXT\t")
    assert record["value"] in raw.decode()
    assert salt.call(machine, "dkim.notify")["notified"] == ""
    assert before["notified"] in ("", mailbox.address)
    zones.update(machine, f'update add {name}. 60 TXT "{record["value"]}"')
    (signature,) = mail.signatures(machine, raw, zones.key_records(machine, DOMAIN))
    assert (signature.domain, signature.selector, signature.valid) == (DOMAIN, "s", True)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    mailbox.wait_for("Subject: DNS: 1 record visible")
    assert sorted(str(one["Subject"]) for one in notices(mailbox)) == [
        "DNS: 1 record to publish",
        "DNS: 1 record visible",
    ]
