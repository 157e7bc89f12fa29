"""Managed milters are added to main.cf and removed from it; other milters stay."""

import pytest
from dkim_formula.postfix import main_cf_milters, milter_addresses, milter_entry
from dkim_formula.postfix.expansion import expand
from dkim_formula.postfix.main_cf_milters import plan_absent, plan_present, swap
from dkim_formula.postfix.milter_entry import entries
from hypothesis import given
from hypothesis import strategies as st

DKIM = "unix:opendkim/opendkim.sock"
DKIM_ED25519 = "unix:opendkim/opendkim-ed25519.sock"
FRESH = {
    "smtpd_milters": f"{{ {DKIM}, default_action=accept }}",
    "non_smtpd_milters": "$smtpd_milters",
    "internal_mail_filter_classes": "bounce",
}
OTHERS = ("inet:127.0.0.1:9999", "unix:/rspamd/milter.sock", "{ inet:[::1]:8893, a=b }")


def entry(milter=DKIM, action="accept"):
    return f"{{ {milter}, default_action={action} }}"


def planned(current, managed=(DKIM,), action="accept", gone=(), **options):
    return {**current, **plan_present(current, managed, action, gone, **options)}


def cleaned(current, managed=(DKIM,), before=None):
    classes = {main_cf_milters.CLASSES: (before or {}).get(main_cf_milters.CLASSES)}
    changed, unset = plan_absent(current, managed, before=classes)
    return {name: value for name, value in {**current, **changed}.items() if name not in unset}


def milters_of(parameters, name):
    """Return the addresses that Postfix would use, in its order."""
    value = expand(parameters.get(name, ""), parameters)
    return [milter_entry.address(entry) for entry in entries(value)]


def test_new_main_cf_gets_the_values_of_the_howto():
    assert plan_present({}, [DKIM], "accept") == FRESH


def test_mail_of_both_lists_passes_both_daemons_in_order():
    after = planned({}, [DKIM, DKIM_ED25519])
    assert milters_of(after, "smtpd_milters") == [DKIM, DKIM_ED25519]
    assert milters_of(after, "non_smtpd_milters") == [DKIM, DKIM_ED25519]


def test_other_parameters_stay_out_of_the_plan():
    assert "myhostname" not in plan_present({"myhostname": "mail.example.net"}, [DKIM], "accept")


def test_default_action_of_the_pillar_is_only_in_the_managed_entry():
    current = {**FRESH, "milter_default_action": "accept"}
    assert plan_present(current, [DKIM], "tempfail") == {"smtpd_milters": entry(action="tempfail")}


@pytest.mark.parametrize(
    ("current", "found"),
    [
        ({}, "accept"),
        ({"milter_default_action": "tempfail"}, "tempfail"),
        ({"milter_default_action": "$mine", "mine": "quarantine"}, "quarantine"),
        ({"milter_default_action": "shutdown"}, "accept"),
        ({"smtpd_milters": entry(action="reject"), "milter_default_action": "tempfail"}, "reject"),
    ],
)
def test_action_that_the_pillar_does_not_set_is_that_of_main_cf(current, found):
    after = planned(current, action=None)
    assert after["smtpd_milters"] == entry(action=found)
    assert after.get("milter_default_action") == current.get("milter_default_action")


def test_second_daemon_joins_with_the_action_of_the_first():
    after = planned({"smtpd_milters": entry(action="reject")}, [DKIM, DKIM_ED25519], None)
    assert after["smtpd_milters"] == f"{entry(action='reject')}, {entry(DKIM_ED25519, 'reject')}"


def test_bounces_are_added_to_the_filtered_classes():
    after = planned({"internal_mail_filter_classes": "notify"})
    assert after["internal_mail_filter_classes"] == "notify, bounce"


