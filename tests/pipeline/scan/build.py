"""Small pictures, a stand-in for the network, and a scan of a folder with them.

The stand-in describes a tile by its 8 × 8 grey means around their mean. A picture here is 8 × 8 random grey squares, so
that it keeps its descriptor at any size and under light compression, and two pictures are near right angles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import msgspec
import numpy as np
from PIL import Image, ImageFilter

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.describe import in_threads
from neardup.pipeline.scan.run import Progress, scan
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Descriptors, Embedded, Pixels
from tests.pipeline.match.build import a_calibration

CELLS = 8
SIZE = 32
SETTINGS = Settings(threads=2)


class StandIn:
    """Answers as an `Embedder`, and counts the tiles it was given.

    With a `similar_space` it has a similar head, which says how bright the upper and the lower half are.
    """

    def __init__(self, space: str = "s", similar_space: str = "") -> None:
        self.space, self.similar_space = space, similar_space
        self.dimension, self.size, self.engine = CELLS * CELLS, SIZE, "stand-in"
        self.tiles = 0

    def embed(self, tiles: Pixels) -> Embedded:
        self.tiles += len(tiles)
        step = SIZE // CELLS
        means = tiles.reshape(len(tiles), CELLS, step, CELLS, step, 3).mean(axis=(2, 4, 5)).reshape(len(tiles), -1)
        around = means - means.mean(axis=1, keepdims=True) + 1e-3
        vectors = (around / np.linalg.norm(around, axis=1, keepdims=True)).astype(np.float32)
        halves = tiles.reshape(len(tiles), 2, -1).mean(axis=2).astype(np.float32) + 1
        similar = halves / np.linalg.norm(halves, axis=1, keepdims=True) if self.similar_space else None
        return Embedded(vectors, *dct_hash(tiles), similar)

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        embedded = [self.embed(tiles) for tiles in batches]
        return [one.vectors if one.similar is None else np.hstack([one.vectors, one.similar]) for one in embedded]


def a_checkpoint(name: str = "stand-in", seed: int = 0) -> Checkpoint:
    """Return a checkpoint for the stand-in; another seed is another space."""
    return Checkpoint(
        name=name,
        architecture=Architecture(dimension=CELLS * CELLS, size=SIZE),
        weights={"w": np.full(1, seed, np.float32)},
        background=np.zeros((0, CELLS * CELLS), np.float32),
        calibration=msgspec.to_builtins(a_calibration()),
    )


def a_picture(seed: int, side: int = 64) -> Image.Image:
    squares = np.random.default_rng(seed).integers(0, 256, (CELLS, CELLS), dtype=np.uint8)
    return Image.fromarray(squares).resize((side, side), Image.Resampling.NEAREST).convert("RGB")


def save(folder: Path, name: str, seed: int, side: int = 64, modified: float | None = None) -> Path:
    """Write a picture in the format of its name; `modified` in seconds."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    a_picture(seed, side).save(path)
    if modified is not None:
        date(path, modified)
    return path


def save_clip(path: Path, seeds: Sequence[int], fps: int = 8) -> Path:
    """Write a video that shows each picture for a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width = stream.height = 64
        for seed in seeds:
            for _ in range(fps):
                container.mux(stream.encode(av.VideoFrame.from_image(a_picture(seed))))
        container.mux(stream.encode(None))
    return path


def save_media(folder: Path) -> Path:
    """Write 26 pictures, most of them copies of others, two films of which one is part of the other, and a text."""
    for n in range(12):
        save(folder, f"{n * 5 % 12:02}.png", n % 8, modified=1000 + n * 7 % 5)
        save(folder, f"small/{n:02}.jpg", n, side=40, modified=2000 + n % 3)
    save_clip(folder / "film.mp4", [1, 2, 3, 20, 21])
    save_clip(folder / "part.mp4", [20, 21])
    date(folder / "film.mp4", 500)
    date(folder / "part.mp4", 3000)
    a_picture(3).filter(ImageFilter.GaussianBlur(2)).save(folder / "blurred.png")
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    (folder / "notes.txt").write_text("milk")
    return folder


def date(path: Path, modified: float) -> None:
    os.utime(path, (modified, modified))


class Silent:
    """Progress that nobody watches."""

    def start(self, files: int) -> None: ...

    def advance(self, files: int) -> None: ...


def scan_folder(
    folder: Path,
    index: Path | None = None,
    embedder: StandIn | None = None,
    checkpoint: Checkpoint | None = None,
    settings: Settings = SETTINGS,
    progress: Progress | None = None,
    make: Callable[[], StandIn] | None = None,
) -> ScanResult:
    """Scan with the stand-in."""
    used = checkpoint or a_checkpoint()
    catalog = Catalog(index, used.space)
    describe = in_threads(make or (lambda: embedder or StandIn()), SIZE, settings)
    try:
        return scan([folder], catalog, used, settings, describe, progress or Silent())
    finally:
        catalog.close()


def pairs(result: ScanResult) -> set[tuple[str, str]]:
    """Return (name of the copy, name of the original) of all matches."""
    return {
        (Path(match.file.path).name, Path(group.original.path).name)
        for group in result.groups
        for match in group.matches
    }


def reasons(result: ScanResult) -> dict[str, str]:
    """Return why each skipped file was skipped, by name."""
    return {Path(one.path).name: one.reason for one in result.skipped}
