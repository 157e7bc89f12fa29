"""Returns of the functions of ``dkim`` for drawing, all at one time."""

from datetime import datetime, timedelta, timezone

from dkim_formula.dns import notice
from dkim_formula.dns.due_notice import Notice
from dkim_formula.dns.publish import FUTURE_VALUE
from dkim_formula.records import key_record
from dkim_formula.settings.model import Dns

NOW = datetime(2026, 12, 1, 12, tzinfo=timezone.utc)

# Long enough for two strings of a TXT record, like an RSA key with 2048 bits.
P = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA" + "0123456789abcdef" * 21 + "QIDAQAB"
VALUE = f"v=DKIM1; k=rsa; p={P}"


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


def server(number: int, verdict: str = "ok", detail: str = "", *shown: str) -> dict[str, object]:
    """Return a server's part of a check of DNS."""
    return {
        "server": f"ns{number}.example.net",
        "address": f"192.0.2.{number}",
        "verdict": verdict,
        "detail": detail,
        "ttl": 3600,
        "shown": list(shown),
    }


def checked(name: str, verdict: str = "ok", detail: str = "", *servers, **more) -> dict:
    """Return a record of ``dkim.check_dns``."""
    return {
        "name": name,
        "type": "TXT",
        "purpose": "dkim",
        "domain": name.partition("._domainkey.")[2],
        "selector": name.partition(".")[0],
        "value": VALUE,
        "verdict": verdict,
        "detail": detail,
        "zone": name.partition("._domainkey.")[2],
        "negative_ttl": None,
        "validator": None,
        "servers": list(servers),
        **more,
    }


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
    return [
        key("example.com", "s1"),
        key("example.com", "e1", algorithm="ed25519", bits=None, when=at(days=3)),
        key("xn--mnchen-3ya.example", "s1", age="181d", when=at(days=-1)),
        key(
            "xn--mnchen-3ya.example",
            "s2",
            state="pending",
            age="3h",
            next="active: resolver caches may hold the old answer: the record must be visible for "
            "1h, and is visible since 2026-12-01T11:10:00+00:00",
            when=at(minutes=10),
        ),
        key("example.org", "mail", dns="missing", age="2d"),
        key(
            "example.org",
            "old",
            state="retired",
            age="5d",
            next="revoked: retired for 14d",
            when=at(days=9),
        ),
    ]


def with_standby() -> list[dict[str, object]]:
    """Return a key that signs, and the standby key, whose record is published in advance."""
    standby = {"state": "standby", "next": "active at the next rotation", "when": ""}
    return [key(), key("example.com", "s2", **standby)]


def many_keys(domains: int) -> list[dict[str, object]]:
    """Return one key per domain; every thousandth has a wrong record."""
    return [
        key(f"d{number}.example", dns="different" if number % 1000 == 7 else "ok")
        for number in range(domains)
    ]


def few_findings() -> list[dict[str, object]]:
    """Return findings of the doctor: two problems, one unknown, three ok."""
    return [
        finding("settings", True, "every value of the pillar is valid"),
        finding(
            "service",
            False,
            "the service opendkim does not run",
            "systemctl start opendkim; why it does not run: journalctl -u opendkim -n 50",
            "opendkim",
        ),
        finding("login", True, "OpenDKIM's account reads the views", "", "opendkim"),
        finding(
            "dns",
            False,
            "2 of 3 records are not as desired: s1._domainkey.example.com TXT is missing, "
            "s1._domainkey.example.org TXT is different; all domains were asked",
            "salt-call dkim.check_dns says how each differs; salt-call dkim.publish publishes",
        ),
        finding("clock", None, "without systemd its synchronisation is unknown"),
        finding("names", True, "every name can be looked up"),
    ]


