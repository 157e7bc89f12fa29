"""Keys and patterns: whole, in agreement, and for every domain that should sign."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..database import keystore, patterns
from ..database.comparison import Wanted, compare
from ..database.connection import compose, session
from ..database.keystore import Key
from ..database.objects import names
from ..names import is_served
from ..operations import odd_rows, orphans
from ..postgres import hosted as hosted_domains
from ..postgres import inspection
from ..private_key import read_stored
from ..settings.model import Database, Domain
from ..wanted import chosen_domains, wanted_keys, wanted_patterns
from .finding import Finding, judged, right, shortened, unknown, wrong
from .site import Site

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# A key is read in 0.2 ms (measured), and 100,000 of them are not waited for.
MOST_READ = 2_000

_ACTIVE = """
SELECT k.domain, k.selector::text, k.algorithm, k.public_key, k.key::text, count(*) OVER ()
  FROM {dkim} AS k
 WHERE k.state = 'active'
 ORDER BY k.public_key IS NULL DESC, random()
 LIMIT %s
"""


def whole(site: Site) -> list[Finding]:
    """Active keys parse, and their records are theirs; a sample of them where there are many."""
    database = site.settings.database
    with session(database) as connection, connection.cursor() as cursor:
        cursor.execute(compose(_ACTIVE, **names(database)), (MOST_READ,))
        rows = cursor.fetchall()
    total = rows[0][-1] if rows else 0
    damaged = [text for *row, _ in rows if (text := _damage(*row))]
    looked = f"{len(rows)} of {total} active keys were read"
    if damaged:
        do = (
            "restore these rows from a backup; or make other keys: salt-call dkim.generate DOMAIN "
            "NEW-SELECTOR, publish, salt-call dkim.activate DOMAIN NEW-SELECTOR"
        )
        return [wrong("keys", f"{shortened(damaged)}; {looked}", do)]
    return [right("keys", looked)]


def _damage(
    domain: str, selector: str, algorithm: str | None, public: str | None, pem: str
) -> str | None:
    where = f"{domain}, selector {selector!r}"
    stored = read_stored(pem)
    key = stored.private
    if key is None:
        return f"{where}: the key {stored.problem}, so its domain's mail is deferred"
    if public is None or algorithm is None:
        return None
    if (key.algorithm, key.public_base64()) != (algorithm, public):
        return f"{where}: the record shows another key than the one that signs"
    return None


def unsigned(site: Site) -> list[Finding]:
    """Every domain that the pillar chooses signs; hosted ones that it does not name are told of."""
    settings = site.settings
    with session(settings.database) as connection:
        hosted = hosted_domains.hosted(connection, settings.database)
        keys = keystore.list_keys(connection, settings.database)
        chosen = chosen_domains(settings, hosted)
        missing = _missing(chosen, keys)
        # Some of them a highstate makes; a selector that was used before it does not use again.
        made = compare(connection, settings.database, missing).missing if missing else ()
    if missing:
        listed = shortened([f"{one.address or one.domain} ({one.algorithm})" for one in missing])
        do = _remedy([one for one in missing if one not in made], keys)
        return [wrong("domains", f"no key signs for {listed}", do)]
    others = _unchosen(hosted, chosen, settings.excluded, keys)
    if others:
        found = f"hosted, without a key, and not in the pillar: {shortened(others)}"
        do = "add them to dkim:domains, or with false where they are to stay unsigned"
        return [unknown("domains", found, do)]
    return [right("domains", f"each of {len(chosen)} domains has its active keys")]


def _missing(chosen: Mapping[str, Domain], keys: Iterable[Key]) -> list[Wanted]:
    signing = {(key.domain, key.algorithm, key.address) for key in keys if key.state == "active"}
    return [
        one
        for one in wanted_keys(chosen)
        if (one.domain, one.algorithm, one.address) not in signing
    ]


def _remedy(left: Sequence[Wanted], keys: Iterable[Key]) -> str:
    """What helps the first of those that no highstate makes a key for; else that it does."""
    if not left:
        return "salt-call dkim.generate_missing"
    one = left[0]
    for key in keys:
        same = (key.domain, key.algorithm, key.address) == (one.domain, one.algorithm, one.address)
        if same and key.state in ("pending", "retired") and key.public is not None:
            return f"salt-call dkim.activate {one.domain} {key.selector}"
    return f"salt-call dkim.generate {one.domain} NEW-SELECTOR algorithm={one.algorithm}"


def _unchosen(
    hosted: Iterable[str], chosen: Iterable[str], excluded: Iterable[str], keys: Iterable[Key]
) -> list[str]:
    signing = {key.domain for key in keys if key.state == "active"}
    others = {*hosted} - {*chosen} - {*excluded} - signing
    # What can have no key is told of as such, not as a domain to be added.
    return sorted(name for name in others if is_served(name))


def orphaned(site: Site) -> list[Finding]:
    """Keys of domains that are neither hosted nor in the pillar come to their end by rotation."""
    name = "orphaned keys"
    found = orphans.look(site.settings)
    if found.sudden:
        do = "restore the table of domains; or, if it is meant: salt-call dkim.advance force=True"
        return [wrong(name, found.sudden, do)]
    if found.due:
        return [right(name, orphans.waiting(found.due))]
    if found.gone:
        said = shortened(sorted(found.gone))
        return [right(name, f"retired or revoked, and on their way to their end: {said}")]
    return [right(name, "none")]


def agreement(site: Site) -> list[Finding]:
    """Patterns are those of the pillar, and no name is in the way of another."""
    settings = site.settings
    with session(settings.database) as connection:
        problems = list(_differing(connection, site))
        with connection.cursor() as cursor:
            advice = inspection.names_advice(cursor, settings.database)
        # whole() names active keys whose text is damaged.
        advice += odd_rows.problems(connection, settings, damaged=False)
    findings = [
        judged("patterns", problems, "as the pillar has them", "salt-call dkim.generate_missing")
    ]
    do = "see docs/caveats.md, «Names and letters»"
    findings.append(judged("names", advice, "every name can be looked up", do))
    return findings


def _differing(connection: pg.connection, site: Site) -> Iterator[str]:
    database: Database = site.settings.database
    hosted = hosted_domains.hosted(connection, database)
    wanted = wanted_patterns(chosen_domains(site.settings, hosted))
    planned = patterns.plan(patterns.look(connection, database), wanted)
    for what, one in planned.changes.items():
        yield f"{what}: {one['old']} in place of {one['new']}"
