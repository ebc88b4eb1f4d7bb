"""A page for people: figures, charts, tables and pictures in one file that runs no script and asks for nothing.

Its Content-Security-Policy allows its one style and pictures that are in it.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL import Image

from neardup.pipeline.files import atomic
from neardup.pipeline.learn.shared.chart import Chart
from neardup.pipeline.types import Pixels

PICTURE_HEIGHT = 160
MAX_PICTURE_WIDTH = 260
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what stands below it; `data` is a data URI, see `encode`."""

    caption: str
    data: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Case:
    """Pictures side by side, and a line about them."""

    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; all columns but the first are numbers. A row whose first cell is in `strong` stands out."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what belongs below it, in this order."""

    title: str
    lead: str = ""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    cases: Sequence[Case] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page; `facts` are pairs of a figure and what it is."""

    title: str
    lead: str
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default=())


def encode(caption: str, tile: Pixels, shape: tuple[int, int]) -> Picture:
    """Return a picture of the page from a square tile and the (height, width) that it had before it was squeezed."""
    buffer = io.BytesIO()
    Image.fromarray(tile).resize(_fitting(shape), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=82)
    return of_jpeg(caption, buffer.getvalue(), shape)


def of_jpeg(caption: str, jpeg: bytes, shape: tuple[int, int]) -> Picture:
    """Return a picture of the page from a JPEG and its (height, width), which need not be the size that is shown."""
    data = base64.b64encode(jpeg).decode("ascii")
    return Picture(caption, f"data:image/jpeg;base64,{data}", *_fitting(shape))


def _fitting(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height at which a picture is shown."""
    scale = min(PICTURE_HEIGHT / shape[0], MAX_PICTURE_WIDTH / shape[1])
    return max(8, round(shape[1] * scale)), max(8, round(shape[0] * scale))


def write_page(page: Page, path: Path) -> None:
    """Write the page, UTF-8.

    Raises:
        DependencyError: the file cannot be written.
    """
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8").replace("\r\n", "\n")
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    text = environment.get_template("page.html.j2").render(page=page, style=Markup(style), digest=f"sha256-{digest}")
    with atomic(path) as file:
        file.write(text.encode("utf-8"))
