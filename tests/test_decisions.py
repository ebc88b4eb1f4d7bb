"""The index of DECISIONS.md names every entry, in order, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "DECISIONS.md").read_text(encoding="utf-8")
ENTRIES = [f"{date} · {title}" for date, title in re.findall(r"^## (\d{4}-\d\d-\d\d) · (.+)$", TEXT, re.MULTILINE)]
ROWS = re.findall(r"^\| (\d{4}-\d\d-\d\d) \| \[(.+)\]\(#([\w-]+)\) \| (.+) \|$", TEXT, re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the name that GitHub gives to a heading."""
    return "".join(one for one in heading.lower() if one.isalnum() or one in " -_").replace(" ", "-")


def test_the_index_names_every_entry_in_order() -> None:
    assert [f"{date} · {title}" for date, title, _, _ in ROWS] == ENTRIES


def test_every_link_of_the_index_leads_to_an_entry() -> None:
    anchors = {anchor(entry) for entry in ENTRIES}
    assert [place for place in re.findall(r"\]\(#([\w-]+)\)", TEXT) if place not in anchors] == []


def test_every_entry_has_a_status() -> None:
    known = r"stands|(changed|superseded) by \[\d{4}-\d\d-\d\d\]\(#[\w-]+\)"
    assert [row for row in ROWS if not re.fullmatch(known, row[3])] == []
