"""The pictures of the guides: each is drawn from its description, and a guide shows it."""

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES = sorted((DOCS / "pictures").glob("*.dot"))
SVG = "{http://www.w3.org/2000/svg}"
REMEDY = "run bin/pictures"


def drawing(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path.with_suffix(".svg")).getroot()


def titles(picture: ElementTree.Element, kind: str) -> Counter[str]:
    """Return the titles of a picture's nodes or edges: their names in the description."""
    groups = [group for group in picture.iter(f"{SVG}g") if group.get("class") == kind]
    return Counter(group.findtext(f"{SVG}title") for group in groups)


def test_there_are_pictures():
    assert {path.stem for path in PICTURES} == {"key", "message"}
    assert {path.stem for path in (DOCS / "pictures").glob("*.svg")} == {"key", "message"}


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture_has_exactly_the_labels_of_its_description(path):
    labels = re.findall(r'label="([^"]*)"', path.read_text(encoding="utf-8"))
    lines = Counter(line.strip() for label in labels for line in re.split(r"\\[nlr]", label))
    drawn = Counter(text.text.strip() for text in drawing(path).iter(f"{SVG}text"))
    assert drawn == lines, REMEDY


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture_has_exactly_the_nodes_and_edges_of_its_description(path):
    text = path.read_text(encoding="utf-8")
    nodes = Counter(re.findall(r"^ *(?!node|edge|graph)(\w+) \[", text, re.MULTILINE))
    edges = Counter(
        f"{start}->{end}" for start, end in re.findall(r"^ *(\w+) -> (\w+)", text, re.MULTILINE)
    )
    picture = drawing(path)
    assert nodes
    assert titles(picture, "node") == nodes, REMEDY
    assert titles(picture, "edge") == edges, REMEDY


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture_is_legible_on_any_background(path):
    picture = drawing(path)
    background = picture.find(f"{SVG}g/{SVG}polygon")
    assert background.get("fill") == "white"
    points = [point.split(",") for point in background.get("points").split()]
    across, down = ([float(one) for one in ones] for ones in zip(*points, strict=True))
    _, _, width, height = map(float, picture.get("viewBox").split())
    assert max(across) - min(across) == pytest.approx(width, abs=1)
    assert max(down) - min(down) == pytest.approx(height, abs=1)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_guide_shows_the_picture(path):
    guide = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    assert f"](pictures/{path.stem}.svg)" in guide
