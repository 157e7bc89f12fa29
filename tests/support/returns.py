"""Returns of the functions of ``dkim`` for drawing, all at one time, with the library's texts."""

from datetime import timedelta
from types import SimpleNamespace

from dkim_formula import settings
from dkim_formula.dns import notice, verdict
from dkim_formula.dns.checked import Answered, Checked, advice_of, joined
from dkim_formula.dns.delegations import OTHER_TARGET, Delegated
from dkim_formula.dns.due_notice import Notice
from dkim_formula.dns.managed_records import adopted
from dkim_formula.dns.publish_report import PublishReport
from dkim_formula.dns.verdict import Finding as Answer
from dkim_formula.dns.zones import no_resolver
from dkim_formula.errors import DnsError, InvalidValue
from dkim_formula.health import check_clock, check_dns, check_opendkim, preflight, run, selftest
from dkim_formula.health import commands as health
from dkim_formula.health.model import Finding, Host, Results, applied, judged, right
from dkim_formula.health.trial_messages import Case, SigningResult
from dkim_formula.importing.other_signers import Signer
from dkim_formula.importing.plan import FILES_CAN_GO
from dkim_formula.key_file import check_strength
from dkim_formula.keys import commands as key_commands
from dkim_formula.keys import refusals, removed_domains
from dkim_formula.keys.missing_keys import changes_of
from dkim_formula.keys.model import DesiredKey
from dkim_formula.keys.removed_domains import Orphans
from dkim_formula.postgres.stored_row import read_row
from dkim_formula.records import Record, delegation_records, key_record
from dkim_formula.records.meaning import compare
from dkim_formula.settings.model import Delegation, Dns

from support import rotations
from support.rotations import NOW, SETTINGS, P, stored

VALUE = f"v=DKIM1; k=rsa; t=s; p={P}"


def at(**later: float) -> str:
    """Return NOW plus a timedelta, in the functions' format."""
    return (NOW + timedelta(**later)).isoformat(timespec="seconds")


def key(domain: str = "example.com", selector: str = "s1", **more: object) -> dict[str, object]:
    """Return a line of ``dkim.status``, by default of a key without a pending move."""
    return {
        "domain": domain,
        "selector": selector,
        "algorithm": "rsa",
        "bits": 2048,
        "state": "active",
        "address": "",
        "age": "12d",
        "dns": "ok",
        "next": "rotation",
        "when": at(days=168),
        "problem": "",
        **more,
    }


def record(name: str = "s1._domainkey.example.com", **more: object) -> dict[str, object]:
    """Return a record of ``dkim.records``."""
    return {
        "name": name,
        "type": "TXT",
        "ttl": 3600,
        "value": VALUE,
        "purpose": "dkim",
        "domain": "example.com",
        "selector": "s1",
        **more,
    }


def answer(number: int, found: str = "ok", detail: str = "", *shown: str) -> Answered:
    """Return a server's answer about a record."""
    one = Answer(found, detail, 3600, shown=shown)
    return Answered(f"ns{number}.example.net", f"192.0.2.{number}", one)


def server(number: int, found: str = "ok", detail: str = "", *shown: str) -> dict[str, object]:
    """Return a server's part of a check of DNS."""
    return answer(number, found, detail, *shown).to_dict()


def asked_of(name: str, found: str, *answers: Answered, detail: str | None = None) -> Checked:
    """Return the check of a key's record, with the detail that the answers give it."""
    selector, _, domain = name.partition("._domainkey.")
    wrong = [one for one in answers if one.finding.verdict != verdict.OK]
    text = advice_of(answers) if found == verdict.OK else joined(wrong)
    one = Record(name, "TXT", 3600, VALUE, "dkim", domain, selector)
    zone = domain if answers else None
    return Checked(one, found, text if detail is None else detail, zone, answers)


def checked(name: str, found: str = "ok", detail: str = "", *servers, **more) -> dict:
    """Return a record of ``dkim.check_dns``, with some servers' parts."""
    one = asked_of(name, found, detail=detail).to_dict()
    return {**one, "servers": list(servers), **more}


