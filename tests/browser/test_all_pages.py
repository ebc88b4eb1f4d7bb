"""What holds for every page: a way in and out, axe-core finds nothing, and it fits its window."""

from __future__ import annotations

from itertools import product

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from neardup.pipeline.store.interface import ReviewQueue
from tests.browser.desk import Desk, Desks, Shop, title
from tests.browser.stack import Stack, until
from tests.pipeline.scan.build import save_clip

pytestmark = pytest.mark.integration
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def test_somebody_logs_in_by_the_page_and_out(browser: Browser, stack: Stack) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stack.url}/search?item=lamp.png")
    page.get_by_label("Token").fill("nd_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_label("Token").fill("nd_eve")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?item=lamp.png")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{stack.url}/search")
    page.wait_for_url(f"{stack.url}/login?next=/search")
    context.close()


def test_axe_finds_nothing_and_every_page_fits_its_window(stack: Stack, desks: Desks, shop: Shop) -> None:
    seeds = [next(Shop.seeds) for _ in range(6)]
    stack.publish(save_clip(shop.folder / "a long name of a film.mp4", seeds))
    stack.publish(save_clip(shop.folder / "a part of it.mp4", seeds[2:5]))
    shop.family("leaf", 3)
    for scheme, width in product(("light", "dark"), (390, 1440)):
        look_at_all(desks(scheme=scheme, width=width))
        until(
            lambda: not any(one.claimed_by for one in stack.store.queue(0, 100, queue=ReviewQueue.ALL)),
            "the page let go of what it had",
        )


def look_at_all(desk: Desk) -> None:
    for path in ("/", "/docs", "/login", "/ops"):
        assert complain(desk.open(path)) == [], path
    search = desk.open("/search?item=leaf-copy-1.png")
    expect(search.locator("#grid li").first).to_be_visible()
    assert complain(search) == []
    cluster = desk.open("/clusters?item=leaf.png")
    assert complain(cluster) == []
    cluster.locator("[data-compare]").first.click()
    assert complain(cluster) == []
    review = desk.open("/review?queue=all")
    assert "a part of it.mp4" in title(review)
    expect(review.locator("#near li").first).to_be_visible()
    for key in ("1", "2"):
        review.keyboard.press(key)
        assert complain(review) == [], key
    review.keyboard.press("?")
    assert complain(review) == []
    review.keyboard.press("Escape")
    empty = desk.open("/review?queue=unproved")
    expect(empty.locator("#rest")).to_be_visible()
    assert complain(empty) == []
    review.goto(review.url.replace("/review?queue=all", "/"))  # which lets go of what it had


def complain(page: Page) -> list[str]:
    """Return what axe-core finds, and whether the page is wider than its window."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": RULES}).response["violations"]
    told = [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        told.append("it is wider than its window")
    return told
