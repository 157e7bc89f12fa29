"""Complete valid pillars, from pillar.example."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def pillars() -> list[dict[str, Any]]:
    """Return complete valid pillars: pillar.example, with each paragraph's examples in turn."""
    text = (ROOT / "pillar.example").read_text(encoding="utf-8")
    commented = re.compile(r"^( *)#(?=\S)")
    found = [text]
    paragraphs = text.split("\n\n")
    for at, paragraph in enumerate(paragraphs):
        changed = "\n".join(commented.sub(r"\1", line) for line in paragraph.splitlines())
        if changed != paragraph:
            found.append("\n\n".join([*paragraphs[:at], changed, *paragraphs[at + 1 :]]))
    return [yaml.safe_load(text)["dkim"] for text in found]


PILLARS = pillars()