def dns_found() -> dict[str, object]:
    """Return a check of DNS: two correct records (one with advice), a wrong and a missing one."""
    wrong = VALUE.replace("0123456789abcdef", "0123456789abcdEf", 1)
    records = [
        checked("s1._domainkey.example.com", "ok", "", server(1), server(2)),
        checked(
            "s1._domainkey.example.org",
            "different",
            "",
            server(1, "different", "tag p differs", wrong),
            server(2, "different", "tag p differs", wrong),
        ),
        checked(
            "s1._domainkey.xn--mnchen-3ya.example",
            "inconsistent",
            "",
            server(1),
            server(2, "missing", "the name does not exist"),
        ),
        checked(
            "mail._domainkey.example.net",
            "ok",
            "ns9.example.net: lame; let it serve the zone, or remove its NS record",
            server(1),
        ),
    ]
    counts = {"ok": 2, "different": 1, "inconsistent": 1}
    return {"ok": False, "counts": counts, "records": records}


def rotated() -> dict[str, object]:
    """Return a rotation that made a key, whose record a person must publish."""
    name = "s2._domainkey.example.com"
    return {
        "changes": {name: {"old": None, "new": "pending"}},
        "dns": {},
        "waiting": [
            {
                "domain": "example.com",
                "selector": "s2",
                "algorithm": "rsa",
                "state": "pending",
                "next": "active",
                "waits_for": "the record to be visible at every authoritative server",
                "not_before": at(hours=1),
            }
        ],
        "to_publish": [record(name, selector="s2")],
        "next_check": at(hours=1),
        "notes": [],
        "problems": [],
    }


def published() -> dict[str, object]:
    """Return a publication: changes, one problem, one record to publish by hand."""
    return {
        "changes": {
            "s1._domainkey.example.com TXT": {"old": None, "new": VALUE},
            "_dmarc.example.com TXT": {"old": "v=DMARC1; p=none", "new": "v=DMARC1; p=reject"},
            "s0._domainkey.example.com TXT": {"old": "v=DKIM1; p=", "new": None},
        },
        "unchanged": 12,
        "problems": [
            "s1._domainkey.example.org TXT: another TXT record exists at this name: v=DKIM1; p=x; "
            "remove it, or use adopt=True to replace it"
        ],
        "manual": ["s1._domainkey.example.net TXT"],
        "to_publish": [record("s1._domainkey.example.net", domain="example.net")],
        "notes": [],
    }


def generated() -> dict[str, object]:
    """Return a key that was generated beside an active key."""
    return {
        **{"domain": "example.com", "selector": "s2", "algorithm": "rsa", "bits": 2048},
        **{"state": "pending", "address": "", "created": at(), "activated": None},
        **{"retired": None, "revoked": None, "public_key": P, "problem": ""},
        "record": record("s2._domainkey.example.com", selector="s2"),
        "existed": False,
        "changes": {"example.com, selector 's2', rsa": {"old": None, "new": "made"}},
        "notes": [],
    }


def listed() -> list[dict[str, object]]:
    """Return the keys of the table, one with a problem."""
    times = {"created": at(days=-40), "activated": at(days=-12), "retired": None}
    extra = {**times, "revoked": None, "public_key": P, "record": record(), "orphaned": ""}
    retired = {"state": "retired", "retired": at(days=-12)}
    return [
        {**key(), **extra},
        {**key("example.com", "s0"), **extra, **retired},
        {**key("example.org", "mail"), **extra, "problem": "the row holds no key: PEM without end"},
    ]


def signed() -> list[dict[str, object]]:
    """Return a self-test: two valid signatures, and one that DNS does not verify."""
    one = {
        **{"domain": "example.com", "sender": "joe@example.com", "kind": "domain"},
        **{"algorithm": "rsa", "selector": "s1", "signed": True, "verified_by_database": True},
        **{"verified_by_dns": True, "ways": {"smtpd": True}, "unsigned_headers": [], "detail": ""},
    }
    missing = {"verified_by_dns": False, "detail": "DNS: missing (the name does not exist)"}
    return [
        one,
        {**one, "algorithm": "ed25519", "selector": "e1"},
        {**one, **missing, "domain": "example.org", "sender": "joe@example.org"},
    ]


