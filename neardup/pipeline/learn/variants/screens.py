"""What screens show: chats, a recorded desktop."""

from __future__ import annotations

from PIL import Image, ImageDraw

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import (
    Colour,
    clouds,
    hue,
    mixed,
    paper,
    tint,
    width_of,
    wrap,
    write,
    write_columns,
)
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick

GREY: Colour = (128, 130, 136)


@kind("screen")
def chat(layout: Random, content: Content) -> Image.Image:
    """A chat on a phone: who with, bubbles of two sides, times, the line to type in."""
    width, height = 750, 1334
    dark, accent, size = layout.random() < 0.4, hue(layout, 0.55, 0.62), float(layout.uniform(29, 34))
    ground, ink, theirs = (
        ((18, 20, 24), (235, 235, 238), (44, 47, 54)) if dark else ((238, 236, 230), (24, 24, 28), (255, 255, 255))
    )
    mine = tint(accent, 0.1) if dark or layout.random() < 0.5 else tint(accent, 0.72)
    page, pen = paper(width, height, ground)
    if layout.random() < 0.4:
        page.paste(mixed(clouds(layout, width, height, 8, 3), ground, tint(accent, 0.75, ground)))
    partner = words.name(layout)
    pen.rectangle((0, 0, width, 150), (30, 33, 39) if dark else (250, 250, 250))
    write(pen, (40, 16), f"{int(layout.integers(7, 23))}:{int(layout.integers(10, 60))}", 26, ink, True)
    pen.rounded_rectangle((width - 84, 20, width - 34, 42), 6, outline=ink, width=2)
    pen.rectangle((width - 80, 24, width - 56, 38), ink)
    pen.ellipse((96, 62, 168, 134), accent)
    write(pen, (132, 98), partner[0], 40, (255, 255, 255), True, "mm")
    write(pen, (190, 66), partner, 32, ink, True)
    write(pen, (190, 106), pick(layout, ("online", "last seen today", "typing...")), 23, GREY)
    pen.line((48, 84, 34, 98, 48, 112), ink, 4)
    y, pad, clock = 176.0, 20, int(layout.integers(7, 20)) * 60
    while True:
        own = content.field()
        lines = wrap(words.said(own), size, width * 0.62)
        tall, wide = len(lines) * size * 1.25 + 2 * pad + 14, max(width_of(one, size) for one in lines) + 2 * pad + 70
        if y + tall > height - 130:
            break
        right = own.random() < 0.5
        left = width - 28 - wide if right else 28.0
        pen.rounded_rectangle((left, y, left + wide, y + tall), 26, mine if right else theirs)
        letters: Colour = (255, 255, 255) if right and sum(mine) < 420 else (24, 24, 28) if right else ink
        for number, text in enumerate(lines):
            write(pen, (left + pad, y + pad + number * size * 1.25), text, size, letters)
        clock += int(own.integers(0, 9))
        write(pen, (left + wide - 14, y + tall - 10), f"{clock // 60 % 24:02}:{clock % 60:02}", 19, GREY, anchor="rs")
        y += tall + float(own.uniform(8, 30))
    pen.rectangle((0, height - 112, width, height), (30, 33, 39) if dark else (248, 248, 248))
    pen.rounded_rectangle((90, height - 92, width - 120, height - 24), 34, tint(ground, 0.1, GREY))
    write(pen, (124, height - 58), "Message", 29, GREY, anchor="lm")
    pen.ellipse((width - 98, height - 94, width - 26, height - 22), accent)
    pen.line((58, height - 76, 58, height - 40), GREY, 5)
    pen.line((40, height - 58, 76, height - 58), GREY, 5)
    return page


