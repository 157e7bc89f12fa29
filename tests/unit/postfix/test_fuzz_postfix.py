"""Generated main.cf, master.cf and unit files: only the managed milters change."""

import contextlib
import re

import pytest
from dkim_formula.errors import PostfixError
from dkim_formula.postfix import (
    expansion,
    main_cf_milters,
    milter_actions,
    milter_entry,
    milter_plan,
    saved_values,
    service_milters,
    stale_milters,
)
from dkim_formula.postfix.milter_addresses import ManagedMilters
from dkim_formula.postfix.service_milters import Configuration
from dkim_formula.signer import existing_config, unit
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples, odd_text

pytestmark = pytest.mark.one_release

RSA, ED25519 = "unix:opendkim/opendkim.sock", "unix:opendkim/opendkim-ed25519.sock"
OLDER = {RSA: ["inet:localhost:8891", "unix:/run/opendkim/opendkim.sock"]}
KNOWN = ManagedMilters([RSA, ED25519], OLDER)

addresses = st.sampled_from(
    [
        "inet:localhost:11332",
        "inet:[::1]:8893",
        "unix:rspamd/milter.sock",
        "unix:/spamass/spamass.sock",
        "inet:localhost:8891",
        "inet:127.0.0.1:8891",
        "local:/var/run/opendkim/opendkim.sock",
        RSA,
        "unix:/opendkim/opendkim.sock",
        "unix:/var/spool/postfix/opendkim/opendkim.sock",
        ED25519,
    ]
)
settings = st.sampled_from(
    [
        "connect_timeout=10s",
        "default_action=tempfail",
        "{ default_action = accept }",
        "{ command_timeout = 30s }",
    ]
)
braced = st.builds(
    lambda address, given: "{ " + ", ".join([address, *given]) + " }",
    addresses,
    st.lists(settings, max_size=2, unique_by=lambda one: "action" in one),
)
quoted = st.sampled_from(
    ["$one", "${two}", "$(one)", "${on?inet:a:1}", "${none:inet:b:2}", "${on?{inet:c:3}}"]
)
entry = addresses | braced | quoted
separators = st.sampled_from([", ", ",", " ", "  ", "\t", " , "])
lists = st.builds(
    lambda found, between: between.join(found), st.lists(entry, max_size=4), separators
)
plain_lists = st.lists(addresses | braced, max_size=3).map(", ".join)
main_cfs = st.fixed_dictionaries(
    {"one": plain_lists, "two": plain_lists, "on": st.just("yes")},
    optional={
        "smtpd_milters": lists,
        "non_smtpd_milters": lists | st.just("$smtpd_milters"),
        "milter_default_action": st.sampled_from(
            [*main_cf_milters.MILTER_DEFAULT_ACTIONS, "shutdown", ""]
        ),
        "internal_mail_filter_classes": st.sampled_from(["", "bounce", "notify", "notify bounce"]),
        "receive_override_options": st.sampled_from(["", "no_milters", "no_address_mappings"]),
        "smtpd_milter_maps": st.sampled_from(
            ["", "cidr:/none", "inline:{ {192.0.2.1 = DISABLE} }"]
        ),
        "myhostname": st.just("mail.example.net"),
    },
)
SERVICES = [
    line.split()
    for line in (
        "smtp inet n - y - - smtpd",
        "submission inet n - n - - smtpd",
        "127.0.0.1:10025 inet n - - - - smtpd",
        "pickup unix n - y 60 1 pickup",
        "cleanup unix n - - - 0 cleanup",
    )
]
master_cfs = st.dictionaries(
    st.sampled_from(
        [
            f"{fields[0]}/{fields[1]}/{name}"
            for fields in SERVICES
            for name in ("smtpd_milters", "non_smtpd_milters", "receive_override_options")
        ]
        + ["127.0.0.1:10025/inet/content_filter", "smtp/inet/smtpd_milter_maps"]
    ),
    lists | st.sampled_from(["", "no_milters", "cidr:/none"]),
    max_size=4,
)
configurations = st.builds(
    lambda main, own: Configuration(main, SERVICES, own), main_cfs, master_cfs
)
managed = st.sampled_from([[RSA], [RSA, ED25519]])
actions = st.sampled_from([None, *main_cf_milters.MILTER_DEFAULT_ACTIONS])


@pytest.fixture(autouse=True)
def every_milter_answers(monkeypatch, tmp_path):
    monkeypatch.setattr(stale_milters, "answers", lambda *_: True)
    monkeypatch.setattr(saved_values, "PATH", str(tmp_path / "none"))


