"""Execution functions that generate, list, move and delete keys."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from salt.exceptions import CommandExecutionError, SaltInvocationError

pytestmark = pytest.mark.one_release

KEY = {
    "domain",
    "selector",
    "algorithm",
    "bits",
    "state",
    "address",
    "created",
    "activated",
    "retired",
    "revoked",
    "public_key",
    "problem",
    "record",
}


def states(minion, domain="example.com"):
    return {key["selector"]: key["state"] for key in minion.call("dkim.list_keys", domain)}


def test_generate_returns_all_of_a_key_but_its_private_half(mailhost):
    key = mailhost.call("dkim.generate", "example.com")
    assert key.keys() == KEY | {"existed", "changes", "notes"}
    assert (key["domain"], key["selector"]) == ("example.com", "default")
    assert (key["algorithm"], key["bits"], key["state"]) == ("rsa", 2048, "active")
    assert key["existed"] is False
    assert key["record"]["name"] == "default._domainkey.example.com"
    assert f"p={key['public_key']}" in key["record"]["value"]


def test_minion_fixture_finds_a_leaked_private_key(mailhost):
    mailhost.call("dkim.generate", "example.com")
    assert not mailhost.leaks()
    mailhost.outputs += mailhost.private_keys()
    assert mailhost.leaks()
    mailhost.outputs.clear()


def test_generate_never_replaces_a_key(mailhost):
    first = mailhost.call("dkim.generate", "example.com")
    before = mailhost.private_keys()
    second = mailhost.call("dkim.generate", "example.com", bits=4096)
    assert mailhost.private_keys() == before
    assert second["existed"] is True
    assert second["public_key"] == first["public_key"]
    assert second["bits"] == 2048


def test_second_key_is_pending_while_the_first_signs(mailhost):
    mailhost.call("dkim.generate", "example.com")
    key = mailhost.call("dkim.generate", "example.com", selector="s2026")
    assert (key["state"], key["existed"]) == ("pending", False)
    assert states(mailhost) == {"default": "active", "s2026": "pending"}


def test_key_follows_the_settings_of_its_domain(mailhost):
    mailhost.set_pillar(domains={"example.com": {"selector": "mail", "bits": 1024}})
    key = mailhost.call("dkim.generate", "example.com")
    assert (key["selector"], key["bits"]) == ("mail", 1024)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("domain", "exa mple.com"),
        ("domain", f"{'a' * 64}.com"),
        ("domain", "-example.com"),
        ("selector", "under_score!"),
        ("algorithm", "dsa"),
        ("bits", 512),
        ("bits", "many"),
    ],
)
def test_wrong_argument_is_reported_with_its_value(mailhost, argument, value):
    arguments = {"domain": "example.com", argument: value}
    with pytest.raises(SaltInvocationError) as error:
        mailhost.call("dkim.generate", **arguments)
    assert str(error.value).startswith(f"{argument}: ")
    assert str(value) in str(error.value)
    assert mailhost.call("dkim.list_keys") == []


@pytest.mark.parametrize("test", [True, False])
def test_domain_that_is_not_hosted_is_refused(mailhost, test):
    with pytest.raises(CommandExecutionError, match=r"^domain: example\.net is neither in"):
        mailhost.call("dkim.generate", "example.net", test=test)


def test_generate_under_test_returns_the_later_changes(mailhost):
    planned = mailhost.call("dkim.generate", "example.com", selector="s2026", test=True)
    assert mailhost.call("dkim.list_keys") == []
    change = {"old": None, "new": "rsa 2048"}
    assert planned["changes"] == {"key s2026._domainkey.example.com": change}
    made = mailhost.call("dkim.generate", "example.com", selector="s2026")
    assert made["changes"] == planned["changes"]
    planned = mailhost.call("dkim.generate", "example.com", selector="s2026", test=True)
    assert planned["changes"] == {}


def test_generate_missing_under_test_returns_the_later_changes(mailhost):
    planned = mailhost.call("dkim.generate_missing", test=True)
    assert "key default._domainkey.example.com" in planned["changes"]
    assert mailhost.call("dkim.generate_missing")["changes"] == planned["changes"]
    assert mailhost.call("dkim.generate_missing", test=True)["changes"] == {}
    assert mailhost.call("dkim.generate_missing")["changes"] == {}


def test_generate_missing_keeps_an_existing_key(mailhost):
    mailhost.call("dkim.generate", "example.com")
    (before,) = mailhost.private_keys()
    mailhost.call("dkim.generate_missing")
    assert before in mailhost.private_keys()
    assert states(mailhost) == {"default": "active"}


def test_keys_are_listed_for_all_domains_or_one(mailhost):
    mailhost.call("dkim.generate_missing")
    every = mailhost.call("dkim.list_keys")
    assert [key["domain"] for key in every] == ["example.com", "example.org"]
    assert all(key.keys() == KEY | {"orphaned"} for key in every)
    assert mailhost.call("dkim.list_keys", "example.org") == every[1:]


def test_rsa_public_key_is_the_p_of_its_record(mailhost):
    made = mailhost.call("dkim.generate", "example.com")
    text = mailhost.call("dkim.public_key", "example.com")
    assert text == made["public_key"]
    # RFC 6376, section 3.6.1: SubjectPublicKeyInfo
    key = serialization.load_der_public_key(base64.b64decode(text))
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.public_numbers().e == 65537


def test_ed25519_public_key_is_the_bare_32_octets(mailhost):
    mailhost.call("dkim.generate", "example.com", algorithm="ed25519")
    raw = base64.b64decode(mailhost.call("dkim.public_key", "example.com"))
    # RFC 8463, section 4.2
    ed25519.Ed25519PublicKey.from_public_bytes(raw)
    assert len(raw) == 32


def test_public_key_of_a_domain_with_two_algorithms_needs_a_selector(mailhost):
    mailhost.set_pillar(domains={"example.com": {"algorithm": ["rsa", "ed25519"]}})
    mailhost.call("dkim.generate_missing")
    with pytest.raises(SaltInvocationError, match=r"^selector: .*default, default-ed25519"):
        mailhost.call("dkim.public_key", "example.com")
    assert len(mailhost.call("dkim.public_key", "example.com", "default-ed25519")) == 44
    assert len(mailhost.call("dkim.public_key", "example.com", "default")) == 392


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("dkim.public_key", ("example.com",)),
        ("dkim.public_key", ("example.com", "nothere")),
        ("dkim.activate", ("example.com", "nothere")),
        ("dkim.retire", ("example.com", "nothere")),
        ("dkim.revoke", ("example.com", "nothere")),
        ("dkim.delete", ("example.com", "nothere")),
        ("dkim.export_key", ("example.com", "nothere", "/root/nothere.private")),
    ],
)
def test_missing_key_is_an_error_that_names_the_key(mailhost, function, arguments):
    with pytest.raises(CommandExecutionError, match=r"example\.com") as error:
        mailhost.call(function, *arguments)
    assert not isinstance(error.value, SaltInvocationError)


def test_activation_retires_the_former_key(mailhost):
    mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.generate", "example.com", selector="s2026")
    done = mailhost.call("dkim.activate", "example.com", "s2026", force=True)
    assert done["changes"] == {
        "s2026._domainkey.example.com": {"old": "pending", "new": "active"},
        "default._domainkey.example.com": {"old": "active", "new": "retired"},
    }
    assert states(mailhost) == {"default": "retired", "s2026": "active"}


def test_activation_keeps_the_key_of_the_other_algorithm_active(mailhost):
    mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.generate", "example.com", algorithm="ed25519")
    mailhost.call("dkim.generate", "example.com", selector="s2026")
    mailhost.call("dkim.activate", "example.com", "s2026", force=True)
    found = states(mailhost)
    assert (found["default-ed25519"], found["default"]) == ("active", "retired")


def test_retired_key_keeps_its_record(mailhost):
    made = mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.retire", "example.com", "default", force=True)
    assert states(mailhost) == {"default": "retired"}
    names = [record["value"] for record in mailhost.call("dkim.records", "example.com")]
    assert any(made["public_key"] in value for value in names)


def test_retired_key_can_sign_again(mailhost):
    mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.retire", "example.com", "default", force=True)
    mailhost.call("dkim.activate", "example.com", "default")
    assert states(mailhost) == {"default": "active"}


def test_pending_key_is_not_retired(mailhost):
    mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.generate", "example.com", selector="s2026")
    with pytest.raises(
        CommandExecutionError, match="is pending, and only an active key can be retired"
    ):
        mailhost.call("dkim.retire", "example.com", "s2026")
    assert states(mailhost) == {"default": "active", "s2026": "pending"}


def test_active_key_is_deleted_only_with_force(mailhost):
    mailhost.call("dkim.generate", "example.com")
    with pytest.raises(CommandExecutionError, match="force=True"):
        mailhost.call("dkim.delete", "example.com", "default")
    assert states(mailhost) == {"default": "active"}
    assert mailhost.call("dkim.delete", "example.com", "default", force=True)["state"] == "active"
    assert states(mailhost) == {}


@pytest.mark.parametrize("test", [True, False])
def test_selector_of_a_deleted_key_is_not_used_again(mailhost, test):
    mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.delete", "example.com", "default", force=True)
    with pytest.raises(CommandExecutionError, match="'default'"):
        mailhost.call("dkim.generate", "example.com", test=test)
    assert mailhost.call("dkim.list_keys") == []


def test_retired_key_is_deleted_without_force(mailhost):
    mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.retire", "example.com", "default", force=True)
    planned = mailhost.call("dkim.delete", "example.com", "default", test=True)
    key = mailhost.call("dkim.delete", "example.com", "default")
    assert (key["state"], key["changes"]) == ("retired", planned["changes"])
    assert mailhost.call("dkim.list_keys") == []
