"""Hardly more than colours: stripes, gradients, blurred noise."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from neardup.pipeline.learn.variants.canvas import clouds, hsv, hue, mixed, ramp
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random


@kind("screen")
def stripes(layout: Random, content: Content) -> Image.Image:
    """Stripes of fixed places and widths, each of a colour of its own; straight, slanted or as rings."""
    size, count, form = 720, int(layout.integers(5, 13)), int(layout.integers(4))
    edges = np.cumsum(layout.uniform(0.5, 1.6, count))
    edges = np.concatenate([[0], edges / edges[-1]])
    saturation = float(layout.uniform(0.2, 0.8))
    colours = [
        hsv(float(own.random()), saturation, float(own.uniform(0.35, 0.95)))
        for own in (content.field() for _ in range(count))
    ]
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    place = (x, y, (x + y) / 2, np.hypot(x - 0.5, y - 0.5) / 0.7072)[form]
    which = np.clip(np.searchsorted(edges, place, side="right") - 1, 0, count - 1)
    return Image.fromarray(np.array(colours, dtype=np.uint8)[which])


@kind("screen")
def gradient(layout: Random, content: Content) -> Image.Image:
    """A gradient of two or three colours, along a fixed direction; as backgrounds of telephones are."""
    width, height = 720, int(layout.choice([720, 1280]))
    angle, circle, soft = float(layout.uniform(0, 180)), layout.random() < 0.3, layout.random() < 0.5
    colours = [
        hue(own, float(own.uniform(0.3, 0.9)), float(own.uniform(0.3, 1)))
        for own in (content.field() for _ in range(3))
    ]
    picture = ramp(width, height, colours[0], colours[1], angle, circle)
    if soft:
        mask = ramp(width, height, (0, 0, 0), (255, 255, 255), angle + 90).convert("L").point(lambda value: value * 0.7)
        picture.paste(colours[2], (0, 0), mask)
    return picture


@kind("screen")
def noise(layout: Random, content: Content) -> Image.Image:
    """Blurred noise in two colours of the template: marble, clouds, camouflage."""
    size, coarse, octaves = 720, float(layout.uniform(2, 14)), int(layout.integers(1, 6))
    start, end, hard = hue(layout, 0.5, 0.9), hue(layout, 0.6, 0.35), layout.random() < 0.3
    share = clouds(content.field(), size, size, coarse, octaves)
    if hard:
        share = np.floor(share * 4) / np.float32(3)
    return mixed(share, start, end).filter(ImageFilter.GaussianBlur(float(layout.uniform(0.5, 5))))
