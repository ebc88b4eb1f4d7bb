"""Drawn by programs: charts, maps, logos."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import Colour, hsv, paper, tint, write
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick

GREY: Colour = (110, 112, 118)
Points = list[tuple[float, float]]


@kind("screen")
def chart(layout: Random, content: Content) -> Image.Image:
    """A chart of a report: bars, lines, areas, points or a pie; title, axes and legend of the template, own values."""
    width, height = 1080, 720
    dark, form = layout.random() < 0.25, pick(layout, ("bar", "bar", "line", "line", "area", "scatter", "pie"))
    ground, ink = ((24, 26, 34), (222, 224, 230)) if dark else ((255, 255, 255), (48, 50, 56))
    series, steps, turn = int(layout.integers(1, 5)), int(layout.integers(6, 13)), float(layout.random())
    colours = [hsv((turn + 0.19 * number) % 1, 0.62, 0.75) for number in range(max(series, 6))]
    page, pen = paper(width, height, ground)
    write(pen, (70, 30), f"{words.topic(layout).capitalize()}, {words.city(layout)}", 34, ink, True)
    write(
        pen,
        (70, 76),
        f"{pick(layout, ('in thousands', 'in percent', 'in EUR', 'units sold'))}, {int(layout.integers(2012, 2027))}",
        21,
        GREY,
    )
    names = [words.first_name(layout) if form == "pie" else words.firm(layout) for _ in range(6)]
    if form == "pie":
        shares = np.array([float(content.field().uniform(0.3, 3)) for _ in range(6)])
        start = -90.0
        for share, colour in zip((shares / shares.sum() * 360).tolist(), colours, strict=False):
            pen.pieslice((150, 130, 650, 630), start, start + share, colour, ground, 4)
            start += share
        for number, (name, share) in enumerate(zip(names, (shares / shares.sum()).tolist(), strict=True)):
            pen.rectangle((740, 230 + number * 52, 768, 258 + number * 52), colours[number])
            write(pen, (782, 231 + number * 52), f"{name}  {share:.0%}", 24, ink)
        return page
    left, top, right, bottom = 110, 130, 1040, 620
    most = int(layout.integers(2, 10)) * 10
    for line in range(6):
        y = bottom - line * (bottom - top) / 5
        pen.line((left, y, right, y), tint(GREY, 0.65, ground), 1)
        write(pen, (left - 12, y), str(most * line // 5), 19, GREY, anchor="rm")
    xs = np.linspace(left + 40, right - 40, steps)
    for number, x in enumerate(xs.tolist()):
        write(pen, (x, bottom + 12), words.WORDS["month"][number % 12], 19, GREY, anchor="ma")
    for number in range(series):
        slope, base = float(layout.uniform(-0.3, 0.3)), float(layout.uniform(0.3, 0.6))
        values = [base + slope * step / steps + float(content.field().uniform(-0.28, 0.35)) for step in range(steps)]
        tops = [bottom - min(max(value, 0.03), 1) * (bottom - top) for value in values]
        points = list(zip(xs.tolist(), tops, strict=True))
        _draw_series(pen, form, points, bottom, colours[number], number, series)
        place = left + number * 230
        pen.rectangle((place, 668, place + 22, 690), colours[number])
        write(pen, (place + 32, 668), names[number], 20, ink)
    pen.line((left, bottom, right, bottom), ink, 2)
    return page


def _draw_series(
    pen: ImageDraw.ImageDraw, form: str, points: Points, bottom: float, colour: Colour, number: int, series: int
) -> None:
    step = (points[1][0] - points[0][0]) * 0.8
    if form == "bar":
        for x, y in points:
            start = x - step / 2 + number * step / series
            pen.rectangle((start, y, start + step / series - 2, bottom), colour)
    elif form == "area" and number == 0:
        pen.polygon([(points[0][0], bottom), *points, (points[-1][0], bottom)], tint(colour, 0.45))
    if form in ("line", "area"):
        pen.line(points, colour, 4, joint="curve")
    if form in ("line", "scatter"):
        for x, y in points:
            pen.ellipse((x - 6, y - 6, x + 6, y + 6), colour)


@kind("screen")
def street_map(layout: Random, content: Content) -> Image.Image:
    """A street map of one town and style, with a route, its two ends, and a card that says how far it is."""
    size, night = 960, layout.random() < 0.3
    ground, road, edge, ink = (
        ((36, 40, 50), (70, 76, 92), (48, 54, 66), (200, 204, 212))
        if night
        else ((241, 238, 231), (255, 255, 255), (214, 208, 198), (60, 60, 66))
    )
    page, pen = paper(size, size, ground)
    turn, step = float(layout.uniform(-25, 25)), int(layout.integers(78, 120))
    for _ in range(5):
        x, y, r = layout.uniform(0, size), layout.uniform(0, size), layout.uniform(50, 140)
        pen.ellipse((x - r, y - r * 0.7, x + r, y + r * 0.7), (40, 66, 52) if night else (204, 226, 186))
    river = [(x, size * 0.3 + 150 * float(np.sin(x / 190 + layout.uniform(0, 0.4)))) for x in range(-40, size + 80, 60)]
    pen.line(river, (38, 62, 92) if night else (166, 202, 230), int(layout.integers(30, 60)), joint="curve")
    lines = []
    for across in (False, True):
        for offset in np.arange(-size, 2 * size, step) + layout.uniform(-22, 22, len(np.arange(-size, 2 * size, step))):
            angle = np.radians(turn + 90 * across + layout.uniform(-2, 2))
            way = np.array([np.cos(angle), np.sin(angle)])
            middle = np.array([size / 2, size / 2]) + np.array([-way[1], way[0]]) * (offset - size / 2)
            ends = middle - way * 2 * size, middle + way * 2 * size
            lines.append((ends, int(layout.choice([6, 9, 16]))))
    for grow, colour in ((4, edge), (0, road)):
        for (start, end), thick in lines:
            pen.line((*start.tolist(), *end.tolist()), colour, thick + grow)
    for _ in range(9):
        write(pen, (layout.uniform(20, size - 160), layout.uniform(20, size - 40)), words.street(layout), 20, ink)
    a, b = (content.field().uniform(120, size - 120, 2) for _ in range(2))
    bends = content.field().uniform(-90, 90, (4, 2))
    route: Points = [(float(a[0]), float(a[1]))]
    for number, bend in enumerate(bends, 1):
        x, y = a + (b - a) * number / 5 + bend
        route += [(float(x), route[-1][1]), (float(x), float(y))]
    route += [(float(b[0]), route[-1][1]), (float(b[0]), float(b[1]))]
    pen.line(route, (255, 255, 255), 15, joint="curve")
    pen.line(route, (38, 110, 235), 10, joint="curve")
    for (x, y), colour in ((route[0], (40, 160, 80)), (route[-1], (220, 50, 44))):
        pen.polygon(((x - 17, y - 32), (x + 17, y - 32), (x, y)), colour)
        pen.ellipse((x - 21, y - 62, x + 21, y - 20), colour)
        pen.ellipse((x - 8, y - 49, x + 8, y - 33), (255, 255, 255))
    own = content.field()
    pen.rounded_rectangle((30, size - 150, 470, size - 30), 16, (255, 255, 255), (200, 200, 204))
    write(
        pen,
        (54, size - 132),
        f"{int(own.integers(4, 90))} min ({own.uniform(0.8, 40):.1f} km)",
        34,
        (30, 130, 70),
        True,
    )
    write(pen, (54, size - 82), f"via {words.street(own)}", 25, (80, 80, 86))
    return page


@kind("screen")
def logo(layout: Random, content: Content) -> Image.Image:
    """A logo of a family of brands: form of the emblem and place of the name are shared, the rest is not."""
    size, form, beside = 640, int(layout.integers(4)), layout.random() < 0.4
    width = 1100 if beside else size
    saturation, value, group = (
        float(layout.uniform(0.5, 0.9)),
        float(layout.uniform(0.45, 0.85)),
        pick(layout, ("group", "labs", "cloud", "foods", "sport")),
    )
    page, pen = paper(width, size if not beside else 420)
    turn = float(layout.random())
    own = content.field()
    colour = hsv((turn + float(own.uniform(-0.16, 0.16))) % 1, saturation, value)
    x, y, r = (210.0, 210.0, 150.0) if beside else (size / 2, size * 0.4, 175.0)
    if form == 0:
        pen.ellipse((x - r, y - r, x + r, y + r), colour)
    elif form == 1:
        pen.rounded_rectangle((x - r, y - r, x + r, y + r), r * 0.35, colour)
    else:
        pen.regular_polygon((x, y, r * 1.1), 6 if form == 2 else 4, 30 if form == 2 else 0, colour)
    corners, inner = int(own.integers(3, 9)), float(own.uniform(0.3, 0.8))
    spin = float(own.uniform(0, 360))
    star: Points = []
    for number in range(corners * 2):
        angle, reach = np.radians(spin + number * 180 / corners), r * 0.68 * (inner if number % 2 else 1)
        star.append((float(x + reach * np.cos(angle)), float(y + reach * np.sin(angle))))
    pen.polygon(star, (255, 255, 255))
    if own.random() < 0.5:
        pen.ellipse((x - r * 0.2, y - r * 0.2, x + r * 0.2, y + r * 0.2), colour)
    name = words.firm(content.field()).split()[0].lower()
    if beside:
        write(pen, (400, 160), name, 118, tint(colour, 0.4, (0, 0, 0)), True, "lm")
        write(pen, (404, 250), group.upper(), 46, GREY, anchor="lm")
    else:
        write(pen, (x, size * 0.78), name, 96, tint(colour, 0.4, (0, 0, 0)), True, "mm")
        write(pen, (x, size * 0.9), group.upper(), 38, GREY, anchor="mm")
    return page
