"""The choice of keys that sign for each domain and address, from a program's two tables."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .key_table import SENDER, Entry, Refusal, valid_domain
from .signing_table import ADDRESS, EVERY, HOST, SUBDOMAINS, Line, SigningTable, is_any_ending


@dataclass(frozen=True)
class Choice:
    """
    A key to import.

    domain
        The signing domain.
    address
        The only address whose mail the key signs, or ``''``.
    signs
        Whether the program signs with the key today. The record of an unused key may still be
        needed.
    entry
        The KeyTable's entry.
    refused_line
        For an unused key: a line that names the key and is not imported, or ``''``.
    """

    domain: str
    address: str
    signs: bool
    entry: Entry
    refused_line: str = ""

    def label(self) -> str:
        """Return name, domain and location as text."""
        return f"{self.entry.name} for {self.domain} ({self.entry.location})"


@dataclass
class Selection:
    """
    The keys, aliases and subdomains that follow from the two tables.

    choices
        The keys in the order of the tables.
    aliases
        The domain whose key signs, by the domain of the sender.
    subdomains
        Domains whose key, or whose alias' key, signs for all their subdomains too.
    refused
        Keys and lines that are not imported.
    notes
        Sentences about lines that the import changes.
    """

    choices: list[Choice] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    subdomains: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def select(
    entries: Mapping[str, Entry], signing: SigningTable | None, hosted: Iterable[str]
) -> Selection:
    """
    Look up every domain and address in the tables, as OpenDKIM looks up a sender.

    entries
        The KeyTable.
    signing
        The SigningTable; None means that each key signs for its own domain.
    hosted
        The domains that ``*`` and ``%`` match. They may lack a line of their own.
    """
    if signing is None:
        return _select_for_own_domains(entries)
    return _SelectionRun(entries, signing).run(hosted)


def _select_for_own_domains(entries: Mapping[str, Entry]) -> Selection:
    selection = Selection()
    for entry in entries.values():
        if entry.domain == SENDER:
            refusal = Refusal(entry.label(), "is for any domain; give a signing_table too")
            selection.refused.append(refusal)
        else:
            selection.choices.append(Choice(entry.domain, "", True, entry))
    return selection


class _SelectionRun:
    def __init__(self, entries: Mapping[str, Entry], signing: SigningTable):
        self.entries = entries
        self.signing = signing
        self.result = Selection()
        self._chosen: dict[tuple[str, str], Choice] = {}
        self._own: set[str] = set()
        self._parents: dict[str, None] = {}
        self._reported: set[tuple[int, str]] = set()
        # The first refused line that names a key, by the key's name.
        self._refused_lines: dict[str, str] = {}
        for line in signing.refused:
            self._add_refusal(line.entry, line.reason, line.key_name, _ending(line.pattern))

    def run(self, hosted: Iterable[str]) -> Selection:
        for host in self._hosts(hosted):
            self._choose_for_host(host)
        for line in self.signing.lines:
            if line.kind == SUBDOMAINS:
                self._choose_for_subdomains(line)
        for line in self.signing.lines:
            if line.kind == ADDRESS:
                self._choose_for_address(line)
        self._keep_unused()
        self._add_notes()
        self.result.choices = list(self._chosen.values())
        self.result.subdomains = list(self._parents)
        return self.result

    def _hosts(self, hosted: Iterable[str]) -> list[str]:
        """Return every domain that may send mail, first those of the tables in their order."""
        hosts = dict.fromkeys(line.subject for line in self.signing.lines if line.kind == HOST)
        for entry in self.entries.values():
            if entry.domain != SENDER:
                hosts[entry.domain] = None
        if any(line.key_name == SENDER for line in self.signing.lines):
            # With "%" the key's name is the sender's domain.
            hosts.update(dict.fromkeys(name for name in self.entries if name == valid_domain(name)))
        hosts.update(dict.fromkeys(hosted))
        return list(hosts)

    def _choose_for_host(self, host: str) -> None:
        signers = []
        for line in self.signing.signing(host):
            entry = self._entry(line, host)
            if entry is not None:
                signers.append((line, _signing_domain(entry, host), entry))
        for line, domain, entry in signers:
            if domain != signers[0][1]:
                self._refuse(
                    line, f"signs mail of {host} as {domain} too; only one domain can sign for it"
                )
                continue
            self._choose(domain, "", entry)
            if domain != host:
                self.result.aliases[host] = domain

    def _choose_for_subdomains(self, line: Line) -> None:
        parent = line.subject
        first = self.signing.signing(f"*.{parent}")
        if line not in first:
            self._refuse(line, f"never counts: {first[0].label()} comes before it")
            return
        entry = self._entry(line, parent)
        if entry is None:
            return
        if SENDER in (entry.domain, line.key_name):
            self._refuse(line, "has each subdomain sign as itself; give each its own line")
            return
        signer = self.result.aliases.get(parent, entry.domain)
        if signer != entry.domain or (parent != signer and parent in self._own):
            self._refuse(
                line,
                f"signs for subdomains of {parent} as {entry.domain}; {parent} signs differently",
            )
            return
        self._choose(entry.domain, "", entry)
        if parent != entry.domain:
            self.result.aliases[parent] = entry.domain
        self._parents[parent] = None

    def _choose_for_address(self, line: Line) -> None:
        address, host = line.subject, line.subject.rpartition("@")[2]
        first = self.signing.signing(host, address)
        if line not in first:
            self._refuse(line, f"never counts: {first[0].label()} comes before it")
            return
        entry = self._entry(line, host)
        if entry is None:
            return
        domain = _signing_domain(entry, host)
        if domain == self.result.aliases.get(host, host) and (domain, entry.name) in self._chosen:
            chosen = self._chosen[domain, entry.name]
            if chosen.address:
                self._refuse(line, f"shares its key with {chosen.address}; a key has one address")
            # Else the domain's own key already signs for this address.
        elif domain != host:
            self._refuse(line, f"signs as {domain}; an address signs as its own domain")
        else:
            self._choose(host, address, entry)

    def _keep_unused(self) -> None:
        used = {choice.entry.name for choice in self._chosen.values()}
        for entry in self.entries.values():
            if entry.name in used:
                continue
            if entry.domain == SENDER:
                self.result.refused.append(
                    Refusal(entry.label(), "is for any domain, and no line for a domain names it")
                )
            else:
                line = self._refused_lines.get(entry.name, "")
                unused = Choice(entry.domain, "", False, entry, line)
                self._chosen.setdefault((entry.domain, entry.name), unused)

    def _add_notes(self) -> None:
        for line in self.signing.lines:
            if line.signer:
                self.result.notes.append(
                    f"{line.label()}: the signer (i=) {line.signer!r} is not imported; "
                    "signatures have no i="
                )
            if self.signing.wild and is_any_ending(line.pattern):
                self.result.notes.append(
                    f"{line.label()}: is imported for {line.subject}; it also matches names such "
                    f"as sub.{line.subject} and my{line.subject}, whose mail is no longer signed"
                )
            if line.kind == EVERY:
                self.result.notes.append(
                    f"{line.label()}: matches the hosted domains only; other mail stays unsigned"
                )

    def _entry(self, line: Line, host: str) -> Entry | None:
        name = host if line.key_name == SENDER else line.key_name
        entry = self.entries.get(name)
        # A line for every sender may name keys that the KeyTable lacks for some senders.
        if entry is None and not (line.kind == EVERY and line.key_name == SENDER):
            reason = f"names the key {name!r}, which is missing or incomplete in the KeyTable"
            self._refuse(line, reason, host)
        return entry

    def _choose(self, domain: str, address: str, entry: Entry) -> None:
        choice = self._chosen.setdefault((domain, entry.name), Choice(domain, address, True, entry))
        if not choice.address:
            self._own.add(domain)

    def _refuse(self, line: Line, reason: str, domain: str = "") -> None:
        if (line.number, reason) not in self._reported:
            self._reported.add((line.number, reason))
            host = domain or line.subject.rpartition("@")[2]
            self._add_refusal(line.label(), reason, line.key_name, host)

    def _add_refusal(self, label: str, reason: str, key_name: str, host: str) -> None:
        """
        Add a line that is not imported.

        host
            The sender's domain that the line is for. If the KeyTable has the key, the signing
            domain of the key counts.
        """
        name = host if key_name == SENDER else key_name
        entry = self.entries.get(name)
        domain = host if entry is None else _signing_domain(entry, host)
        self.result.refused.append(Refusal(label, reason, domain))
        self._refused_lines.setdefault(name, label)


def _signing_domain(entry: Entry, host: str) -> str:
    return host if entry.domain == SENDER else entry.domain


def _ending(pattern: str) -> str:
    """Return the domain at the end of a pattern, or ``''``."""
    domain = re.split(r"[@*]", pattern)[-1].lstrip(".")
    return domain if domain == valid_domain(domain) else ""
