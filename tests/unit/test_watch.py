"""What is judged to be wrong, and what of it is told when."""

import json
import os
import stat
from dataclasses import replace

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.settings import read
from dkim_formula.settings.model import KeyPlan, Settings, Watch
from dkim_formula.watch import exposition, gathering, machine, store
from dkim_formula.watch.facts import Facts, Keys, Late, Local, Names
from dkim_formula.watch.news import news
from dkim_formula.watch.store import Kept
from dkim_formula.watch.trouble import KINDS, judge
from hypothesis import given
from hypothesis import strategies as st
from support.exposition import parse

NOW = 1_800_000_000.0
SOCKET = "/var/spool/postfix/opendkim/opendkim.sock"
WELL = Local(NOW, {"opendkim": True, "postfix": True}, {SOCKET: True})
SOUND = Keys(NOW, counts=(("rsa", "active", 2),), oldest=(("rsa", NOW - 86400),), hosted=2)
IN_DNS = Names(NOW, counts=(("right", 2),))
WATCH = Watch(down_for=60, differs_for=3600, repeat=86400)


def facts(**changed):
    return replace(Facts(WELL, SOUND, IN_DNS), **changed)


def judged(problems=(), settings=None, **changed):
    return judge(settings or Settings(), problems, facts(**changed))


def kinds(judgement):
    return [trouble.kind for trouble in judgement.troubles]


class Beats:
    """Beats of a beacon, a minute apart."""

    def __init__(self, watch=WATCH):
        self.watch = watch
        self.now = NOW
        self.memory = {}

    def beat(self, minutes=1, dns=(), **changed):
        self.now += 60 * minutes
        seen = facts(**changed)
        local, keys = replace(seen.local, at=self.now), seen.keys
        names = Names(self.now, wrong=tuple(dns), wrong_count=len(dns))
        keys = None if keys is None else replace(keys, at=self.now)
        told, self.memory = news(
            self.watch, judge(Settings(), (), Facts(local, keys, names)), self.memory, self.now
        )
        # It is kept as JSON from one beat to the next.
        self.memory = json.loads(json.dumps(self.memory))
        return [(one.kind, one.change) for one in told]


DOWN = replace(WELL, services={"opendkim": False, "postfix": True})


def test_nothing_is_wrong_where_everything_is_well():
    assert judged() == judge(Settings(), (), Facts(WELL, SOUND, IN_DNS))
    assert (judged().troubles, judged().unknown) == ((), frozenset())


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"local": DOWN}, "service", ["opendkim does not run", "journalctl -u opendkim"]),
        ({"local": replace(WELL, sockets={SOCKET: False})}, "socket", [SOCKET, "dkim"]),
        ({"keys": Keys(NOW, "it is away")}, "database", ["it is away", "PostgreSQL"]),
        (
            {
                "keys": replace(
                    SOUND,
                    late=(Late("a._domainkey.example.com", "active", NOW - 9),),
                    late_counts=(("active", 1),),
                )
            },
            "key-age",
            ["a._domainkey.example.com", "longer than 187d", "dkim.rotate"],
        ),
        (
            {
                "keys": replace(
                    SOUND,
                    late=(Late("a._domainkey.example.com", "retired", NOW - 9),),
                    late_counts=(("retired", 1),),
                )
            },
            "rotation",
            ["a._domainkey.example.com (retired)", "dkim.advance"],
        ),
        (
            {"keys": replace(SOUND, unsigned=("example.net",), unsigned_count=1)},
            "unsigned",
            ["example.net", "dkim.generate_missing"],
        ),
        (
            {"names": Names(NOW, wrong=("a.example.com TXT: absent",), wrong_count=1)},
            "dns",
            ["a.example.com TXT: absent", "dkim.check_dns", "dkim.records"],
        ),
    ],
)
def test_trouble_says_what_is_wrong_and_what_to_do(changed, kind, words):
    (trouble,) = judged(**changed).troubles
    assert trouble.kind == kind
    text = f"{trouble.what}; {trouble.todo}"
    assert [word for word in words if word not in text] == []