def test_bounces_are_not_added_to_a_list_that_refers_to_them():
    current = {"internal_mail_filter_classes": "$filtered", "filtered": "notify bounce"}
    assert "internal_mail_filter_classes" not in plan_present(current, [DKIM], "accept")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("inet:127.0.0.1:9999", f"inet:127.0.0.1:9999, {entry()}"),
        ("inet:a:1 inet:b:2", f"inet:a:1 inet:b:2, {entry()}"),
        ("inet:a:1,", f"inet:a:1, {entry()}"),
        (
            "{ inet:a:1, connect_timeout=10s, default_action=accept }",
            f"{{ inet:a:1, connect_timeout=10s, default_action=accept }}, {entry()}",
        ),
        (
            "{ inet:a:1, { default_action = tempfail } }",
            f"{{ inet:a:1, {{ default_action = tempfail }} }}, {entry()}",
        ),
    ],
)
def test_other_milters_stay_as_written_and_come_first(before, after):
    assert planned({"smtpd_milters": before})["smtpd_milters"] == after


def test_local_mail_passes_only_the_managed_milter_if_others_are_for_smtp():
    after = planned({"smtpd_milters": "inet:a:1"})
    assert after["non_smtpd_milters"] == entry()


def test_other_milter_for_local_mail_is_not_added_for_smtp():
    after = planned({"non_smtpd_milters": "inet:a:1"})
    assert milters_of(after, "smtpd_milters") == [DKIM]
    assert milters_of(after, "non_smtpd_milters") == ["inet:a:1", DKIM]


@pytest.mark.parametrize(
    "current",
    [
        {"smtpd_milters": "inet:a:1", "non_smtpd_milters": "$smtpd_milters"},
        {"smtpd_milters": "inet:a:1", "non_smtpd_milters": "${smtpd_milters}"},
        {"smtpd_milters": "inet:a:1", "non_smtpd_milters": "$(smtpd_milters)"},
        {"smtpd_milters": "$non_smtpd_milters", "non_smtpd_milters": "inet:a:1"},
        {"smtpd_milters": "$all", "non_smtpd_milters": "$all", "all": "inet:a:1"},
        {"smtpd_milters": "$all", "all": "$non_smtpd_milters", "non_smtpd_milters": "inet:a:1"},
        {"non_smtpd_milters": "$all", "all": "$smtpd_milters", "smtpd_milters": "inet:a:1"},
    ],
)
def test_lists_that_refer_to_each_other_have_each_milter_once(current):
    after = planned(current)
    assert milters_of(after, "smtpd_milters") == ["inet:a:1", DKIM]
    assert milters_of(after, "non_smtpd_milters") == ["inet:a:1", DKIM]


def test_indirect_reference_to_an_empty_list_makes_no_circle():
    after = planned({"smtpd_milters": "$all", "all": "$non_smtpd_milters"})
    assert milters_of(after, "smtpd_milters") == [DKIM]
    assert milters_of(after, "non_smtpd_milters") == [DKIM]


SPELLINGS = [
    DKIM,
    "unix:/opendkim/opendkim.sock",
    "local:opendkim/opendkim.sock",
    "unix:/var/spool/postfix/opendkim/opendkim.sock",
    "local:/var/spool/postfix/opendkim//opendkim.sock",
    "unix:./opendkim/opendkim.sock",
    "unix:$queue_directory/opendkim/opendkim.sock",
    f"{{ {DKIM} }}",
    f"{{ {DKIM}, default_action=tempfail }}",
    f"{{{DKIM},default_action=tempfail}}",
    f"{{ {DKIM}, {{ default_action = tempfail }} }}",
    "{ $dkim }",
    "${on?unix:/opendkim/opendkim.sock}",
    "${on?{unix:/opendkim/opendkim.sock}:{inet:b:2}}",
    "${off:unix:/opendkim/opendkim.sock}",
]


@pytest.mark.parametrize("written", SPELLINGS)
def test_managed_milter_in_any_spelling_becomes_one_entry_for_every_service(written):
    current = {"smtpd_milters": f"{written} inet:a:1", "dkim": DKIM, "on": "yes"}
    after = planned(current, action="accept")
    found = entries(expand(after["smtpd_milters"], after))
    assert [milter_entry.address(one) for one in found] == [DKIM, "inet:a:1"]
    assert milter_entry.own_action(found[0]) == "accept"
    assert plan_present(after, [DKIM], "accept") == {}


