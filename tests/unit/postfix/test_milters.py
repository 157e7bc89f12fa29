"""Our milters join other people's in main.cf, leave without a trace, and disturb none."""

import pytest
from dkim_formula.postfix import milter_list, milters
from dkim_formula.postfix.expansion import expand
from dkim_formula.postfix.milter_list import entries
from dkim_formula.postfix.milters import plan_absent, plan_present, swap
from hypothesis import given
from hypothesis import strategies as st

OURS = "unix:opendkim/opendkim.sock"
OURS_ED25519 = "unix:opendkim/opendkim-ed25519.sock"
FRESH = {
    "smtpd_milters": f"{{ {OURS}, default_action=accept }}",
    "non_smtpd_milters": "$smtpd_milters",
    "internal_mail_filter_classes": "bounce",
}
FOREIGN = ("inet:127.0.0.1:9999", "unix:/rspamd/milter.sock", "{ inet:[::1]:8893, a=b }")


def entry(milter=OURS, action="accept"):
    return f"{{ {milter}, default_action={action} }}"


def planned(current, ours=(OURS,), action="accept", gone=(), **options):
    return {**current, **plan_present(current, ours, action, gone, **options)}


def cleaned(current, ours=(OURS,), before=None):
    classes = {milters.CLASSES: (before or {}).get(milters.CLASSES)}
    changed, unset = plan_absent(current, ours, before=classes)
    return {name: value for name, value in {**current, **changed}.items() if name not in unset}


def milters_of(parameters, name):
    """The addresses that Postfix would use, in its order."""
    value = expand(parameters.get(name, ""), parameters)
    return [milter_list.address(entry) for entry in entries(value)]


def test_fresh_main_cf_gets_what_the_howto_gives_it():
    assert plan_present({}, [OURS], "accept") == FRESH


def test_every_way_into_postfix_passes_both_daemons_in_order():
    after = planned({}, [OURS, OURS_ED25519])
    assert milters_of(after, "smtpd_milters") == [OURS, OURS_ED25519]
    assert milters_of(after, "non_smtpd_milters") == [OURS, OURS_ED25519]


def test_parameters_that_are_not_of_milters_are_not_planned():
    assert "myhostname" not in plan_present({"myhostname": "mail.example.net"}, [OURS], "accept")


def test_default_action_of_the_pillar_stands_at_our_entry_alone():
    current = {**FRESH, "milter_default_action": "accept"}
    assert plan_present(current, [OURS], "tempfail") == {"smtpd_milters": entry(action="tempfail")}


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
def test_action_that_the_pillar_does_not_name_is_the_site_s(current, found):
    after = planned(current, action=None)
    assert after["smtpd_milters"] == entry(action=found)
    assert after.get("milter_default_action") == current.get("milter_default_action")


def test_second_daemon_joins_with_the_action_of_the_first():
    after = planned({"smtpd_milters": entry(action="reject")}, [OURS, OURS_ED25519], None)
    assert after["smtpd_milters"] == f"{entry(action='reject')}, {entry(OURS_ED25519, 'reject')}"


def test_bounces_join_the_classes_that_are_filtered_already():
    after = planned({"internal_mail_filter_classes": "notify"})
    assert after["internal_mail_filter_classes"] == "notify, bounce"


def test_bounces_are_not_added_to_a_list_that_quotes_them():
    current = {"internal_mail_filter_classes": "$filtered", "filtered": "notify bounce"}
    assert "internal_mail_filter_classes" not in plan_present(current, [OURS], "accept")


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
def test_foreign_milters_stay_as_they_are_written_and_come_first(before, after):
    assert planned({"smtpd_milters": before})["smtpd_milters"] == after


def test_mail_of_local_programs_passes_our_milter_alone_where_the_foreign_one_is_kept_from_it():
    after = planned({"smtpd_milters": "inet:a:1"})
    assert after["non_smtpd_milters"] == entry()


def test_foreign_milter_of_local_mail_alone_is_not_put_before_smtp_clients():
    after = planned({"non_smtpd_milters": "inet:a:1"})
    assert milters_of(after, "smtpd_milters") == [OURS]
    assert milters_of(after, "non_smtpd_milters") == ["inet:a:1", OURS]


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
def test_lists_that_quote_each_other_pass_each_milter_once(current):
    after = planned(current)
    assert milters_of(after, "smtpd_milters") == ["inet:a:1", OURS]
    assert milters_of(after, "non_smtpd_milters") == ["inet:a:1", OURS]


def test_list_that_quotes_an_empty_one_through_another_parameter_makes_no_circle():
    after = planned({"smtpd_milters": "$all", "all": "$non_smtpd_milters"})
    assert milters_of(after, "smtpd_milters") == [OURS]
    assert milters_of(after, "non_smtpd_milters") == [OURS]


