"""Each daemon has its own files; the pillar's options override the defaults; no password."""

import re

import pytest
from dkim_formula.postfix import main_cf_milters
from dkim_formula.secret import Secret
from dkim_formula.settings import model
from dkim_formula.signer import config_options, daemons, existing_config
from support.templates import opendkim_conf, rendered

LOOKUP = {
    "opendkim_service": "opendkim",
    "opendkim_config": "/etc/opendkim.conf",
    "postfix_chroot": "/var/spool/postfix",
    "socket_directory": "opendkim",
}
RSA = model.KeyPlan()
ED25519 = model.KeyPlan(algorithm="ed25519", selector="e1")


def settings(*plans, **parts):
    domain = model.Domain(name="example.com", keys=plans or (RSA,))
    return model.Settings(domains={"example.com": domain}, **parts)


def configured(algorithm="rsa", lookup=LOOKUP, **parts):
    return config_options.options(
        settings(RSA, ED25519, **parts), daemons.daemon(algorithm, lookup)
    )


def test_one_daemon_serves_rsa():
    assert [daemon.algorithm for daemon in daemons.daemons(settings(), LOOKUP)] == ["rsa"]


def test_ed25519_needs_a_second_daemon_after_the_first():
    needed = daemons.daemons(settings(RSA, ED25519), LOOKUP)
    assert [daemon.algorithm for daemon in needed] == ["rsa", "ed25519"]


def test_daemon_for_rsa_is_needed_even_if_only_ed25519_signs():
    # The daemon for RSA verifies incoming mail, and has the package's unit.
    needed = daemons.daemons(settings(ED25519), LOOKUP)
    assert [daemon.algorithm for daemon in needed] == ["rsa", "ed25519"]


@pytest.mark.parametrize(
    "made",
    [
        model.Settings(every_hosted=model.Domain(name="*", keys=(ED25519,))),
        model.Settings(
            domains={
                "example.com": model.Domain(
                    name="example.com",
                    addresses=(model.Address("a@example.com", keys=(ED25519,)),),
                )
            }
        ),
    ],
    ids=["every hosted domain", "an address"],
)
def test_ed25519_is_in_use_wherever_the_pillar_names_it(made):
    assert "ed25519" in daemons.algorithms_in_use(made)


def test_daemons_share_no_file_socket_or_service():
    one, other = daemons.daemons(settings(RSA, ED25519), LOOKUP)
    for field in ("service", "config_file", "socket", "milter"):
        assert getattr(one, field) != getattr(other, field)


def test_first_daemon_has_the_packages_names():
    assert daemons.daemon("rsa", LOOKUP) == daemons.Daemon(
        algorithm="rsa",
        service="opendkim",
        config_file="/etc/opendkim.conf",
        socket="/var/spool/postfix/opendkim/opendkim.sock",
        milter="unix:opendkim/opendkim.sock",
    )


def test_second_daemon_has_names_with_a_suffix():
    assert daemons.daemon("ed25519", LOOKUP) == daemons.Daemon(
        algorithm="ed25519",
        service="opendkim-ed25519",
        config_file="/etc/opendkim-ed25519.conf",
        socket="/var/spool/postfix/opendkim/opendkim-ed25519.sock",
        milter="unix:opendkim/opendkim-ed25519.sock",
    )


def test_socket_follows_the_lookup_for_daemon_and_postfix_alike():
    lookup = {**LOOKUP, "postfix_chroot": "/srv/postfix", "socket_directory": "/milters/dkim/"}
    daemon = daemons.daemon("rsa", lookup)
    assert daemon.socket == "/srv/postfix/milters/dkim/opendkim.sock"
    assert daemon.milter == "unix:milters/dkim/opendkim.sock"


def test_configuration_has_exactly_the_expected_text():
    assert configured() == {
        "Syslog": "yes",
        "SyslogSuccess": "yes",
        "Canonicalization": "relaxed/relaxed",
        "Mode": "sv",
        "SignHeaders": "*,+Message-ID,+MIME-Version,+Content-Type,+Content-Transfer-Encoding"
        ",+Sender,+List-Unsubscribe-Post",
        "OversignHeaders": "From,Subject,To,Cc,Date,Reply-To,MIME-Version,Content-Type"
        ",Content-Transfer-Encoding",
        "UMask": "007",
        "InternalHosts": "127.0.0.1,::1",
        "TrustAnchorFile": "/usr/share/dns/root.key",
        "SignatureAlgorithm": "rsa-sha256",
        "Socket": "local:/var/spool/postfix/opendkim/opendkim.sock",
        "KeyTable": "dsn:pgsql://vmail-dkim-reader@,/vmail/table=dkim_key_table"
        "?keycol=identifier?datacol=domain,selector,key",
        "SigningTable": "dsn:pgsql://vmail-dkim-reader@,/vmail/table=dkim_signing_table"
        "?keycol=pattern?datacol=identifier",
    }