@pytest.mark.parametrize("written", ["$dkim", "${dkim}", "$(dkim)"])
def test_entry_is_rewritten_in_the_parameter_that_has_it(written):
    after = planned({"smtpd_milters": f"inet:a:1, {written}", "dkim": DKIM})
    assert (after["smtpd_milters"], after["dkim"]) == (f"inet:a:1, {written}", entry())


def test_settings_of_the_managed_entry_stay():
    written = f"{{ {DKIM}, command_timeout=60s, {{ connect_timeout = 5s }} }}"
    after = planned({"smtpd_milters": written}, action="tempfail")
    assert after["smtpd_milters"] == (
        f"{{ {DKIM}, command_timeout=60s, {{ connect_timeout = 5s }}, default_action=tempfail }}"
    )


def test_entry_is_rewritten_in_a_parameter_that_master_cf_refers_to():
    current = {"submission_milters": "inet:localhost:8891"}
    older = {DKIM: ["inet:localhost:8891"]}
    after = planned(current, older=older, quoting=["$submission_milters"])
    assert after["submission_milters"] == entry()


def test_conditional_with_other_milters_stays_as_it_is():
    written = f"${{on?inet:a:1 {DKIM}}}"
    after = planned({"smtpd_milters": written, "on": "yes"})
    assert after["smtpd_milters"] == written


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("inet:localhost:8891", "inet:[127.0.0.1]:8891", True),
        ("inet:LOCALHOST:8891", "inet:[::1]:8891", True),
        ("inet:localhost:8891", "inet:localhost:8892", False),
        ("inet:192.0.2.1:8891", "inet:localhost:8891", False),
        ("unix:/var/run/x/y.sock", "local:/run/x/y.sock", True),
        ("unix:opendkim/opendkim.sock", "unix:/opendkim/opendkim.sock", True),
        ("unix:opendkim/opendkim.sock", "unix:opendkim/other.sock", False),
    ],
)
def test_addresses_refer_to_the_same_endpoint_or_not(one, other, same):
    assert bool(milter_addresses.endpoints(one) & milter_addresses.endpoints(other)) is same


def test_link_to_the_socket_is_followed(tmp_path):
    (tmp_path / "queue" / "opendkim").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "queue" / "opendkim")
    queue = str(tmp_path / "queue")
    linked = f"unix:{tmp_path}/link/opendkim.sock"
    assert milter_addresses.ManagedMilters([DKIM], queue=queue).which(linked) == DKIM


def test_unneeded_managed_milter_is_removed_from_both_lists():
    after = planned(planned({}, [DKIM, DKIM_ED25519]), [DKIM], gone=[DKIM_ED25519])
    assert after == FRESH


def test_unneeded_managed_milter_is_removed_from_a_referenced_list():
    current = {"smtpd_milters": "$dkim", "dkim": f"{DKIM}, {DKIM_ED25519}"}
    after = planned(current, [DKIM], gone=[DKIM_ED25519])
    assert (after["smtpd_milters"], after["dkim"]) == ("$dkim", entry())


def test_references_stay_when_a_neighbour_is_removed():
    current = {"smtpd_milters": f"${{foreign}}, {DKIM}", "foreign": "inet:a:1"}
    assert cleaned(current)["smtpd_milters"] == "${foreign}"


def test_reference_to_a_missing_parameter_is_not_managed():
    assert main_cf_milters.without(f"$absent, {DKIM}", [DKIM], {}) == "$absent"


def test_conditional_of_postfix_is_left_as_it_is():
    conditional = "${spam?inet:a:1}"
    after = planned({"smtpd_milters": conditional})
    assert after["smtpd_milters"] == f"{conditional}, {entry()}"


def test_cleaned_main_cf_has_the_former_values():
    assert cleaned(planned({"myhostname": "mail.example.net"})) == {
        "myhostname": "mail.example.net"
    }


