"""A small evaluation set without a download: photographs made of bundled ones, and rendered pages and charts.

    python -m benchmarks.mini_set demo/mini-set

It keeps `make evaluate` alive where there are no pictures. Its photographs are cuts of sixteen, so they resemble each
other more, and its pages less, than real ones do: its figures are good for comparing systems on it, and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from benchmarks.photographs import render_photographs
from neardup.pipeline.learn.shared.pages import render_pages

PHOTOGRAPHS, PAGES, SIDE = 320, 80, 320


def main(folder: Path) -> None:
    """Render the set into `photo` and `page` below the folder; what lies there already is kept."""
    render_photographs(folder / "photo", PHOTOGRAPHS)
    (folder / "page").mkdir(exist_ok=True)
    # Another seed than the background's: those of the checkpoint must not be met again here.
    for number, tile in enumerate(render_pages(PAGES, SIDE, seed=1)):
        Image.fromarray(tile).save(folder / "page" / f"{number:03}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
