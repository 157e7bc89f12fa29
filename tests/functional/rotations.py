"""Rotations for tests: a site with keys and name servers, and a way to let time pass."""

from dataclasses import replace

import dns.name
import dns.rdataset
import pytest
from dkim_formula import settings as pillar_settings
from dkim_formula.dns.desired import desired_records
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from functional.server import execute, query
from support.nameserver import Nameserver

# The negative TTL is 30 s (support/nameserver.py). A key is revoked for an hour. Postfix's queue
# lasts five days.
ROTATION = {"margin": 0, "retire_for": "1d", "revoke_for": "1h", "every": 180}
_TIMES = {
    "dkim": ("created_at", "activated_at", "retired_at", "revoked_at"),
    "dkim_observation": ("observed_at", "visible_since"),
    "dkim_disclosure": ("gone_since",),
    "dkim_history": ("at",),
    "dkim_awaited": ("reported_at", "visible_since", "last_visible_at"),
    "dkim_replica": ("mark_at", "reached_at"),
}


class Site:
    """A database with the formula's schema, and the servers of example.com and example.org."""

    def __init__(self, database, servers):
        self.database = database
        self.servers = servers
        self.pillar = {
            "domains": {"example.com": {"algorithm": "ed25519"}},
            "rotation": dict(ROTATION),
            "dns": {
                "timeout": 1,
                "zones": {
                    zone: {"nameservers": [str(server) for server in servers]}
                    for zone in ("example.com", "example.org")
                },
            },
        }

    @property
    def settings(self):
        reading = pillar_settings.read(self.pillar)
        assert reading.problems == ()
        return replace(reading.settings, database=self.database)

    def make_keys(self):
        keys_commands.generate_missing(self.settings)

    def states(self, domain="example.com"):
        return dict(self.rows("selector, state", domain))

    def selectors(self, state, domain="example.com"):
        return [name for name, its in self.rows("selector, state", domain) if its == state]

    def rows(self, columns, domain="example.com"):
        with db.session(self.database) as connection:
            return query(
                connection,
                f"SELECT {columns} FROM public.dkim AS k JOIN public.domains AS d"
                " ON d.id = k.domain_id WHERE d.domain = %s ORDER BY k.id",
                (domain,),
            )

    def history(self):
        with db.session(self.database) as connection:
            return query(
                connection,
                "SELECT selector, from_state, to_state, why FROM public.dkim_history ORDER BY id",
            )

    def pass_time(self, seconds):
        """Change every stored time as if so many seconds had passed. Negative: set back."""
        with db.session(self.database) as connection:
            execute(connection, "SET LOCAL session_replication_role = replica")
            for table, columns in _TIMES.items():
                changes = ", ".join(f"{one} = {one} - %(by)s * interval '1 s'" for one in columns)
                execute(connection, f"UPDATE public.{table} SET {changes}", {"by": seconds})

    def publish(self, selector, servers=None, domain="example.com"):
        """Publish by hand the record that dkim.records shows for a selector."""
        (record,) = (
            one
            for one in desired_records(self.settings, domain)
            if one.selector == selector and one.type == "TXT"
        )
        self.put(record.name, record.value, servers)

    def put(self, name, value, servers=None, ttl=60):
        """Replace the TXT record at a name. None removes the record."""
        for server in servers or self.servers:
            if value is not None:
                parts = (value[at : at + 200] for at in range(0, len(value), 200))
                self.add(server, name, "TXT", " ".join(f'"{part}"' for part in parts), ttl)
                continue
            for zone in server.zones.values():
                if zone.get_rdataset(name + ".", "TXT"):
                    zone.delete_node(name + ".")

    def add(self, server, name, rtype, text, ttl=60):
        """Set one record of any type in the longest matching zone of a server."""
        owner = dns.name.from_text(name)
        origin = max((zone for zone in server.zones if owner.is_subdomain(zone)), key=len)
        server.zones[origin].replace_rdataset(owner, dns.rdataset.from_text("IN", rtype, ttl, text))


@pytest.fixture
def site(ready, monkeypatch):
    # The test server refuses logins of the writer, so no session tries one. test_writer.py does.
    monkeypatch.setattr(db, "_as_writer", lambda *_given: (None, ""))
    zones = {"example.com": "", "example.org": ""}
    with Nameserver(zones) as first, Nameserver(zones) as second:
        yield Site(ready, (first, second))
