"""Two authoritative servers of every zone, and the writers of their records."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dkim_formula.dns.planned import Planned
from dkim_formula.dns.steps import Present, to_publish, to_remove
from dkim_formula.errors import DnsError
from support.nameserver import Nameserver

from .death import Death

RECORD_TTL = 60
# From the Nameserver's SOA: resolvers cache an absence for min(TTL, minimum) (RFC 2308, section 5).
NEGATIVE_TTL = 30


class TwoServers:
    """
    A primary and a secondary that answer over loopback. The model judges by their records.

    zones
        By origin: the constant records of a zone, as lines of a zone file.
    """

    def __init__(self, zones: Mapping[str, str]):
        self.servers = [Nameserver(dict(zones)) for _ in range(2)]

    def __enter__(self) -> "TwoServers":
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)

    def clear(self) -> None:
        """Remove all records of keys, and let both servers answer."""
        for server in self.servers:
            server.rcode = None
            for name in list(self.names(server)):
                self.set(server, name, ())

    def names(self, server: Nameserver) -> Iterator[str]:
        """Yield the names of a server's key records."""
        for origin, zone in server.zones.items():
            for name in list(zone.nodes):
                if name != origin and zone.get_rdataset(name, "TXT"):
                    yield name.to_text(omit_final_dot=True)

    def texts(self, server: Nameserver, name: str) -> tuple[str, ...]:
        """Return the TXT records at a name, each with its strings joined."""
        zone, owner = self._zone_and_owner(server, name)
        found = zone.get_rdataset(owner, "TXT")
        return tuple(b"".join(one.strings).decode() for one in found or ())

    def set(self, server: Nameserver, name: str, values: Iterable[str]) -> None:
        """Replace the TXT records at a name."""
        zone, owner = self._zone_and_owner(server, name)
        zone.delete_rdataset(owner, "TXT")
        for value in values:
            quoted = " ".join(f'"{part}"' for part in _parts(value))
            data = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, quoted)
            zone.find_rdataset(owner, "TXT", create=True).add(data, RECORD_TTL)

    def transfer(self) -> None:
        """Copy the primary's records to the secondary."""
        primary, secondary = self.servers
        for name in {*self.names(primary), *self.names(secondary)}:
            self.set(secondary, name, self.texts(primary, name))

    def show(self, name: str, value: str) -> str:
        """
        Return the verdict on exactly this record at both servers.

        It is ``ok``, ``wrong`` or ``no answer``. A server that answers SERVFAIL is lame and does
        not count: docs/rotation.md, "The gate".
        """
        answers = [server for server in self.servers if self.does_answer(server)]
        if not answers:
            return "no answer"
        if not all(self.texts(server, name) == (value,) for server in answers):
            return "wrong"
        return "ok"

    def does_answer(self, server: Nameserver) -> bool:
        """Return whether a server answers with anything but SERVFAIL."""
        return server.rcode is None

    def is_silent(self, _server: Nameserver) -> bool:
        """Return False: a server that answers SERVFAIL is lame, and resolvers ignore it."""
        return False

    def _zone_and_owner(self, server: Nameserver, name: str):
        owner = dns.name.from_text(name)
        zone = max((z for z in server.zones if owner.is_subdomain(z)), key=len)
        return server.zones[zone], owner


def _parts(value: str) -> Iterator[str]:
    for start in range(0, max(len(value), 1), 255):
        yield value[start : start + 255]


class Updates:
    """
    A replacement for ``dns.changes.Publisher`` that decides like it and writes into the primary.

    The transfer of updates has its own tests, with BIND and Knot.
    """

    def __init__(self, world: TwoServers, death: Death):
        self._world, self._death = world, death

    def __call__(self, _dns: object) -> "Updates":
        return self

    def __enter__(self) -> "Updates":
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def plan(self, tasks, adopt=False) -> list[Planned]:
        return [self._planned(task, adopt) for task in tasks]

    preview = plan

    def apply(self, planned) -> Iterator[Planned]:
        for one in planned:
            if one.step is not None:
                self._apply(one)
            yield one

    def _apply(self, planned: Planned) -> None:
        with self._death.boundary():
            primary, step = self._world.servers[0], planned.step
            if primary.rcode is not None:
                planned.problem = "SERVFAIL"
                return
            present = self._world.texts(primary, step.name)
            deleted = {value.decode() for value in step.delete}
            kept = [value for value in present if value not in deleted]
            if step.add is not None and step.add.decode() not in kept:
                kept.append(step.add.decode())
            self._world.set(primary, step.name, kept)

    def _planned(self, task, adopt) -> Planned:
        planned, primary = Planned(task), self._world.servers[0]
        if primary.rcode is not None:
            planned.problem = "SERVFAIL"
            return planned
        texts = self._world.texts(primary, task.name)
        planned.present = Present(tuple(text.encode() for text in texts), RECORD_TTL)
        try:
            if task.record is None:
                planned.step = to_remove(task.name, task.type, planned.present, task.published)
            else:
                planned.step = to_publish(task.record, planned.present, task.published, adopt)
        except DnsError as error:
            planned.problem = str(error)
        return planned
