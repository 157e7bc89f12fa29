"""Instructions for a customer: as text, and as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jinja2

from .delegations import Delegated
from .verdict import OK

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<title>DNS records for signed mail</title>
<style>
body { font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 }
th, td { border: 1px solid #999; padding: .4em .6em; text-align: left; vertical-align: top }
code { word-break: break-all } .right { color: #060 } .wrong { color: #900 }
</style></head><body>
{% for domain, records in domains.items() %}
<h1>{{ domain }}</h1>
{% set is_right = records | rejectattr("state", "equalto", ok) | list == [] %}
{% if is_right %}
<p>The {{ records | length }} CNAME records are right.</p>
{% else %}
<p>Please add these CNAME records to the zone, once. They stay the same when keys change.</p>
{% endif %}
<table><tr><th>Name</th><th>Type</th><th>Target</th><th>Current state</th></tr>
{% for one in records %}
<tr><td><code>{{ one.record.name }}.</code><br>in a panel that adds the domain itself:
<code>{{ short(one) }}</code></td><td>CNAME</td><td><code>{{ one.record.value }}.</code></td>
<td class="{{ "right" if one.state == ok else "wrong" }}">{{ state(one) }}</td></tr>
{% endfor %}
</table>
{% if not is_right %}
<p>Enter the complete targets. Turn off any proxy for these records.</p>
{% endif %}
{% endfor %}
</body></html>
"""


def text(delegated: Iterable[Delegated]) -> str:
    """Return the text for the operators of the customers' zones, with one paragraph per domain."""
    return "\n".join(_text_of(domain, found) for domain, found in _by_domain(delegated).items())


def page(delegated: Iterable[Delegated]) -> str:
    """Return an HTML page for the operators of the customers' zones, one section per domain."""
    template = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    domains = _by_domain(delegated)
    return template.render(domains=domains, ok=OK, short=_short, state=_state) + "\n"


def _by_domain(delegated: Iterable[Delegated]) -> dict[str, list[Delegated]]:
    domains: dict[str, list[Delegated]] = {}
    for one in delegated:
        domains.setdefault(one.record.domain, []).append(one)
    return domains


def _short(one: Delegated) -> str:
    """Return the name without the domain, for DNS panels that add the domain themselves."""
    return one.record.name.removesuffix(f".{one.record.domain}")


def _text_of(domain: str, found: Sequence[Delegated]) -> str:
    missing = [one for one in found if one.state != OK]
    lines = [f"{domain}: the {len(found)} CNAME records are right." if not missing else ""]
    if missing:
        lines = [
            f"{domain}: please add these CNAME records to the zone, once.",
            "They stay the same when keys change.",
            "",
        ]
    width = max(len(one.record.name) for one in found) + 1
    for one in found:
        lines.append(f"    {one.record.name + '.':{width}} CNAME {one.record.value}.")
    if missing:
        short = ", ".join(map(_short, found))
        lines += [
            "",
            f"In a panel that adds {domain} itself, enter the names {short}.",
            "Enter the complete targets, with the dot at the end if the panel allows one.",
            "Turn off any proxy for these records.",
            "",
            "Current state:",
            *(f"    {one.record.name}: {_state(one)}" for one in found),
        ]
    return "\n".join([*lines, ""])


def _state(one: Delegated) -> str:
    return f"{one.state} ({one.detail})" if one.detail else one.state
