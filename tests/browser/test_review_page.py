"""The review page over a stream that runs: Kafka, Redis, and all workers as processes."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from neardup.pipeline.log.changes import Outcome, Reviewed
from neardup.pipeline.store.interface import ReviewQueue
from neardup.pipeline.types import Decision
from tests.browser.desk import Desks, Shop, title
from tests.browser.stack import LIMIT_SECONDS, Stack, until
from tests.pipeline.scan.build import save_clip

pytestmark = pytest.mark.integration


def test_what_is_published_is_queued_judged_by_keyboard_and_outlives_a_restart(
    stack: Stack, desks: Desks, shop: Shop
) -> None:
    page = desks().open("/review")
    page.get_by_role("link", name="All").click()
    page.wait_for_url("**/review?queue=all")
    expect(page.locator("#rest")).to_contain_text("No items wait for a decision")
    page.evaluate("window.same = true")
    shop.family("cat", 2)
    expect(page.locator("#pair-title")).to_contain_text("cat-copy-0.png show the same picture as cat.png")
    expect(page.locator("#queued-all")).to_have_text("2")

    page.keyboard.press("n")
    expect(page.locator("#pair-title")).to_contain_text("cat-copy-1.png")
    until(lambda: said(stack, "cat-copy-0.png") is Decision.DISTINCT, "the rejection is in Redis")
    page.keyboard.press("m")
    expect(page.locator("#rest")).to_contain_text("No items wait for a decision")
    page.keyboard.press("u")
    expect(page.locator("#pair-title")).to_contain_text("cat-copy-1.png")
    page.keyboard.press("m")
    wanted = [
        ("cat-copy-0.png", Outcome.NOT_A_MATCH, "ann"),
        ("cat-copy-1.png", Outcome.MATCH, "ann"),
        ("cat-copy-1.png", Outcome.UNDO, "ann"),
        ("cat-copy-1.png", Outcome.MATCH, "ann"),
    ]
    until(lambda: audited(stack) == wanted, "the audit log has it all")
    assert stack.store.queued(queue=ReviewQueue.ALL) == 0
    assert page.evaluate("window.same")
    stack.stop()
    expect(page.locator("#line")).to_contain_text("connection lost")
    stack.start()
    assert audited(stack) == wanted
    assert said(stack, "cat-copy-0.png") is Decision.DISTINCT
    shop.family("dog", 1)  # the page has found its way back by itself
    expect(page.locator("#pair-title")).to_contain_text("dog-copy-0.png")
    page.keyboard.press("m")
    until(lambda: stack.store.queued(queue=ReviewQueue.ALL) == 0, "all is decided on")
    assert page.evaluate("window.same")
    expect(page.locator("#problem")).to_be_empty()
    desks.expect("ERR_", "503")  # while nobody answered, and then while the view began


def said(stack: Stack, item: str) -> Decision | None:
    verdict = stack.store.verdict(item)
    return None if verdict is None else verdict.decision


def audited(stack: Stack) -> list[tuple[str, Outcome, str]]:
    records = [entry.changed.record for entry in reversed(stack.store.audit("", 100))]
    return [(one.item, one.outcome, one.by) for one in records if isinstance(one, Reviewed)]


def test_no_two_seats_get_the_same_item_and_what_is_skipped_goes_to_another(
    stack: Stack, desks: Desks, shop: Shop
) -> None:
    shop.family("seat", 6)
    until(lambda: stack.store.queued(queue=ReviewQueue.ALL) == 6, "all wait")
    ann, bob = desks(), desks("bob")
    pages = [ann.open("/review?queue=all"), ann.open("/review?queue=all"), bob.open("/review?queue=all")]
    assert len({title(page) for page in pages}) == 3
    first = title(pages[0])
    pages[0].keyboard.press("s")
    expect(pages[0].locator("#pair-title")).not_to_have_text(first)
    expect(pages[2].locator("#waiting")).to_contain_text("with ann")
    deadline = time.monotonic() + LIMIT_SECONDS
    while stack.store.queued(queue=ReviewQueue.ALL):
        assert time.monotonic() < deadline, "items are left"
        pages[2].keyboard.press("m")
        if pages[2].locator("#rest").is_visible():
            for page in pages[:2]:
                page.close()
        pages[2].wait_for_timeout(150)
    decided = [item for item, _, by in audited(stack) if by == "bob"]
    assert sorted(decided) == [f"seat-copy-{n}.png" for n in range(6)]


def test_certain_duplicates_are_shown_to_who_asks_for_them(stack: Stack, desks: Desks, shop: Shop) -> None:
    shop.family("sure", 1)
    page = desks().open("/review")
    expect(page.locator("#queued-unsure")).to_have_text("0")
    expect(page.locator("#queued-all")).to_have_text("1")
    expect(page.locator("#rest")).to_contain_text("No items wait for a decision")
    page.get_by_role("link", name="All").click()
    expect(page.locator("#pair-title")).to_contain_text("sure-copy-0.png show the same picture as sure.png")
    page.get_by_role("link", name="Unsure").click()
    expect(page.locator("#rest")).to_contain_text("No items wait for a decision")
    assert stack.store.queued(queue=ReviewQueue.ALL) == 1


def test_the_badge_of_an_identical_file_stands_beside_its_pair_only(desks: Desks, shop: Shop) -> None:
    shop.family("pair", 1)
    shop.again("pair-copy-0.png", "copy of the copy.png")
    shop.again("pair.png", "copy of the original.png")
    page = desks().open("/review?queue=all")
    badges = {}
    for left in (2, 1, 0):
        name = title(page).replace("\n", " ").partition(" show")[0].removeprefix("Does ")
        badges[name] = page.locator("#pair .badge").first.inner_text()
        page.keyboard.press("m")
        expect(page.locator("#queued-all")).to_have_text(str(left))
    assert badges == {
        "pair-copy-0.png": "duplicate",
        "copy of the copy.png": "duplicate",
        "copy of the original.png": "identical file",
    }


def test_a_video_is_compared_moment_by_moment(stack: Stack, desks: Desks, shop: Shop) -> None:
    film = save_clip(shop.folder / "film.mp4", seeds := [next(Shop.seeds) for _ in range(10)])
    stack.publish(film)
    stack.publish(save_clip(shop.folder / "clip.mp4", seeds[4:8]))
    page = desks().open("/review?queue=all")
    assert "clip.mp4 show the same video as film.mp4" in title(page).replace("\n", " ")
    images = page.locator(".sides .picture img")
    expect(page.locator(".timeline svg")).to_be_visible()
    moved = times(page)
    assert moved[0] == pytest.approx(moved[1] + 4, abs=0.6)
    page.keyboard.press("ArrowRight")
    assert times(page) == pytest.approx([time + 0.5 for time in moved], abs=0.01)
    box = page.locator(".timeline svg").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.45 * box["width"], box["y"] + 5)
    assert times(page) == pytest.approx([4.5, 0.5], abs=0.3)
    page.locator(".pairs button").last.click()
    assert times(page)[1] > 2.5
    until(lambda: all(one.evaluate("image => image.complete") for one in images.all()), "both are loaded")
    assert [one.evaluate("image => image.naturalWidth") for one in images.all()] == [64, 64]
    page.keyboard.press("m")
    until(lambda: stack.store.queued(queue=ReviewQueue.ALL) == 0, "it is decided on")


def times(page: Page) -> list[float]:
    """Return the seconds of the original and the copy that are shown."""
    sources = [str(one.get_attribute("src")) for one in page.locator(".sides .picture img").all()]
    return [float(source.partition("at=")[2].partition("&")[0]) for source in sources]
