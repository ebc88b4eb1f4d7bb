"""Who sits in front of the pages, and what is published while they look."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.stack import LIMIT_SECONDS, Stack
from tests.pipeline.scan.build import save


class Desk:
    """A browser of somebody who is logged in; what goes wrong in it is collected."""

    def __init__(self, browser: Browser, stack: Stack, who: str, width: int = 1280, scheme: str = "light") -> None:
        self._stack = stack
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        self.context.request.post(f"{stack.url}/login", form={"token": f"nd_{who}"}, max_redirects=0)
        self.context.set_default_timeout(1000 * LIMIT_SECONDS)
        self.problems: list[str] = []
        self.context.on(
            "console", lambda message: self._heard(message.type, f"{message.text} {message.location['url']}")
        )
        self.context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.context.on("request", lambda request: self._check(request.url))

    def open(self, path: str) -> Page:
        page = self.context.new_page()
        page.goto(self._stack.url + path)
        return page

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(text)

    def _check(self, url: str) -> None:
        if not url.startswith((self._stack.url, "blob:")):
            self.problems.append(f"request {url}")


class Desks:
    """Makes desks, and asks at the end what went wrong at them."""

    def __init__(self, browser: Browser, stack: Stack) -> None:
        self._browser, self._stack = browser, stack
        self._made: list[Desk] = []
        self._expected: list[str] = []

    def __call__(self, who: str = "ann", **how: object) -> Desk:
        self._made.append(Desk(self._browser, self._stack, who, **how))  # type: ignore[arg-type]
        return self._made[-1]

    def expect(self, *words: str) -> None:
        """Pass over what the browser notes, now or later, of a refusal that the test brings about."""
        self._expected += words

    def close(self) -> list[str]:
        for desk in self._made:
            desk.context.close()
        problems = [problem for desk in self._made for problem in desk.problems]
        return [one for one in problems if not any(word in one for word in self._expected)]


class Shop:
    """Publishes pictures; those of one seed show the same. No two tests have the same seeds."""

    seeds: Iterator[int] = count(1)

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack, self.folder = stack, folder

    def family(self, name: str, copies: int) -> None:
        """Publish an original and copies of it, one after the other."""
        seed = next(self.seeds)
        self._stack.publish(save(self.folder, f"{name}.png", seed))
        for n in range(copies):
            self._stack.publish(save(self.folder, f"{name}-copy-{n}.png", seed, 72 + 8 * n))

    def again(self, name: str, id: str) -> None:
        """Publish the bytes of a picture once more, under another id."""
        self._stack.publish(Path(shutil.copy(self.folder / name, self.folder / id)))


def title(page: Page) -> str:
    expect(page.locator("#pair-title")).to_be_visible()
    return page.locator("#pair-title").inner_text()
