"""Edits that put something over the picture: writing, stickers, watermarks, other pictures."""

from __future__ import annotations

from PIL import Image, ImageDraw

from neardup.pipeline.learn.edits.draw import Draw, edit
from neardup.pipeline.learn.edits.pen import draw_sticker, font, place, words, write


@edit
def text(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Write one to four lines anywhere on the picture."""
    canvas = picture.copy()
    line = picture.height * (0.06 + 0.14 * strength)
    for _ in range(1 + int(strength * 3 * draw.random.random())):
        x, y = draw.within(0, 0.5) * picture.width, draw.within(0, 0.85) * picture.height
        pen = draw.colour()
        outline = (255 - pen[0],) * 3 if draw.chance(0.5) else None
        write(canvas, (round(x), round(y), picture.width, round(y + line)), draw, pen, outline)
    return canvas


@edit
def emoji(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Stick one to three drawn faces, badges or bars on the picture, up to half its shorter side each."""
    canvas = picture.copy()
    pen = ImageDraw.Draw(canvas)
    for _ in range(1 + int(3 * strength * draw.random.random())):
        size = min(picture.size) * (0.1 + 0.4 * strength * draw.random.random())
        x, y = draw.within(0, max(1.0, picture.width - size)), draw.within(0, max(1.0, picture.height - size))
        draw_sticker(pen, x, y, size, draw)
    return canvas


@edit
def watermark(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Repeat a word, half transparent, all over the picture, or set it large across the middle."""
    layer = picture.copy()
    word, colour = words(draw, 1), draw.colour()
    if draw.chance(0.5):
        line = picture.height * 0.3
        write(layer, (0, round(picture.height / 2 - line / 2), picture.width, round(picture.height / 2 + line / 2)),
               draw, colour, None, word)  # fmt: skip
    else:
        pen, step = ImageDraw.Draw(layer), max(24, round(min(picture.size) * 0.3))
        for y in range(0, picture.height, step):
            for x in range(-(y // step % 2) * step // 2, picture.width, step * 2):
                pen.text((x, y), word, fill=colour, font=font(step // 3))
    return Image.blend(picture, layer, 0.15 + 0.55 * strength)


@edit
def overlay(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Paste another picture over part of this one, up to 60 % of each side."""
    share = 0.15 + 0.45 * strength
    w, h = max(4, round(picture.width * share)), max(4, round(picture.height * share))
    canvas = picture.copy()
    canvas.paste(draw.other(w, h), place(draw, picture.width - w, picture.height - h))
    return canvas


@edit
def blend(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Mix with another picture or a colour, which takes 10 % to 55 %."""
    other = draw.other(*picture.size) if draw.chance(0.7) else Image.new("RGB", picture.size, draw.colour())
    return Image.blend(picture, other, 0.1 + 0.45 * strength)


@edit
def erase(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Cover one to three rectangles with a colour."""
    canvas = picture.copy()
    for _ in range(1 + int(3 * strength * draw.random.random())):
        w, h = (max(4, round(side * (0.1 + 0.3 * strength * draw.random.random()))) for side in picture.size)
        x, y = place(draw, picture.width - w, picture.height - h)
        canvas.paste(draw.colour(), (x, y, x + w, y + h))
    return canvas
