"""A real Chromium, which `make test` installs; never one that is downloaded."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

if TYPE_CHECKING:
    from tests.browser.desk import Desks, Shop
    from tests.browser.stack import Stack
    from tests.integration.conftest import Services

EXPECT_MS = 60_000
"""What a page shows may have to come through all workers, on a machine that is busy with something else."""
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")  # while it lives, no other test can run an event loop
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("no Chromium: run `make test`, which installs it, or `apt-get install chromium`")
    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def stack(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All workers, with the API; they start once for all modules here."""
    from tests.browser.stack import Stack

    folder = tmp_path_factory.mktemp("stack")
    with closing(Stack(services, folder, f"pages-{uuid.uuid4().hex[:8]}")) as stack:
        stack.start()
        yield stack


@pytest.fixture
def desks(browser: Browser, stack: Stack) -> Iterator[Desks]:
    """Return what makes desks; whatever goes wrong at them fails the test."""
    from tests.browser.desk import Desks

    made = Desks(browser, stack)
    yield made
    assert made.close() == []


@pytest.fixture
def shop(stack: Stack, tmp_path: Path) -> Iterator[Shop]:
    """Return what publishes; nothing waits for a review afterwards."""
    from tests.browser.desk import Shop

    yield Shop(stack, tmp_path)
    stack.clear_queue()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    opener = OpenPage(browser)
    yield opener
    problems = opener.problems
    opener.close()
    assert problems == []


class OpenPage:
    """Opens files; collects what goes wrong in them, and every request that leaves the file."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._pages: list[Page] = []
        self.problems: list[str] = []

    def __call__(self, path: Path, width: int = 1280, scheme: str = "light") -> Page:
        page = self._browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self._check(request.url, path))
        page.goto(path.as_uri())
        self._pages.append(page)
        return page

    def _check(self, url: str, path: Path) -> None:
        if not url.startswith("data:") and url != path.as_uri():
            self.problems.append(f"request {url}")

    def close(self) -> None:
        for page in self._pages:
            page.close()
