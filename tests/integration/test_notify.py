"""A person is told by a real Postfix of a record to publish, in a signed mail, once."""

import email
from email import policy

import pytest
from support import mail, salt, zones
from support.machine import Machine

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("trixie")

# The machine has the packages: this file is not about installing.
EQUIPPED = True
WARM = True

DOMAIN = "example.com"


@pytest.fixture(scope="module")
def mailbox(machine: Machine) -> mail.Mailbox:
    """A mail server whose zone is a person's, and that person's mailbox."""
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


def told(mailbox: mail.Mailbox) -> list[email.message.EmailMessage]:
    """The mails about DNS, in no order."""
    found = [email.message_from_bytes(one, policy=policy.default) for one in mailbox.messages()]
    return [one for one in found if str(one["Subject"]).startswith("DNS: ")]


def test_record_to_publish_is_mailed_signed_and_once(machine: Machine, mailbox) -> None:
    name = f"s._domainkey.{DOMAIN}"
    (record,) = [one for one in salt.call(machine, "dkim.records") if one["name"] == name]
    before = salt.call(machine, "dkim.notify", test=True)
    salt.call(machine, "dkim.notify")
    raw = mailbox.wait_for(f"{name}\tTXT\t")
    assert record["value"] in raw.decode()
    assert salt.call(machine, "dkim.notify")["told"] == ""
    assert before["told"] in ("", mailbox.address)
    zones.update(machine, f'update add {name}. 60 TXT "{record["value"]}"')
    (signature,) = mail.signatures(machine, raw, zones.key_records(machine, DOMAIN))
    assert (signature.domain, signature.selector, signature.valid) == (DOMAIN, "s", True)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    mailbox.wait_for("Subject: DNS: 1 record seen")
    assert sorted(str(one["Subject"]) for one in told(mailbox)) == [
        "DNS: 1 record seen",
        "DNS: 1 record to publish",
    ]
