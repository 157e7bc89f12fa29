"""What is watched, in a real database and at name servers: when it is trouble, when not."""

import re
import time
from dataclasses import replace

import pytest
import salt.loader
import salt.template
from dkim_formula.database import connection as db
from dkim_formula.operations import keys, watch
from dkim_formula.settings import Reading
from functional.postgres import execute
from functional.rotations import site  # noqa: F401
from functional.salt_loaders import TREE
from support.exposition import parse

DAY = 86400


@pytest.fixture
def watched(site, tmp_path):  # noqa: F811
    """A site whose only key is new and in DNS, and DNS names that nobody else has."""
    site.pillar["domains"] = {
        "example.com": {"algorithm": "ed25519"},
        "example.org": False,
    }
    site.pillar["lookup"] = {"postfix_chroot": str(tmp_path)}
    site.make_keys()
    site.publish("default")
    site.folder = str(tmp_path / "kept")
    return site


def look(site, fresh=True):  # noqa: F811
    """The kinds of trouble, each with what it concerns."""
    found = watch.watch(Reading(site.settings), site.folder, lambda _name: True, fresh)
    # No daemon runs beside these tests.
    return {
        one["kind"]: one["items"]
        for one in found["troubles"]
        if one["kind"] not in ("service", "socket")
    }


def metrics(site):  # noqa: F811
    return parse(watch.metrics(Reading(site.settings), site.folder, lambda _name: True))


def run(site, statement, arguments=None):  # noqa: F811
    with db.session(site.database, setup=True) as connection:
        execute(connection, statement, arguments)


def test_site_in_order_has_no_trouble(watched):
    assert look(watched) == {}


def test_key_is_too_old_when_it_signs_for_a_week_longer_than_it_should(watched):
    watched.pass_time(187 * DAY - 600)
    assert look(watched) == {}
    watched.pass_time(1200)
    assert look(watched) == {"key-age": ["default._domainkey.example.com"]}


def test_age_follows_the_pillar(watched):
    watched.pillar["rotation"] = {"every": 30}
    watched.pillar["watch"] = {"overdue": 1}
    watched.pass_time(31 * DAY - 600)
    assert look(watched) == {}
    watched.pass_time(1200)
    assert look(watched) == {"key-age": ["default._domainkey.example.com"]}


def test_pending_key_is_stuck_after_a_week(watched):
    keys.generate(watched.settings, "example.com", "next")
    watched.publish("next")
    watched.pass_time(7 * DAY - 600)
    assert look(watched) == {}
    watched.pass_time(1200)
    assert look(watched) == {"rotation": ["next._domainkey.example.com"]}


@pytest.mark.parametrize(("state", "days"), [("retired", 14), ("revoked", 30)])
def test_key_that_left_is_stuck_a_week_after_its_time(watched, state, days):
    watched.pillar["rotation"] = {"retire_for": 14, "revoke_for": 30}
    keys.generate(watched.settings, "example.com", "next")
    watched.publish("next")
    run(watched, "UPDATE public.dkim SET state = %s WHERE selector = 'default'", (state,))
    run(watched, "UPDATE public.dkim SET state = 'active' WHERE selector = 'next'")
    watched.publish("default")
    watched.pass_time((days + 7) * DAY - 600)
    assert look(watched) == {}
    watched.pass_time(1200)
    assert look(watched) == {"rotation": ["default._domainkey.example.com"]}


def test_domain_that_the_pillar_leaves_out_is_nobody_s_trouble(watched):
    watched.pass_time(400 * DAY)
    watched.pillar["domains"] = {"example.com": False, "example.org": False}
    assert look(watched) == {}


def test_hosted_domain_without_a_key_is_unsigned(watched):
    watched.pillar["domains"].pop("example.org")
    assert look(watched) == {"unsigned": ["example.org"]}


def test_domain_that_nobody_chose_can_be_left_unsigned(watched):
    watched.pillar["domains"].pop("example.org")
    watched.pillar["watch"] = {"unsigned": "chosen"}
    assert look(watched) == {}


def test_domain_is_the_same_in_upper_case(watched):
    run(watched, "UPDATE public.domains SET domain = 'Example.com' WHERE domain = 'example.com'")
    assert look(watched) == {}


def test_domain_of_the_pillar_without_a_key_is_unsigned_though_no_table_hosts_it(watched):
    watched.pillar["domains"]["elsewhere.example"] = {}
    assert look(watched) == {"unsigned": ["elsewhere.example"]}


def test_alias_is_signed_by_another_s_key(watched):
    watched.pillar["domains"]["example.org"] = {"alias_of": "example.com"}
    assert look(watched) == {"unsigned": ["example.org"]}
    watched.make_keys()
    assert look(watched) == {}


def test_what_can_not_have_a_key_is_not_unsigned(watched):
    run(watched, "INSERT INTO public.domains (domain) VALUES ('ALL'), ('a b')")
    assert look(watched) == {}


@pytest.mark.parametrize("value", [None, "v=DKIM1; k=ed25519; p=AAAA"])
def test_record_that_differs_is_trouble_until_it_is_right(watched, value):
    name = "default._domainkey.example.com"
    watched.put(name, value, watched.servers[:1])
    assert look(watched) == {"dns": [f"{name} TXT: disagrees"]}
    watched.put(name, value)
    verdict = "absent" if value is None else "differs"
    assert look(watched) == {"dns": [f"{name} TXT: {verdict}"]}
    watched.publish("default")
    assert look(watched) == {}