SPELLINGS = [
    OURS,
    "unix:/opendkim/opendkim.sock",
    "local:opendkim/opendkim.sock",
    "unix:/var/spool/postfix/opendkim/opendkim.sock",
    "local:/var/spool/postfix/opendkim//opendkim.sock",
    "unix:./opendkim/opendkim.sock",
    "unix:$queue_directory/opendkim/opendkim.sock",
    f"{{ {OURS} }}",
    f"{{ {OURS}, default_action=tempfail }}",
    f"{{{OURS},default_action=tempfail}}",
    f"{{ {OURS}, {{ default_action = tempfail }} }}",
    "{ $dkim }",
    "${on?unix:/opendkim/opendkim.sock}",
    "${on?{unix:/opendkim/opendkim.sock}:{inet:b:2}}",
    "${off:unix:/opendkim/opendkim.sock}",
]


@pytest.mark.parametrize("written", SPELLINGS)
def test_our_milter_in_any_spelling_is_one_entry_that_every_service_finds(written):
    current = {"smtpd_milters": f"{written} inet:a:1", "dkim": OURS, "on": "yes"}
    after = planned(current, action="accept")
    there = entries(expand(after["smtpd_milters"], after))
    assert [milter_list.address(one) for one in there] == [OURS, "inet:a:1"]
    assert milter_list.own_action(there[0]) == "accept"
    assert plan_present(after, [OURS], "accept") == {}


@pytest.mark.parametrize("written", ["$dkim", "${dkim}", "$(dkim)"])
def test_parameter_that_holds_our_milter_holds_its_entry(written):
    after = planned({"smtpd_milters": f"inet:a:1, {written}", "dkim": OURS})
    assert (after["smtpd_milters"], after["dkim"]) == (f"inet:a:1, {written}", entry())


def test_settings_of_our_entry_stay():
    written = f"{{ {OURS}, command_timeout=60s, {{ connect_timeout = 5s }} }}"
    after = planned({"smtpd_milters": written}, action="tempfail")
    assert after["smtpd_milters"] == (
        f"{{ {OURS}, command_timeout=60s, {{ connect_timeout = 5s }}, default_action=tempfail }}"
    )


def test_parameter_that_master_cf_quotes_holds_our_entry():
    current = {"submission_milters": "inet:localhost:8891"}
    older = {OURS: ["inet:localhost:8891"]}
    after = planned(current, older=older, quoting=["$submission_milters"])
    assert after["submission_milters"] == entry()


def test_conditional_with_other_milters_beside_ours_stays_as_it_is():
    written = f"${{on?inet:a:1 {OURS}}}"
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
def test_two_addresses_mean_one_place_or_two(one, other, same):
    assert bool(milters.places(one) & milters.places(other)) is same


def test_link_leads_to_the_socket(tmp_path):
    (tmp_path / "queue" / "opendkim").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "queue" / "opendkim")
    queue = str(tmp_path / "queue")
    linked = f"unix:{tmp_path}/link/opendkim.sock"
    assert milters.Ours([OURS], queue=queue).which(linked) == OURS


def test_milter_of_ours_that_is_needed_no_more_leaves_both_lists():
    after = planned(planned({}, [OURS, OURS_ED25519]), [OURS], gone=[OURS_ED25519])
    assert after == FRESH


def test_milter_of_ours_that_is_needed_no_more_leaves_the_list_that_is_quoted():
    current = {"smtpd_milters": "$dkim", "dkim": f"{OURS}, {OURS_ED25519}"}
    after = planned(current, [OURS], gone=[OURS_ED25519])
    assert (after["smtpd_milters"], after["dkim"]) == ("$dkim", entry())


def test_references_survive_when_a_neighbour_leaves():
    current = {"smtpd_milters": f"${{foreign}}, {OURS}", "foreign": "inet:a:1"}
    assert cleaned(current)["smtpd_milters"] == "${foreign}"


def test_reference_to_nothing_is_not_taken_for_ours():
    assert milters.without(f"$absent, {OURS}", [OURS], {}) == "$absent"


def test_conditional_of_postfix_is_left_as_it_is():
    conditional = "${spam?inet:a:1}"
    after = planned({"smtpd_milters": conditional})
    assert after["smtpd_milters"] == f"{conditional}, {entry()}"


def test_cleaned_main_cf_is_as_before():
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
def test_clean_gives_back_what_was_there(current):
    after = planned(current, action="tempfail")
    joined = milters.CLASSES in plan_present(current, [OURS], "tempfail")
    left = cleaned(after, before=current) if joined else cleaned_alone(after)
    assert {name: value for name, value in left.items() if value} == {
        name: value for name, value in current.items() if value
    }


def cleaned_alone(current):
    changed, unset = plan_absent(current, [OURS])
    return {name: value for name, value in {**current, **changed}.items() if name not in unset}


def test_clean_takes_our_class_out_of_a_list_that_has_changed_since():
    current = {**FRESH, "internal_mail_filter_classes": "notify, bounce"}
    assert cleaned(current) == {"internal_mail_filter_classes": "notify"}


def test_clean_empties_no_braces():
    current = {
        **FRESH,
        "smtpd_milters": "inet:a:1, { $dkim, command_timeout=60s }",
        "dkim": OURS,
    }
    assert cleaned(current)["smtpd_milters"] == "inet:a:1"