@pytest.mark.parametrize(
    "current",
    [
        {"smtpd_milters": "inet:a:1", "milter_default_action": "tempfail"},
        {"smtpd_milters": "inet:a:1  inet:b:2", "internal_mail_filter_classes": "notify"},
        {"milter_default_action": "tempfail"},
        {"internal_mail_filter_classes": "bounce"},
        {"internal_mail_filter_classes": "notify, bounce"},
        {"internal_mail_filter_classes": ""},
    ],
)
def test_clean_restores_the_former_values(current):
    after = planned(current, action="tempfail")
    joined = main_cf_milters.CLASSES in plan_present(current, [DKIM], "tempfail")
    left = cleaned(after, before=current) if joined else cleaned_alone(after)
    assert {name: value for name, value in left.items() if value} == {
        name: value for name, value in current.items() if value
    }


def cleaned_alone(current):
    changed, unset = plan_absent(current, [DKIM])
    return {name: value for name, value in {**current, **changed}.items() if name not in unset}


def test_clean_removes_the_added_class_from_a_list_that_has_changed():
    current = {**FRESH, "internal_mail_filter_classes": "notify, bounce"}
    assert cleaned(current) == {"internal_mail_filter_classes": "notify"}


def test_clean_leaves_no_empty_braces():
    current = {
        **FRESH,
        "smtpd_milters": "inet:a:1, { $dkim, command_timeout=60s }",
        "dkim": DKIM,
    }
    assert cleaned(current)["smtpd_milters"] == "inet:a:1"


def test_clean_of_a_main_cf_without_managed_milters_changes_nothing():
    assert plan_absent({"milter_default_action": "accept"}, [DKIM]) == ({}, [])
    assert plan_absent({"smtpd_milters": "inet:a:1"}, [DKIM]) == ({}, [])


def test_clean_removes_older_addresses_too():
    current = {"smtpd_milters": "inet:a:1, inet:localhost:8891"}
    older = {DKIM: ["inet:localhost:8891"]}
    assert plan_absent(current, [DKIM], older=older) == ({"smtpd_milters": "inet:a:1"}, [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("inet:localhost:8891", DKIM),
        ("inet:a:1, inet:127.0.0.1:8891", f"inet:a:1, {DKIM}"),
        (
            "{ inet:localhost:8891, default_action=tempfail }",
            f"{{ {DKIM}, default_action=tempfail }}",
        ),
        (f"{DKIM}, inet:localhost:8891", DKIM),
        (
            f"{{ inet:localhost:8891, default_action=tempfail }}, {DKIM}",
            f"{{ {DKIM}, default_action=tempfail }}",
        ),
    ],
)
def test_moved_daemon_gets_its_new_address(before, after):
    old = ["inet:localhost:8891", "inet:127.0.0.1:8891"]
    assert swap({"smtpd_milters": before}, old, DKIM) == {"smtpd_milters": after}


def test_moved_daemon_gets_its_new_address_in_a_referenced_parameter():
    current = {"smtpd_milters": "$dkim, inet:a:1", "dkim": "inet:localhost:8891"}
    assert swap(current, ["inet:localhost:8891"], DKIM) == {"dkim": DKIM}


def test_address_of_an_unknown_daemon_changes_nothing():
    assert swap({"smtpd_milters": "inet:a:1"}, ["inet:localhost:8891"], DKIM) == {}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        (" , ", []),
        ("inet:a:1,inet:b:2\tinet:c:3", ["inet:a:1", "inet:b:2", "inet:c:3"]),
        ("{ inet:a:1, x = y } inet:b:2", ["{ inet:a:1, x = y }", "inet:b:2"]),
        ("{ inet:a:1, { x = y, z } }, $b", ["{ inet:a:1, { x = y, z } }", "$b"]),
        ("${a} $(b)", ["${a}", "$(b)"]),
        ("{ inet:a:1", ["{ inet:a:1"]),
    ],
)
def test_list_is_split_as_postfix_splits_it(value, found):
    assert entries(value) == found


