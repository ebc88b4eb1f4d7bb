"""The report in a real browser."""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from neardup.pipeline.prove.finding import BlockMap, Finding, Ground
from neardup.pipeline.report.html import write_html
from neardup.pipeline.report.result import File, Group, ScanResult, Skipped
from neardup.pipeline.types import Decision, Exact, Span
from neardup.pipeline.where import Where, WhereKind
from tests.browser.conftest import OpenPage
from tests.pipeline.report.build import (
    AS_IT_IS,
    a_copy,
    a_file,
    a_group,
    a_match,
    a_part,
    a_proof,
    a_result,
    a_stack,
    a_video,
)
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
    expect(first.locator(".badge")).to_have_text(["Identical file", "Duplicate", "Unsure"])
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


def test_the_first_click_after_a_search_opens_a_copy(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.locator("#text").press_sequentially("film")
    expect(page.locator("#shown")).to_have_text("1 of 3 groups")
    box = page.locator("[data-compare]").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#compare")).to_be_visible()


def test_enter_in_the_search_field_chooses_the_first_group_found(report: Path, open_page: OpenPage) -> None:
    page = open_page(report)
    page.locator("#text").press_sequentially("dog")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement.id") == "group-3"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_help_opens_at_its_top(width: int, report: Path, open_page: OpenPage) -> None:
    page = open_page(report, width=width)
    page.set_viewport_size({"width": width, "height": 500})
    page.keyboard.press("?")
    expect(page.locator("#help-title")).to_be_in_viewport()
    assert page.locator("#help").evaluate("node => [node.scrollTop, node.scrollHeight > node.clientHeight]") == [
        0,
        True,
    ]


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


def proved(tmp_path: Path) -> Path:
    """Write the report of a copy that shows the original's right half, mirrored, and has a block of its own."""
    original, copy = a_file("original.jpg", width=600, height=400), a_file("copy.jpg", width=300, height=400)
    blocks = BlockMap(columns=2, blocks="1304", box=(0.5, 0.0, 1.0, 1.0))
    found = a_copy(copy, (-0.5, 0, 1, 0, 1, 0), map=blocks, stage=1, inliers=143, agreeing=0.75, query_extra=0.25)
    write_html(a_result(a_group(original, found, a_match(a_file("other.jpg")))), thumbnail, tmp_path / "report.html")
    return tmp_path / "report.html"


def corners(page: Page, selector: str) -> list[list[float]]:
    """Return left, top, right and bottom of elements in the plane of the original, as shares of it."""
    return page.locator(selector).evaluate_all(
        """nodes => nodes.map(node => {
          const plane = document.querySelector(".plane").getBoundingClientRect(), box = node.getBoundingClientRect();
          const x = value => (value - plane.left) / plane.width, y = value => (value - plane.top) / plane.height;
          return [x(box.left), y(box.top), x(box.right), y(box.bottom)].map(value => Math.round(100 * value) / 100 + 0);
        })"""
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_a_copy_is_laid_over_its_original_as_its_proof_says(width: int, tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(proved(tmp_path), width=width)
    expect(page.locator(".member").first).to_contain_text("proved: 75 % agrees")
    page.locator("[data-compare]").first.click()
    view = page.locator("#compare .proof")
    expect(view.locator(".plane")).to_be_visible()
    assert corners(page, ".over") == [[0.5, 0, 1, 1]]
    assert page.locator(".over").evaluate("node => new DOMMatrix(getComputedStyle(node).transform).m11") < 0
    assert corners(page, ".plane .block.b1") == [[0.5, 0, 0.75, 0.5]]
    assert corners(page, ".plane .block.b3") == [[0.75, 0, 1, 0.5]]
    assert corners(page, ".plane .block.b4") == [[0.75, 0.5, 1, 1]]
    assert page.locator("#compare .part polygon").last.get_attribute("points") is not None
    words = page.locator(".proof-said").inner_text()
    assert "75 % of the common area agrees; in 25 % the copy has something that the original lacks." in words
    assert "The copy is mirrored. 143 matching key points." in words
    assert [" ".join(one.split()) for one in view.locator(".proof-legend li").all_inner_texts()] == [
        "1 block agrees",
        "1 block only in the copy",
        "1 block only in the original",
    ]
    view.get_by_role("checkbox", name="Blocks").uncheck()
    expect(view.locator(".plane .block.b1")).to_be_hidden()
    assert page.evaluate("document.querySelector('#compare').scrollWidth") <= width


def test_a_query_that_shows_more_makes_room_around_the_original(tmp_path: Path, open_page: OpenPage) -> None:
    collage = a_copy(a_file("collage.jpg"), (2, 0, -1, 0, 2, 0))
    write_html(a_result(a_group(a_file("part.jpg"), collage)), thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    page.locator("[data-compare]").click()
    assert corners(page, ".proof-stage") == [[-1, 0, 1, 2]]
    assert corners(page, ".over") == [[-1, 0, 1, 2]]
    beside = page.locator(".beside")
    expect(beside).to_have_text("not in the original")
    expect(beside).to_be_visible()
    assert corners(page, ".beside") == [[-1, 0, 0, 2]]
    page.get_by_text("The copy over it").click()
    expect(beside).to_be_hidden()


def test_a_copy_within_the_original_leaves_nothing_beside_it(tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(proved(tmp_path))
    page.locator("[data-compare]").first.click()
    expect(page.locator(".plane")).to_be_visible()
    expect(page.locator(".beside")).to_have_count(0)


def test_unsure_without_a_proof_says_so(tmp_path: Path, open_page: OpenPage) -> None:
    bare = a_match(a_file("bare.jpg"), Decision.UNSURE, probability=1.0)
    tried = a_proof(finding=Finding.UNPROVED, ground=Ground.NO_TRANSFORM, map=None)
    failed = a_match(a_file("failed.jpg"), Decision.UNSURE, probability=1.0, proof=tried)
    write_html(a_result(a_group(a_file("a.jpg"), bare, failed)), thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    words = [" ".join(one.split()) for one in page.locator(".verdict").all_inner_texts()]
    assert words == [
        "Unsure > 99.99 %, no proof distance 0.250",
        "Unsure > 99.99 % distance 0.250 not proved: could not be laid over each other",
    ]


COLLAGE = (2.0, 0.0, -1.0, 0.0, 2.0, 0.0)
"""The original is the right upper quarter of the copy."""
QUARTER = (0.5, 0.0, 0.0, 0.0, 0.5, 0.0)
"""The copy is the left upper quarter of the original."""


@pytest.mark.parametrize(
    ("transform", "boxes", "words"),
    [
        (COLLAGE, ((0.5, 0.0, 1.0, 0.5), (0.0, 0.1, 1.0, 0.9)), "part of the copy"),
        (QUARTER, ((0.0, 0.1, 1.0, 0.9), (0.0, 0.0, 0.5, 0.5)), "part of the original"),
        (None, ((0.5, 0.0, 1.0, 0.5), (0.0, 0.02, 1.0, 1.0)), "part of the copy"),
        (None, ((0.5, 0.0, 1.0, 0.5), (0.0, 0.1, 1.0, 0.9)), "parts of both pictures"),
        ((2.0, 0.0, -0.5, 0.0, 1.0, 0.0), ((0.3, 0.0, 1.0, 1.0), None), "part of the copy"),
    ],
)
def test_a_part_is_that_of_the_picture_which_shows_more(
    transform: Any, boxes: Any, words: str, tmp_path: Path, open_page: OpenPage
) -> None:
    where = Where(kind=WhereKind.PART, query_box=boxes[0], reference_box=boxes[1], transform=transform)
    match = a_match(a_file("b.jpg"), where=where, proof=a_proof() if transform else None)
    write_html(a_result(a_group(a_file("a.jpg"), match)), thumbnail, tmp_path / "report.html")
    assert words in open_page(tmp_path / "report.html").locator(".verdict").inner_text().split("\n")


def frames(tmp_path: Path, open_page: OpenPage, *boxes: Any) -> list[str | None]:
    """Return the outline drawn on each copy, None where there is none."""
    copies = [
        a_match(a_video(f"{n}.mp4"), where=Where(kind=WhereKind.PART, query_box=box)) for n, box in enumerate(boxes)
    ]
    write_html(a_result(a_group(a_video("a.mp4"), *copies)), thumbnail, tmp_path / "report.html")
    members = open_page(tmp_path / "report.html").locator(".member").all()
    lines = [member.locator(".part polygon") for member in members]
    return [line.last.get_attribute("points") if line.count() else None for line in lines]


def test_a_frame_stays_within_the_picture(tmp_path: Path, open_page: OpenPage) -> None:
    assert frames(tmp_path, open_page, (0.0, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 0.99), (0.25, 0.25, 0.75, 0.75)) == [
        "4.8,296.4 4.8,3.6 200,3.6 200,296.4",
        None,
        "100,75 300,75 300,225 100,225",
    ]


def test_the_length_of_a_film_is_above_its_frame(tmp_path: Path, open_page: OpenPage) -> None:
    match = a_match(a_video("b.mp4"), where=Where(kind=WhereKind.PART, query_box=(0.0, 0.5, 1.0, 1.0)))
    write_html(a_result(a_group(a_video("a.mp4"), match)), thumbnail, tmp_path / "report.html")
    inside = open_page(tmp_path / "report.html").locator("button.picture").locator("> *")
    assert inside.evaluate_all("nodes => nodes.map(node => node.getAttribute('class'))") == [None, "part", "film"]


def test_plain_pictures_are_not_said_to_agree_in_nothing(tmp_path: Path, open_page: OpenPage) -> None:
    plain = a_copy(a_file("copy.jpg"), agreeing=0.0, map=BlockMap(columns=2, blocks="0000"))
    write_html(a_result(a_group(a_file("original.jpg"), plain)), thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    expect(page.locator(".member")).to_contain_text("proved: looks the same")
    page.locator("[data-compare]").click()
    expect(page.locator(".proof-said")).to_contain_text("Neither has texture")
    expect(page.locator("#compare")).not_to_contain_text("of the common area")


def test_how_a_copy_was_turned_is_said_as_one_sees_it(tmp_path: Path, open_page: OpenPage) -> None:
    quarter = {"width": 300, "height": 400}
    turns = {
        "turned by 90° to the right": (0, 1, 0, -1, 0, 1),  # what was at the left is at the top
        "turned by 90° to the left": (0, -1, 1, 1, 0, 0),
        "turned by 180°": (-1, 0, 1, 0, -1, 1),
        "mirrored and turned by 90° to the right": (0, -1, 1, -1, 0, 1),
        "mirrored": (-1, 0, 1, 0, 1, 0),
        "": (1, 0.01, 0, 0, 1, 0),
    }
    copies = [a_copy(a_file(f"{n}.jpg", **quarter), transform) for n, transform in enumerate(turns.values())]
    write_html(a_result(a_group(a_file("original.jpg"), *copies)), thumbnail, tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    for number, words in enumerate(turns):
        page.locator("[data-compare]").nth(number).click()
        ending = f"The copy is {words}." if words else "agrees."
        expect(page.locator(".proof-said")).to_have_text(re.compile(f"{re.escape(ending)}$"))
        page.keyboard.press("Escape")


def test_the_proof_blinks_until_it_is_stopped(tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(proved(tmp_path))
    page.locator("[data-compare]").first.click()
    over, button = page.locator(".over"), page.get_by_role("button", name="Blink")
    expect(over).to_be_hidden()
    page.keyboard.press("b")
    for _ in range(2):
        expect(over).to_be_visible()
        expect(over).to_be_hidden()
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    page.get_by_text("The copy over it").click()
    expect(over).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("[data-compare]").nth(1).click()
    expect(page.locator("#compare .proof")).to_have_count(0)  # nothing was laid over anything


def test_where_less_motion_is_preferred_each_press_shows_the_other_picture(tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(proved(tmp_path))
    page.emulate_media(reduced_motion="reduce")
    page.clock.install()
    page.locator("[data-compare]").first.click()
    expect(page.get_by_role("button", name="Blink")).to_have_count(0)
    over = page.locator(".over")
    for shown in (True, False, True):
        page.keyboard.press("b")
        page.clock.run_for(10_000)
        expect(over).to_be_visible() if shown else expect(over).to_be_hidden()


def test_a_video_is_shown_at_the_moments_that_were_proved(tmp_path: Path, open_page: OpenPage) -> None:
    where = Where(kind=WhereKind.PART, spans=(Span(0, 4, 10, 14),), transform=AS_IT_IS)
    match = a_match(a_video("clip.mp4"), where=where, proof=a_proof(query_second=1.5, reference_second=11.5))
    asked: list[tuple[str, float]] = []

    def noted(file: File, seconds: float) -> bytes:
        asked.append((file.path, seconds))
        return thumbnail(file, seconds)

    write_html(a_result(a_group(a_video("film.mp4", 60), match)), noted, tmp_path / "report.html")
    assert {("clip.mp4", 1.5), ("film.mp4", 11.5)} <= set(asked)
    page = open_page(tmp_path / "report.html")
    page.locator("[data-compare]").click()
    expect(page.locator(".proof-note")).to_have_text("The copy at 0:01.5, the original at 0:11.5.")


def stacked(tmp_path: Path, *groups: Group) -> Path:
    receipts = a_stack(*(a_file(f"Receipts/{n}.jpg") for n in range(20)), proof=a_proof(ground=Ground.OTHER_WRITING))
    burst = a_stack(a_file("Burst/1.jpg"), a_file("Burst/2.jpg"))
    write_html(a_result(*groups, stacks=(receipts, burst)), thumbnail, tmp_path / "report.html")
    return tmp_path / "report.html"


@pytest.mark.parametrize("width", [390, 1280])
def test_variants_stand_in_stacks_behind_all_groups(width: int, tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(stacked(tmp_path, a_group(a_file("a.jpg"), a_match(a_file("b.jpg")))), width=width)
    expect(page.get_by_role("heading", name="1 copy in 1 group")).to_be_visible()
    expect(page.locator(".figures")).to_contain_text("22 variants in 2 stacks: no copies")
    expect(page.locator("#shown")).to_have_text("1 group, 2 stacks")
    expect(page.get_by_role("heading", name="Same template or scene, other content")).to_have_count(1)
    kinds = page.locator(".group").evaluate_all("nodes => nodes.map(node => node.id)")
    assert kinds == ["group-1", "stack-1", "stack-2"]
    stack = page.locator("#stack-1")
    expect(stack.locator(".member")).to_have_count(12)
    stack.get_by_role("button", name="Show 8 more variants").click()
    expect(stack.locator(".member")).to_have_count(20)
    expect(stack.locator(".member").nth(1)).to_contain_text("variant of 0.jpg: other writing in the same place")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for key, focused in {"j": "stack-2", "k": "stack-1"}.items():
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == focused
    page.keyboard.press("Enter")
    expect(page.locator("#compare")).to_contain_text("Two variants")
    page.keyboard.press("Escape")
    for decision, shown in {"Variants": "2 stacks", "Duplicate": "1 group"}.items():
        page.get_by_role("radio", name=decision).check(force=True)
        expect(page.locator("#shown")).to_have_text(shown)
    page.get_by_role("radio", name="All").check(force=True)
    page.locator("#text").fill("burst")
    expect(page.locator("#shown")).to_have_text("1 of 2 stacks")
    page.locator("#text").fill("no such file")
    expect(page.locator("#shown")).to_have_text("nothing found")


def test_variants_alone_are_no_near_duplicates(tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(stacked(tmp_path))
    expect(page.get_by_role("heading", name="No near-duplicates")).to_be_visible()
    expect(page.locator("#shown")).to_have_text("2 stacks")
    expect(page.locator(".stack")).to_have_count(2)


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
    assert first.locator(".part polygon").last.get_attribute("points") == "600,10.8 1185.6,10.8 1185.6,450 600,450"
    assert first.get_by_text("parts of both pictures").is_visible()
    assert (first.locator(".better").count(), first.locator(".facts").inner_text()[:10]) == (0, "1200 × 900")
    assert (second.locator(".part").count(), second.locator(".better").inner_text()) == (0, "1600 × 1200 ↑")
    first.locator("[data-compare]").click()
    assert page.locator("#compare .part").count() == 2