@kind("screen")
def recording(layout: Random, content: Content) -> Image.Image:
    """A moment of a recorded desktop: an editor with files beside it, a terminal below, now and then a dialog."""
    width, height = 1280, 800
    dark, accent = layout.random() < 0.65, hue(layout, 0.5, 0.75)
    ground, ink, side = _DARK if dark else _LIGHT
    page, pen = paper(width, height, ground)
    files = [f"{words.topic(layout).replace(' ', '_')}.py"[:24] for _ in range(14)]
    terminal = height - int(layout.integers(150, 230))
    page.paste(tint(side, 0.35, (0, 0, 0)) if dark else (222, 222, 226), (0, 0, width, 44))
    for number, colour in enumerate(((236, 95, 86), (245, 190, 60), (98, 196, 84))):
        pen.ellipse((18 + 28 * number, 14, 34 + 28 * number, 30), colour)
    write(pen, (width / 2, 22), f"{words.firm(layout)} - editor", 18, GREY, anchor="mm")
    page.paste(side, (0, 44, 250, height))
    chosen = int(content.field().integers(len(files)))
    pen.rectangle((0, 66 + chosen * 32, 250, 98 + chosen * 32), tint(accent, 0.55, side))
    for number, file in enumerate(files):
        write(pen, (28, 72 + number * 32), file, 17, ink)
    pen.rectangle((250, 44, 510, 80), ground)
    pen.line((250, 80, 510, 80), accent, 3)
    write(pen, (268, 54), files[chosen], 17, ink)
    for number, y in enumerate(range(100, terminal - 24, 25)):
        write_columns(pen, (262, y), f"{number + 1:>3}", 17, GREY)
        _write_code(pen, y, ink, content.field())
    pen.rectangle((250, terminal, width, height), (14, 14, 18) if dark else (30, 32, 40))
    for y in range(terminal + 12, height - 22, 24):
        own = content.field()
        said = f"$ {words.task(own)[:40]} --{words.word(own, 'noun')} {int(own.integers(1, 900))}"
        write_columns(pen, (268, y), said, 16, (190, 220, 190))
    own = content.field()
    if own.random() < 0.35:
        _draw_dialog(pen, tint(side, 0.5), accent, own)
    x, y = 214, 86 + chosen * 32
    pen.polygon(((x, y), (x, y + 24), (x + 6, y + 18), (x + 16, y + 18)), (255, 255, 255), (0, 0, 0))
    return page


_DARK: tuple[Colour, Colour, Colour] = (30, 31, 38), (205, 208, 216), (38, 40, 48)
_LIGHT: tuple[Colour, Colour, Colour] = (254, 254, 254), (40, 42, 50), (240, 240, 243)
_INKS: tuple[Colour, ...] = (198, 120, 221), (97, 175, 239), (152, 195, 121), (209, 154, 102)
_TOKENS = "def", "return", "if", "for", "=", "self.", "None", "(x, y)"


def _write_code(pen: ImageDraw.ImageDraw, y: int, ink: Colour, own: Random) -> None:
    """Write a line of a program, or none."""
    x = 318.0 + int(own.integers(0, 4)) * 40
    for _ in range(int(own.integers(0, 6))):
        text = pick(own, (*_TOKENS, words.topic(own).replace(" ", "_"), words.word(own, "noun")))
        write_columns(pen, (x, y), text, 17, pick(own, _INKS) if own.random() < 0.55 else ink)
        x += (len(text) + 1) * 17 * 0.58


def _draw_dialog(pen: ImageDraw.ImageDraw, ground: Colour, accent: Colour, own: Random) -> None:
    """Draw a question with two buttons, anywhere."""
    left, top = int(own.integers(330, 700)), int(own.integers(140, 380))
    pen.rounded_rectangle((left, top, left + 430, top + 190), 12, ground, GREY)
    write(pen, (left + 26, top + 24), f"{words.task(own).capitalize()}?", 22, (30, 30, 34), True)
    for place, text in ((left + 190, "Cancel"), (left + 310, "OK")):
        pen.rounded_rectangle((place, top + 130, place + 100, top + 170), 8, accent)
        write(pen, (place + 50, top + 150), text, 19, (255, 255, 255), anchor="mm")
