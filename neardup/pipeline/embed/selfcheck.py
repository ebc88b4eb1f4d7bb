"""Check pictures: rendered pictures that a checkpoint carries, with the descriptors that its network gives them.

An embedder shows on them that it computes what the checkpoint means, on its own processor and in batches of the sizes
that it works with, before it describes anything. The expected descriptors are those of torch in float32. They belong to
one space: where the weights are others, they prove nothing and are not used.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from neardup.pipeline.devices import name_processor
from neardup.pipeline.embed.checkpoint import Check, Checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.types import Descriptors, Embedded, Pixels

logger = logging.getLogger(__name__)
LEAST = {"int8": 0.99, "float": 0.98}
"""Cosine, by precision of the checkpoint. `benchmarks.check_pictures` prints what the engines of a machine come to, as
they round in other places; `benchmarks.agreement` how far below it 8-bit products that saturate are."""


class Embeds(Protocol):
    """What of an `embedder.Embedder` is checked: see there."""

    engine: str

    def embed(self, tiles: Pixels) -> Embedded:
        """See `embedder.Embedder.embed`."""
        ...


def check_embedder(
    embedder: Embeds,
    checkpoint: Checkpoint,
    counts: Iterable[int] = (1,),
    processor: str = "",
    remedy: str = "start this process again",
) -> float:
    """Have an embedder describe the check pictures of its checkpoint, and return the lowest cosine with what is right.

    At start, and whenever the question is who is broken, an item or this process. 1.0 without check pictures.

    Args:
        counts: tiles in a batch; each batch shows the pictures in turn.
        processor: its name; that of the CPU without it. remedy: what helps if the engine computes wrong.
    Raises:
        ConfigError: it describes them otherwise, or cannot; the process must not go on describing.
    """
    check = checkpoint.check
    if check is None or check.space != checkpoint.space:
        logger.info("embedder not checked, as its model carries no check pictures model=%s", checkpoint.name)
        return 1.0
    name = f"engine {embedder.engine} ({processor or name_processor()})"
    least, lowest, began = LEAST[checkpoint.architecture.precision], 1.0, time.perf_counter()
    try:
        tiles = decode_pictures(check.pictures)
        for count in counts:
            found = lowest_cosine(embedder, check, tiles, count)
            if not found >= least:
                raise ConfigError(
                    f"{name} computes other descriptors than model {checkpoint.name} means: the lowest cosine of its "
                    f"check pictures is {found:.3f} in a batch of {count}, expected at least {least}; {remedy}"
                )
            lowest = min(lowest, found)
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"{name} cannot describe the check pictures of model {checkpoint.name}: {type(error).__name__}: {error}; "
            f"{remedy}"
        ) from error
    seconds = time.perf_counter() - began
    logger.info("embedder checked engine=%s lowest_cosine=%.4f seconds=%.3f", embedder.engine, lowest, seconds)
    return lowest


def decode_pictures(pictures: Iterable[bytes]) -> Pixels:
    """Return encoded check pictures as tiles (n, size, size, 3).

    Raises:
        OSError, ValueError: they cannot be decoded, or not as what they are.
    """
    return np.stack([np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")) for picture in pictures])


def lowest_cosine(embedder: Embeds, check: Check, tiles: Pixels, count: int) -> float:
    """Return the lowest cosine of a batch of `count` tiles, the check pictures in turn, with what is expected."""
    order = np.arange(count) % len(tiles)
    wanted = check.vectors[order]
    cosines = (embedder.embed(tiles[order]).vectors * wanted).sum(axis=1) / np.linalg.norm(wanted, axis=1)
    return float(cosines.min())


def with_check(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with check pictures, described by torch in float32 on a CPU. The space stays."""
    import torch

    from neardup.pipeline.embed.network import load_network

    pictures = render_pictures(checkpoint.architecture.size)
    check = Check(checkpoint.space, pictures, np.zeros((0, checkpoint.architecture.dimension), np.float32))
    network = load_network(replace(checkpoint, similar=None))
    with torch.inference_mode():
        vectors: Descriptors = network(torch.from_numpy(decode_pictures(check.pictures))).numpy()
    return replace(checkpoint, check=replace(check, vectors=vectors))


def render_pictures(size: int) -> tuple[bytes, ...]:
    """Return four pictures of `size` pixels each way, as PNG: figures, waves, clouds and lines of a page.

    They range from black to white, which is where 8-bit products saturate. The same size gives the same pictures.
    """
    random = np.random.default_rng(14)
    drawn = _figures(size, random), _waves(size), _clouds(size, random), _page(size, random)
    pictures = []
    for picture in drawn:
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        pictures.append(file.getvalue())
    return tuple(pictures)


def _figures(size: int, random: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    for number in range(24):
        x, y = random.integers(0, size, 2).tolist()
        half = int(random.integers(size // 24, size // 6))
        red, green, blue = random.choice([0, 64, 128, 255], 3).tolist()
        figure = draw.ellipse if number % 2 else draw.rectangle
        figure((x - half, y - half, x + half, y + half), fill=(red, green, blue))
    return picture


def _waves(size: int) -> Image.Image:
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [127.5 + 127.5 * np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((1, 2), (3, -1), (5, 4))]
    return Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


def _clouds(size: int, random: np.random.Generator) -> Image.Image:
    clouds = np.zeros((size, size, 3))
    for cells in (2, 4, 8, 16, 32, 64):
        coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        clouds += (np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) - 127.5) / cells**0.7
    return Image.fromarray(np.clip(127.5 + 0.9 * clouds, 0, 255).astype(np.uint8))


def _page(size: int, random: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (size, size), (250, 248, 240))
    draw = ImageDraw.Draw(picture)
    for y in range(8, size - 8, 9):
        x = 8
        while x < size - 16:
            length = int(random.integers(4, 20))
            draw.rectangle((x, y, x + length, y + 4), fill=(30, 30, 40))
            x += length + 4
    return picture