def test_age_of_a_key_counts_from_when_it_was_due():
    late = (Late("a", "active", NOW - 9), Late("b", "active", NOW - 99), Late("c", "active", None))
    keys = replace(SOUND, late=late, late_counts=(("active", 3),))
    (trouble,) = judged(keys=keys).troubles
    assert (trouble.since, trouble.count, trouble.items) == (NOW - 99, 3, ("a", "b", "c"))


def test_sentence_names_five_and_counts_the_rest():
    names = tuple(f"d{number}.example" for number in range(1000))
    (trouble,) = judged(keys=replace(SOUND, unsigned=names, unsigned_count=5000)).troubles
    assert "d4.example and 4995 more" in trouble.what
    assert "d5.example" not in trouble.what


def test_database_that_is_away_leaves_keys_unknown():
    judgement = judged(keys=Keys(NOW, "it is away"))
    assert judgement.unknown == {"key-age", "rotation", "unsigned"}


def test_wrong_pillar_leaves_all_but_the_machine_unknown():
    judgement = judged(["dkim:domains: …"], local=DOWN, keys=None, names=None)
    assert kinds(judgement) == ["service", "settings"]
    assert judgement.unknown == {"database", "key-age", "rotation", "dns", "unsigned"}


def test_service_is_told_of_when_it_has_been_down_for_long_enough_and_once():
    beats = Beats()
    assert beats.beat(local=DOWN) == []
    assert beats.beat(local=DOWN) == [("service", "began")]
    assert beats.beat(local=DOWN) == []
    assert beats.beat() == [("service", "ended")]
    assert beats.beat() == []


def test_service_that_is_back_in_time_is_no_news():
    beats = Beats()
    assert beats.beat(local=DOWN) == []
    assert beats.beat() == []
    assert beats.beat(local=DOWN) == []


def test_trouble_is_repeated_as_often_as_is_set():
    beats = Beats()
    beats.beat(local=DOWN)
    beats.beat(local=DOWN)
    assert beats.beat(minutes=24 * 60 - 1, local=DOWN) == []
    assert beats.beat(local=DOWN) == [("service", "goes-on")]
    assert beats.beat(local=DOWN) == []


def test_trouble_is_not_repeated_where_that_is_off():
    beats = Beats(replace(WATCH, repeat=None))
    beats.beat(local=DOWN)
    beats.beat(local=DOWN)
    assert beats.beat(minutes=10**6, local=DOWN) == []


def test_record_is_told_of_when_a_later_look_confirms_it():
    beats = Beats()
    assert beats.beat(dns=["a"]) == []
    assert beats.beat(minutes=59, dns=["a"]) == []
    assert beats.beat(dns=["a"]) == [("dns", "began")]


def test_old_answer_of_dns_confirms_nothing_by_growing_older():
    first = Names(NOW, wrong=("a",), wrong_count=1)
    memory = {}
    for hours in range(5):
        later = NOW + hours * 3600
        judgement = judge(Settings(), (), Facts(replace(WELL, at=later), SOUND, first))
        told, memory = news(WATCH, judgement, memory, later)
        assert told == []


def test_another_record_is_told_of_in_its_own_time():
    beats = Beats()
    beats.beat(dns=["a"])
    beats.beat(minutes=60, dns=["a"])
    assert beats.beat(dns=["a", "b"]) == []
    assert beats.beat(minutes=60, dns=["a", "b"]) == [("dns", "grew")]
    assert beats.beat(dns=["b"]) == []
    assert beats.beat() == [("dns", "ended")]


def test_what_can_not_be_seen_neither_begins_nor_ends():
    beats = Beats()
    unsigned = replace(SOUND, unsigned=("example.net",), unsigned_count=1)
    assert beats.beat(keys=unsigned) == [("unsigned", "began")]
    away = Keys(NOW, "it is away")
    assert beats.beat(keys=away) == []
    assert beats.beat(keys=away) == [("database", "began")]
    assert beats.beat(keys=unsigned) == [("database", "ended")]
    assert beats.beat() == [("unsigned", "ended")]


def test_clock_that_was_set_back_delays_no_news_for_ever():
    beats = Beats()
    beats.beat(local=DOWN)
    beats.now -= 10**6
    assert beats.beat(local=DOWN) == []
    assert beats.beat(local=DOWN) == [("service", "began")]


