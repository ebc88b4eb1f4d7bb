"""Pictures of the pages for the documentation, over sample media and with the real network.

    python -m tests.browser.screenshots [FOLDER]

They go to `docs/images`; FOLDER keeps the media and their descriptions for another time. Small enough to be committed.
The page of an evaluation is that of the last `make evaluate`, where there is one.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.site import TOKEN, media_in, site

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
EVALUATION = ROOT / "demo" / "evaluation" / "evaluation.html"
WIDTH, HEIGHT = 1280, 800
TALL = 1080
QUALITY = 85
MAX_SKIPS = 100


def search(page: Page, folder: Path) -> None:
    page.set_input_files("#file", media_in(folder) / "Edited" / "coffee square.jpg")
    page.locator("#grid li").first.wait_for()


def pair(item: str, *keys: str) -> Callable[[Page, Path], None]:
    """Return what skips to an item of the queue and presses keys."""

    def reach(page: Page, _: Path) -> None:
        title = page.locator("#pair-title")
        title.wait_for()
        for _skip in range(MAX_SKIPS):
            if f"Does {item} " in title.inner_text():
                break
            page.keyboard.press("s")
            page.wait_for_timeout(150)
        else:
            raise LookupError(f"{item} is not in the queue")
        for key in keys:
            page.keyboard.press(key)
        page.locator("#near li").first.wait_for()

    return reach


def scanned(folder: Path) -> Path:
    """Return the report of a scan of the sample media."""
    command = [sys.executable, "-m", "neardup.workers.cli.main", "scan", "media", "--output", "report"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "report" / "report.html"


def proof(page: Page) -> None:
    """Open the comparison of the last copy whose proof has a block of its own, with the copy laid over the original."""
    for copy in reversed(page.locator("[data-compare]").all()):
        copy.click()
        if page.locator("#compare .b3, #compare .b2").count():
            break
        page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("b")


def nothing(_page: Page, _folder: Path) -> None:
    """Leave the page as it is."""


SHOTS: dict[str, tuple[str, Callable[[Page, Path], None]]] = {
    "search": ("/search", search),
    "review": ("/review?queue=all", pair("Edited/collage.jpg")),
    "review-video": ("/review?queue=all", pair("Downloads/best part.webm")),
    "clusters": ("/clusters?item=Photos/2024%20Berlin/IMG_2210.jpg", nothing),
}


def save(png: bytes, path: Path) -> None:
    """Write a screenshot; as WebP, a fifth of a PNG with photographs in it."""
    Image.open(io.BytesIO(png)).convert("RGB").save(path, quality=QUALITY, method=6)


def main() -> None:
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    folder = given or Path(tempfile.mkdtemp())
    with site(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name, (path, prepare) in SHOTS.items():
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            context.request.post(f"{address}/login", form={"token": TOKEN}, max_redirects=0)
            page = context.new_page()
            page.goto(address + path)
            prepare(page, folder)
            page.wait_for_timeout(3000)  # pictures come, of videos late
            save(page.screenshot(), IMAGES / f"{name}.webp")
            page.goto(address)  # which lets go of what it had
            context.close()
        for path in filter(Path.exists, (scanned(folder), EVALUATION)):
            page = browser.new_page(viewport={"width": WIDTH, "height": TALL}, color_scheme="light")
            page.goto(path.absolute().as_uri())
            save(page.screenshot(), IMAGES / f"{path.stem}.webp")
            if path.stem == "report":
                proof(page)
                save(page.locator("#compare").screenshot(), IMAGES / "proof.webp")
            page.close()
        browser.close()
    if given is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