def test_revoked_key_may_be_gone_from_dns(watched):
    run(watched, "UPDATE public.dkim SET state = 'revoked' WHERE selector = 'default'")
    keys.generate(watched.settings, "example.com", "next")
    watched.publish("next")
    assert look(watched) == {"dns": ["default._domainkey.example.com TXT: differs"]}
    watched.put("default._domainkey.example.com", None)
    assert look(watched) == {}


def test_name_server_that_is_silent_is_trouble(watched):
    watched.servers[0].silent = {"udp", "tcp"}
    assert look(watched) == {"dns": ["default._domainkey.example.com TXT: silent"]}


def test_dns_is_asked_at_its_interval_alone(watched):
    look(watched)
    asked = len(watched.servers[0].asked)
    assert asked
    for _ in range(3):
        look(watched, fresh=False)
    assert len(watched.servers[0].asked) == asked


def test_dns_that_is_not_to_be_asked_is_not(watched):
    watched.pillar["watch"] = {"dns_every": False}
    watched.put("default._domainkey.example.com", None)
    assert look(watched) == {}
    assert watched.servers[0].asked == []
    assert "dkim_dns_records" not in metrics(watched)


def test_database_that_is_away_is_trouble_and_its_keys_unknown(watched):
    watched.database = replace(watched.database, port=1)
    found = watch.watch(Reading(watched.settings), watched.folder, lambda _name: True, True)
    assert "database" in [one["kind"] for one in found["troubles"]]
    assert found["unknown"] == ["dns", "key-age", "rotation", "unsigned"]


def test_host_that_only_signs_leaves_keys_to_who_makes_them(watched):
    watched.database = replace(watched.database, host="db.example.com")
    reading = Reading(watched.settings)
    found = watch.watch(reading, watched.folder, lambda _name: True, True)
    assert {one["kind"] for one in found["troubles"]} <= {"service", "socket"}
    assert found["unknown"] == ["database", "dns", "key-age", "rotation", "unsigned"]
    assert not watch.is_due(reading, watched.folder)
    assert "dkim_database_up" not in metrics(watched)


def test_database_without_our_tables_is_trouble(watched):
    run(watched, "ALTER TABLE public.dkim RENAME TO other")
    assert "database" in look(watched)


def test_metrics_count_what_there_is(watched):
    keys.generate(watched.settings, "example.com", "next")
    watched.pillar["domains"].pop("example.org")
    found = metrics(watched)
    assert found["dkim_keys"] == {
        (("algorithm", "ed25519"), ("state", "active")): 1,
        (("algorithm", "ed25519"), ("state", "pending")): 1,
    }
    (oldest,) = found["dkim_oldest_active_key_timestamp_seconds"].values()
    assert abs(oldest - time.time()) < DAY
    assert found["dkim_domains_hosted"] == {(): 2}
    assert found["dkim_domains_unsigned"] == {(): 1}
    assert found["dkim_dns_records"] == {
        (("verdict", "absent"),): 1,
        (("verdict", "right"),): 1,
    }
    assert (("item", "example.org"), ("kind", "unsigned")) in found["dkim_trouble_info"]


def test_beat_asks_neither_database_nor_dns(watched):
    beat = (Reading(watched.settings), watched.folder)
    assert watch.is_due(*beat)
    assert {one["kind"] for one in watch.beat(*beat, lambda _name: True)} <= {"service", "socket"}
    assert watched.servers[0].asked == []
    watch.gather(*beat)
    assert watched.servers[0].asked
    assert not watch.is_due(*beat)


def test_look_that_was_ended_is_told_of(watched):
    beat = (Reading(watched.settings), watched.folder)
    watch.gather(*beat)
    watch.gave_up(*beat, time.time())
    watched.pillar["watch"] = {"down_for": "0s"}
    told = watch.beat(Reading(watched.settings), watched.folder, lambda _name: True)
    (event,) = (one for one in told if one["kind"] == "database")
    assert (event["change"], "did not come back" in event["what"]) == ("began", True)


@pytest.mark.parametrize("change", ["began", "ended"])
def test_reactor_of_the_docs_renders_with_an_event(watched, loaded, change):
    text = (TREE / "docs" / "watching.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n# /srv/reactor/dkim_watch.sls\n(.*?)```", text, re.DOTALL)
    watched.pillar["watch"] = {"down_for": "0s"}
    events = watch.beat(Reading(watched.settings), watched.folder, lambda _name: False)
    event = {**next(one for one in events if one["kind"] == "service"), "change": change}
    # What a master gives a reactor: the event's data, with the minion in it.
    rendered = salt.template.compile_template(
        ":string:",
        salt.loader.render(loaded.opts, loaded.functions),
        "jinja|yaml",
        [],
        [],
        input_data=block,
        data={**event, "id": "mail.example.net"},
    )
    (told,) = rendered["tell the postmaster"]["local.smtp.send_msg"][1]["args"][2].values()
    assert event["what"] in told
    assert ("put OpenDKIM into order" in rendered) == (change == "began")
