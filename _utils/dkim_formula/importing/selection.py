"""Which keys of a file-based OpenDKIM are to sign for whom, in the terms of the pillar."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..names import mail_domain
from .key_table import SENDER, Entry, Refusal
from .signing_table import ADDRESS, EVERY, HOST, SUBDOMAINS, Line, SigningTable, is_any_ending


@dataclass(frozen=True)
class Choice:
    """
    A key to take over.

    domain
        The signing domain.
    address
        Whose mail alone it signs, or ``''``.
    signs
        Whether OpenDKIM signs with it today; if not, its record may still be needed.
    entry
        The KeyTable's entry.
    """

    domain: str
    address: str
    signs: bool
    entry: Entry

    def label(self) -> str:
        """For people."""
        return f"{self.entry.name} for {self.domain} ({self.entry.place})"


@dataclass
class Selection:
    """
    What the two tables come to.

    choices
        The keys, in the tables' order: of two that sign for one domain the first comes first.
    aliases
        Domain to the domain whose key signs for it.
    subdomains
        Domains whose key, or whose alias' key, signs for everything under them too.
    refused
        What is not taken over.
    notes
        Sentences on what is taken over in another form.
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
    Looks up every domain and address in the tables, as OpenDKIM does with a sender.

    entries
        The KeyTable.
    signing
        The SigningTable; None stands for one in which each key signs for its own domain.
    hosted
        The domains whose mail may come with no line of its own: ``*`` and ``%`` stand for them.
    """
    if signing is None:
        return _each_its_own(entries)
    return _Selecting(entries, signing).run(hosted)


def _each_its_own(entries: Mapping[str, Entry]) -> Selection:
    selection = Selection()
    for entry in entries.values():
        if entry.domain == SENDER:
            refusal = Refusal(entry.label(), "is for any domain; a signing_table tells for which")
            selection.refused.append(refusal)
        else:
            selection.choices.append(Choice(entry.domain, "", True, entry))
    return selection


class _Selecting:
    def __init__(self, entries: Mapping[str, Entry], signing: SigningTable):
        self.entries = entries
        self.signing = signing
        self.result = Selection(refused=list(signing.refused))
        self._chosen: dict[tuple[str, str], Choice] = {}
        self._own: set[str] = set()
        self._parents: dict[str, None] = {}
        self._told: set[tuple[int, str]] = set()

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
        self._tell_of_signers()
        self.result.choices = list(self._chosen.values())
        self.result.subdomains = list(self._parents)
        return self.result

    def _hosts(self, hosted: Iterable[str]) -> list[str]:
        """Every domain that can be told to send mail, the tables' order first."""
        hosts = dict.fromkeys(line.subject for line in self.signing.lines if line.kind == HOST)
        for entry in self.entries.values():
            if entry.domain != SENDER:
                hosts[entry.domain] = None
        if any(line.key_name == SENDER for line in self.signing.lines):
            # The key's name is the sender's domain.
            hosts.update(dict.fromkeys(name for name in self.entries if _is_domain(name)))
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
                    line, f"signs mail of {host} as {domain} too; one domain signs for another"
                )
                continue
            self._choose(domain, "", entry)
            if domain != host:
                self.result.aliases[host] = domain

    def _choose_for_subdomains(self, line: Line) -> None:
        parent = line.subject
        below = self.signing.signing(f"*.{parent}")
        if line not in below:
            self._refuse(line, f"never counts: {below[0].label()} comes before it")
            return
        entry = self._entry(line, parent)
        if entry is None:
            return
        if SENDER in (entry.domain, line.key_name):
            self._refuse(line, "has each subdomain sign as itself; give those their own lines")
            return
        signer = self.result.aliases.get(parent, entry.domain)
        if signer != entry.domain or (parent != signer and parent in self._own):
            self._refuse(
                line,
                f"signs for what is under {parent} as {entry.domain}, and {parent} signs otherwise",
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
            # Else the domain's own key signs for this address as for any other.
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
                    Refusal(entry.label(), "is for any domain, and no line of a domain leads to it")
                )
            else:
                self._choose(entry.domain, "", entry, signs=False)

    def _tell_of_signers(self) -> None:
        for line in self.signing.lines:
            if line.signer:
                self.result.notes.append(
                    f"{line.label()}: the signer (i=) {line.signer!r} is not taken over; "
                    "signatures carry none"
                )
            if self.signing.wild and is_any_ending(line.pattern):
                self.result.notes.append(
                    f"{line.label()}: is taken for {line.subject}; it also matches names such as "
                    f"sub.{line.subject} and my{line.subject}, which sign no more"
                )
            if line.kind == EVERY:
                self.result.notes.append(
                    f"{line.label()}: stands for the hosted domains; mail of others is not signed"
                )

    def _entry(self, line: Line, host: str) -> Entry | None:
        name = host if line.key_name == SENDER else line.key_name
        entry = self.entries.get(name)
        # A line for every sender may well lead nowhere for some of them.
        if entry is None and not (line.kind == EVERY and line.key_name == SENDER):
            reason = f"names the key {name!r}, which the KeyTable has not, or not whole"
            self._refuse(line, reason, host)
        return entry

    def _choose(self, domain: str, address: str, entry: Entry, signs: bool = True) -> None:
        choice = self._chosen.setdefault(
            (domain, entry.name), Choice(domain, address, signs, entry)
        )
        if choice.signs and not choice.address:
            self._own.add(domain)

    def _refuse(self, line: Line, reason: str, domain: str = "") -> None:
        if (line.number, reason) not in self._told:
            self._told.add((line.number, reason))
            self.result.refused.append(Refusal(line.label(), reason, domain))


def _signing_domain(entry: Entry, host: str) -> str:
    return host if entry.domain == SENDER else entry.domain


def _is_domain(name: str) -> bool:
    try:
        return mail_domain(name) == name
    except InvalidValue:
        return False
