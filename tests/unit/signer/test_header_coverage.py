"""Headers that a signature does not cover, and the lists of headers to sign."""

import pytest
from dkim_formula.settings.signed_headers import OVERSIGNED, SIGNED
from dkim_formula.signer.header_coverage import unsigned
from dkim_formula.signer.verify import NotVerified


@pytest.mark.parametrize(
    ("signed", "names", "left"),
    [
        ("From:To", ["From", "To"], []),
        ("from : TO\r\n\t:Subject", ["From", "To", "Subject"], []),
        ("From:To", ["From", "Subject", "To"], ["Subject"]),
        # Two headers of the same name need two entries.
        ("From:To", ["From", "To", "To"], ["To"]),
        ("From:To:To", ["From", "To", "To"], []),
        ("From", ["To", "To"], ["To"]),
        ("", ["From"], ["From"]),
    ],
)
def test_header_is_signed_once_for_each_occurrence_in_the_tag(signed, names, left):
    assert unsigned(f"v=1; h={signed}; b=", names) == left


def test_malformed_signature_is_not_verified():
    with pytest.raises(NotVerified):
        unsigned("h=From; h=To", ["From"])


def test_headers_that_mailing_lists_add_are_not_oversigned():
    added = ("Sender", "List-Id", "List-Unsubscribe", "List-Post", "Resent-From", "Message-ID")
    assert set(added).isdisjoint(OVERSIGNED)


def test_oversigned_headers_are_signed():
    # OpenDKIM's own list (*) has these headers.
    own = {"From", "Subject", "To", "Cc", "Date", "Reply-To"}
    assert set(OVERSIGNED) <= own | {name.removeprefix("+") for name in SIGNED}