def finding(check: str, ok: bool | None, message: str, remedy: str = "", subject: str = "") -> dict:
    """Return a finding of ``dkim.doctor``."""
    return {
        "check": check,
        "subject": subject,
        "ok": ok,
        "message": message,
        "remedy": remedy,
        "items": [],
        "count": 0 if ok else 1,
        "since": None,
    }


def few_keys() -> list[dict[str, object]]:
    """Return the keys of three domains: one at rest, one in rotation, one without its record."""
    keys = [
        stored(1, "example.com", "s1", "active"),
        stored(2, "example.com", "e1", "active", algorithm="ed25519", age={"days": 177}),
        stored(3, "xn--mnchen-3ya.example", "s1", "active", age={"days": 181}),
        stored(4, "xn--mnchen-3ya.example", "s2", "pending", age={"hours": 3}),
        stored(5, "example.org", "mail", "active", age={"days": 2}),
    ]
    retired = stored(6, "example.org", "old", "retired", age={"days": 5})
    visible = {4: rotations.visible(keys[3], minutes=50)}
    return [
        *rotations.lines(keys, {"example.org": "missing"}, visible),
        *rotations.lines([retired]),
    ]


def held_keys() -> list[dict[str, object]]:
    """Return the keys of three domains that disappeared suddenly, so that a person decides."""
    names = [f"customer{number}.example" for number in range(1, 4)]
    keys = [stored(number, name, "s1", "active") for number, name in enumerate(names, 1)]
    orphans = Orphans(
        gone=frozenset(names), sudden="the table public.domains has no row that counts"
    )
    return rotations.lines(keys, orphans=orphans)


def orphaned_keys() -> list[dict[str, object]]:
    """Return the key of a domain that is gone, which the next run retires."""
    gone = stored(1, "customer1.example", "s1", "active")
    orphans = Orphans(gone=frozenset([gone.domain]), due=frozenset([gone.domain]))
    return rotations.lines([gone], orphans=orphans)


def unasked_keys() -> list[dict[str, object]]:
    """Return the keys of two domains on a host whose resolver does not answer."""
    keys = [
        stored(1, "example.com", "s1", "active"),
        stored(2, "example.org", "s1", "active"),
    ]
    return rotations.lines(keys, {"example.com": "unchecked", "example.org": "unchecked"})


def with_standby() -> list[dict[str, object]]:
    """Return a key that signs, and the standby key, whose record is published in advance."""
    config = settings.read(
        {"domains": ["example.com"], "rotation": {"spread": 0, "standby": True}}
    ).settings
    keys = [
        stored(1, "example.com", "s1", "active"),
        stored(2, "example.com", "s2", "standby"),
    ]
    evidence = {2: rotations.visible(keys[1], days=2)}
    return rotations.lines(keys, evidence=evidence, config=config)


def many_keys(domains: int) -> list[dict[str, object]]:
    """Return one key per domain; every thousandth has a wrong record."""
    return [
        key(f"d{number}.example", dns="different" if number % 1000 == 7 else "ok")
        for number in range(domains)
    ]


class _Machine(Host):
    """A host with a valid pillar and without systemd."""

    systemd = False


def stopped_service() -> Finding:
    """Return the finding about a daemon that systemd stopped three hours ago."""
    since = (NOW - timedelta(hours=3)).timestamp()
    start = applied("dkim.opendkim")
    _, found = check_opendkim.service("opendkim", False, start, since=since)
    return found


def wrong_records() -> Finding:
    """Return the finding about two wrong records of three."""
    found = [
        asked_of("s1._domainkey.example.com", "missing"),
        asked_of("s1._domainkey.example.net", "ok"),
        asked_of("s1._domainkey.example.org", "different"),
    ]
    wrong = [one for one in found if one.verdict != verdict.OK]
    asked = "the records of 3 of 3 domains were asked for"
    return check_dns.finding(SETTINGS, found, wrong, asked)


def few_findings() -> list[dict[str, object]]:
    """Return findings of the doctor: two problems, one unknown, three ok."""
    host = _Machine(SETTINGS)
    found = [
        *run.settings(host),
        stopped_service(),
        judged(
            "login",
            [],
            "as opendkim: logs in as vmail-dkim-reader, which reads only the views",
            "",
            "opendkim",
        ),
        wrong_records(),
        *check_clock.synchronised(host),
        judged("names", [], "every name can be looked up", ""),
    ]
    return [one.to_dict() for one in found]


