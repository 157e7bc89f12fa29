"""
Messages a second through the milter socket, over the same daemon with one key in its file.

Method: OpenDKIM as the formula sets it up, reading PostgreSQL, with 1 to 1,000,000 domains; beside
it, on the same machine, an OpenDKIM with one key in its configuration file, which is the limit: it
looks nothing up. Both get the same messages (1.6 kB, RSA-2048) over four connections, in alternate
rounds; the ratio is the median of the rounds. Every message has to come back signed. The load, the
daemon and PostgreSQL share the machine's cores.
"""

from collections.abc import Iterator

from . import site
from .table import Figure, rounds

SIZES = (1, 1_000, 100_000, 1_000_000)
SHORT_SIZES = (1, 1_000)
HOWTO_SIZE = 100_000


def run(short: bool) -> Iterator[Figure]:
    """The figures, as they come."""
    messages, count = (200, 1) if short else (2_000, 5)
    first: Figure | None = None
    for size in SHORT_SIZES if short else SIZES:
        senders = site.fill(size)
        site.restart_daemon()
        with site.daemon("limit", site.key_file(senders[0])) as limit:
            site.rate(site.SOCKET, senders, messages // 4)  # connections to PostgreSQL, caches
            figure = rounds(
                f"messages/s, {size:,} domains, over one key in a file",
                lambda senders=senders: site.rate(site.SOCKET, senders, messages),
                lambda limit=limit, senders=senders: site.rate(limit, senders[:1], messages),
                (">=", 0.75),
                count,
            )
        yield figure
        if first is None:
            first = figure
        else:
            what = f"messages/s, {size:,} domains, over 1 domain"
            yield Figure(what, figure.ratio / first.ratio, (">=", 0.95))
    yield _howto(1_000 if short else HOWTO_SIZE, 12 if short else 40, count)


def _howto(size: int, messages: int, count: int) -> Figure:
    """The howto's views, whose daemon has to start before there are many domains."""
    site.fill(1)
    site.sql(site.HOWTO)
    tables = {
        "KeyTable": site_table("dkim_key_table", "identifier", "domain,selector,key"),
        "SigningTable": site_table("dkim_signing_table", "pattern", "identifier"),
    }
    try:
        with site.daemon("howto", tables) as howto:
            senders = site.fill(size)
            site.restart_daemon()
            return rounds(
                f"messages/s, {size:,} domains, over the howto's views",
                lambda: site.rate(site.SOCKET, senders, messages * 20),
                lambda: site.rate(howto, senders, messages),
                count=count,
            )
    finally:
        site.sql("DROP SCHEMA howto CASCADE;")


def site_table(view: str, key: str, data: str) -> str:
    """A DSN of one of the howto's views."""
    return f"dsn:pgsql://vmail-dkim-reader@,/vmail/table=howto.{view}?keycol={key}?datacol={data}"
