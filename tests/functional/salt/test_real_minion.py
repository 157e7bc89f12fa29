"""
The formula with a real master and minion, which pytest-salt-factories starts.

Other tests call the functions through Salt's loader, in the test process. Here the minion syncs
them from a file server, ``salt`` calls them, and the tests read every event on the bus.
"""

import json
import time

import pytest
from dkim_formula.postgres import connection as db
from functional.salt_loaders import TREE, functions_of
from functional.server import query

# Starting Salt's daemons takes long, and releases of PostgreSQL make no difference to these tests.
pytestmark = pytest.mark.one_release("bookworm")

FOLDERS = {
    "modules": "_modules",
    "states": "_states",
    "utils": "_utils",
    "beacons": "_beacons",
    "output": "_output",
}


@pytest.fixture(scope="module")
def salt_master(salt_factories, tmp_path_factory):
    """A master whose file server has this tree and whose pillar each test writes."""
    pillar = tmp_path_factory.mktemp("pillar")
    (pillar / "top.sls").write_text("base:\n  '*':\n    - dkim\n")
    (pillar / "dkim.sls").write_text("dkim: {}\n")
    master = salt_factories.salt_master_daemon(
        "dkim-master",
        overrides={
            "file_roots": {"base": [str(TREE)]},
            "pillar_roots": {"base": [str(pillar)]},
            "interface": "127.0.0.1",
        },
    )
    with master.started(start_timeout=180):
        yield master


@pytest.fixture(scope="module")
def salt_minion(salt_master):
    """A minion that has synced the formula."""
    overrides = {"user": "root", "grains": {"init": "systemd"}}
    daemon = salt_master.salt_minion_daemon("dkim-mail", overrides=overrides)
    with daemon.started(start_timeout=180):
        yield daemon


@pytest.fixture(scope="module")
def synced(salt_master, salt_minion):
    """The return of ``saltutil.sync_all``."""
    return call(salt_master, "saltutil.sync_all")


@pytest.fixture
def mail(salt_master, synced, ready):
    """A function that calls functions on the minion. The pillar has a database and two domains."""
    where = {"name": ready.name, "port": ready.port}
    pillar = {"dkim": {"database": where, "domains": {"example.com": {}, "example.org": {}}}}
    folder = salt_master.config["pillar_roots"]["base"][0]
    with open(f"{folder}/dkim.sls", "w") as file:
        json.dump(pillar, file)
    assert call(salt_master, "saltutil.refresh_pillar", wait=True)
    return lambda function, *arguments, **named: call(salt_master, function, *arguments, **named)


def call(master, function, *arguments, **named):
    """Call a function by ``salt`` and return its data."""
    result = master.salt_cli(timeout=240).run(
        "--timeout=200", function, *arguments, minion_tgt="dkim-mail", **named
    )
    assert result.returncode == 0, result
    return result.data


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_module_reaches_the_minion(synced, kind):
    files = {path.stem for path in (TREE / FOLDERS[kind]).glob("*.py")}
    brought = {name.partition(".")[2] or name for name in synced[kind]}
    assert files - {"__init__"} <= {name.split(".")[0] for name in brought} | brought


def test_minion_has_the_functions_that_the_tree_has(mail):
    expected = {name for name in functions_of("module") if name.startswith("dkim.")}
    assert set(mail("sys.list_functions", "dkim")) == expected


def test_private_key_is_generated_and_is_in_no_event(mail, event_listener, ready):
    begun = time.time()
    key = mail("dkim.generate", "example.com")
    assert (key["domain"], key["state"]) == ("example.com", "active")
    assert [one["selector"] for one in mail("dkim.list_keys")] == ["default"]
    with db.session(ready, setup=True) as connection:
        ((pem,),) = query(connection, "SELECT key FROM public.dkim")
    events = event_listener.get_events([("dkim-master", "salt/job/*")], after_time=begun)
    assert any(key["public_key"] in str(event.data) for event in events)
    body = pem.splitlines()[10:20]
    assert not [event.tag for event in events if any(line in str(event.data) for line in body)]
