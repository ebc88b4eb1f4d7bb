"""Distractors: cuts of pictures, by which a set of references is filled up to the size that a calibration is for.

They are as many as wanted and come from pictures that are at hand; cuts of one picture resemble each other, so 50 cuts
each of 4,000 pictures have fewer surprises in store than 200,000 pictures would. Which cut is made depends on the
picture and its number only. Describing them takes minutes, so they are kept in a folder, a file for every `PORTION`,
and a run that was ended goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import UsageError
from neardup.pipeline.files import write_whole
from neardup.pipeline.learn.shared.pictures import Pictures
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Embedded, Hashes, Pixels

PORTION = 2000
BATCH = 64
SIDES = (0.35, 0.8)
"""Share of a picture's height, and of its width, that a cut may have."""
_VERSION = 1
"""Goes up when the cuts change, so that older files are not used."""


@dataclass(frozen=True, slots=True)
class Distractors:
    """n cuts, described.

    Attributes:
        vectors: float16 (n, d). hashes: uint8 (n, 32). detail: uint8 (n,); see `types.Embedded`.
        made_of: int64 (n,), the place of each cut's picture in `Pictures`.
    """

    vectors: npt.NDArray[np.float16]
    hashes: Hashes
    detail: npt.NDArray[np.uint8]
    made_of: npt.NDArray[np.int64]


def cut(pixels: Pixels, sha1: str, number: int) -> Pixels:
    """Return the cut of this number, uint8 (h, w, 3): a part of the picture, every other one mirrored."""
    random = np.random.default_rng((number, int(sha1[:12], 16)))
    height, width = pixels.shape[:2]
    h, w = (max(int(side * share), 1) for side, share in zip((height, width), random.uniform(*SIDES, 2), strict=True))
    top, left = int(random.integers(height - h + 1)), int(random.integers(width - w + 1))
    part = pixels[top : top + h, left : left + w]
    return np.ascontiguousarray(part[:, ::-1] if random.random() < 0.5 else part)


def describe_distractors(
    pictures: Pictures,
    made_of: Sequence[int],
    count: int,
    embedder: Embedder,
    cache: Path | None = None,
    report: Callable[[int], None] = lambda _done: None,
) -> Distractors:
    """Return so many cuts, of each picture in turn.

    Args:
        made_of: the pictures to cut, by their places.
        cache: folder that keeps what was described; None keeps nothing.
        report: called with how many more are there.
    Raises:
        UsageError: no picture to cut.
    """
    if not made_of:
        raise UsageError("no picture to cut distractors from")
    names = "".join(pictures.sha1[i] for i in made_of) + str((_VERSION, PORTION, pictures.pixels[made_of[0]].shape))
    folder = cache and cache / f"{embedder.space}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    places = [made_of[number % len(made_of)] for number in range(count)]
    parts = [
        Embedded(np.zeros((0, embedder.dimension), np.float32), np.zeros((0, 32), np.uint8), np.zeros(0, np.uint8))
    ]
    for start in range(0, count, PORTION):
        wanted = [(place, (start + n) // len(made_of)) for n, place in enumerate(places[start : start + PORTION])]
        path = folder and folder / f"{start // PORTION:05}.npz"
        found = path and _read(path, len(wanted), embedder.dimension)
        if not found:
            found = _describe(pictures, wanted, embedder)
            if path:
                _write(path, found)
        parts.append(found)
        report(len(wanted))
    vectors, hashes, detail = (
        np.concatenate([getattr(part, name) for part in parts])[:count] for name in ("vectors", "hashes", "detail")
    )
    return Distractors(vectors.astype(np.float16), hashes, detail, np.array(places, dtype=np.int64))


def _describe(pictures: Pictures, wanted: Sequence[tuple[int, int]], embedder: Embedder) -> Embedded:
    parts = []
    for start in range(0, len(wanted), BATCH):
        cuts = [cut(pictures.pixels[i], pictures.sha1[i], number) for i, number in wanted[start : start + BATCH]]
        parts.append(embedder.embed(np.stack([squeeze(one, embedder.size) for one in cuts])))
    return joined(parts)


def joined(parts: Sequence[Embedded]) -> Embedded:
    """Return the rows of all parts, the vectors rounded as the log rounds them."""
    return Embedded(
        vectors=np.concatenate([part.vectors for part in parts]).astype(np.float16).astype(np.float32),
        hashes=np.concatenate([part.hashes for part in parts]),
        detail=np.concatenate([part.detail for part in parts]),
    )


def _read(path: Path, count: int, dimension: int) -> Embedded | None:
    """Return what a file holds, None where there is none that is whole and long enough."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            found = Embedded(file["vectors"].astype(np.float32), file["hashes"], file["detail"])
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
    n = len(found.vectors)
    shapes = (found.vectors.shape, found.hashes.shape, found.detail.shape)
    return found if n >= count and shapes == ((n, dimension), (n, 32), (n,)) else None


def _write(path: Path, found: Embedded) -> None:
    data = io.BytesIO()
    np.savez(data, vectors=found.vectors.astype(np.float16), hashes=found.hashes, detail=found.detail)
    write_whole(path, data.getvalue())