def test_clean_of_a_main_cf_without_our_milters_changes_nothing():
    assert plan_absent({"milter_default_action": "accept"}, [OURS]) == ({}, [])
    assert plan_absent({"smtpd_milters": "inet:a:1"}, [OURS]) == ({}, [])


def test_clean_takes_older_addresses_of_ours_too():
    current = {"smtpd_milters": "inet:a:1, inet:localhost:8891"}
    older = {OURS: ["inet:localhost:8891"]}
    assert plan_absent(current, [OURS], older=older) == ({"smtpd_milters": "inet:a:1"}, [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("inet:localhost:8891", OURS),
        ("inet:a:1, inet:127.0.0.1:8891", f"inet:a:1, {OURS}"),
        (
            "{ inet:localhost:8891, default_action=tempfail }",
            f"{{ {OURS}, default_action=tempfail }}",
        ),
        (f"{OURS}, inet:localhost:8891", OURS),
        (
            f"{{ inet:localhost:8891, default_action=tempfail }}, {OURS}",
            f"{{ {OURS}, default_action=tempfail }}",
        ),
    ],
)
def test_daemon_that_moved_is_found_at_its_new_address(before, after):
    old = ["inet:localhost:8891", "inet:127.0.0.1:8891"]
    assert swap({"smtpd_milters": before}, old, OURS) == {"smtpd_milters": after}


def test_daemon_that_moved_is_followed_where_a_parameter_names_it():
    current = {"smtpd_milters": "$dkim, inet:a:1", "dkim": "inet:localhost:8891"}
    assert swap(current, ["inet:localhost:8891"], OURS) == {"dkim": OURS}


def test_nothing_follows_a_daemon_that_main_cf_does_not_know():
    assert swap({"smtpd_milters": "inet:a:1"}, ["inet:localhost:8891"], OURS) == {}


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
def test_list_is_parted_as_postfix_parts_it(value, found):
    assert entries(value) == found


def test_reference_to_itself_ends():
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


def test_parameter_that_is_not_set_expands_to_nothing():
    assert expand("x$absent", {}) == "x"


foreign_lists = st.lists(st.sampled_from(FOREIGN), unique=True).map(", ".join)
separate = st.fixed_dictionaries(
    {},
    optional={
        "smtpd_milters": foreign_lists,
        "non_smtpd_milters": foreign_lists,
        "internal_mail_filter_classes": st.sampled_from(["", "notify", "bounce", "notify bounce"]),
        "milter_default_action": st.sampled_from(milters.MILTER_DEFAULT_ACTIONS),
    },
)
quoting = st.builds(
    lambda value, rest: {**rest, **value},
    st.sampled_from(
        [
            {"non_smtpd_milters": "$smtpd_milters"},
            {"smtpd_milters": "${non_smtpd_milters}", "non_smtpd_milters": FOREIGN[0]},
            {"smtpd_milters": "$spam", "non_smtpd_milters": "$spam", "spam": FOREIGN[1]},
            {"smtpd_milters": f"{FOREIGN[2]} $spam", "spam": ""},
        ]
    ),
    separate,
)
main_cfs = st.one_of(separate, quoting)
daemons = st.sampled_from([[OURS], [OURS, OURS_ED25519]])
actions = st.sampled_from(milters.MILTER_DEFAULT_ACTIONS)


@given(main_cfs, daemons, actions)
def test_what_is_planned_needs_no_plan(current, ours, action):
    assert plan_present(planned(current, ours, action), ours, action) == {}


@given(main_cfs, daemons, actions)
def test_each_milter_signs_once_and_after_the_foreign_ones(current, ours, action):
    after = planned(current, ours, action)
    for name in ("smtpd_milters", "non_smtpd_milters"):
        there = milters_of(after, name)
        assert there[-len(ours) :] == ours
        assert [there.count(milter) for milter in ours] == [1] * len(ours)


@given(main_cfs, daemons, actions)
def test_no_foreign_milter_is_lost_or_moved(current, ours, action):
    after = planned(current, ours, action)
    for name in ("smtpd_milters", "non_smtpd_milters"):
        before = milters_of(current, name)
        assert milters_of(after, name)[: len(before)] == before


@given(main_cfs, daemons, actions)
def test_leaving_after_joining_restores_the_lists(current, ours, action):
    after = cleaned(planned(current, ours, action), ours, current)
    for name in ("smtpd_milters", "non_smtpd_milters"):
        assert milters_of(after, name) == milters_of(current, name)
    assert after.get("milter_default_action") == current.get("milter_default_action")


@given(main_cfs, daemons, actions)
def test_what_was_left_is_not_left_again(current, ours, action):
    assert plan_absent(cleaned(planned(current, ours, action), ours), ours) == ({}, [])


@given(main_cfs)
def test_second_algorithm_comes_and_goes_without_a_trace(current):
    one = planned(current)
    both = planned(one, [OURS, OURS_ED25519])
    again = planned(both, [OURS], gone=[OURS_ED25519])
    for name in ("smtpd_milters", "non_smtpd_milters"):
        assert milters_of(again, name) == milters_of(one, name)
