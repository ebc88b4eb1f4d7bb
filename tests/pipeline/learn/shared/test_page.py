from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.learn.shared.chart import Chart, Line
from neardup.pipeline.learn.shared.page import Case, Page, Section, Table, encode, write_page

CHART = Chart(
    "Quality <b>", "minutes", [Line("one & two", [0, 5, 10], [0.5, 0.75, 1.0]), Line("flat", [0, 10], [0.6, 0.6])]
)


def test_points_lie_where_their_values_are() -> None:
    root = ElementTree.fromstring(str(CHART.svg()))
    first = next(line for line in root.iter("polyline") if "c0" in line.attrib["class"])
    points = [tuple(map(float, point.split(","))) for point in first.attrib["points"].split()]
    ticks = {text.text: text.attrib for text in root.iter("text")}
    assert points[0][0] == pytest.approx(float(ticks["0"]["x"]))
    assert points[2][0] == pytest.approx(float(ticks["10"]["x"]))
    assert points[1][0] == pytest.approx((points[0][0] + points[2][0]) / 2)
    assert points[2][1] == pytest.approx(float(ticks["1"]["y"]) - 4, abs=0.2)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.1)


@pytest.mark.parametrize("values", [[], [0.3], [0.0, 0.0], [1e-6, 2e-6], [-40.0, 1234.0]])
def test_any_values_can_be_drawn(values: list[float]) -> None:
    ElementTree.fromstring(str(Chart("c", "x", [Line("l", list(range(len(values))), values)]).svg()))


def test_a_fixed_axis_holds_its_limits() -> None:
    drawn = str(Chart("c", "x", [Line("l", [0, 1], [0.4, 0.5])], low=0.0, high=1.0).svg())
    assert ">0<" in drawn
    assert ">1<" in drawn


def test_a_picture_gets_back_the_shape_that_it_had() -> None:
    tile = np.zeros((64, 64, 3), np.uint8)
    tile[:, 32:] = 255
    wide = encode("w", tile, (100, 150))
    assert wide.width == pytest.approx(wide.height * 1.5, abs=1)
    with Image.open(io.BytesIO(base64.b64decode(wide.data.partition(",")[2]))) as opened:
        assert opened.size == (wide.width, wide.height)
    banner = encode("b", tile, (10, 1000))
    assert banner.width <= 260
    assert banner.height >= 8


@pytest.fixture
def page(tmp_path: Path) -> str:
    picture = encode("<i>query</i>", np.zeros((8, 8, 3), np.uint8), (8, 8))
    table = Table(("", "micro-AP"), [("ours", "0.9"), ("<script>", "0.1")], frozenset({"ours"}))
    section = Section("Curves & more", "lead", (CHART,), (table,), (Case("note <b>", (picture,)),))
    write_page(Page("Title <x>", "lead", (("12", "pictures"),), (section,)), tmp_path / "p.html")
    return (tmp_path / "p.html").read_text(encoding="utf-8")


def test_what_stands_on_the_page_is_text(page: str) -> None:
    assert "<script" not in page
    for text in (
        "Title &lt;x&gt;",
        "&lt;script&gt;",
        "note &lt;b&gt;",
        "&lt;i&gt;query",
        "Quality &lt;b&gt;",
        "one &amp; two",
    ):
        assert text in page


def test_the_page_asks_for_nothing_and_allows_only_its_own_style(page: str) -> None:
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,)', page)
    assert " style=" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page


def test_the_row_that_matters_stands_out(page: str) -> None:
    assert page.count('<tr class="strong">') == 1
    assert '<tr class="strong"><th scope="row">ours</th><td>0.9</td></tr>' in page
