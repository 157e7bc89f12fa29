"""Generated access files: the reader can log in, and no byte of the site's lines is lost."""

from dataclasses import replace

import pytest
from dkim_formula.errors import AccessFileError
from dkim_formula.postgres import access_files, hba, objects, roles
from dkim_formula.postgres import connection as db
from dkim_formula.settings.model import Reader
from functional.server import execute, query
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

READER = Reader(name="vmail-dkim-reader", system_user="nobody")
# The line that lets the set-up session log in. It comes first, so no generated line overrides it.
SETUP = "local all postgres peer\n"

names = st.sampled_from(
    [
        "all",
        '"all"',
        "{database}",
        '"{database}"',
        "{role}",
        "{database},other",
        "other, {role}",
        "+pg_read_all_data",
        "sameuser",
        "samerole",
        "replication",
        "@names.txt",
        '"@names.txt"',
        "/^v",
        '"/^(vmail|other),?"',
        '"/.*"',
        "/^nothing$",
        '"with blank"',
        'od"d"',
    ]
)


def rule(kind, blank, database, role, method, end):
    """Return a rule of the site, built from its parts."""
    network = "host" in kind
    # Peer authentication does not work over a network.
    words = [kind, database, role, *(["0.0.0.0/0"] if network else [])]
    return blank.join([*words, "reject" if network else method]) + end


rules = st.builds(
    rule,
    st.sampled_from(["local", "local", '"local"', "host", "hostssl"]),
    st.sampled_from([" ", "\t", "   ", " \\\n "]),
    names,
    names,
    st.sampled_from(["reject", "peer", "peer map=own", '"peer" "map=own"', "scram-sha-256"]),
    st.sampled_from(["", " # why", "#why", " # \\\ngoes on", "\t"]),
)
others = st.sampled_from(
    ["", "# \udcff\udce9 no UTF-8", "  ", "include more.conf", "include_if_exists none.conf", "#\\"]
)
mappings = st.builds(
    "{} {} {}{}".format,
    st.sampled_from(["own", "maildkim", '"maildkim"', "maildkim-writer"]),
    st.sampled_from(["somebody", "/^(.*)@example\\.com$", '"some one"', "root"]),
    st.sampled_from(["{role}", "\\1", "all", '"all"', "+pg_monitor", "/^x", "backup"]),
    st.sampled_from(["", " # why", "\t"]),
)
ends = st.sampled_from(["\n", "\r\n"])


@st.composite
def texts(draw, lines):
    end = draw(ends)
    return end.join(draw(st.lists(lines, max_size=6))) + draw(st.sampled_from(["", end]))


@pytest.fixture(scope="module")
def files(server):
    paths = [server.data / name for name in ("pg_hba.conf", "pg_ident.conf")]
    kept = [path.read_bytes() for path in paths]
    (server.data / "names.txt").write_text("vmail-dkim-reader, someone\n")
    # PostgreSQL reads this file if it supports includes. Otherwise the directive is an error.
    (server.data / "more.conf").write_text("local all all reject\n")
    yield paths
    for path, content in zip(paths, kept, strict=True):
        path.write_bytes(content)
    with db.session(server.settings) as connection:
        query(connection, "SELECT pg_reload_conf()")


@pytest.fixture
def site(ready):
    made = replace(ready, reader=READER)
    with db.session(made) as connection:
        relations = objects.reader_relations(made)
        roles.apply(connection, roles.DesiredRole(READER.name, relations=relations))
        execute(connection, "SELECT 1")
    return made


def apply(site, **more):
    with db.session(site, setup=True, dbname="postgres") as connection:
        return access_files.apply(connection, site, **more)


def unmarked_lines(path):
    """Return every line without the formula's mark, in order."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return [line.raw for line in hba.lines(text) if not hba.is_marked(line)]


def encoded(text, site):
    text = text.replace("{database}", site.name).replace("{role}", READER.name)
    return text.encode("utf-8", "surrogateescape")


@given(texts(st.one_of(rules, rules, others)), texts(st.one_of(mappings, others)))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_reader_can_log_in_and_every_line_of_the_site_stays(server, files, site, rules_, mappings_):
    before = [encoded(SETUP + rules_, site), encoded(mappings_, site)]
    for path, content in zip(files, before, strict=True):
        path.write_bytes(content)
    try:
        planned = apply(site)
    except AccessFileError:
        # PostgreSQL rejects the generated files themselves.
        assert [path.read_bytes() for path in files] == before
        return
    assert planned
    kept = [content.decode("utf-8", "surrogateescape") for content in before]
    for path, text in zip(files, kept, strict=True):
        now = "".join(unmarked_lines(path))
        assert now in (text, f"{text}\n", f"{text}\r\n")
    found = server.psql(site.name, "-c", "SELECT 1", user=READER.name, as_user="nobody")
    assert found.returncode == 0, found.stderr
    assert not apply(site)
    apply(site, present=False)
    for path, content in zip(files, before, strict=True):
        assert path.read_bytes() in (content, content + b"\n", content + b"\r\n")
