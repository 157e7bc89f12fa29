"""Postfix's services that take mail, and whether their mail passes the formula's milters."""

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import expansion, main_cf, main_cf_milters, milter_entry
from .main_cf_milters import NON_SMTPD, SMTPD
from .milter_addresses import ManagedMilters, endpoints

MAPS = "smtpd_milter_maps"
OVERRIDES = "receive_override_options"
NO_MILTERS = "no_milters"
MASTER = "master.cf"

# smtpd(8) uses smtpd_milters; for the other services cleanup(8) uses non_smtpd_milters.
_ENTRANCES = ("smtpd", "pickup", "qmqpd")
# Parameters that send mail through another program to a second smtpd: FILTER_README,
# SMTPD_PROXY_README.
_FILTERS = ("content_filter", "smtpd_proxy_filter")


@dataclass(frozen=True)
class Configuration:
    """
    The part of Postfix's configuration that concerns milters.

    main
        The parameters that main.cf sets, unexpanded.
    services
        The services of master.cf, eight fields each.
    own
        The parameters that services set, by ``service/type/parameter``.
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
        """Return master.cf's lists of milters, which may refer to main.cf's parameters."""
        return [self.own[name] for name in self.lists()]

    def lists(self) -> list[str]:
        """Return the names of master.cf's own lists of milters, ``smtp/inet/smtpd_milters``."""
        return [name for name in self.own if name.rpartition("/")[2] in main_cf_milters.LISTS]


@dataclass(frozen=True)
class Entrance:
    """
    A service that takes mail.

    service
        The name as postconf(1) writes it, ``smtp/inet``.
    missing
        The formula's milters that its mail bypasses.
    cause
        The setting that makes its mail bypass them; empty if ``missing`` is empty.
    """

    service: str
    missing: tuple[str, ...] = ()
    cause: str = ""

    def __str__(self) -> str:
        return f"{self.service} ({self.cause})"


def read() -> Configuration:
    """Return this machine's configuration; empty if Postfix is not installed."""
    if not os.path.exists(main_cf.POSTCONF):
        return Configuration()
    return Configuration(main_cf.explicit(), main_cf.services(), main_cf.service_parameters())


def entrances(found: Configuration, managed: ManagedMilters) -> list[Entrance]:
    """
    Return the services that take mail, in the order of master.cf.

    The second smtpd behind a content filter is left out, because another service has taken its
    mail. If the second smtpd's mail passes the milters, so does the mail of that service.
    """
    services = [fields for fields in found.services if fields[7] in _ENTRANCES]
    second = [fields for fields in services if _comes_back(found, fields)]
    signed_behind = bool(second) and not any(
        _entrance(found, fields, managed).missing for fields in second
    )
    result = []
    for fields in services:
        if fields in second:
            continue
        entrance = _entrance(found, fields, managed)
        if entrance.missing and signed_behind and _is_filtered(found, entrance.service):
            entrance = Entrance(entrance.service)
        result.append(entrance)
    return result


def unsigned(
    found: Configuration, managed: ManagedMilters, intended: Iterable[str] = ()
) -> list[Entrance]:
    """Return the services whose mail bypasses a managed milter, without the intended ones."""
    intended = set(intended)
    return [
        entrance
        for entrance in entrances(found, managed)
        if entrance.missing and entrance.service not in intended
    ]


def plan(
    found: Configuration, managed: ManagedMilters, gone: ManagedMilters, chosen: str, force: bool
) -> dict[str, str]:
    """
    Return master.cf's own lists of milters that change, with new values.

    The keys are ``service/type/parameter``. If a service names a daemon of the formula at an older
    or unreachable address, its mail would bypass the moved daemon. A service that does not name the
    daemon stays as it is.

    gone
        Milters of the formula that are removed.
    chosen, force
        See :func:`milter_entry.own_entry`.
    """

    def put(entry: str, milter: str) -> str:
        return milter_entry.own_entry(entry, milter, chosen, force)

    return _lists(
        found,
        lambda value: main_cf_milters.swap_in_list(
            main_cf_milters.removed(value, gone), managed, put
        ),
    )