def test_event_says_when_it_began_and_lists_twenty_at_most():
    names = tuple(f"d{number}.example" for number in range(30))
    judgement = judged(keys=replace(SOUND, unsigned=names, unsigned_count=30))
    (one,), _ = news(WATCH, judgement, {}, NOW)
    plain = one.as_plain()
    assert plain["since"] == "2027-01-15T08:00:00+00:00"
    assert (len(plain["items"]), plain["count"]) == (20, 30)
    json.dumps(plain)


@given(st.lists(st.tuples(st.booleans(), st.sets(st.sampled_from("abc"))), max_size=30))
def test_every_begin_has_one_end_and_the_other_way_round(course):
    beats = Beats(Watch(down_for=0, differs_for=60, repeat=120))
    heard = {}
    for up, wrong in [*course, (True, set())]:
        for kind, change in beats.beat(local=WELL if up else DOWN, dns=sorted(wrong)):
            heard.setdefault(kind, []).append(change)
    for changes in heard.values():
        marks = [change for change in changes if change in ("began", "ended")]
        assert marks == ["began", "ended"] * (len(marks) // 2)
        assert changes[0] == "began"
        assert changes[-1] == "ended"


def test_what_is_kept_is_for_root_alone_and_comes_back(tmp_path):
    folder = str(tmp_path / "watch")
    with store.locked(folder, wait=False) as mine:
        assert mine
    kept = Kept(replace(SOUND, late=(Late("a", "active", None),)), IN_DNS)
    store.write_facts(folder, kept)
    assert store.read_facts(folder) == kept
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{folder}/facts.json").st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": {"at": 1, "new": 2}}', '{"names": 3}'])
def test_file_that_is_not_whole_is_as_none(tmp_path, text):
    (tmp_path / "facts.json").write_text(text)
    (tmp_path / "told.json").write_text(text)
    assert store.read_facts(str(tmp_path)) == Kept()
    assert isinstance(store.read_told(str(tmp_path)), dict)


def test_one_at_a_time_gathers_facts(tmp_path):
    with store.locked(str(tmp_path), wait=False), store.locked(str(tmp_path), wait=False) as mine:
        assert not mine


def test_database_and_dns_are_asked_at_intervals_of_their_own():
    settings = Settings(watch=Watch(database_every=300, dns_every=3600))
    kept = Kept(SOUND, IN_DNS)
    assert not gathering.is_due(settings, kept, NOW + 299)
    assert gathering.is_due(settings, kept, NOW + 300)
    later = Kept(replace(SOUND, at=NOW + 3400), IN_DNS)
    assert not gathering.is_due(settings, later, NOW + 3599)
    assert gathering.is_due(settings, later, NOW + 3600)


def test_what_was_away_is_looked_at_with_each_beat():
    settings = Settings(watch=Watch(every=60, database_every=300))
    kept = Kept(Keys(NOW, "it is away"), IN_DNS)
    assert gathering.is_due(settings, kept, NOW + 60)


def test_dns_is_never_asked_where_that_is_off():
    settings = Settings(watch=Watch(dns_every=None))
    assert not gathering.is_due(settings, Kept(SOUND, None), NOW + 1)


def test_look_from_before_the_clock_was_set_back_is_void():
    assert gathering.is_due(Settings(), Kept(SOUND, IN_DNS), NOW - 10)


def test_metrics_parse_and_say_what_is_known():
    found = exposition.metrics(facts(), judged())
    metrics = parse(exposition.render(found))
    assert metrics["dkim_service_up"] == {
        (("service", "opendkim"),): 1,
        (("service", "postfix"),): 1,
    }
    assert metrics["dkim_keys"] == {(("algorithm", "rsa"), ("state", "active")): 2}
    assert metrics["dkim_dns_records"] == {(("verdict", "right"),): 2}
    assert metrics["dkim_watch_timestamp_seconds"] == {(): NOW}
    assert metrics["dkim_trouble"] == {(("kind", kind),): 0 for kind in KINDS}
    assert "dkim_trouble_info" not in metrics


