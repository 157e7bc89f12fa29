"""
What a provider stores beside a text, and octoDNS's records do not contain.

A provider writes all texts of a name again when one of them changes. Without this module it would
switch on disabled texts (octodns-powerdns 1.2), and give all texts the comment and the tags of the
first one (octodns-cloudflare 1.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octodns.provider.base import BaseProvider
    from octodns.record import Record

_OF_ONE_TEXT = ("comment", "tags")


def keep_metadata(provider: BaseProvider) -> None:
    """Let a provider write the texts of a name back with what it stores beside each of them."""
    packages = {one.__module__.partition(".")[0] for one in type(provider).__mro__}
    if "octodns_powerdns" in packages:
        _keep_disabled(provider)
    elif "octodns_cloudflare" in packages:
        _keep_comments(provider)


def _keep_disabled(provider: BaseProvider) -> None:
    read: Callable[[dict], dict] = provider._data_for_TXT
    written: Callable[[Record], tuple[list[dict], str]] = provider._records_for_TXT
    disabled: dict[str, set[str]] = {}

    def data_for(rrset: dict) -> dict:
        off = {_plain(one["content"]) for one in rrset["records"] if one.get("disabled")}
        disabled[rrset["name"].lower()] = off
        return read(rrset)

    def records_for(record: Record) -> tuple[list[dict], str]:
        records, rtype = written(record)
        off = disabled.get(record.fqdn.lower(), ())
        return [{**one, "disabled": _plain(one["content"]) in off} for one in records], rtype

    provider._data_for_TXT, provider._records_for_TXT = data_for, records_for


def _plain(content: str) -> str:
    """Return a text without the cuts between its strings and the escapes that octoDNS adds."""
    return content[1:-1].replace('" "', "").replace("\\;", ";")


def _keep_comments(provider: BaseProvider) -> None:
    request: Callable[..., dict] = provider._try_request

    def with_own(method: str, path: str, params: object = None, data: object = None) -> dict:
        if method in ("POST", "PUT") and "/dns_records" in path:
            shown = (one for found in provider._zone_records.values() for one in found)
            own = next((one for one in shown if path.endswith(f"/dns_records/{one['id']}")), {})
            data = {key: value for key, value in data.items() if key not in _OF_ONE_TEXT}
            data |= {key: own[key] for key in _OF_ONE_TEXT if own.get(key)}
        return request(method, path, params=params, data=data)

    provider._try_request = with_own
