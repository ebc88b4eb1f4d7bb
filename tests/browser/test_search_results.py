"""What the search page shows of results and of files that cannot be used, over a small state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from neardup.pipeline.types import Kind
from neardup.workers.api.app import make_app
from neardup.workers.api.server import Server
from tests.pipeline.match.build import picture
from tests.workers.api.build import an_api

pytestmark = pytest.mark.integration


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Pictures at 0, 60 and 120 degrees; that at 60 is a video."""
    video = msgspec.structs.replace(picture("video", 60), kind=Kind.VIDEO, seconds=8.0)
    with (
        an_api(tmp_path, [picture("a", 0), video, picture("far", 120)]) as api,
        closing(Server(make_app(api.context), "127.0.0.1", 0)) as server,
    ):
        yield f"http://127.0.0.1:{server.port}"


def opened(browser: Browser, address: str, path: str, *, touch: bool = False) -> Page:
    page = browser.new_page(has_touch=touch, is_mobile=touch)
    page.context.request.post(f"{address}/login", form={"token": "nd_ann"}, max_redirects=0)
    page.goto(address + path)
    return page


def test_far_results_stand_apart(browser: Browser, address: str) -> None:
    page = opened(browser, address, "/search?item=a")
    expect(page.locator("#near .name")).to_have_text(["video"])
    expect(page.get_by_role("heading", name="Less alike")).to_be_visible()
    expect(page.locator("#far .name")).to_have_text(["far"])
    page.context.close()


def test_a_video_shows_its_length(browser: Browser, address: str) -> None:
    page = opened(browser, address, "/search?item=a")
    expect(page.locator("#near .film")).to_have_text("▶ 0:08")
    page.context.close()


def test_a_text_file_is_refused_in_plain_words(browser: Browser, address: str, tmp_path: Path) -> None:
    file = tmp_path / "shopping list.jpg"
    file.write_text("milk, bread")
    page = opened(browser, address, "/search")
    page.set_input_files("#file", file)
    expect(page.locator("#problem")).to_have_text("shopping list.jpg is a text file. Choose a picture or video.")
    page.context.close()


def test_a_touch_screen_does_not_ask_to_drop_a_file(browser: Browser, address: str) -> None:
    page = opened(browser, address, "/search", touch=True)
    expect(page.get_by_text("Choose a picture or video")).to_be_visible()
    expect(page.get_by_text("drop it here")).to_be_hidden()
    page.context.close()
