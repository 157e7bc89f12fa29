"""Revoked keys of domains that left DNS. The servers of the parent zone are the evidence."""

import pytest
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from functional.rotation.test_rotation import change
from functional.rotations import Site
from functional.server import execute
from support.dns_daemons import Bind, Knot

pytestmark = pytest.mark.one_release

DOMAIN = "gone.example"
NAME = f"default._domainkey.{DOMAIN}"
REVOKED_FOR = 3600
# The old record, which nobody removes from a zone that is deleted.
OLD = 'default._domainkey TXT "v=DKIM1; k=ed25519; p=MCow"\n'


class Registry:
    """A server of the parent zone and of the domain, which is also the machine's resolver."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.address = "127.0.53.156"
        self.running = None

    def serve(self, delegation="", with_domain=False):
        """Serve the parent zone, and with ``with_domain`` the domain's zone, and no other zone."""
        self.stop()
        texts = {"example": delegation}
        if with_domain:
            texts = {"example": f"gone NS ns.gone\nns.gone A {self.address}\n", DOMAIN: OLD}
        self.running = self.kind(self.folder, texts, self.address, updates="none")
        self.running.__enter__()

    def stop(self):
        if self.running is not None:
            self.running.__exit__()
        self.running = None


@pytest.fixture(params=[Bind, Knot])
def registry(request, tmp_path):
    made = Registry(request.param, tmp_path / "dns")
    made.serve(with_domain=True)
    yield made
    made.stop()


@pytest.fixture
def site(ready, registry):
    """A site with a revoked key of the domain, whose zone still has the old record."""
    site = Site(ready, ())
    site.pillar["domains"] = {DOMAIN: {"algorithm": "ed25519"}}
    site.pillar["dns"] = {"resolver": registry.address, "timeout": 1}
    with db.session(ready, setup=True) as connection:
        execute(connection, "INSERT INTO public.domains (domain) VALUES (%s)", (DOMAIN,))
    site.make_keys()
    rotation_commands.revoke(site.settings, DOMAIN, "default", force=True)
    return site


def run(site):
    announced = rotation_commands.advance(site.settings, test=True)
    done = rotation_commands.advance(site.settings)
    assert announced["changes"] == done["changes"]
    return done


def next_move(site):
    (line,) = rotation_commands.status(site.settings, DOMAIN)
    return line["next"]


def test_key_is_removed_when_its_domain_was_missing_for_the_whole_time(site, registry):
    registry.serve()
    site.pass_time(REVOKED_FOR)
    assert run(site)["changes"] == {}
    reason = f"gone: the domain does not exist in DNS ({NAME} TXT: {DOMAIN}"
    assert next_move(site).startswith(reason)
    site.pass_time(REVOKED_FOR - 60)
    assert run(site)["changes"] == {}
    site.pass_time(60)
    done = run(site)
    assert done["changes"] == {NAME: change("revoked", None)}
    assert done["problems"] == []


def test_private_key_of_a_missing_domain_is_disclosed_after_the_same_time(site, registry, tmp_path):
    """A domain that is registered again has its old record: a forger could use the private key."""
    folder = tmp_path / "public"
    folder.mkdir()
    site.pillar["rotation"]["publish_private"] = str(folder)
    site.pillar["domains"][DOMAIN]["ttl"] = 60
    rotation_commands.rotate(site.settings, DOMAIN)
    (selector,) = site.selectors("active", DOMAIN)
    rotation_commands.revoke(site.settings, DOMAIN, selector, force=True)
    registry.serve()
    run(site)
    site.pass_time(REVOKED_FOR - 60)
    run(site)
    assert [*folder.iterdir()] == []
    site.pass_time(60)
    run(site)
    assert [one.name for one in folder.iterdir()] == [f"{selector}._domainkey.{DOMAIN}.pem"]


def test_domain_that_returns_with_its_record_restarts_the_wait(site, registry):
    registry.serve()
    run(site)
    site.pass_time(REVOKED_FOR - 60)
    registry.serve(with_domain=True)
    assert run(site)["changes"] == {}
    assert rotation_commands.status(site.settings, DOMAIN)[0]["dns"] == "different"
    registry.serve()
    site.pass_time(60)
    assert run(site)["changes"] == {}
    assert "may come back" in next_move(site)


def test_silent_parent_zone_is_no_evidence(site, registry):
    registry.stop()
    check_never_removed(site, "unchecked")


def test_delegation_to_a_dead_server_is_no_evidence(site, registry):
    registry.serve("gone NS ns.elsewhere\nns.elsewhere A 127.0.53.99\n")
    check_never_removed(site, "")


def test_server_that_refuses_is_no_evidence(site, registry):
    registry.serve()
    folder = registry.folder.parent / "refusing"
    with Bind(folder, {"test": ""}, "127.0.53.157") as refusing:
        site.pillar["dns"]["zones"] = {DOMAIN: {"nameservers": [refusing.address]}}
        check_never_removed(site, "lame")


def check_never_removed(site, verdict):
    for _ in range(3):
        site.pass_time(REVOKED_FOR)
        assert run(site)["changes"] == {}
    assert f"DNS may still show the old record: {verdict}" in next_move(site)


def test_resolver_that_alone_denies_the_domain_is_no_evidence(site, registry):
    """The resolver disagrees with the parent zone's servers: one of them delegates the domain."""
    folder = registry.folder.parent / "denying"
    text = f"other A {registry.address}\n"
    with Bind(folder, {"example": text}, "127.0.53.157", servers=("other",)) as resolver:
        site.pillar["dns"]["resolver"] = resolver.address
        check_never_removed(site, "no zone")
