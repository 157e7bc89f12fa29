"""
What a signature covers: a newsletter whole, and what a mailing list or a stranger does to a message
afterwards. docs/signed-headers.md has the reasons.
"""

from collections.abc import Mapping
from email.utils import formatdate
from uuid import uuid4

import pytest
from support import mail, salt
from support.machine import Machine

EQUIPPED = True
WARM = True

PILLAR = {
    "dkim": {
        "defaults": {"algorithm": ["rsa", "ed25519"]},
        "domains": {"example.com": {}, "example.org": {}},
    }
}
SENDER = "news@example.com"
BODY = "Hello.\n"

# As RFC 8058, section 4, and RFC 2919 have them.
BULK = {
    "From": SENDER,
    "Sender": "bounces@example.com",
    "Reply-To": "editor@example.com",
    "To": "{recipient}",
    "Cc": "somebody@example.net",
    "Subject": "News",
    "Date": "{date}",
    "Message-ID": "<{id}@example.com>",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=us-ascii",
    "Content-Transfer-Encoding": "7bit",
    "List-Id": "News <news.example.com>",
    "List-Unsubscribe": "<https://example.com/unsubscribe>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
}
PERSONAL = ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type")


class Site:
    """A server that signs with both algorithms, and its records."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.box = mail.Mailbox(machine)
        zone = salt.call(machine, "dkim.records", format="bind")
        self.records: Mapping[str, str] = mail.zone_records(machine, zone)

    def sent(self, *names: str) -> bytes:
        """A message with these headers, as it was delivered."""
        identifier = str(uuid4())
        values = {"recipient": self.box.address, "date": formatdate(), "id": identifier}
        headers = "".join(f"{name}: {BULK[name].format(**values)}\n" for name in names)
        mail.send_smtp(self.machine, f"{headers}\n{BODY}", SENDER, self.box.address)
        return self.box.wait_for(identifier)

    def verified(self, message: bytes) -> list[bool]:
        """Whether each signature is good, by dkimpy."""
        return [one.valid for one in mail.signatures(self.machine, message, self.records)]


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    """Set up with both algorithms."""
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    return Site(machine)


@pytest.fixture(scope="module")
def newsletter(site: Site) -> bytes:
    return site.sent(*BULK)


@pytest.fixture(scope="module")
def personal(site: Site) -> bytes:
    return site.sent(*PERSONAL)


def test_each_header_of_a_newsletter_is_under_both_signatures(
    site: Site, newsletter: bytes
) -> None:
    found = mail.signatures(site.machine, newsletter, site.records)
    assert {one.algorithm for one in found} == {"rsa-sha256", "ed25519-sha256"}
    assert [one.problem for one in found if not one.valid] == []
    for signature in found:
        signed = signature.tags["h"].lower().split(":")
        assert [name for name in BULK if name.lower() not in signed] == []


def added(header: str, message: bytes) -> bytes:
    # Below the signatures, where a relay's new header is found last and shown by many programs.
    return message.replace(b"\r\n\r\n", f"\r\n{header}\r\n\r\n".encode(), 1)


def changed(old: str, new: str, message: bytes) -> bytes:
    assert old.encode() in message
    return message.replace(old.encode(), new.encode(), 1)


@pytest.mark.parametrize(
    "header",
    [
        "From: other@example.net",
        "Subject: Another",
        "To: other@example.net",
        "Cc: other@example.net",
        "Date: Thu, 01 Jan 1970 00:00:00 +0000",
        "Reply-To: other@example.net",
        "MIME-Version: 1.0",
        "Content-Type: text/html",
        "Content-Transfer-Encoding: base64",
    ],
)
def test_header_that_decides_what_a_reader_sees_can_not_be_added(
    site: Site, personal: bytes, header: str
) -> None:
    assert site.verified(added(header, personal)) == [False, False]


# What a list does to a message that it passes on. RFC 2369, RFC 2919; Mailman, «General options»,
# reply_goes_to_list, include_rfc2369_headers, include_sender_header.
LIST_HEADERS = (
    "Sender: list-bounces@lists.example.net",
    "Precedence: list",
    "Errors-To: list-bounces@lists.example.net",
    "List-Id: <list.example.net>",
    "List-Unsubscribe: <https://lists.example.net/u>, <mailto:list-request@lists.example.net>",
    "List-Post: <mailto:list@lists.example.net>",
    "List-Help: <mailto:list-request@lists.example.net>",
    "X-Mailman-Version: 2.1.39",
    "Archived-At: <https://lists.example.net/1>",
)


def test_list_that_adds_its_headers_leaves_personal_mail_signed(
    site: Site, personal: bytes
) -> None:
    message = personal
    for header in LIST_HEADERS:
        message = added(header, message)
    assert site.verified(message) == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("Subject: News", "Subject: [list] News"), id="prefix"),
        pytest.param(("Hello.\r\n", "Hello.\r\n___\r\nA list's footer\r\n"), id="footer"),
        pytest.param((f"From: {SENDER}", f"From: {SENDER} via list <l@example.net>"), id="from"),
    ],
)
def test_list_that_changes_what_was_always_signed_breaks_the_signature(
    site: Site, personal: bytes, change: tuple[str, str]
) -> None:
    assert site.verified(changed(*change, personal)) == [False, False]


def test_list_of_the_sites_own_choice_can_set_reply_to(site: Site) -> None:
    # The setting that docs/signed-headers.md gives to sites whose users write to such lists.
    settings = {"OversignHeaders": ["From", "Subject", "To", "Cc", "Date"]}
    pillar = {"dkim": {**PILLAR["dkim"], "opendkim": {"settings": settings}}}
    run = salt.apply(site.machine, "dkim.opendkim", pillar=pillar)
    assert run.succeeded, str(run)
    message = added("Reply-To: list@lists.example.net", site.sent(*PERSONAL))
    assert site.verified(message) == [True, True]


def test_selftest_finds_every_header_signed_and_names_what_the_sites_list_leaves_open(
    site: Site,
) -> None:
    salt.apply(site.machine, "dkim.opendkim", pillar=PILLAR)
    told = salt.call(site.machine, "dkim.selftest")
    assert len(told) == 4
    assert [one["unsigned_headers"] for one in told] == [[]] * 4
    settings = {"SignHeaders": ["From", "Subject", "List-Unsubscribe"], "OversignHeaders": ["From"]}
    pillar = {"dkim": {**PILLAR["dkim"], "opendkim": {"settings": settings}}}
    run = salt.apply(site.machine, "dkim.opendkim", pillar=pillar)
    assert run.succeeded, str(run)
    for one in salt.call(site.machine, "dkim.selftest"):
        assert (one["signed"], one["verified_by_database"]) == (True, True)
        assert "List-Unsubscribe-Post" in one["unsigned_headers"]
        assert "List-Unsubscribe" not in one["unsigned_headers"]
        assert "dkim:opendkim:settings:SignHeaders" in one["detail"]
