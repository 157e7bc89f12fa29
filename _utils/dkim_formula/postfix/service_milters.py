"""The ways by which mail comes into Postfix, and which of them lead through our milters."""

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import expansion, main_cf, milter_list, milters
from .milters import NON_SMTPD, SMTPD, Ours

MAPS = "smtpd_milter_maps"
OVERRIDES = "receive_override_options"
NO_MILTERS = "no_milters"
MASTER = "master.cf"

# smtpd(8) talks to smtpd_milters; for the others cleanup(8) talks to non_smtpd_milters.
_ENTRANCES = ("smtpd", "pickup", "qmqpd")
# FILTER_README and SMTPD_PROXY_README: what has another program pass mail on to a second smtpd.
_FILTERS = ("content_filter", "smtpd_proxy_filter")
# Tables that are text: cidr_table(5), regexp_table(5), pcre_table(5), postmap(1).
_TEXT_TABLES = ("cidr", "regexp", "pcre", "texthash", "hash", "btree", "lmdb", "cdb", "dbm")
_LARGEST_TABLE = 1_000_000  # octets


@dataclass(frozen=True)
class Configuration:
    """
    Postfix's configuration, as far as milters are concerned.

    main
        What main.cf sets, unexpanded.
    services
        The services of master.cf, eight fields each.
    own
        What services set for themselves, by ``service/type/parameter``.
    """

    main: Mapping[str, str] = field(default_factory=dict)
    services: Sequence[Sequence[str]] = ()
    own: Mapping[str, str] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        """Postfix's queue directory."""
        return expansion.expand(self.main.get("queue_directory", expansion.QUEUE), self.main)

    def parameters(self, service: str) -> Mapping[str, str]:
        """Return the parameters that are in force for one service, ``smtp/inet``."""
        prefix = f"{service}/"
        own = {
            name.removeprefix(prefix): value
            for name, value in self.own.items()
            if name.startswith(prefix)
        }
        return {**self.main, **own}

    def quoting(self) -> list[str]:
        """Return the values of master.cf that hold milters, and may quote main.cf's parameters."""
        return [self.own[name] for name in self.lists()]

    def lists(self) -> list[str]:
        """Return the names of master.cf's own lists of milters, ``smtp/inet/smtpd_milters``."""
        return [name for name in self.own if name.rpartition("/")[2] in milters.LISTS]


@dataclass(frozen=True)
class Way:
    """
    One way by which mail comes in.

    service
        ``smtp/inet``, as postconf(1) writes it.
    lacks
        Our milters that its mail does not pass.
    why
        What leads its mail round them; empty where none is lacking.
    """

    service: str
    lacks: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        return f"{self.service} ({self.why})"


def read() -> Configuration:
    """Return this machine's configuration; empty where Postfix is not installed."""
    if not os.path.exists(main_cf.POSTCONF):
        return Configuration()
    return Configuration(main_cf.explicit(), main_cf.services(), main_cf.service_parameters())


def ways(found: Configuration, ours: Ours) -> list[Way]:
    """
    Return every way by which mail comes in, in the order of master.cf.

    The second smtpd behind a content filter is none of its own: its mail has come in by another
    service. That one leads through our milters where the second smtpd does.
    """
    entrances = [fields for fields in found.services if fields[7] in _ENTRANCES]
    second = [fields for fields in entrances if _comes_back(found, fields)]
    signed_behind = bool(second) and not any(_way(found, fields, ours).lacks for fields in second)
    result = []
    for fields in entrances:
        if fields in second:
            continue
        way = _way(found, fields, ours)
        if way.lacks and signed_behind and _is_filtered(found, way.service):
            way = Way(way.service)
        result.append(way)
    return result


def unsigned(found: Configuration, ours: Ours, meant: Iterable[str] = ()) -> list[Way]:
    """Return the ways that go round a milter of ours, without those that are ``meant`` to."""
    meant = set(meant)
    return [way for way in ways(found, ours) if way.lacks and way.service not in meant]


def plan(found: Configuration, ours: Ours, gone: Ours, chosen: str, force: bool) -> dict[str, str]:
    """
    Return master.cf's own lists of milters in which an entry of ours has to be written anew, with
    their new values, by ``service/type/parameter``.

    A service that names our daemon at an older address, or at one that it can't reach, would go
    round the daemon that moved. A service that does not name it stays as it is.

    gone
        Milters of ours that are to be there no more.
    chosen, force
        As :func:`milter_list.own_entry`.
    """

    def put(entry: str, milter: str) -> str:
        return milter_list.own_entry(entry, milter, chosen, force)

    return _lists(
        found, lambda value: milters.swap_in_list(milters.removed(value, gone), ours, put)
    )


def plan_swap(found: Configuration, ours: Ours) -> dict[str, str]:
    """Return the lists in which our daemon's older addresses follow it; settings stay."""
    return _lists(found, lambda value: milters.swap_in_list(value, ours, milter_list.moved))


def plan_absent(found: Configuration, ours: Ours) -> dict[str, str]:
    """Return master.cf's own lists of milters without ours, where they have some."""
    return _lists(found, lambda value: milters.removed(value, ours))


