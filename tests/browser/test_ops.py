"""The page /ops in a real browser, over workers that a test writes the metrics of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from neardup.workers.api.app import make_app
from neardup.workers.api.server import Server
from tests.workers.api.build import an_api
from tests.workers.api.test_ops import EMBED, Stream, stream

pytestmark = pytest.mark.integration
__all__ = ["stream"]  # a fixture


@pytest.fixture
def address(stream: Stream, tmp_path: Path) -> Iterator[str]:
    with an_api(tmp_path) as api:
        api.context._operations = stream.operations
        with closing(Server(make_app(api.context), "127.0.0.1", 0)) as server:
            yield f"http://127.0.0.1:{server.port}"


def opened(browser: Browser, address: str, width: int = 1280, scheme: str = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.context.request.post(f"{address}/login", form={"token": "nd_ann"}, max_redirects=0)
    page.goto(f"{address}/ops")
    expect(page.locator("#figures")).to_be_visible()
    return page


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_anybody_can_use_it(
    browser: Browser, address: str, stream: Stream, width: int, scheme: str
) -> None:
    stream.away = {EMBED}
    page = opened(browser, address, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": rules}).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    page.context.close()


def test_it_updates_itself_whatever_goes_down(browser: Browser, address: str, stream: Stream) -> None:
    page = opened(browser, address)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    tile, workers = page.locator("#tiles > div"), page.locator("#workers tr")
    expect(tile.filter(has_text="Workers ready")).to_contain_text("4 of 4")
    expect(page.locator("#dead tr").first).to_contain_text("decode")
    stream.now, stream.away = 10.0, {EMBED}
    stream.metrics[EMBED] = ""
    expect(tile.filter(has_text="Workers ready")).to_contain_text("3 of 4")
    expect(workers.first).to_contain_text("does not answer")
    expect(page.locator("#none-dead")).to_be_visible()  # nobody is left who could tell
    stream.now, stream.away = 20.0, set()
    expect(workers.first).to_contain_text("ready")
    assert problems == []
    page.context.close()


def test_messages_are_summed_by_topic_and_partitions_shown_on_demand(browser: Browser, address: str) -> None:
    page = opened(browser, address)
    rows = page.locator("#lag tr")
    expect(rows).to_have_count(2)
    media = rows.filter(has_text="media")
    expect(media.locator("td").last).to_have_text("6")
    media.get_by_role("button").click()
    expect(rows.filter(has_text="partition")).to_have_count(2)
    expect(page.locator("#lag button[aria-expanded=true]")).to_be_focused()
    page.context.close()


def test_what_is_not_known_is_a_dash(browser: Browser, address: str) -> None:
    page = opened(browser, address)
    expect(page.locator("#workers .number").first).not_to_have_text("")
    assert "" not in page.locator("#workers .number, #dead .number").all_inner_texts()
    page.context.close()
