"""The report in a real browser."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from neardup.pipeline.report.html import write_html
from neardup.pipeline.report.result import File, Group, ScanResult, Skipped
from neardup.pipeline.types import Decision, Exact, Span
from neardup.pipeline.where import Where, WhereKind
from tests.browser.conftest import OpenPage
from tests.pipeline.report.build import a_file, a_group, a_match, a_part, a_result, a_video
from tests.pipeline.scan.build import date, save, scan_folder
from tests.timing import BUSY, soonest

pytestmark = pytest.mark.integration

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>.jpg"


def thumbnail(file: File, seconds: float) -> bytes:
    shade = (file.id * 53 % 256, file.id * 97 % 256, int(seconds * 20) % 256)
    target = io.BytesIO()
    Image.new("RGB", (240, 160), shade).save(target, "JPEG")
    return target.getvalue()


def sample() -> ScanResult:
    cats = a_group(
        a_file("Pictures/cat.jpg"),
        a_match(a_file("Backup/cat (1).jpg"), exact=Exact.BYTES, probability=1.0, distance=0.0),
        a_match(a_file(f"Pictures/{HOSTILE}", width=4000), probability=0.997),
        a_match(a_file(os.fsdecode(b"Pictures/\xff new\nline.jpg")), Decision.UNSURE, probability=0.6),
    )
    film = a_group(
        a_video("Videos/film.mp4", 60),
        a_part(a_video("Videos/clip.mp4", 5), Span(0, 5, 20, 25), probability=0.9),
        a_part(a_file("Videos/still.png"), Span(0, 0, 40, 40.5), probability=0.8),
    )
    dogs = a_group(a_file("Pictures/dog.png"), a_match(a_file("Pictures/dog small.png", bytes=9_000_000)))
    return a_result(cats, film, dogs, skipped=(Skipped(path=HOSTILE, reason="empty", detail="no bytes"),))


@pytest.fixture
def report(tmp_path: Path) -> Path:
    write_html(sample(), thumbnail, tmp_path / "report.html")
    return tmp_path / "report.html"


def originals(page: Page) -> list[str]:
    return page.locator(".group .original h3").all_text_contents()  # inner_text is empty where nothing is drawn


def test_groups_are_shown_with_the_original_first(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    assert originals(page) == ["cat.jpg", "film.mp4", "dog.png"]
    first = page.locator(".group").first
    assert first.locator(".badge").all_inner_texts() == ["Identical file", "Duplicate", "Unsure"]
    assert first.get_by_text("99.70 %, almost certain").is_visible()
    assert all(page.locator("img").evaluate_all("nodes => nodes.map(node => node.complete && node.naturalWidth > 0)"))


def test_a_hostile_name_is_shown_and_does_nothing(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.locator("#skipped summary").click()
    expect(page.locator("#skipped td").first).to_have_text(HOSTILE)
    expect(page.get_by_text("\\xff new\\nline.jpg").first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_search_keeps_what_fits(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.keyboard.press("/")
    page.keyboard.type("STILL")
    expect(page.locator("#shown")).to_have_text("1 of 3 groups")
    assert page.locator(".member").count() == 1
    page.keyboard.press("Escape")
    expect(page.locator("#shown")).to_have_text("3 groups")
    page.locator("#text").fill("no such file")
    expect(page.locator("#nothing")).to_be_visible()
    page.locator("#reset").click()
    expect(page.locator("#shown")).to_have_text("3 groups")


def test_paths_are_shown_from_the_scanned_folder_on(tmp_path: Path, open_page: OpenPage) -> None:
    group = a_group(a_file("/home/me/Pictures/2024/a.jpg"), a_match(a_file("/mnt/b.jpg")))
    write_html(a_result(group, roots=("/home/me/Pictures/", "/mnt")), thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    assert page.locator(".folder").all_text_contents() == ["Pictures/2024/", "mnt/"]
    page.locator("#text").fill("home")
    expect(page.locator("#nothing")).to_be_visible()


def test_decisions_and_kinds_filter(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.get_by_role("radio", name="Unsure").check(force=True)
    assert originals(page) == ["cat.jpg"]
    assert page.locator(".member").count() == 1
    expect(page.get_by_text("2 copies do not fit the filter")).to_be_visible()
    page.get_by_role("radio", name="All").check(force=True)
    for kind, count in {"image": 4, "video": 1, "mixed": 1, "part": 2}.items():
        page.locator("#kind").select_option(kind)
        assert page.locator(".member").count() == count, kind


def test_groups_are_sorted(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    for order, first in {"bytes": "dog.png", "doubt": "cat.jpg", "sure": "cat.jpg", "path": "cat.jpg"}.items():
        page.locator("#sort").select_option(order)
        assert originals(page)[0] == first, order


def test_keys_move_between_groups_and_copies(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    focused = "document.activeElement.closest('.group')?.id"
    for key, expected in [("j", 1), ("j", 2), ("k", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("k", 1)]:
        page.keyboard.press(key)
        assert page.evaluate(focused) == f"group-{expected}", key
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.locator("#compare")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("4000 × 300")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate(focused) == "group-1"
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_a_clip_shows_where_it_is_in_the_film(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    clip = page.locator(".member", has_text="clip.mp4")
    expect(clip.get_by_text("0:00.0 – 0:05.0 here is 0:20.0 – 0:25.0 of the original")).to_be_visible()
    assert clip.locator(".pair").count() == 4
    bands = clip.locator(".band").evaluate_all(
        "nodes => nodes.map(node => [node.x, node.width].map(v => v.baseVal.value))"
    )
    assert [[round(v, 1) for v in band] for band in bands] == [[0, 83.3], [333.3, 83.3]]
    still = page.locator(".member", has_text="still.png")
    expect(still.get_by_text("this picture is in the original 0:40.0 – 0:40.5")).to_be_visible()


def test_the_theme_follows_the_system_and_the_button(report: Path, open_page: OpenPage) -> None:
    light, dark = (open_page(report, scheme=scheme) for scheme in ("light", "dark"))
    colour = "getComputedStyle(document.body).backgroundColor"
    day, night = light.evaluate(colour), dark.evaluate(colour)
    assert day != night
    light.locator("#theme").click()
    assert light.evaluate(colour) == night
    light.keyboard.press("t")
    assert light.evaluate(colour) == day


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_needs_sideways_scrolling(width: int, report: Path, open_page: OpenPage) -> None:
    page = open_page(report, width=width)
    page.locator("#skipped summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#compare').scrollWidth") <= width


def test_the_page_without_copies_works(tmp_path: Path, open_page: OpenPage) -> None:
    write_html(a_result(), thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    expect(page.get_by_role("heading", name="No near-duplicates")).to_be_visible()
    for key in ("j", "/", "Enter"):
        page.keyboard.press(key)


def test_ten_thousand_groups_stay_usable(tmp_path: Path, open_page: OpenPage) -> None:
    jpeg = thumbnail(a_file("x"), 0)
    groups: list[Group] = [
        a_group(a_file(f"{i:05}.jpg"), *(a_match(a_file(f"{i:05} {j}.jpg")) for j in range(3))) for i in range(10_000)
    ]
    write_html(a_result(*groups), lambda _file, _seconds: jpeg, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    assert page.locator(".group").count() <= 100

    def search() -> None:
        page.locator("#text").fill("")
        expect(page.locator("#shown")).to_have_text("10,000 groups")
        page.locator("#text").fill("09999")
        expect(page.locator("#shown")).to_have_text("1 of 10,000 groups")

    assert soonest(search, 3 * BUSY) < 3 * BUSY
    page.locator("#text").fill("")
    expect(page.locator("#shown")).to_have_text("10,000 groups")
    before = page.locator(".group").count()
    page.mouse.wheel(0, 50_000)
    expect(page.locator(".group").nth(before)).to_be_attached()


def test_a_file_is_badged_as_identical_to_the_original_only_if_it_is(tmp_path: Path, open_page: OpenPage) -> None:
    """Of four: the original, one smaller, a copy of each; only one pair with the original is identical."""
    original = save(tmp_path, "media/original.png", 1, modified=1)
    smaller = save(tmp_path, "media/smaller.png", 1, side=48, modified=2)
    for number, path in enumerate((smaller, original), 3):
        date(Path(shutil.copy(path, tmp_path / "media" / f"copy of {path.name}")), number)
    result = scan_folder(tmp_path / "media")
    [group] = result.groups
    assert {Path(one.file.path).name: (one.exact, Path(one.identical_to).name) for one in group.matches} == {
        "smaller.png": (Exact.NO, ""),
        "copy of smaller.png": (Exact.NO, "smaller.png"),
        "copy of original.png": (Exact.BYTES, ""),
    }
    write_html(result, thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    badges = {
        member.locator("h4").inner_text(): member.locator(".verdict").inner_text()
        for member in page.locator(".member").all()
    }
    assert badges["copy of original.png"].startswith("Identical file")
    assert badges["smaller.png"].startswith("Duplicate")
    assert badges["copy of smaller.png"].startswith("Duplicate")
    assert "identical to smaller.png" in badges["copy of smaller.png"].replace("\n", " ")
    assert page.locator(".badge.exact", has_text="Identical file").count() == 1
    page.get_by_text("Identical", exact=True).first.click()
    expect(page.locator(".member")).to_have_count(2)  # of the group, those that are identical to something


def test_a_part_is_framed_and_its_picture_is_no_larger_copy(tmp_path: Path, open_page: OpenPage) -> None:
    collage = a_file("collage.jpg", width=1200, height=900)
    part = Where(kind=WhereKind.PART, query_box=(0.5, 0.0, 1.0, 0.5), reference_box=(0.0, 0.1, 1.0, 0.9))
    whole = Where(kind=WhereKind.WHOLE, reference_box=(0.0, 0.1, 1.0, 0.9))
    scan = a_file("scan.jpg", width=1600, height=1200)
    group = a_group(a_file("cat.jpg"), a_match(collage, where=part), a_match(scan, where=whole))
    write_html(a_result(group), thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    first, second = page.locator(".member").nth(0), page.locator(".member").nth(1)
    frame = first.locator(".part rect").last
    assert [frame.get_attribute(name) for name in ("x", "y", "width", "height")] == ["600", "0", "600", "450"]
    assert first.get_by_text("parts of both pictures").is_visible()
    assert (first.locator(".better").count(), first.locator(".facts").inner_text()[:10]) == (0, "1200 × 900")
    assert (second.locator(".part").count(), second.locator(".better").inner_text()) == (0, "1600 × 1200 ↑")
    first.locator("[data-compare]").click()
    assert page.locator("#compare .part").count() == 2