def plan_swap(found: Configuration, managed: ManagedMilters) -> dict[str, str]:
    """Return the lists that name a daemon's older addresses, with the new address."""
    return _lists(
        found, lambda value: main_cf_milters.swap_in_list(value, managed, milter_entry.moved)
    )


def plan_absent(found: Configuration, managed: ManagedMilters) -> dict[str, str]:
    """Return master.cf's own lists that name managed milters, without these milters."""
    return _lists(found, lambda value: main_cf_milters.removed(value, managed))


def _entrance(found: Configuration, fields: Sequence[str], managed: ManagedMilters) -> Entrance:
    service = _name(fields)
    parameters = found.parameters(service)
    missing = tuple(managed.milters)
    if NO_MILTERS in milter_entry.expanded(parameters, OVERRIDES):
        return Entrance(service, missing, _source(found, service, OVERRIDES, NO_MILTERS))
    name, chroot = SMTPD, fields[4]
    holder = service
    if fields[7] != "smtpd":
        name = NON_SMTPD
        holder, chroot = _cleanup(found, parameters)
        parameters = found.parameters(holder)
    present = milter_entry.expanded(parameters, name)
    reached = {
        milter
        for entry in present
        if (milter := managed.which(entry)) and _reaches(entry, milter, chroot, managed)
    }
    missing = tuple(milter for milter in managed.milters if milter not in reached)
    return Entrance(service, missing, _source(found, holder, name) if missing else "")


def _reaches(entry: str, milter: str, chroot: str, managed: ManagedMilters) -> bool:
    """Return whether a process finds the milter's socket at an entry's path in or out of chroot."""
    transport, _, path = milter_entry.address(entry).partition(":")
    if transport not in ("unix", "local"):
        # Nothing of the formula listens at an older address.
        return milter_entry.address(entry) == milter
    socket = endpoints(milter, managed.queue)
    if not path.startswith("/"):
        return bool(endpoints(f"unix:{path}", managed.queue) & socket)
    inside = endpoints(f"unix:{path.lstrip('/')}", managed.queue)
    outside = endpoints(f"unix:{path}", managed.queue) - inside
    # "-" means "n" from Postfix 3.0 on, but "y" with some compatibility_level: master(5).
    needed = {"y": [inside], "n": [outside]}.get(chroot, [inside, outside])
    return all(bool(one & socket) for one in needed)


def _source(found: Configuration, service: str, name: str, value: str = "") -> str:
    own = found.own.get(f"{service}/{name}")
    if own is not None:
        return f"-o {name}={own} in {MASTER}"
    return f"{name} of main.cf has {value}" if value else f"{name} of main.cf"


def _cleanup(found: Configuration, parameters: Mapping[str, str]) -> tuple[str, str]:
    """Return the cleanup service that takes a service's mail, and its chroot column."""
    name = expansion.expand(parameters.get("cleanup_service_name", "cleanup"), parameters)
    for fields in found.services:
        if fields[0] == name and fields[7] == "cleanup":
            return _name(fields), fields[4]
    return f"{name}/unix", "-"


def _is_filtered(found: Configuration, service: str) -> bool:
    parameters = found.parameters(service)
    return any(milter_entry.expanded(parameters, name) for name in _FILTERS)


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
    # postconf(1) -P refuses white space in a value. Braces and commas need none.
    return {name: _dense(new) for name, (old, new) in edited.items() if new != old}


def _dense(value: str) -> str:
    spaced = re.sub(r"\s*([{},=])\s*", r"\1", ",".join(milter_entry.entries(value)))
    return re.sub(r"\s+", ",", spaced)


def _name(fields: Sequence[str]) -> str:
    return f"{fields[0]}/{fields[1]}"