def test_configuration_begins_with_the_header_and_ends_with_a_line_end():
    text = opendkim_conf(configured())
    assert text.splitlines()[0] == daemons.HEADER
    assert text.endswith("\n")
    assert max(map(len, text.splitlines())) < 200


def test_configuration_has_each_option_once_with_its_reason():
    site = model.OpenDKIM(settings={"LogWhy": True, "SelectCanonicalizationHeader": "X-Canon"})
    desired = configured(opendkim=site)
    text = opendkim_conf(desired)
    found = [(option.name, option.value) for option in existing_config.parse(text, "")]
    assert found == [*desired.items()]
    lines = text.splitlines()
    reason = lines[lines.index("UMask                   007") - 1]
    assert reason.startswith("# The socket is for the daemon's group.")


def test_second_daemon_only_signs_whatever_the_pillar_sets():
    site = model.OpenDKIM(
        settings={"Mode": "sv", "SoftwareHeader": True, "RemoveOldSignatures": True}
    )
    second = configured("ed25519", opendkim=site)
    assert second["Mode"] == "s"
    assert second["SignatureAlgorithm"] == "ed25519-sha256"
    assert "SoftwareHeader" not in second
    assert configured("rsa", opendkim=site)["SoftwareHeader"] == "yes"


def test_second_daemon_keeps_the_signature_of_the_first():
    site = model.OpenDKIM(settings={"RemoveOldSignatures": True})
    first, second = daemons.daemons(settings(RSA, ED25519), LOOKUP)
    assert config_options.options(settings(RSA, opendkim=site), first)["RemoveOldSignatures"]
    assert "RemoveOldSignatures" not in configured(second.algorithm, opendkim=site)
    lists = main_cf_milters.plan_present({}, [first.milter, second.milter])
    assert lists["smtpd_milters"].index(first.milter) < lists["smtpd_milters"].index(second.milter)


def test_second_daemon_reads_its_own_views():
    second = configured("ed25519")
    assert "/table=dkim_signing_table_ed25519?" in second["SigningTable"]
    assert "/table=dkim_key_table_ed25519?" in second["KeyTable"]


def test_views_are_named_with_their_schema():
    found = configured(database=model.Database(schema="mail"))
    assert "/table=mail.dkim_signing_table?" in found["SigningTable"]
    assert "/table=mail.dkim_key_table?" in found["KeyTable"]


def test_option_of_the_pillar_replaces_the_default_once():
    site = model.OpenDKIM(settings={"Canonicalization": "simple/simple", "LogWhy": True})
    found = configured(opendkim=site)
    assert found["Canonicalization"] == "simple/simple"
    assert found["LogWhy"] == "yes"


def test_longest_option_is_separated_from_its_value():
    longest = {"SelectCanonicalizationHeader": "X-Canon", "VBR-TrustedCertifiersOnly": True}
    text = opendkim_conf(configured(opendkim=model.OpenDKIM(settings=longest)))
    found = {option.name: option.value for option in existing_config.parse(text, "")}
    assert found["SelectCanonicalizationHeader"] == "X-Canon"
    assert found["VBR-TrustedCertifiersOnly"] == "yes"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (5, "5"),
        (0, "0"),
        ("relaxed/simple", "relaxed/simple"),
        (["127.0.0.1", "::1", "192.0.2.0/24"], "127.0.0.1,::1,192.0.2.0/24"),
        ([True, 7], "yes,7"),
    ],
)
def test_value_is_written_as_opendkim_reads_it(value, text):
    assert config_options.option_text(value) == text


@pytest.mark.parametrize(
    ("database", "authority"),
    [
        (model.Database(), "vmail-dkim-reader@,"),
        (model.Database(port=5433), "vmail-dkim-reader@5433+,"),
        (model.Database(host="db.example.com"), "vmail-dkim-reader@db.example.com"),
        (
            model.Database(host="db.example.com", port=5433),
            "vmail-dkim-reader@5433+db.example.com",
        ),
        (
            model.Database(host="db1.example.com,db2.example.com"),
            "vmail-dkim-reader@db1.example.com,db2.example.com",
        ),
        (model.Database(reader=model.Reader(name="dkim")), "dkim@,"),
    ],
)
def test_data_set_name_has_the_address_of_the_database(database, authority):
    assert config_options.dsn(database, "view", "key", ("a", "b")) == (
        f"dsn:pgsql://{authority}/vmail/table=view?keycol=key?datacol=a,b"
    )