def preflight() -> dict[str, object]:
    """Return a preflight check with a problem and advice."""
    return {
        "problems": ["dkim:rotation:every: '5y' is not a duration; use 1s to 3650d"],
        "advice": [
            "dkim:postfix:milter_default_action: 'accept' sends mail on unsigned, with nothing but "
            "a line in Postfix's log"
        ],
        "looked": False,
    }


NOTHING = {"changes": {}, "waiting": [], "to_publish": [], "next_check": None}


def rotation_previewed() -> dict[str, object]:
    """Return a rotation's preview, with the record of a key that does not exist yet."""
    name = "s2._domainkey.example.com"
    return {**rotated(), "to_publish": [record(name, selector="s2", value=FUTURE_VALUE)]}


def relative() -> list[dict[str, object]]:
    """Return records whose names are relative to their zones."""
    return [
        record("s1._domainkey", zone="example.com"),
        record("@", value="v=spf1 mx -all", purpose="spf", selector=None, zone="example.com"),
        record("s1._domainkey", domain="example.org", zone="example.org"),
    ]


def dns_ok(number: int) -> dict[str, object]:
    """Return a check of DNS in which every record is as desired."""
    records = [
        checked(f"s1._domainkey.d{one}.example", "ok", "", server(1)) for one in range(number)
    ]
    return {"ok": True, "counts": {"ok": number}, "records": records}


def dns_unknown() -> dict[str, object]:
    """Return a check of DNS on a host that cannot look up the zone."""
    detail = "no resolver answers for the NS of example.com (192.0.2.53: timed out)"
    record_ = checked("s1._domainkey.example.com", "no zone", detail)
    return {"ok": False, "counts": {"no zone": 1}, "records": [record_]}


def signed_dns_unknown() -> list[dict[str, object]]:
    """Return a self-test on a host that cannot query DNS."""
    unknown = {"verified_by_dns": None, "detail": "DNS: no zone (no resolver answers)"}
    return [signed()[0], {**signed()[1], **unknown}]


def guide_keys() -> list[dict[str, object]]:
    """Return the keys that docs/rotate.md shows."""
    return [key(), key("example.org", "mail", dns="missing", age="2d")]


def forgotten() -> dict[str, object]:
    """Return the result of ``dkim.forget_replica``."""
    return {"changes": {"192.0.2.11 (15/main)": {"old": "waited for", "new": None}}, "notes": []}


def generated_missing() -> dict[str, object]:
    """Return the result of ``dkim.generate_missing``."""
    return {
        "changes": {
            "key default._domainkey.example.com": {"old": None, "new": "rsa 2048"},
            "key default-ed25519._domainkey.example.com": {"old": None, "new": "ed25519"},
        },
        "notes": [
            "example.org: its old key is refused, so the new one is pending until DNS shows its "
            "record; dkim.status says what it waits for"
        ],
    }


def deleted() -> dict[str, object]:
    """Return the deletion of a key."""
    changes = {"s0._domainkey.example.com": {"old": "retired", "new": None}}
    one = {"selector": "s0", "state": "retired", "record": record("s0._domainkey.example.com")}
    return {**listed()[1], **one, "changes": changes, "notes": []}


def exported() -> dict[str, object]:
    """Return the export of a key."""
    one = {"path": "/root/mail.private", "domain": "example.com", "selector": "s1"}
    return {**one, "algorithm": "rsa", "public_key": P}


