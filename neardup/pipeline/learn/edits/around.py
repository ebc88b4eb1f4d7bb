"""Edits that put something around the picture: borders, bars, an app, other pictures."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFilter

from neardup.pipeline.learn.edits.draw import Draw, edit
from neardup.pipeline.learn.edits.pen import place, write


@edit
def pad(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Add a border of one colour, up to 40 % of a side, wider on some sides."""
    reach = 0.03 + 0.37 * strength
    left, right = (round(picture.width * reach * value) for value in draw.random.random(2))
    top, bottom = (round(picture.height * reach * value) for value in draw.random.random(2))
    canvas = Image.new("RGB", (picture.width + left + right, picture.height + top + bottom), draw.colour())
    canvas.paste(picture, (left, top))
    return canvas


@edit
def letterbox(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Fit into another aspect ratio, with bars of a colour or of the blurred picture itself."""
    width, height = picture.size
    grow = 1.1 + strength
    size = (round(width * grow), height) if draw.chance(0.5) else (width, round(height * grow))
    if draw.chance(0.3):
        canvas = picture.resize(size, Image.Resampling.BILINEAR).filter(ImageFilter.BoxBlur(min(size) * 0.06))
    else:
        canvas = Image.new("RGB", size, draw.colour())
    canvas.paste(picture, ((size[0] - width) // 2, (size[1] - height) // 2))
    return canvas


@edit
def meme(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Add a bar with writing above, below or both; or write in white across the picture's edges."""
    height = round(picture.height * (0.12 + 0.2 * strength))
    kind = int(draw.random.integers(4))
    above, below = (height if kind in (0, 2) else 0), (height if kind in (1, 2) else 0)
    ground, ink = ("black", "white") if draw.chance(0.5) else ("white", "black")
    canvas = Image.new("RGB", (picture.width, picture.height + above + below), ground)
    canvas.paste(picture, (0, above))
    for edge, bar in ((0, above), (canvas.height - height, below)):
        if bar or kind == 3:
            pen, outline = (ink, None) if bar else ("white", "black")
            write(canvas, (2, edge, canvas.width - 2, edge + height), draw, pen, outline)
    return canvas


@edit
def screenshot(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Show the picture in an app on a phone or in a window: bars, lines of writing, buttons."""
    width, height = picture.size
    w, h = round(width * (1.05 + 0.4 * strength * draw.random.random())), round(height * (1.2 + 0.9 * strength))
    dark = draw.chance(0.5)
    ground, ink = ((20, 22, 26), (230, 230, 235)) if dark else ((250, 250, 252), (30, 30, 34))
    canvas = Image.new("RGB", (w, h), ground)
    top = round(height * draw.within(0.08, 0.1 + 0.4 * strength))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, w, round(height * 0.06)), fill=draw.colour())
    canvas.paste(picture, (draw.random.integers(w - width + 1).item(), min(top, h - height)))
    below, line = min(top, h - height) + height, max(6, round(height * 0.06))
    for y in range(below + line, h - line, 2 * line):
        write(canvas, (round(w * 0.04), y, round(w * draw.within(0.4, 0.95)), y + line), draw, ink)
    radius = max(3, line // 2)
    for x in range(radius * 2, w, max(1, w // 5)):
        pen.ellipse((x - radius, h - 2 * radius, x + radius, h), outline=ink)
    return canvas


@edit
def pasted(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Put the picture into another one, at 90 % down to 35 % of its sides."""
    share = 0.9 - 0.55 * strength
    w, h = round(picture.width / share), round(picture.height / share)
    canvas = draw.other(w, h)
    canvas.paste(picture, place(draw, w - picture.width, h - picture.height))
    return canvas


@edit
def collage(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Set the picture beside one other (strength to 0.5) or among three."""
    width, height = picture.size
    gap = round(min(picture.size) * draw.within(0, 0.06))
    columns, rows = (2, 2) if strength > 0.5 else (2, 1) if draw.chance(0.5) else (1, 2)
    canvas = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), draw.colour())
    own = int(draw.random.integers(columns * rows))
    for cell in range(columns * rows):
        piece = picture if cell == own else draw.other(width, height)
        canvas.paste(piece, (cell % columns * (width + gap), cell // columns * (height + gap)))
    return canvas