@pytest.mark.parametrize(
    ("database", "variables"),
    [
        (model.Database(), {}),
        (
            model.Database(reader=model.Reader(auth="password", password=Secret("x"))),
            {"PGPASSFILE": "/etc/opendkim-pgpass"},
        ),
        (
            model.Database(
                host="db.example.com",
                reader=model.Reader(auth="password", password=Secret("x")),
            ),
            {
                "PGPASSFILE": "/etc/opendkim-pgpass",
                "PGSSLMODE": "verify-full",
                "PGCONNECT_TIMEOUT": "5",
                "PGSERVICEFILE": "/etc/opendkim-pgservice.conf",
                "PGSERVICE": "opendkim",
                "PGSSLROOTCERT": "/etc/ssl/certs/ca-certificates.crt",
            },
        ),
        (
            model.Database(
                host="db.example.com",
                sslmode="verify-ca",
                sslrootcert="/etc/ssl/ca.pem",
                reader=model.Reader(auth="password", password=Secret("x")),
            ),
            {
                "PGPASSFILE": "/etc/opendkim-pgpass",
                "PGSSLMODE": "verify-ca",
                "PGCONNECT_TIMEOUT": "5",
                "PGSERVICEFILE": "/etc/opendkim-pgservice.conf",
                "PGSERVICE": "opendkim",
                "PGSSLROOTCERT": "/etc/ssl/ca.pem",
            },
        ),
        (
            model.Database(
                host="db.example.com",
                sslmode="require",
                reader=model.Reader(auth="cert", sslcert="/etc/c.pem", sslkey="/etc/k.pem"),
            ),
            {
                "PGSSLMODE": "require",
                "PGCONNECT_TIMEOUT": "5",
                "PGSERVICEFILE": "/etc/opendkim-pgservice.conf",
                "PGSERVICE": "opendkim",
                "PGSSLCERT": "/etc/c.pem",
                "PGSSLKEY": "/etc/k.pem",
            },
        ),
    ],
    ids=["peer", "local password", "elsewhere", "elsewhere, own authority", "certificate"],
)
def test_environment_has_the_settings_that_a_data_set_name_cannot_have(database, variables):
    assert daemons.environment(database) == variables


def test_dead_server_is_noticed_before_postfix_gives_up():
    text = rendered("opendkim/files/pgservice.conf.jinja", section=daemons.SERVICE)
    assert text.splitlines()[0] == daemons.HEADER
    assert f"[{daemons.SERVICE}]" in text.splitlines()
    found = dict(line.split("=") for line in text.splitlines() if re.match(r"\w+=", line))
    assert int(found["tcp_user_timeout"]) < 30_000
    assert int(found["keepalives_idle"]) < 30


def test_no_password_is_ever_in_the_configuration():
    reader = model.Reader(auth="password", password=Secret("correct-horse"))
    database = model.Database(
        host="db.example.com", password=Secret("battery-staple"), reader=reader
    )
    found = opendkim_conf(configured(database=database))
    assert "correct-horse" not in found
    assert "battery-staple" not in found
    assert "correct-horse" not in str(daemons.environment(database))


def test_daemon_that_logs_in_by_peer_needs_no_variables():
    assert daemons.environment(model.Database()) == {}


def test_password_is_read_only_from_its_file():
    reader = model.Reader(auth="password", password=Secret("correct-horse"))
    variables = daemons.environment(model.Database(reader=reader))
    assert variables == {"PGPASSFILE": "/etc/opendkim-pgpass"}


def test_remote_server_is_verified_as_the_settings_say():
    reader = model.Reader(auth="password", password=Secret("correct-horse"))
    database = model.Database(
        host="db.example.com", sslmode="verify-ca", sslrootcert="/etc/ssl/ca.pem", reader=reader
    )
    variables = daemons.environment(database)
    assert variables["PGSSLMODE"] == "verify-ca"
    assert variables["PGSSLROOTCERT"] == "/etc/ssl/ca.pem"
    assert "correct-horse" not in str(variables)