def imported() -> dict[str, object]:
    """Return an import with imported and refused keys."""
    one = {"domain": "example.com", "selector": "mail", "algorithm": "rsa", "bits": 2048}
    return {
        "imported": [
            {**one, "state": "active", "address": ""},
            {**one, "selector": "news", "state": "active", "address": "news@example.com"},
            {**one, "domain": "example.org", "selector": "old", "state": "retired", "address": ""},
        ],
        "present": ["s1._domainkey.example.net"],
        "refused": [
            {
                "entry": "KeyTable: weak",
                "reason": "the key has 512 bits; RSA of less than 1024 is never taken",
            }
        ],
        "patterns": {"news@example.com": "example.com"},
        "pillar": {"example.com": {"addresses": {"news@example.com": {"selector": "news"}}}},
        "changes": {"mail._domainkey.example.com": {"old": None, "new": "active"}},
        "notes": [],
        "files": ["/etc/dkimkeys/mail.private", "/etc/dkimkeys/news.private"],
        "also_signs": ["rspamd runs and signs mail too: set enabled = false in dkim_signing.conf"],
    }


def delegated() -> dict[str, object]:
    """Return the CNAMEs of two customers: one correct, two wrong."""
    one = {"domain": "customer.example", "target": "sel1._domainkey.customer.example.mail.example"}
    return {
        "ok": False,
        "counts": {"right": 1, "absent": 1, "wrong target": 1},
        "delegations": [
            {
                **one,
                "name": "sel1._domainkey.customer.example",
                "state": "absent",
                "detail": "the record is at sel1._domainkey.customer.example.customer.example: "
                "enter the name without .customer.example",
                "since": None,
                "last_right": None,
            },
            {
                **one,
                "name": "sel2._domainkey.customer.example",
                "state": "wrong target",
                "detail": "the CNAME points to elsewhere.example",
                "since": None,
                "last_right": at(days=-3),
            },
            {
                "domain": "xn--mnchen-3ya.example",
                "name": "sel1._domainkey.xn--mnchen-3ya.example",
                "target": "sel1._domainkey.xn--mnchen-3ya.example.mail.example",
                "state": "right",
                "detail": "",
                "since": at(days=-12),
                "last_right": at(),
            },
        ],
    }


def delegated_correctly() -> dict[str, object]:
    """Return a customer's correct CNAME."""
    return {"ok": True, "counts": {"right": 1}, "delegations": delegated()["delegations"][2:]}


def notified() -> dict[str, object]:
    """Return a notification about one record."""
    record = key_record("example.com", "s1", "ed25519", "MCowBQYDK2VwAyEA")
    news = Notice((record,), 1)
    return {
        "changes": {"s1._domainkey.example.com TXT": {"old": None, "new": "told"}},
        "told": "postmaster@example.com",
        "text": notice.text(news, Dns()),
        "waiting": 1,
        "notes": [f"postmaster@example.com was notified: {notice.subject(news)}"],
        "problems": [],
    }


def nothing_to_notify() -> dict[str, object]:
    """Return a run of ``dkim.notify`` without new records."""
    return {"changes": {}, "told": "", "text": "", "waiting": 3, "notes": [], "problems": []}


def notification_failed() -> dict[str, object]:
    """Return a run of ``dkim.notify`` whose mail could not be sent."""
    problem = (
        "dkim:dns:notify: /usr/sbin/sendmail failed (exit status 75); the next run tries again"
    )
    return {**notified(), "changes": {}, "told": "", "notes": [], "problems": [problem]}


def unhealthy() -> dict[str, object]:
    """Return the health of a host with a problem and an unknown check."""
    problem = {**few_findings()[1], "since": at(hours=-3)}
    return {
        "problems": [problem],
        "unknown": ["dns"],
        "checked": {"database": at(minutes=-2), "dns": None},
    }


def healthy() -> dict[str, object]:
    """Return the health of a host without problems."""
    checked_at = {"database": at(minutes=-2), "dns": at(hours=-1)}
    return {"problems": [], "unknown": [], "checked": checked_at}


def policy() -> dict[str, str]:
    """Return an MTA-STS policy file."""
    return {
        "url": "https://mta-sts.example.com/.well-known/mta-sts.txt",
        "text": "version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 604800\n",
    }
