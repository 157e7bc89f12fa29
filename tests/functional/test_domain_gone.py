"""A revoked key whose domain DNS has no more: it ends by what the servers of the zone above say."""

import pytest
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from functional.postgres import execute
from functional.rotations import Site
from functional.test_rotation import change
from support.dns_daemons import Bind, Knot

pytestmark = pytest.mark.one_release

DOMAIN = "gone.example"
NAME = f"default._domainkey.{DOMAIN}"
REVOKED_FOR = 3600
# The old record, which nobody takes out of a zone that is going.
OLD = 'default._domainkey TXT "v=DKIM1; k=ed25519; p=MCow"\n'


class Registry:
    """The server of the zone above, which is the machine's resolver too, and that of the domain."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.address = "127.0.53.156"
        self.running = None

    def serve(self, delegation="", with_domain=False):
        """Serves the zone above, and the domain's where it is there, in place of what was."""
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
    """A site with a revoked key of the domain, whose zone has the old record still."""
    site = Site(ready, ())
    site.pillar["domains"] = {DOMAIN: {"algorithm": "ed25519"}}
    site.pillar["dns"] = {"resolver": registry.address, "timeout": 1}
    with db.session(ready, setup=True) as connection:
        execute(connection, "INSERT INTO public.domains (domain) VALUES (%s)", (DOMAIN,))
    site.make_keys()
    rotation_commands.revoke(site.settings, DOMAIN, "default", force=True)
    return site


def run(site):
    told = rotation_commands.advance(site.settings, test=True)
    done = rotation_commands.advance(site.settings)
    assert told["changes"] == done["changes"]
    return done


def waits(site):
    (line,) = rotation_commands.status(site.settings, DOMAIN)
    return line["next"]


def test_key_goes_when_its_domain_has_been_gone_for_the_whole_time(site, registry):
    registry.serve()
    site.pass_time(REVOKED_FOR)
    assert run(site)["changes"] == {}
    assert waits(site).startswith(f"gone: the domain does not exist in DNS ({NAME} TXT: {DOMAIN}")
    site.pass_time(REVOKED_FOR - 60)
    assert run(site)["changes"] == {}
    site.pass_time(60)
    done = run(site)
    assert done["changes"] == {NAME: change("revoked", None)}
    assert done["problems"] == []


def test_domain_that_comes_back_with_its_record_keeps_the_key_waiting(site, registry):
    registry.serve()
    run(site)
    site.pass_time(REVOKED_FOR - 60)
    registry.serve(with_domain=True)
    assert run(site)["changes"] == {}
    assert rotation_commands.status(site.settings, DOMAIN)[0]["dns"] == "different"
    registry.serve()
    site.pass_time(60)
    assert run(site)["changes"] == {}
    assert "may come back" in waits(site)


def test_zone_above_that_is_silent_is_no_evidence(site, registry):
    registry.stop()
    never_ends(site, "no zone")


def test_zone_that_is_delegated_to_nobody_is_no_evidence(site, registry):
    registry.serve("gone NS ns.elsewhere\nns.elsewhere A 127.0.53.99\n")
    never_ends(site, "")


def test_server_that_refuses_is_no_evidence(site, registry):
    registry.serve()
    folder = registry.folder.parent / "refusing"
    with Bind(folder, {"test": ""}, "127.0.53.157") as refusing:
        site.pillar["dns"]["zones"] = {DOMAIN: {"nameservers": [refusing.address]}}
        never_ends(site, "lame")


def never_ends(site, verdict):
    for _ in range(3):
        site.pass_time(REVOKED_FOR)
        assert run(site)["changes"] == {}
    assert f"DNS may still show the old record: {verdict}" in waits(site)


def test_resolver_that_denies_the_domain_alone_is_no_evidence(site, registry):
    """The servers of the zone above differ: one of them delegates the domain."""
    folder = registry.folder.parent / "denying"
    text = f"other A {registry.address}\n"
    with Bind(folder, {"example": text}, "127.0.53.157", servers=("other",)) as resolver:
        site.pillar["dns"]["resolver"] = resolver.address
        never_ends(site, "no zone")