def dns_found() -> dict[str, object]:
    """Return a check of DNS: two correct records (one with advice), a wrong and a missing one."""
    wrong = VALUE.replace("0123456789abcdef", "0123456789abcdEf", 1)
    ours = asked_of("s1._domainkey.example.org", "different").record
    differs = [
        answer(number, "different", compare(ours, wrong.encode()).problem, wrong)
        for number in (1, 2)
    ]
    lame = Answered("ns9.example.net", "192.0.2.9", Answer("lame", "it refuses (REFUSED)"))
    records = [
        asked_of("s1._domainkey.example.com", "ok", answer(1), answer(2)),
        asked_of("s1._domainkey.example.org", "different", *differs),
        asked_of(
            "s1._domainkey.xn--mnchen-3ya.example",
            "inconsistent",
            answer(1),
            answer(2, "missing", "the name does not exist"),
        ),
        asked_of("mail._domainkey.example.net", "ok", answer(1), lame),
    ]
    return dns_return(records)


def dns_return(found: list[Checked]) -> dict[str, object]:
    """Return the return of ``dkim.check_dns`` with some checks."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    is_ok = counts.keys() <= {"ok"}
    return {"ok": is_ok, "counts": counts, "records": [one.to_dict() for one in found]}


def rotated() -> dict[str, object]:
    """Return a rotation that made a key, whose record a person must publish."""
    return rotations.rotation()


def published() -> dict[str, object]:
    """Return a publication: changes, one problem, one record to publish by hand."""
    by_hand = asked_of("s1._domainkey.example.net", "missing").record
    report = PublishReport(unchanged=12, manual=[by_hand])
    report.changes = {
        "s1._domainkey.example.com TXT": {"old": None, "new": VALUE},
        "_dmarc.example.com TXT": {"old": "v=DMARC1; p=none", "new": "v=DMARC1; p=reject"},
        "s0._domainkey.example.com TXT": {"old": "v=DKIM1; p=", "new": None},
    }
    other = asked_of("s1._domainkey.example.org", "different").record
    try:
        adopted(other, [b"v=DKIM1; p=x"], [], False)
    except DnsError as error:
        report.problem(str(error), f"{other.name} TXT")
    return report.to_dict()


def generated() -> dict[str, object]:
    """Return a key that was generated beside an active key."""
    key_ = stored(2, "example.com", "s2", "pending", age={})
    changes = changes_of([DesiredKey("example.com", "s2")], {})
    one = {"existed": False, "changes": changes, "notes": []}
    return {**key_commands.to_dict(SETTINGS, key_), **one}


def listed() -> list[dict[str, object]]:
    """Return the keys of the table, one with a problem."""
    damaged = read_row("example.org", "mail", "-----BEGIN PRIVATE KEY-----", "active").fault
    keys = [
        stored(1, "example.com", "s1", "active"),
        stored(2, "example.com", "s0", "retired"),
        stored(3, "example.org", "mail", "active", public=None, bits=None, fault=damaged),
    ]
    none = Orphans()
    return [
        {**key_commands.to_dict(SETTINGS, key), "orphaned": removed_domains.next_of(none, key)}
        for key in keys
    ]


def tried(domain: str, selector: str, algorithm: str, checked_: Checked) -> dict[str, object]:
    """Return the self-test of a key that signs well, with the check of its record."""
    one = stored(1, domain, selector, "active", algorithm=algorithm)
    result = SigningResult(Case(f"dkim-selftest@{domain}", "domain", one), True, True)
    return selftest.to_dict(SETTINGS, result, selftest.in_dns(result, checked_), {})


def signed() -> list[dict[str, object]]:
    """Return a self-test: two valid signatures, and one that DNS does not verify."""
    ok = asked_of("s1._domainkey.example.com", "ok", answer(1))
    absent = answer(1, "missing", "the name does not exist")
    missing = asked_of("s1._domainkey.example.org", "missing", absent)
    return [
        tried("example.com", "s1", "rsa", ok),
        tried("example.com", "e1", "ed25519", ok),
        tried("example.org", "s1", "rsa", missing),
    ]


def checked_before() -> dict[str, object]:
    """Return a preflight check with a problem and advice."""
    reading = settings.read({"domains": ["example.com"], "rotation": {"every": "5y"}})
    advice = [preflight.UNSIGNED_ADVICE]
    return {"problems": list(reading.problems), "advice": advice, "database_checked": False}


def rotation_previewed() -> dict[str, object]:
    """Return a rotation's preview, with the record of a key that does not exist yet."""
    return rotations.rotation(test=True)


