"""Many domains that are due at once: one pass, in batches, with progress."""

from collections import Counter

import pytest
from dkim_formula.postgres import connection as db
from dkim_formula.private_key import PrivateKey
from dkim_formula.rotation import commands as rotation_commands
from functional.rotations import Site
from functional.server import execute, query
from support.dns_daemons import Bind
from support.share import short_form

pytestmark = pytest.mark.one_release

# Ten thousand run only with -m soak: each record is asked for over UDP and TCP.
SIZES = short_form([1200, 10_000])


@pytest.fixture
def bind(tmp_path):
    with Bind(tmp_path, {"example.com": ""}, "127.0.53.160") as running:
        yield running


@pytest.mark.parametrize("count", SIZES)
def test_domains_that_are_all_due_are_rotated_in_one_pass(ready, bind, count):
    site = Site(ready, (bind.address,))
    site.pillar["domains"] = {"*": {"algorithm": "ed25519"}, "example.com": False}
    site.pillar["domains"]["example.org"] = False
    site.pillar["dns"]["deadline"] = 600
    _fill(ready, count)
    site.pass_time(200 * 86400)
    progress = []
    done = rotation_commands.rotate_due(site.settings, progress=lambda *at: progress.append(at))
    assert done["problems"] == []
    assert done["changes"] == {f"{count} keys, none to pending": {"old": None, "new": "pending"}}
    assert len(done["waiting"]) == len(done["to_publish"]) == 100
    assert f"{count - 100} more keys wait" in done["notes"]
    assert progress == [(min(at + 500, count), count) for at in range(0, count, 500)]
    with db.session(ready) as connection:
        states = Counter(state for (state,) in query(connection, "SELECT state FROM public.dkim"))
        ((observations,),) = query(connection, "SELECT count(*) FROM public.dkim_observation")
    assert states == {"active": count, "pending": count}
    assert observations == count
    again = rotation_commands.rotate_due(site.settings)
    assert again["changes"] == {}


def _fill(database, count):
    """Insert domains with a key each. All have the same key, which saves key generation."""
    key = PrivateKey.generate("ed25519")
    with db.session(database) as connection:
        execute(
            connection,
            "INSERT INTO public.domains (domain)"
            " SELECT 'd' || n || '.example.com' FROM generate_series(1, %s) AS n",
            (count,),
        )
        execute(
            connection,
            "INSERT INTO public.dkim"
            " (domain_id, selector, key, algorithm, bits, public_key, state)"
            " SELECT id, 'default', %s, 'ed25519', 256, %s, 'active' FROM public.domains"
            " WHERE domain LIKE 'd%%.example.com'",
            (key.pem(), key.public_base64()),
        )
        execute(connection, "ANALYZE")
