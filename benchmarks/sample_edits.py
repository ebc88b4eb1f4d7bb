"""What people do to pictures: the edits of the sample media. Each takes an RGB image and returns a new one."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Edit: TypeAlias = Callable[[Image.Image], Image.Image]


def scale(factor: float) -> Edit:
    """Resize by a factor."""
    return lambda image: ImageOps.scale(image, factor, Image.Resampling.LANCZOS)


def crop(share: float, x: float = 0.5, y: float = 0.5) -> Edit:
    """Keep a share of each side; x and y from 0 to 1 say where."""

    def edit(image: Image.Image) -> Image.Image:
        w, h = round(image.width * share), round(image.height * share)
        left, top = round((image.width - w) * x), round((image.height - h) * y)
        return image.crop((left, top, left + w, top + h))

    return edit


def square(image: Image.Image) -> Image.Image:
    """Keep the middle square."""
    return ImageOps.fit(image, (min(image.size),) * 2)


def rotate(degrees: float) -> Edit:
    """Turn by a few degrees as a scanner does, on white."""
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")


def grey(image: Image.Image) -> Image.Image:
    """Take the colour away."""
    return image.convert("L").convert("RGB")


def sepia(image: Image.Image) -> Image.Image:
    """Look old."""
    return ImageOps.colorize(image.convert("L"), "#1e1208", "#fff3d6", mid="#a07848")


def blur(image: Image.Image) -> Image.Image:
    """Be out of focus."""
    return image.filter(ImageFilter.GaussianBlur(2.5))


def vivid(image: Image.Image) -> Image.Image:
    """More light, contrast and colour, as a filter of a phone."""
    for enhance, factor in ((ImageEnhance.Brightness, 1.15), (ImageEnhance.Contrast, 1.3), (ImageEnhance.Color, 1.5)):
        image = enhance(image).enhance(factor)
    return image


def worn(image: Image.Image) -> Image.Image:
    """Re-encode three times at low quality, as forwarding does."""
    for quality in (25, 35, 30):
        target = io.BytesIO()
        image.save(target, "JPEG", quality=quality)
        image = Image.open(target).convert("RGB")
    return image


def meme(top: str, bottom: str = "") -> Edit:
    """White bars with words, above and below."""

    def edit(image: Image.Image) -> Image.Image:
        bar = round(image.height * 0.17)
        page = Image.new("RGB", (image.width, image.height + bar * (2 if bottom else 1)), "white")
        page.paste(image, (0, bar))
        for words, y in ((top, bar / 2), (bottom, page.height - bar / 2)):
            _write(page, words, y, round(bar * 0.5), "black")
        return page

    return edit


def caption(words: str) -> Edit:
    """Outlined words over the picture itself."""

    def edit(image: Image.Image) -> Image.Image:
        page = image.copy()
        _write(page, words, page.height * 0.88, round(page.height * 0.09), "white", outline=3)
        return page

    return edit


def screenshot(image: Image.Image) -> Image.Image:
    """A picture viewer's window: a title bar, and the picture nearly as large as it fits."""
    shown = ImageOps.contain(image, (1000, 640), Image.Resampling.LANCZOS)
    bar = 36
    page = Image.new("RGB", (shown.width + 40, shown.height + bar + 20), "#2b2d31")
    page.paste(shown, (20, bar))
    pen = ImageDraw.Draw(page)
    pen.text((page.width / 2, bar / 2), "Image viewer", fill="#d0d2d6", font=ImageFont.load_default(16), anchor="mm")
    for place, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        pen.ellipse((14 + place * 22, 11, 28 + place * 22, 25), fill=colour)
    return page


def phone(image: Image.Image) -> Image.Image:
    """A phone's screen, upright: the picture fills less than half of it."""
    width, height = 540, 960
    shown = ImageOps.contain(image, (width, height - 200), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (width, height), "#101214")
    page.paste(shown, ((width - shown.width) // 2, (height - shown.height) // 2))
    pen = ImageDraw.Draw(page)
    pen.text((24, 14), "9:41", fill="white", font=ImageFont.load_default(22))
    pen.rounded_rectangle((width - 66, 16, width - 24, 36), 5, outline="white", width=2)
    for place in range(4):
        pen.ellipse((70 + place * 120, height - 70, 104 + place * 120, height - 36), outline="#a0a4aa", width=3)
    return page


def framed(image: Image.Image) -> Image.Image:
    """A thick white and black border."""
    return ImageOps.expand(ImageOps.expand(image, round(image.width * 0.06), "white"), 6, "black")


def sticker(image: Image.Image) -> Image.Image:
    """A smiling face over a corner."""
    page = image.copy()
    size = round(min(page.size) * 0.3)
    left, top = page.width - size - 12, 12
    pen = ImageDraw.Draw(page)
    pen.ellipse((left, top, left + size, top + size), fill="#ffd23c", outline="black", width=3)
    for x in (0.3, 0.62):
        pen.ellipse((left + size * x, top + size * 0.28, left + size * (x + 0.09), top + size * 0.42), fill="black")
    pen.arc((left + size * 0.22, top + size * 0.3, left + size * 0.78, top + size * 0.8), 20, 160, "black", 5)
    return page


def beside(other: Image.Image) -> Edit:
    """Put another picture to the right, as in a collage."""

    def edit(image: Image.Image) -> Image.Image:
        height = 400
        parts = [ImageOps.contain(part, (4 * height, height)) for part in (image, other)]
        page = Image.new("RGB", (sum(part.width for part in parts) + 10, height), "white")
        page.paste(parts[0], (0, 0))
        page.paste(parts[1], (parts[0].width + 10, 0))
        return page

    return edit


def _write(page: Image.Image, words: str, y: float, size: int, colour: str, outline: int = 0) -> None:
    size = min(size, round(1.6 * page.width / max(1, len(words))))  # so that it fits
    ImageDraw.Draw(page).text(
        (page.width / 2, y),
        words,
        fill=colour,
        font=ImageFont.load_default(size),
        anchor="mm",
        stroke_width=outline,
        stroke_fill="black",
    )