def relative() -> list[dict[str, object]]:
    """Return records whose names are relative to their zones."""
    return [
        record("s1._domainkey", zone="example.com"),
        record("@", value="v=spf1 mx -all", purpose="spf", selector=None, zone="example.com"),
        record("s1._domainkey", domain="example.org", zone="example.org"),
    ]


def dns_ok(number: int) -> dict[str, object]:
    """Return a check of DNS in which every record is as desired."""
    return dns_return(
        [asked_of(f"s1._domainkey.d{one}.example", "ok", answer(1)) for one in range(number)]
    )


def unasked(name: str) -> Checked:
    """Return the check of a record on a host whose resolver does not answer."""
    domain = name.partition("._domainkey.")[2]
    failures = ["192.0.2.53: no answer within 5 s over UDP"]
    return asked_of(name, verdict.UNCHECKED, detail=str(no_resolver(domain, "NS", failures)))


def dns_unknown() -> dict[str, object]:
    """Return a check of DNS on a host that cannot look up the zone."""
    return dns_return([unasked("s1._domainkey.example.com")])


def signed_dns_unknown() -> list[dict[str, object]]:
    """Return a self-test on a host that cannot query DNS."""
    unknown = unasked("e1._domainkey.example.com")
    return [signed()[0], tried("example.com", "e1", "ed25519", unknown)]


def guide_keys() -> list[dict[str, object]]:
    """Return the keys that docs/rotate.md shows."""
    keys = [
        stored(1, "example.com", "s1", "active"),
        stored(2, "example.org", "mail", "active", age={"days": 2}),
    ]
    return rotations.lines(keys, {"example.org": "missing"})


def forgotten() -> dict[str, object]:
    """Return the result of ``dkim.forget_replica``."""
    return {"changes": {"192.0.2.11 (15/main)": {"old": "waited for", "new": None}}, "notes": []}


def generated_missing() -> dict[str, object]:
    """Return the result of ``dkim.generate_missing``."""
    keys = [
        DesiredKey("example.com", "default"),
        DesiredKey("example.com", "default-ed25519", "ed25519"),
    ]
    return {"changes": changes_of(keys, {}), "notes": [refusals.pending_note("example.org")]}


def deleted() -> dict[str, object]:
    """Return the deletion of a key."""
    one = stored(1, "example.com", "s0", "retired")
    changes = key_commands.deletion(one)
    return {**key_commands.to_dict(SETTINGS, one), "changes": changes, "notes": []}


def exported() -> dict[str, object]:
    """Return the export of a key."""
    one = {"path": "/root/mail.private", "domain": "example.com", "selector": "s1"}
    return {**one, "algorithm": "rsa", "public_key": P}


def imported() -> dict[str, object]:
    """Return an import with imported and refused keys."""
    one = {"domain": "example.com", "selector": "mail", "algorithm": "rsa", "bits": 2048}
    files = ["/etc/dkimkeys/mail.private", "/etc/dkimkeys/news.private"]
    weak = ""
    try:
        short = SimpleNamespace(weakness="", algorithm="rsa", bits=1024)
        check_strength(short, False, "key file /etc/dkimkeys/weak.private")
    except InvalidValue as error:
        weak = str(error)
    rspamd = Signer(
        "rspamd",
        "rspamd signs with 2 keys (dkim_signing)",
        "write 'enabled = false;' into /etc/rspamd/override.d/dkim_signing.conf",
    )
    return {
        "imported": [
            {**one, "state": "active", "address": ""},
            {**one, "selector": "news", "state": "active", "address": "news@example.com"},
            {**one, "domain": "example.org", "selector": "old", "state": "retired", "address": ""},
        ],
        "present": [
            "net for example.net (/etc/dkimkeys/KeyTable:3): the database has this key, active"
        ],
        "refused": [{"entry": "weak for example.net (/etc/dkimkeys/KeyTable:4)", "reason": weak}],
        "patterns": {"news@example.com": "example.com"},
        "pillar": {"example.com": {"addresses": {"news@example.com": {"selector": "news"}}}},
        "changes": {
            "key mail._domainkey.example.com": {"old": None, "new": "rsa 2048, active"},
            "key news._domainkey.example.com": {
                "old": None,
                "new": "rsa 2048 for news@example.com, active",
            },
            "key old._domainkey.example.org": {"old": None, "new": "rsa 2048, retired"},
        },
        "notes": [FILES_CAN_GO.format(count=len(files))],
        "files": files,
        "also_signs": [str(rspamd)],
    }


