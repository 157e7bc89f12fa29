"""The instruction for a customer: as text, and as a page of HTML that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .delegations import RIGHT, Delegated

_STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "th,td{border:1px solid #999;padding:.4em .6em;text-align:left;vertical-align:top}"
    "code{word-break:break-all}.right{color:#060}.wrong{color:#900}"
)


def text(delegated: Iterable[Delegated]) -> str:
    """Return the text for the people who run the customers' zones, a paragraph for each domain."""
    return "\n".join(_text_of(domain, found) for domain, found in _by_domain(delegated).items())


def page(delegated: Iterable[Delegated]) -> str:
    """Return a page of HTML for the same people, a section for each domain."""
    sections = [_section(domain, found) for domain, found in _by_domain(delegated).items()]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            "<title>DNS records for signed mail</title>",
            f"<style>{_STYLE}</style></head><body>",
            *sections,
            "</body></html>",
            "",
        ]
    )


def _by_domain(delegated: Iterable[Delegated]) -> dict[str, list[Delegated]]:
    domains: dict[str, list[Delegated]] = {}
    for one in delegated:
        domains.setdefault(one.record.domain, []).append(one)
    return domains


def _short(one: Delegated) -> str:
    """Return a name as a panel wants it that adds the domain by itself."""
    return one.record.name.removesuffix(f".{one.record.domain}")


def _section(domain: str, found: Sequence[Delegated]) -> str:
    is_right = all(one.state == RIGHT for one in found)
    asked = f"The {len(found)} CNAME records are right."
    if not is_right:
        asked = (
            "Please add these CNAME records to the zone, once. They stay as they are when keys "
            "change."
        )
    rows = [
        f"<tr><td><code>{escape(one.record.name)}.</code><br>in a panel that adds the domain by "
        f"itself: <code>{escape(_short(one))}</code></td><td>CNAME</td>"
        f"<td><code>{escape(one.record.value)}.</code></td>"
        f'<td class="{"right" if one.state == RIGHT else "wrong"}">'
        f"{escape(f'{one.state}{_because(one)}')}</td></tr>"
        for one in found
    ]
    hint = "" if is_right else "<p>Enter the targets whole. Turn a proxy for these records off.</p>"
    return (
        f"<h1>{escape(domain)}</h1>\n<p>{asked}</p>\n"
        "<table><tr><th>Name</th><th>Type</th><th>Target</th><th>As seen now</th></tr>\n"
        + "\n".join(rows)
        + f"\n</table>{hint}"
    )


def _text_of(domain: str, found: Sequence[Delegated]) -> str:
    missing = [one for one in found if one.state != RIGHT]
    lines = [f"{domain}: the {len(found)} CNAME records are right." if not missing else ""]
    if missing:
        lines = [
            f"{domain}: please add these CNAME records to the zone, once.",
            "They stay as they are when keys change.",
            "",
        ]
    width = max(len(one.record.name) for one in found) + 1
    for one in found:
        lines.append(f"    {one.record.name + '.':{width}} CNAME {one.record.value}.")
    if missing:
        short = ", ".join(map(_short, found))
        lines += [
            "",
            f"A panel that adds {domain} by itself takes the names {short}.",
            "The targets are entered whole, with the dot at the end where the panel allows one.",
            "Turn a proxy for these records off.",
            "",
            "As seen now:",
            *(f"    {one.record.name}: {one.state}{_because(one)}" for one in found),
        ]
    return "\n".join([*lines, ""])


def _because(one: Delegated) -> str:
    return f" ({one.detail})" if one.detail else ""
