"""The screen of ``dkim.check_dns``: the desired records, the servers' records, the differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

from ..dns import verdict
from ..text import counted
from . import words
from .terminal import Terminal

Checked = Mapping[str, object]

# The number of drawn records that are not as desired, at most.
_MOST = 100
# The verdicts on a server's records. Other verdicts are about the server, or the way to it.
_TO_PUBLISH = (verdict.MISSING, verdict.DIFFERENT, verdict.DUPLICATE, verdict.INCONSISTENT)
# The number of octets that are drawn before the first difference, at most.
_BEFORE = 24


def check_dns(found: Mapping[str, object], terminal: Terminal) -> str:
    """Draw ``dkim.check_dns``. Records that are as desired take one line each, or are counted."""
    records: Sequence[Checked] = found["records"]
    if not records:
        return "No records"
    wrong = [one for one in records if one["verdict"] != verdict.OK]
    right = [one for one in records if one["verdict"] == verdict.OK]
    lines: list[str] = []
    for one in wrong[:_MOST]:
        lines += [*_wrong(one, terminal), ""]
    if len(wrong) > _MOST:
        lines += [f"{len(wrong) - _MOST:,} more records are not as desired", ""]
    advised = [one for one in right if one["detail"]]
    plain = [one for one in right if not one["detail"]]
    for one in advised[:_MOST]:
        lines += _head(one, terminal.ok, terminal)
        lines += terminal.wrapped(one["detail"], 4)
    if len(lines) + len(plain) + 3 <= terminal.height:
        for one in plain:
            lines += _head(one, terminal.ok, terminal)
    lines += [""] if lines and lines[-1] else []
    return "\n".join([*lines, *_summary(found["counts"], wrong, terminal)])


def _wrong(one: Checked, terminal: Terminal) -> list[str]:
    if one["verdict"] == verdict.UNCHECKED:
        lines = _head(one, terminal.unknown, terminal, str(one["verdict"]))
    else:
        lines = _head(one, terminal.bad, terminal, terminal.paint(str(one["verdict"]), "red"))
    servers: Sequence[Mapping[str, object]] = one["servers"]
    if not servers:
        return [*lines, *terminal.wrapped(one["detail"], 4)]
    shown: dict[tuple, list[str]] = {}
    for server in servers:
        key = (server["verdict"], server["detail"], tuple(server.get("shown") or ()))
        shown.setdefault(key, []).append(_called(server))
    for (found, detail, texts), names in shown.items():
        text = f"{', '.join(names)}: {found}"
        lines += terminal.wrapped(f"{text}: {detail}" if detail else text, 4, 6)
        if found != verdict.OK:
            for text in texts:
                lines += _difference(str(one["value"]), text, terminal)
    if not any(texts for _, _, texts in shown):
        lines += terminal.wrapped(f"desired: {_cut(str(one['value']), 0, terminal)[0]}", 4, 6)
    return lines


def _head(one: Checked, mark: str, terminal: Terminal, text: str = "") -> list[str]:
    shown = f"{terminal.printable(one['name'])} {one['type']}"
    readable = words.domain(one["domain"], terminal)
    if readable != one["domain"] and "(" in readable:
        shown = f"{shown} ({readable.partition(' (')[0]})"
    return [f"{mark} {shown}{f': {text}' if text else ''}"]


def _called(server: Mapping[str, object]) -> str:
    address = server["address"]
    has_both = address and address != server["server"]
    return f"{server['server']} ({address})" if has_both else str(server["server"])


def _difference(desired: str, shown: str, terminal: Terminal) -> Iterable[str]:
    """Yield both texts from shortly before their first difference, and a mark below the octet."""
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(desired, shown, strict=False))))
    desired_part, at = _cut(desired, same, terminal)
    shown_part, _ = _cut(shown, same, terminal)
    yield f"      desired  {desired_part}"
    yield f"      shown    {shown_part[:at]}{terminal.paint(shown_part[at:], 'red')}"
    yield f"               {' ' * at}^ octet {same + 1}"


def _cut(text: str, same: int, terminal: Terminal) -> tuple[str, int]:
    """Return the part of a text around an octet that fits a line, and the octet's index in it."""
    start = max(same - _BEFORE, 0)
    before = terminal.more if start else ""
    room = max(terminal.columns - 16 - len(before), 40)
    part = terminal.printable(text[start:])
    if len(part) > room:
        part = part[: room - len(terminal.more)] + terminal.more
    return before + part, len(before) + len(terminal.printable(text[start:same]))


def _summary(
    counts: Mapping[str, int], wrong: Sequence[Checked], terminal: Terminal
) -> Iterable[str]:
    kinds = ", ".join(f"{number:,} {found}" for found, number in sorted(counts.items()))
    if not wrong:
        yield f"{terminal.ok} {counted(counts['ok'], 'record')} as desired"
        return
    is_unknown = all(one["verdict"] == verdict.UNCHECKED for one in wrong)
    yield f"{terminal.unknown if is_unknown else terminal.bad} {kinds}"
    if domains := [one["domain"] for one in wrong if one["verdict"] in _TO_PUBLISH]:
        yield "The records to publish:"
        yield from words.commands("records", domains, terminal)
    if domains := [one["domain"] for one in wrong if one["verdict"] == verdict.UNCHECKED]:
        yield "Ask again after the repair:"
        yield from words.commands("check_dns", domains, terminal)
