"""The search page over a stream that runs."""

from __future__ import annotations

from contextlib import closing

import pytest
from playwright.sync_api import expect

from neardup.pipeline.log.changes import BankChanged, ReferenceChanged, ReferenceEdit
from neardup.workers.kafka.log import Appender
from tests.browser.desk import Desks, Shop
from tests.browser.stack import Stack, until
from tests.pipeline.scan.build import save

pytestmark = pytest.mark.integration


def test_a_search_begins_with_an_upload_an_id_or_a_result(desks: Desks, shop: Shop) -> None:
    shop.family("lamp", 3)
    shop.family("vase", 0)
    page = desks("eve").open("/search")
    page.set_input_files("#file", shop.folder / "lamp-copy-1.png")
    expect(page.locator(".copies .badge")).to_have_text("duplicate")  # of lamp.png, which is another file
    expect(page.locator(".copies")).to_contain_text("identical to its copy lamp-copy-1.png")
    page.set_input_files("#file", shop.folder / "lamp.png")
    expect(page.locator(".copies .badge")).to_have_text("identical file")
    expect(page.locator(".copies")).not_to_contain_text("identical to its copy")
    expect(page.locator("#grid li").first).to_contain_text("+3 copies")
    assert page.evaluate("location.search") == ""
    page.keyboard.press("/")
    page.keyboard.type("vase.png")
    page.keyboard.press("Enter")
    expect(page.locator("#asked h2")).to_have_text("vase.png")
    lamp = page.locator("#grid a.picture[title='Search from this']").first
    wanted = lamp.get_attribute("data-item")
    lamp.click()
    expect(page.locator("#asked h2")).to_have_text(wanted or "")
    page.go_back()
    expect(page.locator("#asked h2")).to_have_text("vase.png")
    page.evaluate(PASTE, list((shop.folder / "vase.png").read_bytes()))
    expect(page.locator("#asked")).to_contain_text("it was not stored")
    expect(page.locator(".copies")).to_contain_text("vase.png")
    page.locator("#item").fill("nosuch")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("no item 'nosuch'")
    desks.expect("404")


PASTE = """bytes => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
  dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
}"""


def test_pages_of_results_follow_each_other(stack: Stack, desks: Desks, shop: Shop) -> None:
    stack.publish(*(save(shop.folder, f"many-{n}.png", next(Shop.seeds)) for n in range(30)))
    page = desks("eve").open("/search?item=many-0.png")
    expect(page.locator("#grid li")).to_have_count(24)
    page.locator("#more").click()
    until(lambda: page.locator("#grid li").count() > 28, "more are shown")
    ids = page.locator("#grid .name").all_inner_texts()
    assert len(set(ids)) == len(ids)


def test_a_bank_is_searched_too(stack: Stack, desks: Desks, shop: Shop) -> None:
    shop.family("clock", 0)
    with closing(Appender(stack.settings, stack.names.log)) as log:
        added = ReferenceChanged(bank="blocked", id="clock.png", edit=ReferenceEdit.ADD)
        log.append([BankChanged(bank="blocked"), added])
    until(lambda: len(stack.store.references("blocked", 0, 9)) == 1, "the bank has a reference")
    page = desks("eve").open("/search?item=clock.png")
    expect(page.locator("#grid li").first).to_be_visible()
    page.get_by_label("in bank").select_option("blocked")
    expect(page.locator("#grid li")).to_have_count(1)
    expect(page.locator("#grid .name")).to_have_text("clock.png")
    expect(page.locator("#grid .badge")).to_have_text("bank blocked")
    picture = page.locator("#grid img")
    until(lambda: bool(picture.evaluate("image => image.naturalWidth")), "the reference has a picture")
