"""The services that take mail, and whether their mail passes the managed milters."""

import pytest
from dkim_formula.postfix import milter_maps, milter_plan, service_milters
from dkim_formula.postfix.milter_addresses import ManagedMilters
from dkim_formula.postfix.service_milters import Configuration

DKIM = "unix:opendkim/opendkim.sock"
KNOWN = ManagedMilters([DKIM])
ENTRY = f"{{ {DKIM}, default_action=tempfail }}"
MAIN = {"smtpd_milters": ENTRY, "non_smtpd_milters": "$smtpd_milters"}


def service(name, command, kind="inet", chroot="y"):
    return [name, kind, "n", "-", chroot, "-", "-", command]


SMTP = service("smtp", "smtpd")
SUBMISSION = service("submission", "smtpd")
CLEANUP = service("cleanup", "cleanup", "unix")
PICKUP = service("pickup", "pickup", "unix")
BACK = service("127.0.0.1:10025", "smtpd")


def configuration(*listed, main=None, **own):
    every = [SMTP, PICKUP, CLEANUP, *listed]
    return Configuration(
        MAIN if main is None else main,
        every,
        {name.replace("__", "/"): value for name, value in own.items()},
    )


def bypassing(found, intended=()):
    return [entrance.service for entrance in service_milters.unsigned(found, KNOWN, intended)]


def test_mail_of_debians_services_passes_the_milters():
    assert bypassing(configuration()) == []
    assert [entrance.service for entrance in service_milters.entrances(configuration(), KNOWN)] == [
        "smtp/inet",
        "pickup/unix",
    ]


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({"smtp__inet__smtpd_milters": ""}, ["smtp/inet"]),
        ({"smtp__inet__smtpd_milters": "inet:localhost:11332"}, ["smtp/inet"]),
        ({"smtp__inet__smtpd_milters": "$none"}, ["smtp/inet"]),
        ({"smtp__inet__smtpd_milters": "$dkim", "smtp__inet__dkim": DKIM}, []),
        ({"smtp__inet__smtpd_milters": f"inet:localhost:11332 {DKIM}"}, []),
        ({"smtp__inet__receive_override_options": "no_milters"}, ["smtp/inet"]),
        ({"smtp__inet__receive_override_options": "no_address_mappings,no_milters"}, ["smtp/inet"]),
        ({"smtp__inet__receive_override_options": "no_address_mappings"}, []),
        ({"smtp__inet__non_smtpd_milters": ""}, []),
        ({"pickup__unix__receive_override_options": "no_milters"}, ["pickup/unix"]),
        ({"cleanup__unix__non_smtpd_milters": ""}, ["pickup/unix"]),
        ({"cleanup__unix__smtpd_milters": ""}, ["pickup/unix"]),
        ({"pickup__unix__cleanup_service_name": "other"}, []),
        ({"smtp__inet__syslog_name": "postfix/smtp"}, []),
    ],
)
def test_service_that_bypasses_the_milters_is_found(own, found):
    assert bypassing(configuration(**own)) == found


def test_main_cf_can_switch_all_milters_off():
    main = {**MAIN, "receive_override_options": "no_milters"}
    assert bypassing(configuration(main=main)) == ["smtp/inet", "pickup/unix"]


def test_own_cleanup_service_of_pickup_counts():
    second = service("unfiltered", "cleanup", "unix")
    found = configuration(
        second,
        pickup__unix__cleanup_service_name="unfiltered",
        unfiltered__unix__non_smtpd_milters="",
    )
    assert bypassing(found) == ["pickup/unix"]


@pytest.mark.parametrize(
    ("spelling", "chroot", "reached"),
    [
        (DKIM, "y", True),
        (DKIM, "n", True),
        (DKIM, "-", True),
        ("unix:/opendkim/opendkim.sock", "y", True),
        ("unix:/opendkim/opendkim.sock", "n", False),
        ("unix:/opendkim/opendkim.sock", "-", False),
        ("unix:/var/spool/postfix/opendkim/opendkim.sock", "n", True),
        ("unix:/var/spool/postfix/opendkim/opendkim.sock", "y", False),
    ],
)
def test_chroot_column_decides_whether_the_socket_is_found(spelling, chroot, reached):
    found = Configuration({"smtpd_milters": spelling}, [service("smtp", "smtpd", chroot=chroot)])
    assert (bypassing(found) == []) is reached