def test_expansion_of_a_reference_to_itself_ends():
    assert isinstance(expand("$a", {"a": "$a"}), str)


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("${a?x}", "x"),
        ("${none?x}", ""),
        ("${none:x}", "x"),
        ("${a?{x, y}:{z}}", "x, y"),
        ("${none?{x}:{z}}", "z"),
        ("$(a?x)", "x"),
        ("${a?$b}", "2"),
        ("$$a", "$a"),
        ("${{1}=={2}?{x}:{y}}", "${{1}=={2}?{x}:{y}}"),
        ("${a", "${a"),
        ("$", "$"),
    ],
)
def test_value_is_expanded_as_postfix_expands_it(value, expanded):
    assert expand(value, {"a": "1", "b": "2"}) == expanded


def test_missing_parameter_expands_to_an_empty_text():
    assert expand("x$absent", {}) == "x"


other_lists = st.lists(st.sampled_from(OTHERS), unique=True).map(", ".join)
separate = st.fixed_dictionaries(
    {},
    optional={
        "smtpd_milters": other_lists,
        "non_smtpd_milters": other_lists,
        "internal_mail_filter_classes": st.sampled_from(["", "notify", "bounce", "notify bounce"]),
        "milter_default_action": st.sampled_from(main_cf_milters.MILTER_DEFAULT_ACTIONS),
    },
)
quoting = st.builds(
    lambda value, rest: {**rest, **value},
    st.sampled_from(
        [
            {"non_smtpd_milters": "$smtpd_milters"},
            {"smtpd_milters": "${non_smtpd_milters}", "non_smtpd_milters": OTHERS[0]},
            {"smtpd_milters": "$spam", "non_smtpd_milters": "$spam", "spam": OTHERS[1]},
            {"smtpd_milters": f"{OTHERS[2]} $spam", "spam": ""},
        ]
    ),
    separate,
)
main_cfs = st.one_of(separate, quoting)
daemons = st.sampled_from([[DKIM], [DKIM, DKIM_ED25519]])
actions = st.sampled_from(main_cf_milters.MILTER_DEFAULT_ACTIONS)


@given(main_cfs, daemons, actions)
def test_second_plan_is_empty(current, managed, action):
    assert plan_present(planned(current, managed, action), managed, action) == {}


@given(main_cfs, daemons, actions)
def test_each_milter_signs_once_and_after_the_other_milters(current, managed, action):
    after = planned(current, managed, action)
    for name in ("smtpd_milters", "non_smtpd_milters"):
        found = milters_of(after, name)
        assert found[-len(managed) :] == managed
        assert [found.count(milter) for milter in managed] == [1] * len(managed)


@given(main_cfs, daemons, actions)
def test_other_milters_are_neither_lost_nor_moved(current, managed, action):
    after = planned(current, managed, action)
    for name in ("smtpd_milters", "non_smtpd_milters"):
        before = milters_of(current, name)
        assert milters_of(after, name)[: len(before)] == before


@given(main_cfs, daemons, actions)
def test_removal_after_adding_restores_the_lists(current, managed, action):
    after = cleaned(planned(current, managed, action), managed, current)
    for name in ("smtpd_milters", "non_smtpd_milters"):
        assert milters_of(after, name) == milters_of(current, name)
    assert after.get("milter_default_action") == current.get("milter_default_action")


@given(main_cfs, daemons, actions)
def test_second_removal_changes_nothing(current, managed, action):
    assert plan_absent(cleaned(planned(current, managed, action), managed), managed) == ({}, [])


@given(main_cfs)
def test_second_algorithm_is_added_and_removed_without_a_trace(current):
    one = planned(current)
    both = planned(one, [DKIM, DKIM_ED25519])
    again = planned(both, [DKIM], gone=[DKIM_ED25519])
    for name in ("smtpd_milters", "non_smtpd_milters"):
        assert milters_of(again, name) == milters_of(one, name)
