"""What offices send round: spreadsheets and slides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import (
    Colour,
    hue,
    paper,
    ramp,
    tint,
    width_of,
    wrap,
    write,
)
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick

GREY: Colour = (120, 122, 126)
_COLUMNS: dict[str, Callable[[Random], str]] = {
    "Name": words.name,
    "City": words.city,
    "Date": words.date,
    "Units": lambda random: str(int(random.integers(1, 990))),
    "Price": lambda random: f"{random.uniform(1, 900):.2f}",
    "Total": lambda random: f"{random.uniform(100, 90000):,.2f}",
    "Change": lambda random: f"{random.uniform(-30, 30):+.1f} %",
    "Item": words.goods,
    "Code": lambda random: f"{words.letters(random, 2)}{words.digits(random, 5)}",
    "Status": lambda random: pick(random, ("open", "paid", "sent", "late", "closed")),
    "Hours": lambda random: f"{random.uniform(0, 12):.1f}",
    "Owner": words.first_name,
}


@kind("screen")
def sheet(layout: Random, content: Content) -> Image.Image:
    """A spreadsheet: letters above, numbers beside, a coloured head, some twenty rows of names and numbers, a sum."""
    width, rows, line = 1280, int(layout.integers(20, 27)), 34
    page, pen = paper(width, 120 + (rows + 2) * line)
    accent = hue(layout, 0.6, 0.5)
    striped, lines = layout.random() < 0.5, layout.random() < 0.7
    columns = [str(one) for one in layout.permutation(sorted(_COLUMNS))[: int(layout.integers(5, 8))]]
    edges = np.concatenate(
        [[46], 46 + (width - 46) * np.cumsum(shares := layout.uniform(1, 1.7, len(columns))) / shares.sum()]
    )
    pen.rectangle((0, 0, width, 58), tint(accent, 0.05))
    write(
        pen,
        (20, 17),
        f"{words.topic(layout).title()} {int(layout.integers(2018, 2027))}.xlsx",
        22,
        (255, 255, 255),
        True,
    )
    pen.rectangle((0, 58, width, 118), (243, 243, 244))
    write(pen, (60, 88), "File   Home   Insert   Page layout   Formulas   Data   View", 18, (70, 70, 74), anchor="lm")
    top = 118
    for number, (column, left, right) in enumerate(zip(columns, edges[:-1], edges[1:], strict=True)):
        pen.rectangle((left, top, right, top + 26), (232, 233, 235), (205, 206, 210))
        write(pen, ((left + right) / 2, top + 13), chr(65 + number), 16, GREY, anchor="mm")
        pen.rectangle((left, top + 26, right, top + 26 + line), accent)
        write(pen, (left + 8, top + 33), column, 19, (255, 255, 255), True)
    top += 26 + line
    for row in range(rows):
        own, y = content.field(), top + row * line
        if striped and row % 2:
            pen.rectangle((46, y, width, y + line), tint(accent, 0.88))
        pen.rectangle((0, y, 46, y + line), (232, 233, 235), (205, 206, 210))
        write(pen, (23, y + line / 2), str(row + 2), 15, GREY, anchor="mm")
        for column, left, right in zip(columns, edges[:-1], edges[1:], strict=True):
            value = _COLUMNS[column](own)
            size = min(19.0, 19 * (right - left - 14) / max(width_of(value, 19), 1))
            right_hand = column in ("Units", "Price", "Total", "Change", "Hours")
            at, anchor = (right - 8, "rm") if right_hand else (left + 8, "lm")
            ink: Colour = (176, 40, 36) if value.startswith("-") else (32, 33, 36)
            write(pen, (at, y + line / 2), value, size, ink, anchor=anchor)
            if lines:
                pen.rectangle((left, y, right, y + line), outline=(214, 215, 219))
    return page


@kind("screen")
def slide(layout: Random, content: Content) -> Image.Image:
    """A slide of a talk: the template's colours and places, its own title, points, and a figure in some."""
    width, height = 1280, 720
    accent, dark = hue(layout, 0.65, 0.6), layout.random() < 0.3
    ground, ink = ((28, 30, 38), (236, 236, 240)) if dark else ((255, 255, 255), (38, 40, 46))
    page, pen = paper(width, height, ground)
    style, figure, firm = int(layout.integers(3)), layout.random() < 0.5, words.firm(layout)
    event = f"{words.topic(layout).title()} - {words.city(layout)} {int(layout.integers(2019, 2027))}"
    points = int(layout.integers(4, 7))
    if style == 0:
        page.paste(ramp(width, 118, accent, tint(accent, 0.35), 0), (0, 0))
    elif style == 1:
        pen.rectangle((0, 0, 26, height), accent)
        pen.line((70, 128, width - 70, 128), accent, 3)
    else:
        pen.polygon(((width, 0), (width, 260), (width - 330, 0)), tint(accent, 0.3, ground))
        pen.rectangle((64, 122, 264, 130), accent)
    own = content.field()
    title, page_number = pick(own, (words.task, words.topic))(own).capitalize(), int(own.integers(2, 60))
    write(pen, (64, 42), title, 46, (255, 255, 255) if style == 0 else ink, True)
    right = width * 0.56 if figure else width - 100
    y = 178.0
    for _ in range(points):
        own = content.field()
        pen.ellipse((68, y + 12, 80, y + 24), accent)
        for text in wrap(words.sentence(own), 29, right - 110)[:2]:
            write(pen, (100, y), text, 29, ink)
            y += 38
        y += 18
        if y > height - 130:
            break
    if figure:
        own = content.field()
        heights = own.uniform(0.2, 1.0, 5)
        for number, share in enumerate(heights.tolist()):
            left = width * 0.6 + number * 84
            pen.rectangle((left, 580 - 360 * share, left + 58, 580), tint(accent, 0.15 * number, ground))
            write(pen, (left + 29, 590), f"Q{number + 1}", 20, GREY, anchor="ma")
        pen.line((width * 0.59, 580, width - 70, 580), GREY, 2)
    pen.line((64, height - 62, width - 64, height - 62), tint(GREY, 0.4, ground), 1)
    write(pen, (64, height - 48), firm, 20, accent, True)
    write(pen, (width / 2, height - 48), event, 18, GREY, anchor="ma")
    write(pen, (width - 64, height - 48), str(page_number), 18, GREY, anchor="ra")
    return page
