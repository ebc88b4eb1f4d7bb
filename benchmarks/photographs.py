"""Photographs without a download: those that ship inside scikit-image and scikit-learn, and new ones made of them.

The pictures' sources and licences are listed in docs/samples.md.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

_FOLDERS = {"skimage": Path("data"), "sklearn": Path("datasets", "images")}
_FILES = {
    "astronaut": ("skimage", "astronaut.png"),
    "brick": ("skimage", "brick.png"),
    "camera": ("skimage", "camera.png"),
    "chelsea": ("skimage", "chelsea.png"),
    "china": ("sklearn", "china.jpg"),
    "clock": ("skimage", "clock_motion.png"),
    "coffee": ("skimage", "coffee.png"),
    "coins": ("skimage", "coins.png"),
    "flower": ("sklearn", "flower.jpg"),
    "grass": ("skimage", "grass.png"),
    "gravel": ("skimage", "gravel.png"),
    "hubble": ("skimage", "hubble_deep_field.jpg"),
    "moon": ("skimage", "moon.png"),
    "retina": ("skimage", "retina.jpg"),
    "rocket": ("skimage", "rocket.jpg"),
    "stain": ("skimage", "ihc.png"),
}
NAMES = tuple(_FILES)


@cache
def photograph(name: str) -> Image.Image:
    """Return a bundled photograph as RGB. It is shared: change a copy.

    Raises:
        FileNotFoundError: the package that holds it is not installed.
    """
    package, file = _FILES[name]
    found = importlib.util.find_spec(package)  # finds the folder without the cost of the import
    if found is None or found.origin is None:
        raise FileNotFoundError(f"{package} holds sample photographs and is not installed: pip install neardup[demo]")
    image: Image.Image
    with Image.open(Path(found.origin).parent / _FOLDERS[package] / file) as image:
        return image.convert("RGB")


def render_photographs(
    directory: Path,
    count: int = 2000,
    width: int = 500,
    height: int = 400,
    seed: int = 0,
    threads: int | None = None,
    names: Sequence[str] = NAMES,
) -> list[Path]:
    """Render pictures that look like photographs, all different; one that lies there already is kept.

    Each blends two small, turned, recoloured cuts of two bundled photographs, so it has a photograph's detail, noise
    and cost of decoding. The same arguments give the same files.

    Args:
        directory: created if missing; gets `00000.jpg`, `00001.jpg`, …, quality 90.
        width, height: pixels, each picture within a tenth of them.
        threads: at work at the same time; one per core if None.
        names: of the photographs that they are made of.
    Returns:
        The paths, in order.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        photograph(name)  # loaded once, before the threads ask
    _grain()
    paths = [directory / f"{number:05}.jpg" for number in range(count)]

    def render(number: int) -> None:
        path = paths[number]
        if not path.exists():
            partial = path.with_suffix(".partial")
            _blend(np.random.default_rng([seed, number]), width, height, names).save(partial, "JPEG", quality=90)
            partial.replace(path)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        list(pool.map(render, range(count)))
    return paths


def _blend(random: np.random.Generator, width: int, height: int, names: Sequence[str]) -> Image.Image:
    """Return one picture: two cuts, joined along a soft irregular border."""
    w, h = (int(side * random.uniform(0.9, 1.1)) for side in (width, height))
    first, second = random.choice(names, size=2, replace=False)
    blobs = random.integers(0, 256, size=(4, 5), dtype=np.uint8)
    mask = Image.fromarray(blobs).resize((w, h), Image.Resampling.BICUBIC)
    steep = mask.point([min(255, max(0, 4 * (level - 128) + 128)) for level in range(256)])
    picture = Image.composite(_cut(random, first, (w, h)), _cut(random, second, (w, h)), steep)
    x, y = (int(random.integers(0, _grain().width - side)) for side in (w, h))
    return ImageChops.add(picture, _grain().crop((x, y, x + w, y + h)), offset=-128)


@lru_cache(maxsize=1)
def _grain() -> Image.Image:
    """Return a camera's noise, around 128, of which each picture takes a part: the cuts are enlarged and too smooth."""
    noise = np.random.default_rng(0).normal(128, 4, size=(1200, 1200, 3))
    return Image.fromarray(noise.astype(np.uint8))


def _cut(random: np.random.Generator, name: str, size: tuple[int, int]) -> Image.Image:
    """Return a random part of a photograph, turned and recoloured."""
    source = photograph(name)
    reach = min(source.size) * random.uniform(0.25, 0.5)  # half the diagonal of the part
    x, y = (random.uniform(reach, side - reach) if side > 2 * reach else side / 2 for side in source.size)
    corners = _corners(random.uniform(0, 2 * np.pi), random.uniform(0.5, 1.0))
    quad = [value for dx, dy in corners for value in (x + reach * dx, y + reach * dy)]
    part = source.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
    channels = part.split()
    curves = [_curve(random) for _ in channels]
    order = random.permutation(3)
    return Image.merge("RGB", [channels[channel].point(curve) for channel, curve in zip(order, curves, strict=True)])


def _corners(angle: float, flatness: float) -> list[tuple[float, float]]:
    """Return the corners of a turned rectangle in a unit circle, in the order that a QUAD transform takes."""
    half = np.arctan(flatness)
    turns = (angle + np.pi + half, angle + np.pi - half, angle + half, angle - half)
    return [(float(np.cos(turn)), float(np.sin(turn))) for turn in turns]


def _curve(random: np.random.Generator) -> Sequence[int]:
    """Return a gamma curve with some gain, 256 levels."""
    levels = (np.arange(256) / 255) ** random.uniform(0.6, 1.6) * random.uniform(200, 270)
    return [int(level) for level in np.clip(levels, 0, 255)]
