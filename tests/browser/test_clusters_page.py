"""The cluster page over a stream that runs."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from neardup.pipeline.log.changes import ClusterEdited
from tests.browser.desk import Desks, Shop
from tests.browser.stack import Stack, until

pytestmark = pytest.mark.integration


def test_clusters_are_split_led_and_merged_by_keyboard_and_undone(stack: Stack, desks: Desks, shop: Shop) -> None:
    shop.family("bird", 2)
    shop.family("fish", 0)
    page = desks().open("/clusters?item=bird-copy-1.png")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#done")).to_contain_text("bird-copy-0.png was taken out")
    until(lambda: stack.store.head("bird-copy-0.png") == "", "it stands alone")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#members")).to_contain_text("bird-copy-0.png")
    until(lambda: stack.store.head("bird-copy-0.png") == "bird.png", "it is back")
    expect(page.locator("#members [data-compare]").first).to_be_focused()  # so that one goes on from there
    page.keyboard.press("o")
    expect(page.locator("#original-title")).to_have_text("bird-copy-0.png")
    until(lambda: stack.store.head("bird.png") == "bird-copy-0.png", "another leads")
    page.locator("#into").fill("fish.png")
    page.keyboard.press("Enter")
    expect(page.locator("#original-title")).to_have_text("fish.png")
    until(lambda: len(stack.store.members("fish.png")) == 3, "all are under one head")
    page.locator("#into").fill("nosuch")
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_contain_text("there is no item 'nosuch'")
    edits = [entry.changed.record for entry in stack.store.audit("", 100)]
    assert [one.by for one in edits if isinstance(one, ClusterEdited)] == ["ann"] * 5
    desks.expect("404")