def test_service_that_may_bypass_the_milters_is_not_reported():
    found = configuration(SUBMISSION, smtp__inet__smtpd_milters="")
    assert bypassing(found) == ["smtp/inet"]
    assert bypassing(found, ["smtp/inet"]) == []


@pytest.mark.parametrize(
    ("own", "found"),
    [
        # Signed by the first service; the second smtpd changes nothing.
        ({"127.0.0.1:10025__inet__smtpd_milters": ""}, []),
        # Signed by the second smtpd, after the filter, which may change the message.
        ({"smtp__inet__smtpd_milters": "", "smtp__inet__content_filter": "amavis:x"}, []),
        # This service has no filter, so its mail does not reach the signing service.
        ({"smtp__inet__smtpd_milters": ""}, ["smtp/inet"]),
        (
            {
                "smtp__inet__smtpd_milters": "",
                "smtp__inet__content_filter": "amavis:x",
                "127.0.0.1:10025__inet__smtpd_milters": "",
            },
            ["smtp/inet"],
        ),
    ],
)
def test_mail_with_a_content_filter_has_to_pass_the_milters_once(own, found):
    own = {"127.0.0.1:10025__inet__content_filter": "", **own}
    assert bypassing(configuration(BACK, **own)) == found


def test_service_names_the_setting_that_bypasses_the_milters():
    (entrance,) = service_milters.unsigned(configuration(smtp__inet__smtpd_milters=""), KNOWN)
    assert str(entrance) == "smtp/inet (-o smtpd_milters= in master.cf)"


def test_missing_second_daemon_of_a_service_is_reported():
    both = ManagedMilters([DKIM, "unix:opendkim/opendkim-ed25519.sock"])
    main = dict.fromkeys(MAIN, f"{ENTRY} {both.milters[1]}")
    found = configuration(main=main, smtp__inet__smtpd_milters=DKIM)
    (entrance,) = service_milters.unsigned(found, both)
    assert (entrance.service, entrance.missing) == ("smtp/inet", both.milters[1:])


def test_table_of_milters_by_client_is_reported_with_its_lines(tmp_path):
    table = tmp_path / "map"
    table.write_text(f"# text\n192.0.2.0/24 DISABLE\n198.51.100.0/24 {DKIM}\n::/0 inet:a:1\n")
    (message,) = milter_maps.effects(
        configuration(main={"smtpd_milter_maps": f"cidr:{table}"}), KNOWN
    )
    assert message.endswith("without OpenDKIM: 192.0.2.0/24 DISABLE, ::/0 inet:a:1")


def test_table_of_one_service_is_reported_with_its_setting():
    found = configuration(smtp__inet__smtpd_milter_maps="inline:{ 192.0.2.1=DISABLE }")
    (message,) = milter_maps.effects(found, KNOWN)
    assert message.startswith("smtp/inet/smtpd_milter_maps = inline:")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("inet:localhost:8891", f"{{{DKIM},default_action=tempfail}}"),
        ("unix:/opendkim/opendkim.sock", f"{{{DKIM},default_action=tempfail}}"),
        (
            "{ inet:x:1, { a = b } }, { inet:localhost:8891, command_timeout=60s }",
            f"{{inet:x:1,{{a=b}}}},{{{DKIM},command_timeout=60s,default_action=tempfail}}",
        ),
    ],
)
def test_service_that_names_an_older_address_gets_the_new_one(before, after):
    found = configuration(SUBMISSION, submission__inet__smtpd_milters=before)
    older = {DKIM: ["inet:localhost:8891"]}
    plan = milter_plan.present(found, [DKIM], "tempfail", older=older)
    assert plan.own == {"submission/inet/smtpd_milters": after}
    assert milter_plan.present(plan.after(), [DKIM], "tempfail", older=older).changes() == {}
    assert bypassing(plan.after()) == []


def test_service_that_does_not_name_the_daemon_stays():
    found = configuration(SUBMISSION, submission__inet__smtpd_milters="")
    plan = milter_plan.present(found, [DKIM], "tempfail")
    assert plan.own == {}
    assert any("submission/inet" in note for note in plan.notes)


def test_removal_removes_the_milter_from_a_service():
    found = configuration(SUBMISSION, submission__inet__smtpd_milters=f"inet:x:1 {DKIM}")
    assert milter_plan.absent(found, [DKIM]).own == {"submission/inet/smtpd_milters": "inet:x:1"}
