"""Every way by which mail comes into Postfix is seen, and where it leads."""

import pytest
from dkim_formula.postfix import joining, service_milters
from dkim_formula.postfix.milters import Ours
from dkim_formula.postfix.service_milters import Configuration

OURS = "unix:opendkim/opendkim.sock"
KNOWN = Ours([OURS])
ENTRY = f"{{ {OURS}, default_action=tempfail }}"
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


def round_us(found, meant=()):
    return [way.service for way in service_milters.unsigned(found, KNOWN, meant)]


def test_services_as_debian_has_them_lead_through_us():
    assert round_us(configuration()) == []
    assert [way.service for way in service_milters.ways(configuration(), KNOWN)] == [
        "smtp/inet",
        "pickup/unix",
    ]


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({"smtp__inet__smtpd_milters": ""}, ["smtp/inet"]),
        ({"smtp__inet__smtpd_milters": "inet:localhost:11332"}, ["smtp/inet"]),
        ({"smtp__inet__smtpd_milters": "$none"}, ["smtp/inet"]),
        ({"smtp__inet__smtpd_milters": "$dkim", "smtp__inet__dkim": OURS}, []),
        ({"smtp__inet__smtpd_milters": f"inet:localhost:11332 {OURS}"}, []),
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
def test_service_that_goes_round_us_is_found(own, found):
    assert round_us(configuration(**own)) == found


def test_main_cf_can_keep_all_mail_from_milters():
    main = {**MAIN, "receive_override_options": "no_milters"}
    assert round_us(configuration(main=main)) == ["smtp/inet", "pickup/unix"]


def test_cleanup_of_its_own_decides_for_its_pickup():
    second = service("unfiltered", "cleanup", "unix")
    found = configuration(
        second,
        pickup__unix__cleanup_service_name="unfiltered",
        unfiltered__unix__non_smtpd_milters="",
    )
    assert round_us(found) == ["pickup/unix"]


@pytest.mark.parametrize(
    ("spelling", "chroot", "reached"),
    [
        (OURS, "y", True),
        (OURS, "n", True),
        (OURS, "-", True),
        ("unix:/opendkim/opendkim.sock", "y", True),
        ("unix:/opendkim/opendkim.sock", "n", False),
        ("unix:/opendkim/opendkim.sock", "-", False),
        ("unix:/var/spool/postfix/opendkim/opendkim.sock", "n", True),
        ("unix:/var/spool/postfix/opendkim/opendkim.sock", "y", False),
    ],
)
def test_socket_is_found_or_not_by_the_chroot_column(spelling, chroot, reached):
    found = Configuration({"smtpd_milters": spelling}, [service("smtp", "smtpd", chroot=chroot)])
    assert (round_us(found) == []) is reached


def test_service_that_is_meant_to_go_round_us_is_not_told():
    found = configuration(SUBMISSION, smtp__inet__smtpd_milters="")
    assert round_us(found) == ["smtp/inet"]
    assert round_us(found, ["smtp/inet"]) == []


@pytest.mark.parametrize(
    ("own", "found"),
    [
        # Signed on the way in, and passed on as it is afterwards.
        ({"127.0.0.1:10025__inet__smtpd_milters": ""}, []),
        # Signed behind the filter, which may change the message.
        ({"smtp__inet__smtpd_milters": "", "smtp__inet__content_filter": "amavis:x"}, []),
        # No filter leads from this service to the signing one.
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
def test_mail_that_passes_a_content_filter_has_to_pass_us_once(own, found):
    own = {"127.0.0.1:10025__inet__content_filter": "", **own}
    assert round_us(configuration(BACK, **own)) == found


def test_way_says_what_leads_its_mail_round_us():
    (way,) = service_milters.unsigned(configuration(smtp__inet__smtpd_milters=""), KNOWN)
    assert str(way) == "smtp/inet (-o smtpd_milters= in master.cf)"


def test_second_daemon_that_a_service_lacks_is_told():
    both = Ours([OURS, "unix:opendkim/opendkim-ed25519.sock"])
    main = dict.fromkeys(MAIN, f"{ENTRY} {both.milters[1]}")
    found = configuration(main=main, smtp__inet__smtpd_milters=OURS)
    (way,) = service_milters.unsigned(found, both)
    assert (way.service, way.lacks) == ("smtp/inet", both.milters[1:])


def test_table_of_milters_by_client_is_told_with_its_lines(tmp_path):
    table = tmp_path / "map"
    table.write_text(f"# text\n192.0.2.0/24 DISABLE\n198.51.100.0/24 {OURS}\n::/0 inet:a:1\n")
    (told,) = service_milters.maps(
        configuration(main={"smtpd_milter_maps": f"cidr:{table}"}), KNOWN
    )
    assert told.endswith("without OpenDKIM: 192.0.2.0/24 DISABLE, ::/0 inet:a:1")


def test_table_of_one_service_is_told_with_its_place():
    found = configuration(smtp__inet__smtpd_milter_maps="inline:{ 192.0.2.1=DISABLE }")
    (told,) = service_milters.maps(found, KNOWN)
    assert told.startswith("smtp/inet/smtpd_milter_maps = inline:")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("inet:localhost:8891", f"{{{OURS},default_action=tempfail}}"),
        ("unix:/opendkim/opendkim.sock", f"{{{OURS},default_action=tempfail}}"),
        (
            "{ inet:x:1, { a = b } }, { inet:localhost:8891, command_timeout=60s }",
            f"{{inet:x:1,{{a=b}}}},{{{OURS},command_timeout=60s,default_action=tempfail}}",
        ),
    ],
)
def test_service_that_names_our_daemon_elsewhere_follows_it(before, after):
    found = configuration(SUBMISSION, submission__inet__smtpd_milters=before)
    older = {OURS: ["inet:localhost:8891"]}
    plan = joining.present(found, [OURS], "tempfail", older=older)
    assert plan.own == {"submission/inet/smtpd_milters": after}
    assert joining.present(plan.after(), [OURS], "tempfail", older=older).changes() == {}
    assert round_us(plan.after()) == []


def test_service_that_does_not_name_our_daemon_is_not_touched():
    found = configuration(SUBMISSION, submission__inet__smtpd_milters="")
    plan = joining.present(found, [OURS], "tempfail")
    assert plan.own == {}
    assert any("submission/inet" in note for note in plan.notes)


def test_service_loses_our_milter_where_we_leave():
    found = configuration(SUBMISSION, submission__inet__smtpd_milters=f"inet:x:1 {OURS}")
    assert joining.absent(found, [OURS]).own == {"submission/inet/smtpd_milters": "inet:x:1"}
