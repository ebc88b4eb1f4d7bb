"""A sheet with a pair of look-alikes of each kind, to see what `neardup evaluate --variants` compares.

    python -m benchmarks.variant_sheet docs/images/variants.webp [NUMBER]

NUMBER chooses the pair of each kind, default 0; held-out kinds come last.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from neardup.pipeline.learn.edits.pen import font
from neardup.pipeline.learn.variants import HELD_OUT, KINDS, render

COLUMNS, CELL, LABEL, GAP = 4, (170, 190), 24, 10


def sheet(number: int) -> Image.Image:
    """Return a sheet of pair `number` of every kind, held-out kinds last."""
    kinds = sorted(KINDS, key=lambda kind: (kind in HELD_OUT, kind))
    width, height = 2 * CELL[0] + GAP + 2 * GAP, CELL[1] + LABEL + GAP
    page = Image.new("RGB", (COLUMNS * width, -(-len(kinds) // COLUMNS) * height), (236, 236, 232))
    pen = ImageDraw.Draw(page)
    for place, kind in enumerate(kinds):
        left, top = place % COLUMNS * width + GAP, place // COLUMNS * height
        said = f"{kind.replace('_', ' ')}{', held out' if kind in HELD_OUT else ''}"
        pen.text((left, top + 5), said, (40, 40, 44), font(15))
        pair = render(kind, number)
        for side, file in enumerate((pair.a, pair.b)):
            with Image.open(io.BytesIO(file)) as opened:
                picture = opened.convert("RGB")
            picture.thumbnail(CELL)
            page.paste(picture, (left + side * (CELL[0] + GAP), top + LABEL))
    return page


if __name__ == "__main__":
    sheet(int(sys.argv[2]) if len(sys.argv) > 2 else 0).save(Path(sys.argv[1]), quality=80)
