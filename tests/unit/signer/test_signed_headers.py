"""Headers that a signature leaves open."""

import pytest
from dkim_formula.signer.signed_headers import OVERSIGNED, SIGNED, unsigned
from dkim_formula.signer.verify import NotVerified


@pytest.mark.parametrize(
    ("signed", "names", "left"),
    [
        ("From:To", ["From", "To"], []),
        ("from : TO\r\n\t:Subject", ["From", "To", "Subject"], []),
        ("From:To", ["From", "Subject", "To"], ["Subject"]),
        # Two of a name take two names.
        ("From:To", ["From", "To", "To"], ["To"]),
        ("From:To:To", ["From", "To", "To"], []),
        ("From", ["To", "To"], ["To"]),
        ("", ["From"], ["From"]),
    ],
)
def test_header_is_signed_once_for_each_time_it_is_named(signed, names, left):
    assert unsigned(f"v=1; h={signed}; b=", names) == left


def test_signature_that_is_none_is_not_verified():
    with pytest.raises(NotVerified):
        unsigned("h=From; h=To", ["From"])


def test_what_mailing_lists_add_to_other_peoples_mail_can_be_added():
    added = ("Sender", "List-Id", "List-Unsubscribe", "List-Post", "Resent-From", "Message-ID")
    assert set(added).isdisjoint(OVERSIGNED)


def test_whatever_is_oversigned_is_signed():
    # These are in OpenDKIM's own list (*).
    own = {"From", "Subject", "To", "Cc", "Date", "Reply-To"}
    assert set(OVERSIGNED) <= own | {name.removeprefix("+") for name in SIGNED}
