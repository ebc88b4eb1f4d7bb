"""The page of an evaluation or a training run in a real browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.learn.shared.chart import Chart, Line
from neardup.pipeline.learn.shared.page import Case, Page, Section, Table, encode, write_page
from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.integration


@pytest.fixture
def page(tmp_path: Path) -> Path:
    tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pictures = [encode(name, tile, shape) for name, shape in (("query", (40, 400)), ("original", (300, 100)))]
    chart = Chart("Quality", "minutes", [Line("micro-AP", [0, 1, 2], [0.5, 0.7, 0.8])])
    table = Table(("", *("a rather long heading",) * 7), [("a system with a long name", *("0.123",) * 7)])
    sections = (
        Section("Curves", "Lead.", (chart, chart), (table,)),
        Section("Mistakes", cases=(Case("note", pictures),)),
    )
    write_page(Page("Title", "lead", (("12", "pictures"),), sections), tmp_path / "page.html")
    return tmp_path / "page.html"


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_any_window_and_breaks_no_rule_of_its_own(
    open_page: OpenPage, page: Path, width: int, scheme: str
) -> None:
    shown = open_page(page, width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.locator("svg").count() == 2
    for picture in shown.locator("img").all():
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")


def test_lines_have_the_colours_of_their_legend(open_page: OpenPage, page: Path) -> None:
    shown = open_page(page)
    drawn = shown.locator("polyline").first.evaluate("line => getComputedStyle(line).stroke")
    named = shown.locator(".legend i").first.evaluate("mark => getComputedStyle(mark).backgroundColor")
    assert drawn == named != "rgb(0, 0, 0)"
