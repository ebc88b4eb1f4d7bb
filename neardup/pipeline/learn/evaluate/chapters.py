"""The page and the JSON of an evaluation, put together of what was measured: pictures, videos, variants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neardup.pipeline.files import atomic
from neardup.pipeline.learn.shared.page import Page, Section, Table, write_page


@dataclass(frozen=True, slots=True)
class Chapter:
    """What one part of an evaluation shows.

    Attributes:
        title, lead: of the page, where this is its first chapter. told: for programs, keys of the JSON.
    """

    title: str
    lead: str
    told: dict[str, Any]
    sections: Sequence[Section]


def write_chapters(chapters: Sequence[Chapter], folder: Path) -> Path:
    """Write evaluation.json and evaluation.html of at least one chapter; return the path of the page.

    Raises:
        DependencyError: a file cannot be written.
    """
    told = {key: value for chapter in chapters for key, value in chapter.told.items()}
    with atomic(folder / "evaluation.json") as file:
        file.write(json.dumps(told, indent=1).encode())
    sections = [section for chapter in chapters for section in chapter.sections]
    write_page(Page(chapters[0].title, chapters[0].lead, sections=sections), folder / "evaluation.html")
    return folder / "evaluation.html"


def as_markdown(table: Table) -> str:
    """Return a table for a terminal or a document."""
    lines = ["| " + " | ".join(table.head) + " |", "| --- |" + " ---: |" * (len(table.head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in table.rows])