def delegated() -> dict[str, object]:
    """Return the CNAMEs of two customers: one correct, two wrong."""
    first, second = _cnames("customer.example")
    doubled = "sel1._domainkey.customer.example.customer.example"
    found = [
        Delegated(
            first,
            "missing",
            f"the record is at {doubled}: enter the name without .customer.example",
        ),
        Delegated(
            second,
            OTHER_TARGET,
            "the CNAME points to elsewhere.example",
            last_ok=NOW - timedelta(days=3),
        ),
        Delegated(
            _cnames("xn--mnchen-3ya.example")[0],
            "ok",
            since=NOW - timedelta(days=12),
            last_ok=NOW,
        ),
    ]
    counts = {"ok": 1, "missing": 1, "wrong target": 1}
    return {"ok": False, "counts": counts, "delegations": [one.to_dict() for one in found]}


def _cnames(domain: str) -> list[Record]:
    return delegation_records(domain, Delegation("mail.example", ("sel1", "sel2")), (), 3600)


def delegated_correctly() -> dict[str, object]:
    """Return a customer's correct CNAME."""
    return {"ok": True, "counts": {"ok": 1}, "delegations": delegated()["delegations"][2:]}


def notified() -> dict[str, object]:
    """Return a notification about one record."""
    record = key_record("example.com", "s1", "ed25519", "MCowBQYDK2VwAyEA")
    news = Notice((record,), 1)
    return {
        "changes": {"s1._domainkey.example.com TXT": {"old": None, "new": "notified"}},
        "notified": "postmaster@example.com",
        "text": notice.text(news, Dns()),
        "waiting": 1,
        "notes": [f"postmaster@example.com was notified: {notice.subject(news)}"],
        "problems": [],
    }


def nothing_to_notify() -> dict[str, object]:
    """Return a run of ``dkim.notify`` without new records."""
    return {"changes": {}, "notified": "", "text": "", "waiting": 3, "notes": [], "problems": []}


def notification_failed() -> dict[str, object]:
    """Return a run of ``dkim.notify`` whose mail could not be sent."""
    problem = (
        "dkim:dns:notify: /usr/sbin/sendmail failed (exit status 75); the next run tries again"
    )
    return {**notified(), "changes": {}, "notified": "", "notes": [], "problems": [problem]}


def unhealthy() -> dict[str, object]:
    """Return the health of a host with a problem, whose DNS was never asked."""
    return _health([stopped_service()], {"database": 2})


def healthy() -> dict[str, object]:
    """Return the health of a host without problems."""
    return _health([], {"database": 2, "dns": 60})


def _health(problems: list[Finding], asked: dict[str, int]) -> dict[str, object]:
    """
    Return the return of ``dkim.health``.

    asked
        The minutes since the last question to the database and to DNS.
    """
    found = {
        cost: [right(one.name, "well") for one in run.CHECKS if one.cost == cost]
        for cost in ("local", "database", "dns")
    }
    kept = {
        cost: Results((NOW - timedelta(minutes=ago)).timestamp(), tuple(found[cost]))
        for cost, ago in asked.items()
    }
    local = Results(NOW.timestamp(), (*problems, *found["local"]))
    return health.state(local, kept)


def policy() -> dict[str, str]:
    """Return an MTA-STS policy file."""
    return {
        "url": "https://mta-sts.example.com/.well-known/mta-sts.txt",
        "text": "version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 604800\n",
    }
