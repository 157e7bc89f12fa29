"""pillar.example is complete, and every example in it works."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from dkim_formula.settings import model, read
from dkim_formula.settings.lookup import DEFAULTS

TEXT = (Path(__file__).resolve().parents[2] / "pillar.example").read_text(encoding="utf-8")
COMMENTED = re.compile(r"^( *)#(?=\S)")
# Fields whose pillar key has another name, or which are the key itself.
NOT_KEYS = {"name", "keys", "address", "every_hosted", "excluded"}
NOT_GIVEN = {"assumed", "described", "only_given"}


def uncommented(text):
    return "\n".join(COMMENTED.sub(r"\1", line) for line in text.splitlines())


def variants():
    """Yield the file with the examples of one paragraph uncommented, for each such paragraph."""
    paragraphs = TEXT.split("\n\n")
    for at, paragraph in enumerate(paragraphs):
        changed = uncommented(paragraph)
        if changed != paragraph:
            yield "\n\n".join([*paragraphs[:at], changed, *paragraphs[at + 1 :]])


def pillar(text):
    return yaml.safe_load(text)["dkim"]


def keys_at(path):
    """Return every key that a variant of the file has at a path; ``*`` matches any key."""
    found = set()
    for text in (TEXT, *variants()):
        nodes = [pillar(text)]
        for step in path:
            below = []
            for node in nodes:
                if isinstance(node, dict):
                    below += node.values() if step == "*" else [node.get(step)]
            nodes = below
        found |= {key for node in nodes if isinstance(node, dict) for key in node}
    return found


def fields(of):
    return {field.name for field in dataclasses.fields(of)}


def test_example_is_accepted_without_problem_or_advice():
    reading = read(pillar(TEXT))
    assert reading.problems == ()
    assert reading.advice == ()


def test_example_signs_for_two_domains_with_dmarc():
    domains = read(pillar(TEXT)).settings.domains
    assert [*domains] == ["example.com", "example.org"]
    assert domains["example.org"].keys[0].selector == "mail"
    assert all(domain.dmarc is not None for domain in domains.values())


@pytest.mark.parametrize("text", [*variants()])
def test_examples_of_a_paragraph_are_accepted(text):
    assert read(pillar(text)).problems == ()


def test_there_are_commented_examples():
    assert len([*variants()]) > 8


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ((), fields(model.Settings) - NOT_KEYS),
        (("database",), fields(model.Database) - NOT_GIVEN),
        (("database", "domains"), fields(model.HostedTable)),
        (("database", "aliases"), fields(model.HostedTable) - {"schema"}),
        (("database", "reader"), fields(model.Reader)),
        (("database", "writer"), fields(model.Writer)),
        (
            ("defaults",),
            (fields(model.Domain) | fields(model.KeyPlan)) - NOT_KEYS - {"alias_of", "addresses"},
        ),
        (("domains", "*"), {"alias_of", "addresses"}),
        (("domains", "*", "addresses", "*"), fields(model.KeyPlan)),
        (("defaults", "dmarc"), fields(model.Dmarc)),
        (("defaults", "mta_sts"), fields(model.MtaSts)),
        (("defaults", "delegation"), fields(model.Delegation)),
        (("opendkim",), fields(model.OpenDKIM)),
        (("postfix",), fields(model.Postfix)),
        (("dns",), fields(model.Dns)),
        (("dns", "key"), fields(model.TsigKey)),
        (("dns", "zones", "*"), fields(model.Zone)),
        (("rotation",), fields(model.Rotation)),
        (("monitoring",), fields(model.Monitoring)),
        (("lookup",), DEFAULTS.keys()),
    ],
)
def test_pillar_example_shows_every_key(path, keys):
    assert keys <= keys_at(path)


MARK = "  # default"
LINES = TEXT.splitlines()
LOOKUP = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "dkim" / "defaults.yaml").read_text(encoding="utf-8")
)


def depth(line):
    return len(line) - len(line.lstrip(" "))


def with_line(at):
    """Return the file with one line uncommented, and the sections that the line is in."""
    lines, below = list(LINES), depth(LINES[at])
    lines[at] = COMMENTED.sub(r"\1", lines[at])
    for above in range(at - 1, 0, -1):
        if COMMENTED.match(lines[above]) and lines[above].endswith(":"):
            if depth(lines[above]) < below:
                lines[above] = COMMENTED.sub(r"\1", lines[above])
                below = depth(lines[above])
        elif re.match(r" *[^ #]", lines[above]) and depth(lines[above]) < below:
            break
    return "\n".join(lines)


SCALARS = [at for at, line in enumerate(LINES) if re.match(r" *#[A-Za-z_]+: *[^ {\[]", line)] + [
    at for at, line in enumerate(LINES) if line.endswith(MARK) and "[" in line
]


def shown(at):
    return LINES[at].strip().removeprefix("#").removesuffix(MARK)


@pytest.mark.parametrize("at", SCALARS, ids=shown)
def test_lines_marked_as_default_change_nothing_and_all_others_do(at):
    is_marked = LINES[at].endswith(MARK)
    changed = pillar(with_line(at))
    if "lookup" in changed:
        assert changed["lookup"].items() <= LOOKUP.items() or not is_marked
        return
    reading, plain = read(changed), read(pillar(TEXT))
    is_default = not reading.problems and reading.settings == plain.settings
    assert is_default == is_marked
