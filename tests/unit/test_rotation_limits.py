"""How long a retired key's record is needed: the longest of what keeps mail on its way."""

import pytest
from dkim_formula.operations.rotation.limits import limits
from dkim_formula.postfix import main_cf, queue
from dkim_formula.settings import read
from functional.doubles import Postfix

DAY = 86400


@pytest.fixture
def postfix(tmp_path, monkeypatch):
    double = Postfix(tmp_path)
    monkeypatch.setattr(main_cf, "POSTCONF", str(double.postconf))
    return double


def found(**pillar):
    return limits(read(pillar).settings)


def test_queue_keeps_mail_as_long_as_postfix_says(postfix):
    postfix.set(maximal_queue_lifetime="2h", bounce_queue_lifetime="90m")
    assert queue.longest() == (7200, "maximal_queue_lifetime")
    postfix.set(maximal_queue_lifetime="1", bounce_queue_lifetime="3w")
    assert queue.longest() == (21 * DAY, "bounce_queue_lifetime")


def test_without_postfix_it_is_its_default(monkeypatch, tmp_path):
    monkeypatch.setattr(main_cf, "POSTCONF", str(tmp_path / "none"))
    assert queue.longest()[0] == 5 * DAY


def test_one_that_can_not_be_read_counts_as_its_default(postfix):
    postfix.set(maximal_queue_lifetime="2h", bounce_queue_lifetime="for ever")
    assert queue.longest()[0] == 5 * DAY


def test_longest_of_pillar_queue_and_signature_decides(postfix):
    postfix.set(maximal_queue_lifetime="2h", bounce_queue_lifetime="2h")
    assert found(rotation={"retire_for": "1h"}).retire_for == 7200
    assert found(rotation={"retire_for": "3h"}).retire_for == 3 * 3600
    signing = {"settings": {"SignatureTTL": 86400}}
    assert found(rotation={"retire_for": "3h"}, opendkim=signing).retire_for == DAY


@pytest.mark.parametrize(("text", "seconds"), [("0x10000", 65536), ("0200000", 65536)])
def test_signature_ttl_is_read_as_the_daemon_does(postfix, text, seconds):
    postfix.set(maximal_queue_lifetime="1h", bounce_queue_lifetime="1h")
    signing = {"settings": {"SignatureTTL": text}}
    assert found(rotation={"retire_for": "1h"}, opendkim=signing).retire_for == seconds


def test_records_ttl_counts_where_it_is_longer_still(postfix):
    postfix.set(maximal_queue_lifetime="1h", bounce_queue_lifetime="1h")
    short = found(rotation={"retire_for": "1h"})
    assert short.with_ttl(60) == short
    assert short.with_ttl(DAY).retire_for == DAY
    assert "TTL" in short.with_ttl(DAY).longest
