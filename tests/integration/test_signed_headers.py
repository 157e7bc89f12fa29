"""
Headers that a signature covers, and signatures after changes by a mailing list or an attacker.

docs/signed-headers.md has the reasons.
"""

from collections import Counter
from collections.abc import Mapping
from email.utils import formatdate
from uuid import uuid4

import pytest
from support import mail, salt
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("bookworm")

EQUIPPED = True

PILLAR = {
    "dkim": {
        "defaults": {"algorithm": ["rsa", "ed25519"]},
        "domains": {"example.com": {}, "example.org": {}},
    }
}
SENDER = "news@example.com"
BODY = "Hello.\n"

# The List- headers are those of RFC 8058, section 4, and RFC 2919.
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

    def send(self, *names: str) -> bytes:
        """Send a message with these headers, and return it as delivered."""
        identifier = str(uuid4())
        values = {"recipient": self.box.address, "date": formatdate(), "id": identifier}
        headers = "".join(f"{name}: {BULK[name].format(**values)}\n" for name in names)
        mail.send_smtp(self.machine, f"{headers}\n{BODY}", SENDER, self.box.address)
        return self.box.wait_for(identifier)

    def verify(self, message: bytes) -> list[bool]:
        """Return for each signature whether dkimpy finds it valid."""
        return [one.valid for one in mail.signatures(self.machine, message, self.records)]


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    """A server that the formula set up with both algorithms."""
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    return Site(machine)


@pytest.fixture(scope="module")
def newsletter(site: Site) -> bytes:
    return site.send(*BULK)


@pytest.fixture(scope="module")
def personal(site: Site) -> bytes:
    return site.send(*PERSONAL)


def test_both_signatures_cover_each_header_of_a_newsletter(site: Site, newsletter: bytes) -> None:
    found = mail.signatures(site.machine, newsletter, site.records)
    assert {one.algorithm for one in found} == {"rsa-sha256", "ed25519-sha256"}
    assert [one.problem for one in found if not one.valid] == []
    for signature in found:
        signed = signature.tags["h"].lower().split(":")
        assert [name for name in BULK if name.lower() not in signed] == []


def add_header(header: str, message: bytes) -> bytes:
    # The last header of a name is the one that many programs show.
    return message.replace(b"\r\n\r\n", f"\r\n{header}\r\n\r\n".encode(), 1)


def replace(old: str, new: str, message: bytes) -> bytes:
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
def test_added_header_that_a_mail_program_would_show_breaks_the_signatures(
    site: Site, personal: bytes, header: str
) -> None:
    assert site.verify(add_header(header, personal)) == [False, False]


# Headers that a list adds to a message. RFC 2369, RFC 2919; Mailman, «General options»,
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


def test_personal_mail_stays_validly_signed_when_a_list_adds_its_headers(
    site: Site, personal: bytes
) -> None:
    message = personal
    for header in LIST_HEADERS:
        message = add_header(header, message)
    assert site.verify(message) == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("Subject: News", "Subject: [list] News"), id="prefix"),
        pytest.param(("Hello.\r\n", "Hello.\r\n___\r\nA list's footer\r\n"), id="footer"),
        pytest.param((f"From: {SENDER}", f"From: {SENDER} via list <l@example.net>"), id="from"),
    ],
)
def test_list_that_changes_a_signed_part_breaks_the_signatures(
    site: Site, personal: bytes, change: tuple[str, str]
) -> None:
    assert site.verify(replace(*change, personal)) == [False, False]


def test_list_can_set_reply_to_when_the_settings_allow_it(site: Site) -> None:
    # docs/signed-headers.md recommends this setting for users who write to such lists.
    settings = {"OversignHeaders": ["From", "Subject", "To", "Cc", "Date"]}
    pillar = {"dkim": {**PILLAR["dkim"], "opendkim": {"settings": settings}}}
    run = salt.apply(site.machine, "dkim.opendkim", pillar=pillar)
    assert run.succeeded, str(run)
    message = add_header("Reply-To: list@lists.example.net", site.send(*PERSONAL))
    assert site.verify(message) == [True, True]


@pytest.mark.parametrize(
    ("settings", "oversigned"),
    [
        pytest.param(
            {"SignHeaders": ["From", "To", "Subject", "List-Unsubscribe"]},
            ["from", "subject", "to"],
            id="SignHeaders",
        ),
        pytest.param(
            {"OmitHeaders": ["Date"]},
            ["from", "subject", "to", "mime-version", "content-type"],
            id="OmitHeaders",
        ),
    ],
)
def test_mail_verifies_when_the_settings_sign_fewer_headers(
    site: Site, settings: Mapping[str, list[str]], oversigned: list[str]
) -> None:
    pillar = {"dkim": {**PILLAR["dkim"], "opendkim": {"settings": settings}}}
    run = salt.apply(site.machine, "dkim.opendkim", pillar=pillar)
    assert run.succeeded, str(run)
    message = site.send(*PERSONAL)
    assert site.verify(message) == [True, True]
    for signature in mail.signatures(site.machine, message, site.records):
        signed = Counter(signature.tags["h"].lower().split(":"))
        assert [name for name in oversigned if signed[name] != 2] == []
    assert site.verify(add_header("Subject: Another", message)) == [False, False]


def test_selftest_names_the_headers_that_the_settings_leave_unsigned(
    site: Site,
) -> None:
    salt.apply(site.machine, "dkim.opendkim", pillar=PILLAR)
    results = salt.call(site.machine, "dkim.selftest")
    assert len(results) == 4
    assert [one["unsigned_headers"] for one in results] == [[]] * 4
    settings = {"SignHeaders": ["From", "Subject", "List-Unsubscribe"], "OversignHeaders": ["From"]}
    pillar = {"dkim": {**PILLAR["dkim"], "opendkim": {"settings": settings}}}
    run = salt.apply(site.machine, "dkim.opendkim", pillar=pillar)
    assert run.succeeded, str(run)
    for one in salt.call(site.machine, "dkim.selftest"):
        assert (one["signed"], one["verified_by_database"]) == (True, True)
        assert "List-Unsubscribe-Post" in one["unsigned_headers"]
        assert "List-Unsubscribe" not in one["unsigned_headers"]
        assert "dkim:opendkim:settings:SignHeaders" in one["detail"]