def test_metrics_of_what_is_unknown_are_left_out():
    seen = facts(keys=Keys(NOW, "it is away"), names=None)
    metrics = parse(exposition.render(exposition.metrics(seen, judge(Settings(), (), seen))))
    assert metrics["dkim_database_up"] == {(): 0}
    assert not metrics.keys() & {"dkim_keys", "dkim_domains_hosted", "dkim_dns_records"}
    shown = {dict(labels)["kind"] for labels in metrics["dkim_trouble"]}
    assert shown == set(KINDS) - {"key-age", "rotation", "unsigned", "dns"}


@given(st.text(), st.text())
def test_labels_come_back_as_they_were(subject, item):
    local = Local(NOW, {subject: False}, {})
    keys = replace(SOUND, unsigned=(item,), unsigned_count=1)
    seen = Facts(local, keys, None)
    metrics = parse(exposition.render(exposition.metrics(seen, judge(Settings(), (), seen))))
    assert metrics["dkim_service_up"] == {(("service", subject),): 0}
    assert (("item", item), ("kind", "unsigned")) in metrics["dkim_trouble_info"]


def test_file_of_metrics_is_for_all_and_replaced_in_one_step(tmp_path):
    path = tmp_path / "dkim.prom"
    exposition.write(str(path), "old 1\n")
    with path.open() as reader:
        exposition.write(str(path), "new 1\n")
        assert reader.read() == "old 1\n"
    assert path.read_text() == "new 1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["dkim.prom"]


@pytest.mark.parametrize(
    "path", [None, 7, "dkim.prom", "/tmp/passwd", "/none/dkim.prom", "/a\0.prom"]
)
def test_path_that_is_none_is_refused(path):
    with pytest.raises(InvalidValue, match="path"):
        exposition.write(path, "")


def test_file_that_a_unit_writes_is_found_in_it(tmp_path):
    unit, file = tmp_path / "dkim-watch.service", tmp_path / "dkim.prom"
    unit.write_text(f"[Service]\nExecStart=/opt/salt-call --config-dir /etc/salt x {file}\n")
    assert exposition.written_by(str(unit)) == ()
    file.write_text("")
    assert exposition.written_by(str(unit)) == (str(file),)
    assert exposition.written_by(str(tmp_path / "none")) == ()


def test_services_of_both_daemons_are_looked_at(tmp_path):
    lookup = {
        "opendkim_service": "opendkim",
        "opendkim_config": "/etc/opendkim.conf",
        "postfix_service": "postfix",
        "postfix_chroot": str(tmp_path),
        "socket_directory": "opendkim",
    }
    domain = replace(Settings().defaults, name="a.example", keys=(KeyPlan("ed25519", "ed"),))
    seen = machine.look(
        Settings(domains={"a.example": domain}), lookup, NOW, lambda name: name == "opendkim"
    )
    assert seen.services == {"opendkim": True, "opendkim-ed25519": False, "postfix": False}
    assert list(seen.sockets.values()) == [False, False]


@pytest.mark.parametrize("noted", ["", "master", "0", str(os.getpid())])
def test_process_that_is_not_master_is_no_postfix(tmp_path, noted):
    (tmp_path / "pid").mkdir()
    (tmp_path / "pid" / "master.pid").write_text(noted)
    assert not machine.postfix_runs(str(tmp_path))


def test_settings_take_times_with_units_and_false():
    given = {"every": "30s", "dns_every": False, "repeat": "2h", "overdue": 3, "textfile": "/a/"}
    watch = read({"watch": given}).settings.watch
    assert (watch.every, watch.dns_every, watch.repeat, watch.overdue) == (30, None, 7200, 259200)
    assert watch.textfile == "/a"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("every", 60),
        ("every", "0s"),
        ("every", True),
        ("down_for", "-1s"),
        ("textfile", "metrics"),
        ("textfile", "/a b"),
        ("textfile", "/a%n"),
        ("unsigned", "all"),
        ("beacon", "on fire"),
        ("thresholds", {}),
    ],
)
def test_wrong_setting_is_named_and_stands_at_its_default(key, value):
    reading = read({"watch": {key: value}})
    assert [problem for problem in reading.problems if problem.startswith(f"dkim:watch:{key}: ")]
    assert reading.settings.watch == Watch()
