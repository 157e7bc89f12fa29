"""How long a retired key's record stays."""

import pytest
from dkim_formula.postfix import main_cf, queue
from dkim_formula.rotation.waiting_times import retire_for
from dkim_formula.settings import read
from functional.doubles import Postfix

DAY = 86400


@pytest.fixture
def postfix(tmp_path, monkeypatch):
    double = Postfix(tmp_path)
    monkeypatch.setattr(main_cf, "POSTCONF", str(double.postconf))
    return double


def found(**pillar):
    return retire_for(read(pillar).settings, *queue.longest())


def test_queue_lifetime_is_the_longer_one_of_postfix(postfix):
    postfix.set(maximal_queue_lifetime="2h", bounce_queue_lifetime="90m")
    assert queue.longest() == (7200, "maximal_queue_lifetime")
    postfix.set(maximal_queue_lifetime="1", bounce_queue_lifetime="3w")
    assert queue.longest() == (21 * DAY, "bounce_queue_lifetime")


def test_queue_lifetime_without_postfix_is_postfixs_default(monkeypatch, tmp_path):
    monkeypatch.setattr(main_cf, "POSTCONF", str(tmp_path / "none"))
    assert queue.longest()[0] == 5 * DAY


def test_unreadable_queue_lifetime_counts_as_postfixs_default(postfix):
    postfix.set(maximal_queue_lifetime="2h", bounce_queue_lifetime="for ever")
    assert queue.longest()[0] == 5 * DAY


def test_longest_of_pillar_queue_and_signature_decides(postfix):
    postfix.set(maximal_queue_lifetime="2h", bounce_queue_lifetime="2h")
    assert found(rotation={"retire_for": "1h"}).seconds == 7200
    assert found(rotation={"retire_for": "3h"}).seconds == 3 * 3600
    signing = {"settings": {"SignatureTTL": 86400}}
    assert found(rotation={"retire_for": "3h"}, opendkim=signing).seconds == DAY


@pytest.mark.parametrize(("text", "seconds"), [("0x10000", 65536), ("0200000", 65536)])
def test_signature_ttl_is_read_as_the_daemon_does(postfix, text, seconds):
    postfix.set(maximal_queue_lifetime="1h", bounce_queue_lifetime="1h")
    signing = {"settings": {"SignatureTTL": text}}
    assert found(rotation={"retire_for": "1h"}, opendkim=signing).seconds == seconds


def test_longer_ttl_of_the_record_decides(postfix):
    postfix.set(maximal_queue_lifetime="1h", bounce_queue_lifetime="1h")
    short = found(rotation={"retire_for": "1h"})
    assert short.with_ttl(60) == short
    assert short.with_ttl(DAY).seconds == DAY
    assert "TTL" in short.with_ttl(DAY).reason