def maps(found: Configuration, ours: Ours) -> Iterator[str]:
    """Yield what ``smtpd_milter_maps`` does, a clause for each place that sets it."""
    names = [name for name in found.own if name.rpartition("/")[2] == MAPS]
    for where, value in [(MAPS, found.main.get(MAPS, ""))] + [(n, found.own[n]) for n in names]:
        tables = milter_list.entries(expansion.expand(value, found.main))
        if not tables:
            continue
        lines = [line for table in tables for line in _round_us(table, ours)]
        text = f"{where} = {value}: a client that it matches has the milters of the table alone"
        if lines:
            text += f"; without OpenDKIM: {', '.join(lines[:5])}"
            text += f" and {len(lines) - 5} more" if len(lines) > 5 else ""
        yield text


def _way(found: Configuration, fields: Sequence[str], ours: Ours) -> Way:
    service = _name(fields)
    parameters = found.parameters(service)
    missing = tuple(ours.milters)
    if NO_MILTERS in milter_list.expanded(parameters, OVERRIDES):
        return Way(service, missing, _source(found, service, OVERRIDES, NO_MILTERS))
    name, chroot = SMTPD, fields[4]
    holder = service
    if fields[7] != "smtpd":
        name = NON_SMTPD
        holder, chroot = _cleanup(found, parameters)
        parameters = found.parameters(holder)
    there = milter_list.expanded(parameters, name)
    reached = {
        milter
        for entry in there
        if (milter := ours.which(entry)) and _reaches(entry, milter, chroot, ours)
    }
    lacks = tuple(milter for milter in ours.milters if milter not in reached)
    return Way(service, lacks, _source(found, holder, name) if lacks else "")


def _reaches(entry: str, milter: str, chroot: str, ours: Ours) -> bool:
    """Return whether a process finds our socket at an entry's path, by its chroot column."""
    transport, _, path = milter_list.address(entry).partition(":")
    if transport not in ("unix", "local"):
        # What listens at an older address of ours is gone.
        return milter_list.address(entry) == milter
    socket = milters.places(milter, ours.queue)
    if not path.startswith("/"):
        return bool(milters.places(f"unix:{path}", ours.queue) & socket)
    inside = milters.places(f"unix:{path.lstrip('/')}", ours.queue)
    outside = milters.places(f"unix:{path}", ours.queue) - inside
    # "-" is "n" from Postfix 3.0 on, and "y" where compatibility_level says so: master(5).
    needed = {"y": [inside], "n": [outside]}.get(chroot, [inside, outside])
    return all(bool(one & socket) for one in needed)


def _source(found: Configuration, service: str, name: str, value: str = "") -> str:
    own = found.own.get(f"{service}/{name}")
    if own is not None:
        return f"-o {name}={own} in {MASTER}"
    return f"{name} of main.cf has {value}" if value else f"{name} of main.cf"


def _cleanup(found: Configuration, parameters: Mapping[str, str]) -> tuple[str, str]:
    """Return the cleanup service that a service gives its mail to, and its chroot column."""
    name = expansion.expand(parameters.get("cleanup_service_name", "cleanup"), parameters)
    for fields in found.services:
        if fields[0] == name and fields[7] == "cleanup":
            return _name(fields), fields[4]
    return f"{name}/unix", "-"


def _is_filtered(found: Configuration, service: str) -> bool:
    parameters = found.parameters(service)
    return any(milter_list.expanded(parameters, name) for name in _FILTERS)


def _comes_back(found: Configuration, fields: Sequence[str]) -> bool:
    """Return whether an smtpd takes mail back from a content filter (FILTER_README)."""
    service = _name(fields)
    own = found.own.get(f"{service}/content_filter")
    ends_filter = own is not None and not own.strip()
    return fields[7] == "smtpd" and _is_local(fields) and (ends_filter or _has_proxy(found))


def _has_proxy(found: Configuration) -> bool:
    return any(name.rpartition("/")[2] == _FILTERS[1] for name in [*found.main, *found.own])


def _is_local(fields: Sequence[str]) -> bool:
    if fields[1] == "unix":
        return True
    host = fields[0].rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _lists(found: Configuration, edit) -> dict[str, str]:
    edited = {name: (found.own[name], edit(found.own[name])) for name in found.lists()}
    # postconf(1) -P takes no white space in a value; braces and commas need none.
    return {name: _dense(new) for name, (old, new) in edited.items() if new != old}


def _dense(value: str) -> str:
    spaced = re.sub(r"\s*([{},=])\s*", r"\1", ",".join(milter_list.entries(value)))
    return re.sub(r"\s+", ",", spaced)


def _round_us(table: str, ours: Ours) -> Iterator[str]:
    """Yield the lines of a text table that leave our milters out."""
    kind, colon, path = table.partition(":")
    if not colon or kind not in _TEXT_TABLES or not path.startswith("/"):
        return
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = stream.read(_LARGEST_TABLE).splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split(None, 1)
        if len(words) < 2 or words[0].startswith("#"):
            continue
        if set(ours.among(milter_list.entries(words[1]))) != set(ours.milters):
            yield " ".join(line.split())[:80]


def _name(fields: Sequence[str]) -> str:
    return f"{fields[0]}/{fields[1]}"