def others(found, value, parameters):
    """Return the entries of other milters in a list, in their order, as Postfix reads them."""
    expanded = milter_entry.entries(expansion.expand(value, parameters))
    return [one for one in expanded if KNOWN.which(one) is None]


def everything_of_others(found):
    main = {
        name: others(found, found.main.get(name, ""), found.main) for name in main_cf_milters.LISTS
    }
    own = {
        name: others(found, found.own[name], found.parameters(name.rpartition("/")[0]))
        for name in found.lists()
    }
    return {**main, **{name: [without_blanks(one) for one in value] for name, value in own.items()}}


def without_blanks(text):
    return re.sub(r"\s", "", text)


def present(found, managed, action):
    return milter_plan.present(found, managed, action, older=OLDER)


@examples(150)
@given(configurations, managed, actions)
def test_managed_milters_are_added_once_and_other_entries_stay(found, managed, action):
    plan = present(found, managed, action)
    after = plan.after()
    assert present(after, managed, action).changes() == {}
    mine = everything_of_others(found)
    for name, value in everything_of_others(after).items():
        assert [without_blanks(one) for one in value] == [without_blanks(one) for one in mine[name]]
    known = ManagedMilters(managed, OLDER)
    for name in main_cf_milters.LISTS:
        found_entries = milter_entry.entries(expansion.expand(after.main[name], after.main))
        assert set(known.among(found_entries)) == set(managed)
        counted = [known.which(one) for one in found_entries if known.which(one)]
        # A list that refers to the same parameter twice keeps both references.
        if all(found.main.get(one, "").count("$") < 2 for one in main_cf_milters.LISTS):
            assert len(counted) == len(managed), found_entries
        if action:
            literal = [one for one in found_entries if one.startswith("{") and known.which(one)]
            assert {milter_entry.own_action(one) for one in literal} <= {action}
    unchanged = set(found.main) - {*main_cf_milters.LISTS, main_cf_milters.CLASSES, "one", "two"}
    assert {name: after.main[name] for name in unchanged} == {
        name: found.main[name] for name in unchanged
    }
    assert after.main.get("milter_default_action") == found.main.get("milter_default_action")
    assert not any(re.search(r"\s", value) for value in plan.own.values())


@examples(150)
@given(configurations, managed, actions)
def test_managed_milters_are_removed_and_the_former_values_are_restored(found, managed, action):
    joined = present(found, managed, action)
    saved = dict(joined.to_save or {})
    after = joined.after()
    known = ManagedMilters(managed, OLDER)
    left = milter_plan.absent(after, managed, OLDER, saved).after()
    assert milter_plan.absent(left, managed, OLDER).changes() == {}
    for name, value in everything_of_others(left).items():
        assert [without_blanks(one) for one in value] == [
            without_blanks(one) for one in everything_of_others(found)[name]
        ]
    for name in (main_cf_milters.DEFAULT_ACTION, main_cf_milters.CLASSES):
        before = found.main.get(name, "")
        assert milter_entry.entries(left.main.get(name, "")) == milter_entry.entries(before)
    every = [expansion.expand(left.main.get(name, ""), left.main) for name in main_cf_milters.LISTS]
    assert not known.among(one for value in every for one in milter_entry.entries(value))


@examples(150)
@given(
    st.dictionaries(
        st.sampled_from([*main_cf_milters.LISTS, main_cf_milters.CLASSES, "a", "b"]), odd_text()
    ),
    st.dictionaries(
        st.sampled_from(["smtp/inet/smtpd_milters", "smtp/inet/smtpd_milter_maps"]), odd_text()
    ),
)
def test_configuration_of_any_text_is_read(main, own):
    found = Configuration(main, SERVICES, own)
    list(milter_actions.entries(found))
    milter_actions.lets_mail_leave_unsigned(found, KNOWN)
    assert isinstance(service_milters.entrances(found, KNOWN), list)
    # An unclosed brace is refused.
    with contextlib.suppress(PostfixError):
        plan = present(found, [RSA], "tempfail")
        assert present(plan.after(), [RSA], "tempfail").main == {}
    milter_plan.absent(found, [RSA], OLDER)


@examples(150)
@given(st.lists(odd_text(), max_size=8).map("\n".join))
def test_unit_file_and_opendkim_conf_of_any_text_are_read(tmp_path_factory, text):
    for one in unit.settings(text, "/x"):
        assert one.line <= len(text.splitlines())
    for option in existing_config.parse(text, "/x"):
        assert option.name
