"""Photographs, and what is drawn over, around and instead of them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from neardup.pipeline.types import Pixels

WORDS = ("river", "meeting", "coffee", "invoice", "garden", "wizard", "monday", "potion", "bridge", "ticket", "window")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


def photograph(name: str) -> Pixels:
    """Return a photograph that ships with scikit-image, its longest side at most 640 pixels."""
    picture = Image.fromarray(getattr(data, name)()).convert("RGB")
    picture.thumbnail((640, 640))
    return np.asarray(picture)


def recode(pixels: Pixels, quality: int) -> Pixels:
    """Return the picture as a JPEG shows it."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=quality)
    return np.asarray(Image.open(target))


def caption(pixels: Pixels, said: str, share: float = 0.13) -> Pixels:
    """Return the picture with words in white and black across its lower edge."""
    picture = Image.fromarray(pixels)
    size = round(picture.height * share)
    ImageDraw.Draw(picture).text(
        (picture.width / 2, picture.height - 1.4 * size), said.upper(), fill="white", stroke_fill="black",
        stroke_width=max(1, size // 12), font=ImageFont.load_default(size * 0.8), anchor="ma",
    )  # fmt: skip
    return np.asarray(picture)


def sticker(pixels: Pixels) -> Pixels:
    """Return the picture with a face stuck on it."""
    picture = Image.fromarray(pixels)
    pen, size = ImageDraw.Draw(picture), min(picture.size) * 0.3
    x, y = picture.width * 0.55, picture.height * 0.15
    pen.ellipse((x, y, x + size, y + size), fill=(255, 205, 60), outline=(120, 80, 0))
    for eye in (0.3, 0.6):
        pen.ellipse((x + size * eye, y + size * 0.3, x + size * (eye + 0.12), y + size * 0.45), fill=(60, 40, 0))
    return np.asarray(picture)


def inside(pixels: Pixels, other: Pixels, share: float = 0.45) -> Pixels:
    """Return the other picture with this one in it, so much of its width."""
    page = Image.fromarray(other).resize((800, 600))
    small = Image.fromarray(pixels)
    small.thumbnail((round(800 * share), 600))
    page.paste(small, (310, 70))
    return np.asarray(page)


def receipt(seed: int, width: int = 700) -> Pixels:
    """Return a receipt of one shop: the same head and layout, other goods and sums."""
    random = np.random.default_rng(seed)
    page = Image.new("RGB", (width, 1400), (250, 249, 245))
    pen = ImageDraw.Draw(page)
    pen.text((width / 2, 40), "CORNER SHOP", fill="black", font=ImageFont.load_default(54), anchor="ma")
    pen.text((width / 2, 110), "12 Mill Lane · VAT 4711", fill="black", font=ImageFont.load_default(26), anchor="ma")
    font = ImageFont.load_default(30)
    for line in range(20):
        y = 190 + 50 * line
        pen.text((40, y), f"{random.choice(WORDS)} {random.choice(WORDS)}", fill="black", font=font)
        pen.text((width - 40, y), f"{random.integers(1, 9999) / 100:.2f}", fill="black", font=font, anchor="ra")
    total = f"TOTAL {random.integers(1000, 99999) / 100:.2f}"
    pen.text((40, 1250), total, fill="black", font=ImageFont.load_default(44))
    return np.asarray(page)


def photographed(page: Pixels) -> Pixels:
    """Return a page as a camera sees it: a little from the side, darker, noisy, re-encoded."""
    height, width = page.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    moved = corners + np.array([(18, 12), (-9, 20), (-22, -15), (12, -6)], np.float32)
    seen = cv2.warpPerspective(
        page, cv2.getPerspectiveTransform(corners, moved), (width, height), borderValue=(90, 80, 70)
    )
    noise = np.random.default_rng(0).normal(0, 5, seen.shape)
    return recode((seen * 0.85 + noise).clip(0, 255).astype(np.uint8), 70)


def burst(moved: int) -> Pixels:
    """Return a scene whose subject, a cup and its saucer, stands so many pixels to the right."""
    scene, subject = photograph("chelsea").copy(), photograph("coffee")[120:320, 180:400]
    left = 60 + moved
    scene[60 : 60 + subject.shape[0], left : left + subject.shape[1]] = subject
    return scene
